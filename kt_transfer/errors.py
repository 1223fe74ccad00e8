"""The exceptions that end a command with one sentence, and how they name many things."""

from __future__ import annotations

from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the user can mend: one sentence, no traceback, exit code 2.

    The sentence names what was given, what was expected and how to mend it. Not a
    ``ValueError``: what reads the flags would wrap that in words of its own.

    Example:
        >>> raise UserError("--labels 5000 was given, but digits has 1437 training "
        ...                 "examples: give at most 1437.")
        Traceback (most recent call last):
        ...
        kt_transfer.errors.UserError: --labels 5000 was given, but digits has 1437 ...
    """


class TrainingFailed(UserError):
    """A training that went wrong on the way, such as one whose loss is no longer finite.

    Told as a :class:`UserError` is, but found in the midst of the work: the run folder keeps
    what it has, marked ``failed``.
    """


def listed(names: Iterable[str], most: int = 10) -> str:
    """Names in a line, the first of many.

    Example:
        >>> listed(["a", "b", "c"], 2)
        'a, b and 1 more'
    """
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
