"""Describe the examples a model was trained on, and check new ones against them."""

from __future__ import annotations

import dataclasses

import numpy as np

from kt_transfer.data.dataset import Dataset
from kt_transfer.data.ranges import SHARE_WITHIN, Range, is_by_column, middle_and_reach
from kt_transfer.data.rows import take_rows

# Number of rows sampled to describe the examples.
_MOST_ROWS = 5_000
_ROWS_AT_ONCE = 2**14
# A table has other units if the medians of most columns are further than this many half-widths
# from those in training, or most columns are this many times as wide or as narrow.
_FAR = 1.5
_TIMES_AS_WIDE = 10.0
_ROWS_TO_TELL_WIDTH = 20
_FEW_COLUMNS = 3
# Pictures with this many times less contrast than those in training are not dark but in other
# units; less suffices if values below 0 indicate that as well.
_TIMES_AS_FAINT = 200.0
_TIMES_AS_FAINT_WITH_SIGNS = 4.0


@dataclasses.dataclass(frozen=True)
class ExampleSummary:
    """A description of the raw training examples of a model.

    Attributes:
        dtype: Their type.
        value_range: Smallest and largest value, stated by the source or observed.
        is_declared: Whether the source states it.
        is_whole: Whether all values were whole numbers.
        typical_range: Medians of the smallest and the largest value of each example.
        columns: The ranges of the columns of a table, if they are scaled individually (with equal
            ends for a constant column); otherwise ``None``.
    """

    dtype: str
    value_range: tuple[float, float]
    is_declared: bool
    is_whole: bool
    typical_range: tuple[float, float]
    columns: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    def to_note(self) -> dict:
        """A JSON-compatible dictionary."""
        return dataclasses.asdict(self)

    @classmethod
    def from_note(cls, note: dict | None) -> ExampleSummary | None:
        """The inverse of :meth:`to_note`; ``None`` if there is no valid note."""
        try:
            lists = {name: tuple(note[name]) for name in ("value_range", "typical_range")}
            columns = note["columns"] and tuple(map(tuple, note["columns"]))
            return cls(**{**note, **lists, "columns": columns})
        except (KeyError, TypeError):
            return None

    @property
    def scaling_range(self) -> Range:
        """The range that its examples are scaled by."""
        if self.columns is None:
            return self.value_range
        return tuple(np.array(ends, np.float64) for ends in self.columns)


def summarize(data: Dataset) -> ExampleSummary:
    """Describe a data set that a model is trained on."""
    x = _some(data.x, data)
    if data.schema is not None:
        x = np.where(np.isnan(x), middle_and_reach(data.scaling_range)[0], x)
    return ExampleSummary(
        dtype=str(data.x.dtype),
        value_range=tuple(map(float, data.value_range)),
        is_declared=not data.has_observed_range,
        is_whole=bool((x == np.round(x)).all()),
        typical_range=_typical_range(x),
        columns=_columns(data, x),
    )


def why_unlike(summary: ExampleSummary, data: Dataset) -> str | None:
    """Why examples are not in the units a model was trained on; ``None`` if they are.

    New examples need not span the same range: pictures may be dark, and single columns of a table
    may drift. Detected are other units, such as pictures in 0 to 1 instead of 0 to 255, or a
    standardized table.

    Args:
        summary: The training examples of the model.
        data: New examples, of the same shape.

    Returns:
        The end of a sentence that begins with "it was made for".
    """
    if why_not_cast(data, summary.dtype):
        return f"whole numbers in {_span(summary.value_range)}, not values in {_span(_range(data))}"
    x = _some_of(data)
    if data.schema is not None:
        return _why_other_columns(summary, x, data)
    is_declared = summary.is_declared and not data.has_observed_range
    if (
        is_declared
        and summary.value_range == tuple(data.value_range)
        and len(x) < _ROWS_TO_TELL_WIDTH
    ):
        return None  # both sources state the range, and a few pictures may all be blank
    if summary.is_whole and _are_fractions(x) and np.ptp(summary.value_range) >= 2:
        return f"whole numbers in {_span(summary.value_range)}, not fractions in {_span(_ends(x))}"
    if summary.columns is not None:
        return _why_other_columns(summary, x, data)
    if _is_wide(summary, x) or _is_faint(summary, x):
        return f"values in {_span(summary.value_range)}, not in {_span(_ends(x))}"
    return None


def why_not_cast(data: Dataset, dtype: str) -> str | None:
    """Why a type cannot represent the values of examples; ``None`` if it can, up to rounding.

    Args:
        data: Examples.
        dtype: Name of the type.

    Returns:
        As :func:`why_unlike`.
    """
    wanted = np.dtype(dtype)
    if wanted == data.x.dtype or wanted.kind not in "iu":
        return None
    ends = np.iinfo(wanted)
    for part in (data.x, data.x_test):
        for start in range(0, len(part), _ROWS_AT_ONCE):
            some = part[start : start + _ROWS_AT_ONCE]
            if not ((some == np.round(some)) & (some >= ends.min) & (some <= ends.max)).all():
                return (
                    f"whole numbers from {ends.min} to {ends.max}, not values in "
                    f"{_span(_range(data))}"
                )
    return None


