"""How well one column tells the label by itself: columns that give the label away.

A column that was written after the label was known (an outcome date, a code for the same thing)
makes every score of a model meaningless, and looks like success. It is found by asking each column
alone: its rows of the same value, or of the nearest one, vote for the label of the row that is left
out. This needs no training, no scale and no order of words, does not mind missing values, which
count as a value of their own, and errs on the side of silence, since a vote of neighbours is
noisier than a fitted model.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# The mean recall of the classes from which on a column gives the label away. Honest columns stay
# below: petals tell irises apart at 0.95, the largest radius breast cancer at 0.92. The best known
# leak, the lifeboat of Titanic's passengers, has 0.97; a copy with a few mistakes has more.
GIVES_AWAY = 0.97
_MOST_ROWS = 2000
# Of a class with fewer rows a vote says nothing.
_FEWEST_ROWS = 5
# Numbers of no more values than this are asked like words, with all rows that say the same.
_FEW_VALUES = 20
_NUM_BINS = 16


class Asked(NamedTuple):
    """Rows that are asked about the label, few and as many of each class.

    Attributes:
        every: Row numbers, whatever else these rows hold.
        distinct: Row numbers of which no two are equal or of a group, so that a rare value does not
            tell the label of a row by that of its copy.
    """

    every: np.ndarray
    distinct: np.ndarray


def rows_to_ask(y: np.ndarray, copies: np.ndarray) -> Asked | None:
    """A sample of labelled rows that depends on the data alone.

    Args:
        y: Labels of shape ``(n,)``; ``-1`` for none.
        copies: A number for each row, shared by those that no split may separate; ``-1`` for rows
            that are not to be learned from.

    Returns:
        Two samples of at most some thousand rows; ``None`` if fewer than two classes have enough.

    Example:
        >>> asked = rows_to_ask(np.arange(20) % 2, np.arange(20) // 2 * 2)
        >>> asked.every.tolist() == list(range(20)), asked.distinct.tolist()
        (True, [0, 2, 4, 6, 8, 10, 12, 14, 16, 18])
    """
    rows = np.random.default_rng(0).permutation(np.flatnonzero((y >= 0) & (copies >= 0)))
    first = np.sort(np.unique(copies[np.sort(rows)], return_index=True)[1])
    distinct = np.intersect1d(np.sort(rows)[first], rows)
    every = _few_of_each(rows, y)
    if every is None:
        return None
    return Asked(every, np.sort(_up_to_the_most(rows[np.isin(rows, distinct)], y)))


def told_alone(
    values: np.ndarray, y: np.ndarray, asked: Asked, is_category: bool = False
) -> float | None:
    """How well one column tells the label.

    Args:
        values: The column, shape ``(n,)``: numbers, or codes of words; NaN for what is missing.
        y: Labels of shape ``(n,)``.
        asked: Rows to ask, from :func:`rows_to_ask`.
        is_category: Whether the values are codes, which have no neighbours.

    Returns:
        The mean over classes of the share of rows whose label the others tell, from chance, 1 over
        the number of classes, to 1; ``None`` if too few rows differ to say.

    Example:
        >>> y = np.arange(200) % 2
        >>> asked = rows_to_ask(y, np.arange(200))
        >>> told_alone(np.where(y, 5.0, np.nan), y, asked)
        1.0
    """
    few = is_category or len(np.unique(values[asked.every])) <= _FEW_VALUES
    rows = asked.every if few else asked.distinct
    rows = _of_large_classes(rows, y)
    labels, numbers = np.unique(y[rows], return_inverse=True)
    if len(labels) < 2:
        return None
    values = values[rows]
    told = _recall(values, numbers, near=not few)
    if not few:
        told = max(told, _recall(_binned(values), numbers, near=False))
    return max(told, 1 / len(labels))


class Side(NamedTuple):
    """What it tells that a column is missing, or that it is known.

    Attributes:
        is_missing: Whether it is the rows where it is missing that tell the label.
        label: The class that these rows have.
        rows: The number of these rows.
        share: The share of the class among them, from 0 to 1.
        elsewhere: The same among all others.
    """

    is_missing: bool
    label: int
    rows: int
    share: float
    elsewhere: float


def told_by_missing(values: np.ndarray, y: np.ndarray) -> Side | None:
    """Whether the rows where a column is missing, or those where it is known, are of one class.

    ``None`` unless nearly all of them are, in the other rows the class is not nearly all there is,
    and there are too many of them for chance.

    Args:
        values: The column, shape ``(n,)``; NaN for what is missing.
        y: Labels of shape ``(n,)``; ``-1`` for none.

    Example:
        >>> y = np.arange(400) % 2
        >>> told_by_missing(np.where(np.arange(400) % 8 == 1, np.nan, 3.0), y)[:3]
        (True, 1, 50)
    """
    labelled = y >= 0
    is_missing, y = np.isnan(values[labelled]), y[labelled]
    if is_missing.all() or not is_missing.any():
        return None
    for side in (True, False):
        counts = np.bincount(y[is_missing == side])
        label, rows = int(counts.argmax()), int(counts.sum())
        share, elsewhere = counts[label] / rows, float((y[is_missing != side] == label).mean())
        overall = float((y == label).mean())
        # Among so many columns and classes, once in a million is rare enough.
        if share >= 0.99 and elsewhere < 0.9 and rows * np.log(overall) < np.log(1e-6):
            return Side(side, label, rows, float(share), elsewhere)
    return None


def _few_of_each(rows: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    rows = _of_large_classes(_up_to_the_most(rows, y), y)
    return np.sort(rows) if len(np.unique(y[rows])) > 1 else None


def _up_to_the_most(rows: np.ndarray, y: np.ndarray) -> np.ndarray:
    """As many of each class as there is room for, in their order."""
    if not len(rows):
        return rows
    most = max(2 * _FEWEST_ROWS, _MOST_ROWS // len(np.unique(y[rows])))
    order = np.argsort(y[rows], kind="stable")
    ordered = y[rows][order]
    place = np.arange(len(rows)) - np.searchsorted(ordered, ordered)
    return rows[np.sort(order[place < most])]


def _of_large_classes(rows: np.ndarray, y: np.ndarray) -> np.ndarray:
    return rows[np.bincount(y[rows], minlength=1)[y[rows]] >= _FEWEST_ROWS]


def _binned(values: np.ndarray) -> np.ndarray:
    """Numbers as the bins that hold as many of them each; noise within a bin is voted down."""
    known = values[~np.isnan(values)]
    ends = np.quantile(known, np.linspace(0, 1, _NUM_BINS + 1)[1:-1]) if len(known) else []
    return np.where(np.isnan(values), np.nan, np.searchsorted(ends, values, side="right"))


def _recall(values: np.ndarray, y: np.ndarray, near: bool) -> float:
    """Mean recall of the vote of all other rows with a value, or of those with the nearest one.

    Votes of all rows of a class weigh as much as those of another. Labels with as many votes share
    a row, be it before or after its own vote is left out: otherwise a column that says nothing of
    classes of one size would get every row wrong, being always one vote short.
    """
    distinct, group = np.unique(values, return_inverse=True)
    num_classes = int(y.max()) + 1
    # One entry for each value and label that occur together, so that classes may be many.
    pairs, pair, counts = np.unique(
        group * num_classes + y, return_inverse=True, return_counts=True
    )
    each = 1 / np.bincount(y)  # what one vote weighs, by class
    votes, of_value = counts * each[pairs % num_classes], pairs // num_classes
    order = np.lexsort((votes, of_value))
    last = np.flatnonzero(np.append(np.diff(of_value), 1))
    best = order[last]
    second = np.where(
        (last > 0) & (of_value[last - 1] == of_value[last]), votes[order[last - 1]], 0
    )
    others = np.where(best[group] == pair, second[group], votes[best[group]])
    first = votes > votes[best][of_value] - 1e-9
    shared = first / np.bincount(of_value, first)[of_value]
    lead, is_tied = votes[pair] - each[y] - others, np.abs(votes[pair] - others) < 1e-9
    told = np.select([lead > 1e-9, lead > -1e-9, is_tied], [1.0, 0.5, shared[pair]])
    size = np.bincount(group)[group]
    told[size == 1] = 0
    if near and len(distinct) > 2:
        alone = (size == 1) & ~np.isnan(values)
        nearest = _nearest(distinct)[group[alone]]
        told[alone] = (pairs % num_classes)[best[nearest]] == y[alone]
    return float(np.mean(np.bincount(y, told) / np.bincount(y)))


def _nearest(distinct: np.ndarray) -> np.ndarray:
    """The position of the value that is nearest to each of some in ascending order, NaN last."""
    steps = np.diff(distinct)
    steps[np.isnan(steps)] = np.inf
    below, above = np.append(np.inf, steps), np.append(steps, np.inf)
    return np.arange(len(distinct)) + np.where(above < below, 1, -1)
