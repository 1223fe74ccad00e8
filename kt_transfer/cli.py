"""From the command line to a command: flags, messages, exit codes.

Exit codes: 0 done; 2 a mistake of the user's; 1 anything else; 130 and 143 interrupted.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable

from kt_transfer import config as configuration
from kt_transfer import runs
from kt_transfer.disk import tell_disk_error
from kt_transfer.errors import UserError

# TensorFlow (for TFLite) and Keras (for its wrappers, galleries and data frames) import these where
# they are installed. They need none of them, nor does any command before it asks itself: 0.9 of
# 2.2 seconds.
LOOKED_FOR_IN_VAIN = ("jax", "matplotlib", "pandas", "sklearn")


class Terminated(BaseException):
    """SIGTERM, raised where it arrives so that a run can close its folder."""


def main(
    command: str, config_class: type, execute: Callable, argv: list[str] | None = None
) -> None:
    """Read the flags of ``command``, execute it, and leave with its exit code.

    Args:
        command: Name of the command, for messages: ``"pretrain"`` or ``"tune-distill"``.
        config_class: Dataclass whose fields are the flags.
        execute: Function of such a config.
        argv: Flags (default: the command line).
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    debug, config = "--debug" in argv, None
    try:
        config = parse(command, config_class, argv)
        _require_data(config)
        _require_source(config)
        import_tensorflow_quietly()
        signal.signal(signal.SIGTERM, _terminate)
        execute(config)
    except UserError as error:
        if debug:
            traceback.print_exc()
        _leave(_in_a_line(str(error), error), 2)
    except KeyboardInterrupt as error:
        _leave(_with_notes("interrupted", error), 130)
    except Terminated as error:
        _leave(_with_notes("terminated", error), 143)
    except Exception as error:
        if debug:
            traceback.print_exc()
        if told := tell_disk_error(error, getattr(config, "out", None)):
            _leave(_in_a_line(told, error), 2)
        _leave(f"error: {type(error).__name__}: {error} (--debug shows where)", 1)


def parse(command: str, config_class: type, argv: list[str]):
    """The config that the flags ask for, over the settings of --from-run or --resume."""
    import tyro

    return tyro.cli(
        config_class,
        prog=f"python -m kt_transfer.{command.replace('-', ' ')}",
        args=argv,
        default=_defaults(config_class, argv),
        config=(tyro.conf.FlagCreatePairsOff,),
    )


def _defaults(config_class: type, argv: list[str]):
    """The settings of an earlier run, where the flags ask to start from them."""
    earlier = _value_after("--from-run", argv)
    if "--resume" in argv:
        earlier = _value_after("--out", argv) or earlier
    if earlier is None or not os.path.isfile(os.path.join(earlier, "config.json")):
        if _value_after("--from-run", argv):
            runs.open_run(earlier, "--from-run")
        return None
    settings = runs.Run(earlier).settings
    settings = {k: v for k, v in settings.items() if k not in runs.SESSION_SETTINGS}
    return configuration.from_settings(config_class, settings)


def _value_after(flag: str, argv: list[str]) -> str | None:
    for index, word in enumerate(argv):
        if word.startswith(f"{flag}="):
            return word.split("=", 1)[1]
        if word == flag and index + 1 < len(argv):
            return argv[index + 1]
    return None


def _require_data(config) -> None:
    """A set that is not to be had is refused before the seconds that TensorFlow takes to load."""
    from kt_transfer.data import require_data

    for name, flag in (("data", "--data"), ("source_data", "--source-data")):
        if spec := getattr(config, name, None):
            require_data(spec, data_dir=config.data_dir, flag=flag)


def _require_source(config) -> None:
    """A source that is not there likewise."""
    given = getattr(config, "source", None) or ()
    for source in (given,) if isinstance(given, str) else given:
        runs.open_source(source)


