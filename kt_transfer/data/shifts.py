"""Changes of raw examples that leave their classes as they are, mild as they are met in practice.

They tell whether what was learned holds for examples that were taken by another camera, measured by
another instrument or read from an incomplete table. Each is a pure function of examples and a seed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from kt_transfer.data.ranges import column_ranges
from kt_transfer.data.schema import Schema

# Pictures: strengths of Hendrycks & Dietterich (2019, https://arxiv.org/abs/1903.12261), in shares
# of the range of values and in pixels. Of their five severities for ImageNet (ImageNet-C) and for
# small pictures (CIFAR-10-C) these are 1 and 3 (noise), 2 and 2 (blur), 1 and 2 (brightness), and
# between none and 1, and 2 (contrast). They do not rotate: 10 degrees are a camera held askew.
NOISE = 0.08
BLUR_SHARE, LEAST_BLUR = 0.01, 0.6
CONTRAST = 0.5
BRIGHTNESS = 0.1
DEGREES = 10.0
# Columns: in shares of a column's spread, and of the columns.
COLUMN_NOISE = 0.25
DRIFT = 0.5
SHARE_OF_COLUMNS = 0.2
# The spread of so many rows is that of all.
_MOST_ROWS = 20_000
# Resampling takes a float64 copy: so many values at once.
_VALUES_AT_ONCE = 2**24


class Change(NamedTuple):
    """A kind of change: its name, and what it does, in a few words for people."""

    name: str
    description: str


PICTURES = (
    Change("noise", "Gaussian noise, standard deviation 8 % of the range of values"),
    Change("blur", "Gaussian blur of 0.6 pixels, or 1 % of the shorter side if that is more"),
    Change("contrast", "half the contrast, about the mean of each picture"),
    Change("brightness", "brighter by 10 % of the range of values"),
    Change("rotation", "turned by 10 degrees, to the left or to the right"),
)
COLUMNS = (
    Change("noise", "noise on every number, standard deviation 25 % of its column's"),
    Change("missing", "a fifth of the columns are missing, the same ones in every row"),
    Change("drift", "a fifth of the columns of numbers are off by half a standard deviation"),
)


class Spread(NamedTuple):
    """What is usual in each column, from examples that may be seen.

    Attributes:
        middle: The median, shape ``(columns,)``.
        deviation: The standard deviation without outliers, 0 for codes and constant columns.
        has_missing: Whether values may be missing, as NaN.
    """

    middle: np.ndarray
    deviation: np.ndarray
    has_missing: bool


def changes_of(shape: tuple[int, ...], schema: Schema | None = None) -> tuple[Change, ...]:
    """The changes that apply to examples.

    Pictures of ``(height, width[, channels])`` have those of :data:`PICTURES`, vectors and tables
    those of :data:`COLUMNS`: ``noise`` and ``drift`` where a column holds numbers or dates,
    ``missing`` where another column is left.

    Args:
        shape: Shape of one raw example.
        schema: Of a table, its columns.

    Example:
        >>> [change.name for change in changes_of((28, 28))]
        ['noise', 'blur', 'contrast', 'brightness', 'rotation']
        >>> [change.name for change in changes_of((1,))]
        ['noise', 'drift']
    """
    if len(shape) in (2, 3):
        return PICTURES
    has_numbers = schema is None or any(_is_number(column.kind) for column in schema)
    applies = {"noise": has_numbers, "missing": int(np.prod(shape)) > 1, "drift": has_numbers}
    return tuple(change for change in COLUMNS if applies[change.name])


def spread_of(x, schema: Schema | None = None) -> Spread | None:
    """The spread of the columns of vectors or of a table; ``None`` for pictures.

    Args:
        x: Raw examples that may be seen, shape ``(n, columns)``, of a table with NaN for a missing
            value; never the examples that are to be changed.
        schema: Of a table, its columns. Codes of words and booleans have no spread.

    Example:
        >>> spread_of(np.array([[0.0, 7.0], [2.0, 7.0], [4.0, 7.0]])).deviation.round(2)
        array([1.63, 0.  ])
    """
    if len(x.shape) != 2:
        return None
    some = np.arange(len(x))
    if len(x) > _MOST_ROWS:
        some = np.sort(np.random.default_rng(0).permutation(len(x))[:_MOST_ROWS])
    values = np.asarray(x[some], np.float64)
    # A single outlier would make the noise drown the column, so its range is robust.
    low, high = column_ranges(values)
    known = ~np.isnan(values)
    clipped = np.where(known, np.clip(values, low, high), 0.0)
    count = np.maximum(known.sum(axis=0), 1)
    mean = clipped.sum(axis=0) / count
    deviation = np.sqrt((np.where(known, clipped - mean, 0.0) ** 2).sum(axis=0) / count)
    if schema is not None:
        numbers = np.array([_is_number(column.kind) for column in schema])
        deviation = np.where(numbers, deviation, 0.0)
    return Spread((low + high) / 2, deviation, schema is not None)


def changed(
    name: str,
    x,
    *,
    seed: int,
    value_range: tuple[float, float] | None = None,
    spread: Spread | None = None,
) -> np.ndarray:
    """Examples changed in one way, of the same shape and type.

    Args:
        name: The name of one of :func:`changes_of`.
        x: Raw examples, shape ``(n, ...)``.
        seed: Of the noise, the directions and the columns, at least 0.
        value_range: Smallest and largest value, within which the result stays; for pictures
            required, for columns ``None`` if they have no limits.
        spread: For vectors and tables, from :func:`spread_of`.

    Returns:
        Array of the shape and type of ``x``; integers are rounded.

    Raises:
        ValueError: If such examples have no change of that name.

    Example:
        >>> x = np.full((1, 2, 2), 100, "uint8")
        >>> changed("brightness", x, seed=0, value_range=(0, 255))
        array([[[126, 126],
                [126, 126]]], dtype=uint8)
    """
    functions = _OF_PICTURES if spread is None else _OF_COLUMNS
    if name not in functions:
        raise ValueError(f"{name!r} was given, expected one of {', '.join(functions)}")
    rng = np.random.default_rng(seed)
    if spread is not None:
        values = functions[name](np.asarray(x[:], np.float64), rng, spread)
        return _as_before(values, x.dtype, value_range)
    made = np.empty(x.shape, x.dtype)
    step = max(1, _VALUES_AT_ONCE // max(1, int(np.prod(x.shape[1:]))))
    for start in range(0, len(x), step):
        values = np.asarray(x[start : start + step], np.float64)
        values = functions[name](values, rng, value_range)
        made[start : start + step] = _as_before(values, x.dtype, value_range)
    return made


def _as_before(values: np.ndarray, dtype, value_range) -> np.ndarray:
    """Values within the range and of the type that they had."""
    if value_range is not None:
        values = np.clip(values, *value_range)
    if np.dtype(dtype).kind in "iu":
        ends = np.iinfo(dtype)
        values = np.clip(np.round(values), ends.min, ends.max)
    return values.astype(dtype)


def _noise(x, rng, value_range):
    return x + NOISE * (value_range[1] - value_range[0]) * rng.standard_normal(x.shape)


def _blur(x, rng, value_range):
    radius = max(LEAST_BLUR, BLUR_SHARE * min(x.shape[1:3]))
    # Examples and channels are not mixed.
    return ndimage.gaussian_filter(x, (0, radius, radius, 0)[: x.ndim], mode="nearest")


def _contrast(x, rng, value_range):
    mean = x.mean(axis=(1, 2), keepdims=True)
    return mean + CONTRAST * (x - mean)


def _brightness(x, rng, value_range):
    return x + BRIGHTNESS * (value_range[1] - value_range[0])


def _rotation(x, rng, value_range):
    left = rng.random(len(x)) < 0.5
    made = np.empty_like(x)
    for chosen, degrees in ((left, DEGREES), (~left, -DEGREES)):
        # Beyond its border a picture goes on as it ends there, so that no corner turns black.
        options = {"axes": (2, 1), "reshape": False, "order": 1, "mode": "nearest"}
        made[chosen] = ndimage.rotate(x[chosen], degrees, **options) if chosen.any() else 0
    return made


def _column_noise(x, rng, spread: Spread):
    return x + COLUMN_NOISE * spread.deviation * rng.standard_normal(x.shape)


def _missing(x, rng, spread: Spread):
    columns = x.shape[1]
    # At least one is left, from which something can be said.
    lost = rng.permutation(columns)[: min(_some_of(columns), columns - 1)]
    x = x.copy()
    x[:, lost] = np.nan if spread.has_missing else spread.middle[lost]
    return x


def _drift(x, rng, spread: Spread):
    varying = rng.permutation(np.flatnonzero(spread.deviation > 0))
    moved = varying[: _some_of(len(varying))]
    x, direction = x.copy(), rng.choice([-1.0, 1.0], len(moved))
    x[:, moved] += DRIFT * direction * spread.deviation[moved]
    return x


def _some_of(count: int) -> int:
    return max(1, round(SHARE_OF_COLUMNS * count))


def _is_number(kind: str) -> bool:
    return kind in ("number", "date")


_OF_PICTURES = {
    "noise": _noise,
    "blur": _blur,
    "contrast": _contrast,
    "brightness": _brightness,
    "rotation": _rotation,
}
_OF_COLUMNS = {"noise": _column_noise, "missing": _missing, "drift": _drift}
