"""Which raw values become -1 and 1: one range for all, or one for each column of a table."""

from __future__ import annotations

import numpy as np

from kt_transfer.data.rows import take_rows

# A number for all values, or one for each column.
Range = tuple[float, float] | tuple[np.ndarray, np.ndarray]

# The share of a column's values (of those that differ from the median) within its range. What
# lies beyond is compressed, so that a few extreme values do not flatten the others.
SHARE_WITHIN = 0.9
# What the ends of a column's range become; between these and -1 or 1 is what lies beyond it.
WITHIN = 0.8
_LAST_BELOW_ONE = 1 - 1e-6
# Quantiles of so many rows tell the range as well as those of more.
_MOST_ROWS = 20_000
_ROWS_AT_ONCE = 2**16
# Small enough that the difference of two values and its inverse are still numbers.
LARGEST_VALUE = 1e300


def observed_range(x) -> tuple[float, float]:
    """The smallest and the largest value of examples, never equal."""
    pieces = [x[start : start + _ROWS_AT_ONCE] for start in range(0, len(x), _ROWS_AT_ONCE)]
    low, high = min(float(p.min()) for p in pieces), max(float(p.max()) for p in pieces)
    return (low, high) if high > low else (low, low + _one_at(low))


def range_of(x) -> Range:
    """What training examples are scaled by where their source states no range: each column of a
    table by its own, all values of images by one."""
    return column_ranges(x) if x.ndim == 2 else observed_range(x)


def column_ranges(x) -> tuple[np.ndarray, np.ndarray]:
    """For each column a range around its median, robust against outliers.

    It reaches as far to both sides as ``SHARE_WITHIN`` of the column's values, among those that
    differ from the median: so a column that is mostly 0 keeps what its other values say, and a
    single extreme value changes nothing.

    Args:
        x: Training examples of shape ``(n, columns)``.

    Returns:
        The lower and the upper ends, ``float64`` of shape ``(columns,)``, never equal.

    Example:
        >>> x = np.array([[0, 10], [0, 11], [0, 12], [1, 13], [0, 1e6]])
        >>> column_ranges(x)
        (array([-1., 10.]), array([ 1., 14.]))
    """
    rows = np.arange(len(x))
    if len(x) > _MOST_ROWS:
        rows = np.sort(np.random.default_rng(0).permutation(len(x))[:_MOST_ROWS])
    some = take_rows(x, rows)[:]
    middle, reach = np.empty((2, x.shape[1]))
    for column in range(x.shape[1]):
        values = some[:, column].astype(np.float64)
        if len(some) < len(x) and values.min() == values.max():
            # A rare value may be missing in the sample, and must not count as an extreme one.
            values = np.asarray(x[:, column] if isinstance(x, np.ndarray) else values, np.float64)
        middle[column], reach[column] = _middle_and_reach(values)
    return middle - reach, middle + reach


def _middle_and_reach(values: np.ndarray) -> tuple[float, float]:
    middle = np.quantile(values, 0.5, method="lower")
    away = np.abs(values - middle)
    away = away[away > 0]
    # Not interpolated: one outlier among few values would leak in.
    reach = np.quantile(away, SHARE_WITHIN, method="lower") if len(away) else _one_at(middle)
    return middle, max(reach, 2 * np.spacing(abs(middle)), 1 / LARGEST_VALUE)


def _one_at(value: float) -> float:
    """1, or what can be told apart from a value so large."""
    return max(1.0, 2 * float(np.spacing(abs(value))))


def is_by_column(value_range: Range) -> bool:
    """Whether each column has a range of its own.

    Example:
        >>> is_by_column((0.0, 1.0)), is_by_column((np.zeros(3), np.ones(3)))
        (False, True)
    """
    return np.ndim(value_range[0]) > 0


def middle_and_reach(value_range: Range):
    """The middle of a range, and how far it reaches from there; numbers, or one a column."""
    # From halves, so that the two ends of what a float can hold have a difference too.
    half_low, half_high = value_range[0] / 2, value_range[1] / 2
    return half_low + half_high, half_high - half_low


def scaled_rows(x: np.ndarray, value_range: Range) -> np.ndarray:
    """Raw values, each column from its range to [-1, 1].

    The range becomes ``WITHIN`` of [-1, 1]; what lies beyond it is compressed into the rest and
    keeps its order.

    Args:
        x: Shape ``(n, columns)``.
        value_range: As from :func:`column_ranges`.

    Returns:
        ``float32`` of the same shape.

    Example:
        >>> scaled_rows(np.array([[0.0], [5.0], [10.0], [1e9]]), (np.zeros(1), np.full(1, 10.0)))
        array([[-0.8], [ 0. ], [ 0.8], [ 1. ]], dtype=float32)
    """
    middle, reach = middle_and_reach(value_range)
    x = (np.clip(x.astype(np.float64), -LARGEST_VALUE, LARGEST_VALUE) - middle) / reach
    within = np.clip(x, -1, 1)
    beyond = x - within
    return (WITHIN * within + (1 - WITHIN) * beyond / (1 + np.abs(beyond))).astype(np.float32)


def raw_rows(x: np.ndarray, value_range: Range) -> np.ndarray:
    """The inverse of :func:`scaled_rows`, as far as values so close to 1 can be told apart."""
    middle, reach = middle_and_reach(value_range)
    x = x.astype(np.float64)
    within = np.clip(x / WITHIN, -1, 1)
    beyond = np.clip((x - WITHIN * within) / (1 - WITHIN), -_LAST_BELOW_ONE, _LAST_BELOW_ONE)
    return middle + reach * (within + beyond / (1 - np.abs(beyond)))
