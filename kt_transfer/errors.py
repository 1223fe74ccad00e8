"""The exceptions that end a command with one sentence, and how they name many things."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator

# How a sentence holds a setting until it is told: its name, and its value as it stands in Python
# and on a command line. No file name and no argument contains a NUL.
_MARK = re.compile("\0(\\w+)\0([^\0]*)\0([^\0]*)\0")


class UserError(Exception):
    """A mistake that the user can correct: one sentence, no traceback, exit code 2.

    ``SETTING GIVEN was given WHEN, expected EXPECTED, but BUT: REMEDY.``, without the parts that
    are left out. Settings have the names that they have in Python; the shell tells them as flags.
    Not a ``ValueError``: what reads the flags would wrap that in words of its own.

    Args:
        sentence: The whole, where it does not have these parts.
        setting: Name of the setting that was given.
        given: Its value; without a setting, what was given.
        when: With what else, or for what.
        expected: What would have been right.
        but: What is the case instead.
        remedy: How to correct it.

    The sentence and its parts mention further settings by :func:`named`.

    Example:
        >>> raise UserError(setting="labels", given=5000, remedy="give at most 1437",
        ...                 but="digits has 1437 training examples")
        Traceback (most recent call last):
        ...
        kt_transfer.errors.UserError: labels=5000 was given, but digits has 1437 training ...
    """

    def __init__(
        self,
        sentence: str | None = None,
        *,
        setting: str | None = None,
        given: object = None,
        when: str = "",
        expected: str = "",
        but: str = "",
        remedy: str = "",
    ):
        super().__init__(sentence)
        self.given = given
        self._sentence, self._setting = sentence, setting
        self._when, self._expected, self._but, self._remedy = when, expected, but, remedy
        self._renamings: list[dict[str, str]] = []

    @property
    def setting(self) -> str | None:
        """Name of the setting that was given, as the caller knows it."""
        return self._setting and self._renamed(self._setting)

    @property
    def expected(self) -> str:
        """What would have been right."""
        return self._told(self._expected)

    @property
    def but(self) -> str:
        """What is the case instead."""
        return self._told(self._but)

    @property
    def remedy(self) -> str:
        """How to correct it."""
        return self._told(self._remedy)

    def __str__(self) -> str:
        return self._told(self._whole())

    def as_flags(self) -> str:
        """The sentence as a command line says it: ``--labels 5000`` for ``labels=5000``."""
        return self._told(self._whole(), as_flags=True)

    def rename(self, names: dict[str, str]) -> None:
        """Name settings as a caller further up knows them."""
        self._renamings.append(names)

    def _whole(self) -> str:
        if self._sentence is not None:
            return self._sentence
        given = named(self._setting, self.given) if self._setting else self.given
        when = self._when and f" {self._when}"
        expected = self._expected and f", expected {self._expected}"
        but = self._but and f", but {self._but}"
        return f"{given} was given{when}{expected}{but}: {self._remedy}."

    def _told(self, text: str, as_flags: bool = False) -> str:
        def tell(mark: re.Match) -> str:
            name, value, words = self._renamed(mark[1]), mark[2], mark[3]
            return f"--{name.replace('_', '-')}{words}" if as_flags else f"{name}{value}"

        return _MARK.sub(tell, text)

    def _renamed(self, name: str) -> str:
        for names in self._renamings:
            name = names.get(name, name)
        return name


class TrainingFailed(UserError):
    """A training that went wrong on the way, such as one whose loss is no longer finite.

    Told as a :class:`UserError` is, but found in the midst of the work: the run folder keeps
    what it has, marked ``failed``.
    """


def named(setting: str, given: object = None) -> str:
    """A setting within a sentence of :class:`UserError`, with a value or alone.

    Example:
        >>> error = UserError(f"leave {named('source_data')} out, or give {named('hint', 'LAYER')}")
        >>> print(error)
        leave source_data out, or give hint=LAYER
        >>> print(error.as_flags())
        leave --source-data out, or give --hint LAYER
    """
    if given is None:
        value, words = "", ""
    elif given is True:  # a switch stands alone
        value, words = "=True", ""
    elif isinstance(given, tuple):
        row = [f"{item:g}" if isinstance(item, float) else str(item) for item in given]
        value, words = f"={given}", "".join(f" {item}" for item in row)
    else:
        value, words = f"={given}", f" {given}"
    return f"\0{setting}\0{value}\0{words}\0"


@contextlib.contextmanager
def settings_named(**names: str) -> Iterator[None]:
    """Errors from within name settings as the caller does: ``settings_named(count="freeze")``."""
    try:
        yield
    except UserError as error:
        error.rename(names)
        raise


def listed(names: Iterable[str], most: int = 10) -> str:
    """Names in a line, the first of many.

    Example:
        >>> listed(["a", "b", "c"], 2)
        'a, b and 1 more'
    """
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def counted(number: int, what: str) -> str:
    """A number of things.

    Example:
        >>> counted(1, "epoch"), counted(1200, "example")
        ('1 epoch', '1,200 examples')
    """
    return f"{number:,} {what}{'' if number == 1 else 's'}"