@contextlib.contextmanager
def start_run(command: str, config):
    """The run folder that ``config`` asks for, as a context.

    Of several workers, which all run the same command, only the chief writes it; the others
    work in a folder that is thrown away, and all leave together.
    """
    settings = configuration.to_settings(config)
    options = {"out": config.out, "overwrite": config.overwrite, "resume": config.resume}
    several = config.strategy == "multi_worker"
    if several and config.out is None:
        raise UserError(
            "--strategy multi_worker was given without --out, expected the folder that all "
            "workers share: add --out RUN."
        )
    if not several or _is_chief():
        with runs.start(command, settings, **options) as run:
            yield run
            if several:
                _leave_together()
        return
    with runs.start(command, settings, out=os.path.join(_scratch(), "run")) as run:
        run.checkpoint, run.is_chief = config.out / "checkpoint", False
        yield run
        _leave_together()


def _scratch() -> str:
    """A folder that goes when the process does."""
    folder = tempfile.mkdtemp(prefix="kt_transfer-worker-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _is_chief() -> bool:
    cluster = json.loads(os.environ.get("TF_CONFIG", "{}"))
    if "task" not in cluster:
        raise UserError(
            "--strategy multi_worker was given without TF_CONFIG, expected it to name the workers "
            "and this one's place among them: set it on each worker."
        )
    task = cluster["task"]
    return task["type"] == "chief" or (task["index"] == 0 and "chief" not in cluster["cluster"])


def _leave_together() -> None:
    from kt_transfer.training.strategy import wait_for_workers

    wait_for_workers()


def say(config) -> Callable[..., None]:
    """``print``, or nothing where the user wants quiet, or another worker says it."""
    other_worker = getattr(config, "strategy", None) == "multi_worker" and not _is_chief()
    return (lambda *_: None) if config.quiet or other_worker else print


def load_data(config, spec: str, *, flag: str = "--data", like=None):
    """The data set of that spec; what it says of how it was read is printed.

    Args:
        config: Of any command that loads data.
        spec: As for :func:`kt_transfer.load_data`.
        flag: The same.
        like: The same.
    """
    from kt_transfer import data

    loaded = data.load_data(spec, data_dir=config.data_dir, flag=flag, like=like)
    say_notes(config, spec, loaded.notes)
    return loaded


def say_notes(config, spec: str, notes) -> None:
    """Print how a data set was read."""
    for note in notes:
        say(config)(f"{spec}: {note}")


def say_notes_of(config, run: runs.Run) -> None:
    """The same of the data of a run that itself said nothing."""
    about = run.read_json("run.json")["data"]
    say_notes(config, about["spec"], about.get("notes", ()))


def import_tensorflow_quietly() -> None:
    """Import TensorFlow without the start-up notes that it writes past Python.

    They come from native code before its log level is read, name nothing that a user can act
    on, and can be kept out only at the file descriptor. If the import fails, they are shown.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _native_stderr_held(), _no_garbage_collection(), _not_found(LOOKED_FOR_IN_VAIN):
        import keras  # noqa: F401
        import tensorflow as tf
    tf.get_logger().setLevel("ERROR")


@contextlib.contextmanager
def _not_found(names: tuple[str, ...]):
    """Modules that are not there to be imported for a while, unless they have been already."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextlib.contextmanager
def _no_garbage_collection():
    """Hundreds of thousands of objects that stay for good are not searched for garbage.

    Neither while they are made, nor at the end of the process: 3 seconds of a command.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()


@contextlib.contextmanager
def _native_stderr_held():
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _terminate(*_) -> None:
    raise Terminated


def _in_a_line(sentence: str, error: BaseException) -> str:
    notes = getattr(error, "__notes__", [])
    return " ".join([f"error: {sentence}", *(f"({note})" for note in notes)])


def _with_notes(message: str, error: BaseException) -> str:
    return "\n".join([message, *getattr(error, "__notes__", [])])


def _leave(message: str, code: int) -> None:
    print(message, file=sys.stderr)
    raise SystemExit(code)


def jit_choice(config) -> bool | str:
    """``--jit-compile`` as :class:`~kt_transfer.FusedModel` takes it."""
    return {"auto": "auto", "yes": True, "no": False}[config.jit_compile]
