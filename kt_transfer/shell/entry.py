"""Where every command begins: what stops it is answered in a line, whenever it comes.

It imports next to nothing, since the quarter of a second that the rest takes to load is when a
mistyped command is stopped.
"""

from __future__ import annotations

import os
import signal
import sys
import time

# How long the run folder may take to be closed before a second Ctrl-C ends the process as it is.
_GRACE_SECONDS = 1.0
_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class Terminated(BaseException):
    """SIGTERM, raised where it arrives so that a run can close its folder."""


def main(argv: list[str] | None = None) -> None:
    """Execute the command that ``argv`` (default: the command line) names, and exit."""
    first = _answer_signals()
    try:
        _print_line_by_line()
        from kt_transfer.shell.main import main as execute

        execute(argv)
    except (KeyboardInterrupt, Terminated) as error:
        number = signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT
        print(_WORDS[number], file=sys.stderr)
        raise SystemExit(128 + number) from None
    except BrokenPipeError:  # whoever read the output has seen enough, as `| head` has
        from kt_transfer.files.printing import print_to_nobody

        print_to_nobody()
        raise SystemExit(0) from None
    finally:
        if not first:  # all is written: no traceback on the way out
            for number in _WORDS:
                signal.signal(number, signal.SIG_DFL)


def _answer_signals() -> list[float]:
    """The first signal is raised where it arrives; a second one at once is the same press.

    Returns:
        A list that will hold when the first came.
    """
    first: list[float] = []

    def stop(number, frame):
        if not first:
            first.append(time.monotonic())
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
        if time.monotonic() - first[0] > _GRACE_SECONDS:
            os.write(2, f"{_WORDS[number]}\n".encode())
            os._exit(128 + number)

    for number in _WORDS:
        # What a shell starts in the background ignores Ctrl-C, and is to go on doing so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)
    return first


def _print_line_by_line() -> None:
    """Into a file or a pipe too, and whatever bytes a file's name holds."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
