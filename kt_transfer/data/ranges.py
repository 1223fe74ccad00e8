"""The raw values that become -1 and 1: one range for all, or one per column of a table."""

from __future__ import annotations

import numpy as np

from kt_transfer.data.rows import take_rows

# Two numbers for all values, or two arrays with one number per column.
Range = tuple[float, float] | tuple[np.ndarray, np.ndarray]

# The share of a column's values (of those that differ from the median) within its range. Values
# outside are compressed, so that outliers do not squeeze the others together.
SHARE_WITHIN = 0.9
# The ends of a column's range become ± this; values outside lie between it and ±1.
WITHIN = 0.8
_LAST_BELOW_ONE = 1 - 1e-6
# Quantiles of this many rows are accurate enough.
_MOST_ROWS = 20_000
_ROWS_AT_ONCE = 2**16
# Small enough that the difference of two values and its inverse are finite.
LARGEST_VALUE = 1e300
# A float64 holds every whole number up to here; of larger ones it confuses neighbours.
LARGEST_WHOLE = 2**53


def observed_range(x) -> tuple[float, float]:
    """The smallest and the largest value; the upper end is raised if they are equal.

    Missing values, NaN, do not count; 0 to 1 if all are missing.
    """
    low, high = np.inf, -np.inf
    for start in range(0, len(x), _ROWS_AT_ONCE):
        piece = x[start : start + _ROWS_AT_ONCE]
        # fmin and fmax take the number where one of two is NaN.
        low = float(np.fmin(low, np.fmin.reduce(piece, axis=None)))
        high = float(np.fmax(high, np.fmax.reduce(piece, axis=None)))
    if low > high:
        return 0.0, 1.0
    return (low, high) if high > low else (low, low + _one_at(low))


def range_of(x) -> Range:
    """The scaling range of training examples whose source states none: per column for a table,
    common for images."""
    return column_ranges(x) if x.ndim == 2 else observed_range(x)


def column_ranges(x) -> tuple[np.ndarray, np.ndarray]:
    """A range around the median of each column, robust to outliers.

    It is symmetric and contains ``SHARE_WITHIN`` of the values that differ from the median. So a
    mostly zero column keeps the differences among its other values, and a single outlier has no
    effect.

    Args:
        x: Training examples of shape ``(n, columns)``; missing values, NaN, do not count.

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
        if len(some) < len(x) and not np.fmin.reduce(values) < np.fmax.reduce(values):
            # The sample may miss a rare value, which must not count as an outlier.
            values = np.asarray(x[:, column] if isinstance(x, np.ndarray) else values, np.float64)
        middle[column], reach[column] = _middle_and_reach(values)
    return middle - reach, middle + reach


def _middle_and_reach(values: np.ndarray) -> tuple[float, float]:
    values = values[~np.isnan(values)]
    if not len(values):
        return 0.0, 1.0
    middle = np.quantile(values, 0.5, method="lower")
    away = np.abs(values - middle)
    away = away[away > 0]
    # Not interpolated, which would let one outlier among few values in.
    reach = np.quantile(away, SHARE_WITHIN, method="lower") if len(away) else _one_at(middle)
    return middle, max(reach, 2 * np.spacing(abs(middle)), 1 / LARGEST_VALUE)


def _one_at(value: float) -> float:
    """1, or more where floats of this size are further apart."""
    return max(1.0, 2 * float(np.spacing(abs(value))))


def is_by_column(value_range: Range) -> bool:
    """Whether each column has a range of its own.

    Example:
        >>> is_by_column((0.0, 1.0)), is_by_column((np.zeros(3), np.ones(3)))
        (False, True)
    """
    return np.ndim(value_range[0]) > 0


def middle_and_reach(value_range: Range):
    """The middle and half the width of a range, or of the range of each column."""
    # From halves, so that the difference of the largest floats does not overflow.
    half_low, half_high = value_range[0] / 2, value_range[1] / 2
    return half_low + half_high, half_high - half_low


def scaled_rows(x: np.ndarray, value_range: Range) -> np.ndarray:
    """Scale each column of raw values to [-1, 1].

    The column's range becomes [-``WITHIN``, ``WITHIN``]; values outside are compressed
    monotonically into the rest.

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
    """The inverse of :func:`scaled_rows`, up to the precision of values close to ±1."""
    middle, reach = middle_and_reach(value_range)
    x = x.astype(np.float64)
    within = np.clip(x / WITHIN, -1, 1)
    beyond = np.clip((x - WITHIN * within) / (1 - WITHIN), -_LAST_BELOW_ONE, _LAST_BELOW_ONE)
    return middle + reach * (within + beyond / (1 - np.abs(beyond)))
