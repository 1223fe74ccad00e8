"""``python -m kt_transfer.demo``: serve a page to try a model on."""

from __future__ import annotations

if __name__ == "__main__":  # answers --help and reports errors before TensorFlow is imported
    import sys

    from kt_transfer.shell.entry import main

    sys.exit(main(["demo", *sys.argv[1:]]))

import contextlib
import errno
import ipaddress
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from kt_transfer.errors import UserError, named, settings_named
from kt_transfer.export import write_version
from kt_transfer.runs import folder as runs
from kt_transfer.runs import session
from kt_transfer.serving.converted import require_installed
from kt_transfer.serving.demo_page import demo_page
from kt_transfer.serving.trial import Trial, find_version, open_trial
from kt_transfer.settings import DemoConfig
from kt_transfer.settings.calling import takes

# Where Gradio begins to look for a free port, and how many it tries.
_FIRST_PORT, _PORTS = 7860, 100
# How long a page may take to be closed, which a browser holds open.
_GRACE_SECONDS = 1


@takes(DemoConfig)
def run(config: DemoConfig) -> None:
    """The command as a function; its settings are the fields of :class:`DemoConfig`.

    It serves the page until it is interrupted: ``demo.run(model="saved_models/digits")``.
    """
    return execute(config)


def execute(config: DemoConfig) -> None:
    """Run the command."""
    say = session.say(config)
    with (
        listening(config.host, config.port) as listener,
        tempfile.TemporaryDirectory(prefix="kt_transfer-demo-") as scratch,
        _kept_to_itself(Path(scratch)),
    ):
        require_installed("gradio", "model", config.model, extra="demo")
        trial = _opened(config, Path(scratch), say)
        _serve(demo_page(trial), listener, config, say)


def _opened(config: DemoConfig, scratch: Path, say) -> Trial:
    """The model that is tried; of a run what its export would be."""
    if not (config.model / "run.json").is_file():
        version = find_version(config.model)
        say(f"tries {version}")
        return open_trial(version, trust=config.trust_model)
    source = runs.open_run(config.model, "model")
    with settings_named(run="model"):
        source.load_classifier()
    say(f"exports {source.path} to a temporary folder, to try what would be served")
    version = write_version(source, source.path.resolve().name, scratch / "saved_models")
    return open_trial(version, called="not exported yet")


@contextlib.contextmanager
def _kept_to_itself(scratch: Path) -> Iterator[None]:
    """Gradio, imported within, reports nothing, asks nobody, and writes to one folder."""
    before = dict(os.environ)
    os.environ |= {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": str(scratch / "files"),
        "GRADIO_SHARE": "False",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before


# -- Listening and serving -------------------------------------------------------------------------


def listening(host: str, port: int | None) -> socket.socket:
    """A socket that listens, before anything is loaded.

    Args:
        host: Address or name of this machine.
        port: The port, 0 for any free one; ``None`` for the first of some that is free.

    Raises:
        UserError: If the host is not one of this machine, or the port is taken.

    Example:
        >>> with listening("127.0.0.1", 0) as listener:
        ...     listener.getsockname()[0]
        '127.0.0.1'
    """
    try:
        family, _, _, _, (address, *_) = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise _no_address(host, "it cannot be resolved") from error
    wanted = range(_FIRST_PORT, _FIRST_PORT + _PORTS) if port is None else [port]
    for number in wanted:
        listener = socket.socket(family, socket.SOCK_STREAM)
        # So that a page that was just closed does not hold its port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, number))
            listener.listen()
            return listener
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE:
                raise _no_address(host, f"it cannot be listened on ({error.strerror})") from error
    s = f"ports {wanted[0]} to {wanted[-1]} are" if port is None else "the port is"
    raise UserError(
        setting="port",
        given=port,
        expected="a free port",
        but=f"{s} taken",
        remedy=f"give another one, or {named('port', 0)} for any",
    )


def is_loopback(address: str) -> bool:
    """Whether an address is reached from this machine alone.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
        (True, True, False)
    """
    return ipaddress.ip_address(address.split("%")[0]).is_loopback


def _no_address(host: str, but: str) -> UserError:
    return UserError(
        setting="host",
        given=host,
        expected="an address of this machine",
        but=but,
        remedy="leave it out for this machine alone, or give 0.0.0.0 for all of its addresses",
    )


def _serve(page, listener: socket.socket, config: DemoConfig, say) -> None:
    """Serve the page until this process is interrupted."""
    import uvicorn

    address, port = listener.getsockname()[:2]
    if is_loopback(address):
        from starlette.middleware.trustedhost import TrustedHostMiddleware

        # A page of elsewhere whose name was turned to this machine has another host.
        hosts = [config.host, "localhost", "127.0.0.1", "[::1]", "::1"]
        page.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    else:
        say(
            f"everyone who reaches {config.host} by the network can use this page, without a "
            "password"
        )
    settings = {"log_level": "critical", "timeout_graceful_shutdown": _GRACE_SECONDS}
    server = uvicorn.Server(uvicorn.Config(page, **settings))
    # Beside the main thread, which is where an interruption arrives, in a notebook too.
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    host = "localhost" if ipaddress.ip_address(address).is_unspecified else config.host
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    thread.start()
    try:
        while thread.is_alive() and not server.started:
            time.sleep(0.01)
        say(f"page {url}   (Ctrl-C ends it)")
        if config.open:
            import webbrowser

            webbrowser.open(url)
        thread.join()
    finally:
        server.should_exit = True
        thread.join(2 * _GRACE_SECONDS)
    raise RuntimeError("the page has ended by itself")