def _why_other_columns(summary: ExampleSummary, x: np.ndarray, data: Dataset) -> str | None:
    """Single columns may drift; if most differ, the units do.

    Where columns have names, a few rows may be unusual, and of a few columns most are so soon.
    """
    if summary.columns is None or (data.schema is not None and len(x) < _ROWS_TO_TELL_WIDTH):
        return None
    low, high = summary.scaling_range
    varies = high > low
    x = x.reshape(len(x), -1)
    if not varies.any() or x.shape[1] != len(varies):
        return None
    middle, reach = middle_and_reach((low[varies], high[varies]))
    x = np.where(np.isnan(x[:, varies]), middle, x[:, varies])
    scaled = (x - middle) / reach
    now = np.median(scaled, axis=0)
    elsewhere = np.abs(now) > _FAR
    # Fractions where training had values of 2 or more, or negative values where it had none.
    elsewhere |= _are_fractions(x, axis=0) & (np.abs([low, high]).max(axis=0)[varies] >= 2)
    if len(x) >= _ROWS_TO_TELL_WIDTH:
        elsewhere |= (x.min(axis=0) < 0) & (summary.value_range[0] >= 0)
        away = np.sort(np.abs(scaled - now), axis=0)
        # Quantiles of the values that differ from the median, as in column_ranges.
        same = (away == 0).sum(axis=0)
        place = same + np.floor(SHARE_WITHIN * np.maximum(len(x) - same - 1, 0)).astype(int)
        wide = np.take_along_axis(away, np.minimum(place, len(x) - 1)[None], axis=0)[0]
        elsewhere |= (wide > 0) & ((wide > _TIMES_AS_WIDE) | (wide * _TIMES_AS_WIDE < 1))
    if elsewhere.mean() <= 0.5 or (data.schema is not None and elsewhere.sum() < _FEW_COLUMNS):
        return None
    first = int(np.flatnonzero(elsewhere)[0])
    column, ends = int(np.flatnonzero(varies)[first]), _ends(x[:, first])
    then = (low[varies][first], high[varies][first])
    name = f"column {column}" if data.schema is None else data.schema.names[column]
    return (
        f"other values in {elsewhere.sum()} of its {len(elsewhere)} columns, such as {name}: "
        f"about {_span(then)}, not {_span(ends)}"
    )


def _is_wide(summary: ExampleSummary, x: np.ndarray) -> bool:
    """Whether most examples exceed the range by more than half its width."""
    (low, high), (now_low, now_high) = summary.value_range, _typical_range(x)
    half = (high - low) / 2
    return now_low < low - half or now_high > high + half


def _is_faint(summary: ExampleSummary, x: np.ndarray) -> bool:
    """Whether most examples have far less contrast than those in training."""
    low, high = summary.typical_range
    now_low, now_high = _typical_range(x)
    times = (high - low) / (now_high - now_low) if now_high > now_low else 1.0
    # Negative values where training had none, as after standardization.
    has_signs = summary.value_range[0] >= 0 > now_low
    return times > (_TIMES_AS_FAINT_WITH_SIGNS if has_signs else _TIMES_AS_FAINT)


def _are_fractions(x: np.ndarray, axis=None):
    return (np.abs(x).max(axis=axis) <= 1) & (x != np.round(x)).any(axis=axis)


def _columns(data: Dataset, x: np.ndarray):
    if not is_by_column(data.scaling_range):
        return None
    constant = x.min(axis=0) == x.max(axis=0)
    middle, reach = middle_and_reach(data.scaling_range)
    reach = np.where(constant, 0.0, reach)
    return tuple((middle - reach).tolist()), tuple((middle + reach).tolist())


def _some_of(data: Dataset) -> np.ndarray:
    return np.concatenate([_some(part, data) for part in (data.x, data.x_test) if len(part)])


def _range(data: Dataset) -> tuple[float, float]:
    return _ends(_some_of(data))


def _some(x, data: Dataset) -> np.ndarray:
    """At most ``_MOST_ROWS`` rows, evenly spaced.

    Of a table with a schema the numbers alone: words have no units, and dates go on.
    """
    rows = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MOST_ROWS)).astype(int))
    some = take_rows(x, rows)[:].astype(np.float64)
    if data.schema is None:
        return some
    are_numbers = np.array([column.kind == "number" for column in data.schema.columns])
    return np.where(are_numbers, some, 0.0)


def _typical_range(x: np.ndarray) -> tuple[float, float]:
    flat = x.reshape(len(x), -1)
    return float(np.median(flat.min(axis=1))), float(np.median(flat.max(axis=1)))


def _ends(x: np.ndarray) -> tuple[float, float]:
    return float(x.min()), float(x.max())


def _span(value_range) -> str:
    low, high = value_range
    return f"{low:.4g} to {high:.4g}"
