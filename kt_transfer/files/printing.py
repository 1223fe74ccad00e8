"""Printing that goes on when nobody reads any more."""

from __future__ import annotations

import os
import sys


def say(*words: object) -> None:
    """``print``; work that takes minutes does not end because `| head` has seen enough."""
    try:
        print(*words)
    except BrokenPipeError:
        print_to_nobody()


def print_to_nobody() -> None:
    """What is printed from now on is lost, and so cannot fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
