"""Columns of a table that say the same as another: equal, recoded, or in another unit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

_MOST_ROWS = 10_000
# Among fewer rows two columns of yes and no are alike by chance.
_FEWEST_ROWS = 30
# Of a correlation: what is left is no more than numbers lose when they are rounded to two places.
_ON_A_LINE = 1 - 1e-5

EQUAL, RECODED, SCALED = "equal", "recoded", "scaled"


class Copy(NamedTuple):
    """A column that says the same as an earlier one.

    Attributes:
        column: Its position.
        of: The position of the earlier one.
        kind: ``"equal"``, ``"recoded"`` (each value stands for one of the other) or ``"scaled"``
            (numbers on a line with the other's, within rounding).
    """

    column: int
    of: int
    kind: str


def column_copies(x: np.ndarray) -> list[Copy]:
    """The columns that say the same as one before them.

    Args:
        x: Shape ``(n, columns)``; codes for words, NaN for what is missing. Of many rows, some are
            looked at, and all of them for columns that are alike in these.

    Returns:
        One entry for each such column, in their order; none for constant columns.

    Example:
        >>> meters = np.arange(100.0) ** 2 % 37
        >>> x = np.stack([meters, 100 * meters, meters % 2, 1 - meters % 2], axis=1)
        >>> [tuple(copy) for copy in column_copies(x)]
        [(1, 0, 'recoded'), (3, 2, 'recoded')]
    """
    if len(x) < _FEWEST_ROWS:
        return []
    rows = np.unique(np.linspace(0, len(x) - 1, _MOST_ROWS).astype(int))
    some = np.asarray(x[rows], np.float64)
    keys = [_meaning(some[:, place]) for place in range(some.shape[1])]
    found = {copy.column: copy for copy in [*_on_a_line(some), *_same(keys)]}
    confirmed = (_confirmed(x, copy) for _, copy in sorted(found.items()))
    return [copy for copy in confirmed if copy is not None]


def _same(keys: list[bytes | None]) -> Iterator[Copy]:
    first: dict[bytes, int] = {}
    for place, key in enumerate(keys):
        if key is not None and first.setdefault(key, place) != place:
            yield Copy(place, first[key], RECODED)


def _meaning(values: np.ndarray) -> bytes | None:
    """What recoding a column one to one does not change; ``None`` of a constant one."""
    distinct, first, code = np.unique(values, return_index=True, return_inverse=True)
    if len(distinct) < 2:
        return None
    if 2 * len(distinct) <= len(values):
        # Values numbered by their first row: which rows are of one value, whatever it is.
        return np.argsort(np.argsort(first))[code].astype(np.int32).tobytes()
    # Where nearly all values differ, that says nothing, but their order does, up or down. What is
    # missing is counted last either way.
    last = len(distinct) - 1 - int(np.isnan(distinct[-1]))
    if 2 * code[np.argmax(code <= last)] > last:
        code = np.where(code <= last, last - code, code)
    return b"order" + code.astype(np.int32).tobytes()


def _on_a_line(x: np.ndarray) -> Iterator[Copy]:
    is_known = ~np.isnan(x)
    with np.errstate(all="ignore"):
        count = np.maximum(is_known.sum(axis=0), 1)
        centred = np.where(is_known, x - np.where(is_known, x, 0).sum(axis=0) / count, 0)
        centred /= np.sqrt((centred**2).sum(axis=0))
        alike = np.abs(centred.T @ centred) > _ON_A_LINE
    for column in range(1, x.shape[1]):
        for of in np.flatnonzero(alike[column, :column]):
            # Two values are always on a line; whether they go together is asked otherwise.
            several = len(np.unique(x[: 10 * _FEWEST_ROWS, column])) > 2
            if several and (is_known[:, of] == is_known[:, column]).all():
                yield Copy(column, int(of), SCALED)
                break


def _confirmed(x, copy: Copy) -> Copy | None:
    """A copy that is one in all rows; columns too large for the memory are not read again."""
    if not isinstance(x, np.ndarray):
        return copy
    a, b = (x[:, place].astype(np.float64) for place in (copy.of, copy.column))
    if np.array_equal(a, b, equal_nan=True):
        return copy._replace(kind=EQUAL)
    if copy.kind == RECODED and (len(x) <= _MOST_ROWS or _meaning(a) == _meaning(b)):
        return copy
    if copy.kind == SCALED and (len(x) <= _MOST_ROWS or any(_on_a_line(np.stack([a, b], 1)))):
        return copy
    return None
