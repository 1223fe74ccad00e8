"""Start one program as several workers on this machine, and again when one of them is lost.

``python -m kt_transfer.engine.launch --workers 2 -- python train.py`` gives each worker the
``TF_CONFIG`` that ``tf.distribute.MultiWorkerMirroredStrategy`` reads, with free ports of the
loopback interface. It imports nothing that is large, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

from kt_transfer.engine import local

# A mistake of the user's, which a new start repeats.
USER_ERROR = 2
_POLL_SECONDS = 0.1
_STOPPED_BY = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Stopped(BaseException):
    """A signal that ends all workers."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


def main(argv: list[str] | None = None) -> int:
    """Start the workers that ``argv`` (default: the command line) asks for; the exit code.

    Example:
        >>> main(["--workers", "2", "--", sys.executable, "-c", "raise SystemExit(0)"])
        0
    """
    options = _parse(argv)
    handlers = {number: signal.signal(number, _stop) for number in _STOPPED_BY}
    try:
        for again in range(options.restart + 1):
            code = _run(options.command, options.workers)
            if code in (0, USER_ERROR) or again == options.restart:
                return code
            _say(f"starting all workers again ({again + 1} of {options.restart})")
    except _Stopped as stopped:
        return 128 + stopped.number
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m kt_transfer.engine.launch",
        usage="%(prog)s [-h] --workers N [--restart K] -- COMMAND ...",
        description="Start COMMAND as N workers on this machine, for "
        "tf.distribute.MultiWorkerMirroredStrategy: each gets its TF_CONFIG, with free ports. A "
        "COMMAND that begins with a dash, or is a .py file, is run by this Python. What worker 0, "
        "the chief, prints is shown as it is, what others print with their number, on stderr. When "
        "one fails, all are ended, and the exit code is its own (128 + N if signal N killed it).",
        epilog="TensorFlow's server listens on every interface of the machine and lets whoever "
        "reaches it run what they like: use it in a network that you trust.",
    )
    parser.add_argument("--workers", type=int, required=True, metavar="N", help="how many")
    parser.add_argument(
        "--restart",
        type=int,
        default=0,
        metavar="K",
        help="when a worker is lost or fails, start all again, K times at most (default: 0). A "
        f"mistake of the user's (exit code {USER_ERROR}) ends it. COMMAND itself has to go on from "
        "where it was, as the commands of kt_transfer do with --resume",
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.command[:1] == ["--"]:
        del options.command[0]
    if options.workers < 1 or options.restart < 0:
        parser.error("--workers has to be at least 1, and --restart at least 0")
    if not options.command:
        parser.error("no command was given: add -- COMMAND, such as -- python train.py")
    if options.command[0].startswith("-") or options.command[0].endswith(".py"):
        options.command.insert(0, sys.executable)
    return options


def _run(command: list[str], count: int) -> int:
    """Run all workers to their end, or until one of them fails; the exit code."""
    addresses = [f"127.0.0.1:{port}" for port in _free_ports(count)]
    workers: list[subprocess.Popen] = []
    readers: list[threading.Thread] = []
    by = signal.SIGTERM
    try:
        for index in range(count):
            task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            try:
                worker = _start(command, json.dumps(task), index)
            except OSError as error:
                _say(f"error: {command[0]} was given, but it cannot be run ({error.strerror}).")
                return USER_ERROR
            workers.append(worker)
            if index:
                reader = threading.Thread(target=_pass_on, args=(worker, index), daemon=True)
                reader.start()
                readers.append(reader)
        while True:
            codes = [worker.poll() for worker in workers]
            failed = [index for index, code in enumerate(codes) if code]
            if failed:
                # One that was killed is the cause, where others have left because of it.
                first = min(failed, key=lambda index: codes[index])
                _say(f"worker {first} {_how(codes[first])}: ending the others")
                return _exit_code(codes[first])
            if None not in codes:
                return 0
            time.sleep(_POLL_SECONDS)
    except _Stopped as stopped:
        by = stopped.number
        raise
    finally:
        _end(workers, by)
        for reader in readers:
            reader.join(timeout=1)


def _start(command: list[str], task: str, index: int) -> subprocess.Popen:
    return subprocess.Popen(
        command,
        env={**os.environ, "TF_CONFIG": task},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if index else None,
        stderr=subprocess.STDOUT if index else None,
        # A group of its own, so that what a worker has started ends with it.
        start_new_session=True,
        preexec_fn=local.ending_with_this(),
    )


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        # All are held until the last is found, so that they differ.
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]


def _end(workers: list[subprocess.Popen], number: int) -> None:
    """Ask whoever still runs to leave, and kill after a while, with all that they have started."""
    # A second Ctrl-C finds nothing to hurry: nobody is left behind.
    for stopping in _STOPPED_BY:
        signal.signal(stopping, signal.SIG_IGN)
    try:
        local.end(workers, number)
    finally:
        for stopping in _STOPPED_BY:
            signal.signal(stopping, _stop)


def _pass_on(worker: subprocess.Popen, index: int) -> None:
    """Show what a worker prints, each line with its number."""
    for line in worker.stdout:
        with contextlib.suppress(OSError):  # nobody reads it any more; the worker is not to wait
            sys.stderr.buffer.write(b"[worker %d] %s\n" % (index, line.rstrip(b"\n")))
            sys.stderr.buffer.flush()


def _stop(number, frame) -> None:
    raise _Stopped(number)


def _exit_code(code: int) -> int:
    return code if code > 0 else 128 - code


def _how(code: int) -> str:
    return (
        f"failed with exit code {code}" if code > 0 else f"was lost ({signal.Signals(-code).name})"
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
