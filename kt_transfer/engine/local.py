"""Processes of this machine that do parts of the work of one that waits for them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

# How long they may take to leave once they are asked to, before they are killed.
GRACE_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1


def start(
    arguments: list[str], *, environment: Mapping[str, str], log: Path, share: int
) -> subprocess.Popen:
    """Start a Python process that ends with this one, and uses its share of the cores.

    Args:
        arguments: Of the interpreter.
        environment: What it has beside this one's.
        log: File of what it prints.
        share: How many such processes share the machine.
    """
    with open(log, "ab") as written:
        return subprocess.Popen(
            [sys.executable, *arguments],
            env=environment_of_share(share) | environment,
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
            # Ctrl-C reaches the parent alone, which ends the others.
            start_new_session=True,
            preexec_fn=ending_with_this(),
        )


def ending_with_this() -> Callable[[], None]:
    """What a process does as it starts, so that it ends with this one.

    One that is killed with SIGKILL ends nobody itself.
    """
    libc, parent = _libc(), os.getpid()

    def end_with_parent():
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(128 + signal.SIGTERM)

    return end_with_parent


def environment_of_share(share: int) -> dict[str, str]:
    """The environment of one of so many processes that share this machine.

    What is set for this process, such as a number of threads, holds for it, too.
    """
    names = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    threads = str(max(1, len(os.sched_getaffinity(0)) // share))
    # Else each would take all memory of a GPU that they share.
    own = dict.fromkeys(names, threads) | {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    own |= {"TF_CPP_MIN_LOG_LEVEL": "3"}
    # This would take it for one of several that train one model.
    return {name: value for name, value in (own | os.environ).items() if name != "TF_CONFIG"}


def end(processes: Iterable[subprocess.Popen], by: int = signal.SIGTERM) -> None:
    """Ask whoever still runs to leave, and kill after a while, with all that they have started.

    Args:
        processes: Each the first of a group of its own.
        by: The signal that asks them.
    """
    processes = list(processes)
    for process in processes:
        if process.poll() is None:
            process.send_signal(by)
    deadline = time.monotonic() + GRACE_SECONDS
    try:
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
    finally:  # a second Ctrl-C only hurries
        for process in processes:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def last_line(log: Path) -> str:
    """The last line that a process has printed, without the word that begins an error."""
    lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
    return lines[-1].removeprefix("error: ") if lines else "it has printed nothing"


def _libc():
    try:
        libc = ctypes.CDLL(None, use_errno=True)
    except OSError:
        return None
    return libc if hasattr(libc, "prctl") else None
