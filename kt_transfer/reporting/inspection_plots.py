"""Pictures of a data set before anything learns from it, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from kt_transfer.files.writing import replacing
from kt_transfer.reporting.drawing import drawn
from kt_transfer.reporting.plots import as_picture
from kt_transfer.reporting.wording import percent

# Distinct to the colour-blind (Okabe and Ito), the palest left out.
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
_ALL, _INK, _FAINT = "#0072b2", "#1d2430", "#d9dee6"
_MISSING = {"edgecolor": "white", "linewidth": 0, "hatch": "////"}
_STYLE = {
    "font.size": 8,
    "text.parse_math": False,  # names may contain a dollar sign
    "axes.edgecolor": _FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
}
_ACROSS = 5
_MOST_PANELS, _MOST_BARS, _MOST_CLASSES, _MOST_ROWS_OF_CLASSES = 30, 8, 40, 20
_NUM_BINS = 24


class Values(NamedTuple):
    """One column, as it is drawn.

    Attributes:
        name: Its name.
        values: Shape ``(n,)``: numbers, dates in days since 1970-01-01, or codes; NaN if missing.
        words: The word of each code; empty for numbers and dates.
        is_date: Whether they are dates.
        note: What to say in the title besides.
    """

    name: str
    values: np.ndarray
    words: tuple[str, ...] = ()
    is_date: bool = False
    note: str = ""


@drawn
def plot_columns(columns: Sequence[Values], y, class_names: Sequence[str], path: Path) -> int:
    """A panel for each column: how its values spread, within each class.

    Each class has bars or a line of its own, that add up to all of its examples: where they differ,
    the column tells something about the label. What is missing is a hatched bar, at the right
    or at the bottom. Of more columns than there is room for, the first are drawn.

    Args:
        columns: The columns, those to be looked at first.
        y: Labels of shape ``(n,)``; ``-1`` for none.
        class_names: Names of the classes; of many, the most frequent have a colour and the
            others are one class.
        path: PNG file to write.

    Returns:
        The number of columns that are left out.
    """
    shown = columns[:_MOST_PANELS]
    left_out = len(columns) - len(shown)
    across = min(_ACROSS, len(shown))
    down = -(-len(shown) // across)
    groups = _classes_to_colour(np.asarray(y), class_names)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(max(2.7 * across, 5.4), 1.9 * down + 0.6))
        axes = figure.subplots(down, across, squeeze=False).ravel()
        for axis in axes[len(shown) :]:
            axis.axis("off")
        for axis, column in zip(axes, shown, strict=False):
            (_draw_words if column.words else _draw_numbers)(axis, column, groups)
            missing = np.isnan(column.values).mean()
            notes = [column.note, f"{percent(missing)} missing" if missing else ""]
            _title(axis, column.name, ", ".join(filter(None, notes)))
        of_each = " of each class" if len(groups) > 1 else ""
        more = f" ({left_out} more columns are not drawn)" if left_out else ""
        _head(figure, groups, f"share of the examples{of_each}{more}")
        _save(figure, path, 0.6)
    return left_out


@drawn
def plot_classes(names: Sequence[str], train, test, path: Path) -> None:
    """A bar for each class with its number of training and test examples, the largest first.

    Args:
        names: Names of the classes.
        train: Number of training examples of each.
        test: Number of test examples of each.
        path: PNG file to write. Of many classes, the largest and the smallest are drawn.
    """
    order = np.argsort(-(np.asarray(train) + test), kind="stable")
    if len(order) > _MOST_CLASSES:
        half = _MOST_CLASSES // 2
        order = np.concatenate([order[:half], order[-half:]])
    total, place = np.asarray(train)[order], np.arange(len(order))
    tested = np.asarray(test)[order]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(6.4, 0.24 * len(order) + 1.1))
        axis = figure.subplots()
        axis.barh(place, total, color=_COLOURS[0], label="training")
        bars = axis.barh(place, tested, left=total, color=_COLOURS[5], label="test")
        axis.bar_label(bars, [f"{a + b:,}" for a, b in zip(total, tested, strict=True)], padding=3)
        axis.set_yticks(place, [_cut(names[number], 32) for number in order])
        axis.set_ylim(len(order) - 0.4, -0.6)
        axis.set_xlim(0, 1.12 * max((total + tested).max(), 1))
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axis.xaxis.set_major_formatter("{x:,.0f}")
        left_out = len(names) - len(order)
        between = f"; {left_out} classes between them are not drawn" if left_out else ""
        axis.set_xlabel(f"examples{between}")
        axis.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0)
        _save(figure, path)


@drawn
def plot_pictures(
    rows: Sequence[tuple[str, np.ndarray]], value_range: tuple[float, float], path: Path
) -> int:
    """A row of pictures for each class.

    Args:
        rows: Of each class its name, and some of its pictures, shape ``(n, height, width[,
            channels])``.
        value_range: The values that are black and white.
        path: PNG file to write.

    Returns:
        The number of classes that are left out.
    """
    shown = rows[:_MOST_ROWS_OF_CLASSES]
    reference = np.array(value_range)
    height, width = shown[0][1].shape[1:3]
    most = max(len(pictures) for _, pictures in shown)
    gap = max(1, round(0.06 * max(height, width)))
    high = 0.85 * height / max(height, width)
    wide = 0.85 * width / max(height, width)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(1.5 + wide * most, (high + 0.06) * len(shown) + 0.3))
        axes = figure.subplots(len(shown), 1, squeeze=False).ravel()
        for axis, (name, pictures) in zip(axes, shown, strict=True):
            strip = np.ones((height, most * (width + gap) - gap, 3))
            for place, picture in enumerate(pictures):
                scaled = as_picture(picture, reference)
                left = place * (width + gap)
                strip[:, left : left + width] = scaled.reshape(height, width, -1)
            axis.imshow(strip, interpolation="nearest", aspect="equal")
            axis.set_xticks([])
            axis.set_yticks([(height - 1) / 2], [_cut(name, 16)], fontsize=10)
            axis.spines[:].set_visible(False)
        left_out = len(rows) - len(shown)
        if left_out:
            axes[-1].set_xlabel(f"{left_out} more classes are not drawn", loc="left")
        _save(figure, path)
    return left_out


class _Group(NamedTuple):
    """Examples of one colour."""

    name: str
    colour: str
    rows: np.ndarray


def _classes_to_colour(y: np.ndarray, names: Sequence[str]) -> list[_Group]:
    """The most frequent classes, and all others together; one group if nothing is labelled."""
    counts = np.bincount(y[y >= 0], minlength=len(names))
    if not counts.any():
        return [_Group("", _ALL, np.ones(len(y), bool))]
    order = [label for label in np.argsort(-counts, kind="stable") if counts[label]]
    most = len(_COLOURS)
    own = order if len(order) <= most else order[: most - 1]
    groups = [_Group(names[k], colour, y == k) for k, colour in zip(own, _COLOURS, strict=False)]
    if len(own) < len(order):
        rest = np.isin(y, order[len(own) :])
        groups.append(_Group(f"{len(order) - len(own)} other classes", _COLOURS[-1], rest))
    return groups


def _draw_numbers(axis, column: Values, groups: list[_Group]) -> None:
    known = column.values[~np.isnan(column.values)]
    axis.set_yticks([])
    if not len(known):
        axis.set_xticks([])
        return
    is_log = not column.is_date and _is_wide(known)
    values = np.log10(column.values) if is_log else column.values
    ends, is_cut = _bins(values[~np.isnan(values)])
    inside = np.clip(values, ends[0], ends[-1])
    for group in groups:
        own = inside[group.rows]
        counts, _ = np.histogram(own[~np.isnan(own)], ends)
        shares = counts / max(len(own), 1)
        axis.stairs(shares, ends, color=group.colour, alpha=0.22, fill=True)
        axis.stairs(shares, ends, color=group.colour, linewidth=1.2)
    _missing_bar(axis, column, groups, ends)
    axis.set_ylim(0)
    _name_ticks(axis, ends, column.is_date, is_log)
    if is_cut:
        low, high = known.min(), known.max()
        told = f"{_day(low)} to {_day(high)}" if column.is_date else _span(low, high)
        axis.set_xlabel(f"in all {told}", fontsize=7)


def _is_wide(known: np.ndarray) -> bool:
    """Whether most positive numbers would share a bin, since a few are far larger."""
    return known.min() > 0 and np.quantile(known, 0.99) > 20 * np.median(known)


def _name_ticks(axis, ends: np.ndarray, is_date: bool, is_log: bool) -> None:
    if is_date:
        # Dates are wide: one at each end.
        first, last = axis.set_xticks(
            [ends[0], ends[-1]], [_day(end)[:7] for end in (ends[0], ends[-1])]
        )
        first.label1.set_horizontalalignment("left")
        last.label1.set_horizontalalignment("right")
        return
    ticks = MaxNLocator(2, steps=[1, 2, 5, 10]).tick_values(ends[0], ends[-1])
    ticks = [tick for tick in ticks if ends[0] <= tick <= ends[-1]]
    axis.set_xticks(ticks, [_number(10**tick if is_log else tick) for tick in ticks])


def _day(days: float) -> str:
    return str(np.datetime64(int(np.floor(days)), "D"))


def _span(low: float, high: float) -> str:
    return f"{_number(low)} to {_number(high)}"


def _missing_bar(axis, column: Values, groups: list[_Group], ends: np.ndarray) -> None:
    """The share of each class that is missing, beyond the last bin."""
    if not np.isnan(column.values).any():
        return
    span = ends[-1] - ends[0]
    width, begin = 0.14 * span / len(groups), ends[-1] + 0.08 * span
    for place, group in enumerate(groups):
        share = np.isnan(column.values[group.rows]).mean() if group.rows.any() else 0
        left = begin + place * width
        axis.bar(left, share, width, align="edge", color=group.colour, **_MISSING)
    axis.axvline(ends[-1] + 0.04 * span, color=_FAINT, linewidth=0.8)
    at = {"transform": axis.get_xaxis_transform(), "ha": "center", "va": "top"}
    axis.text(begin + 0.07 * span, -0.04, "missing", fontsize=7, **at)


def _bins(known: np.ndarray) -> tuple[np.ndarray, bool]:
    """Bins that show most values, of which the outermost hold what lies beyond; and whether any."""
    low, high = known.min(), known.max()
    first, last = np.quantile(known, [0.01, 0.99])
    reach = max(0.1 * (last - first), 1e-12)
    low = max(low, first - reach)
    high = min(high, last + reach)
    distinct = np.unique(known)
    if len(distinct) <= _NUM_BINS and (distinct == np.trunc(distinct)).all() and high - low < 60:
        # Whole numbers each have a bin, so that none is empty for no reason.
        return np.arange(low - 0.5, high + 1), bool(low > known.min() or high < known.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    ends = np.linspace(low, high, _NUM_BINS + 1)
    return ends, bool(low > known.min() or high < known.max())


def _draw_words(axis, column: Values, groups: list[_Group]) -> None:
    is_known = ~np.isnan(column.values)
    counts = np.bincount(column.values[is_known].astype(int), minlength=len(column.words))
    order = [code for code in np.argsort(-counts, kind="stable") if counts[code]]
    own = order if len(order) <= _MOST_BARS else order[: _MOST_BARS - 1]
    bars = [(_cut(column.words[code], 18), column.values == code) for code in own]
    if len(own) < len(order):
        bars.append((f"{len(order) - len(own)} others", np.isin(column.values, order[len(own) :])))
    if not is_known.all():
        bars.append(("missing", ~is_known))
    thick = 0.8 / len(groups)
    for place, group in enumerate(groups):
        shares = [rows[group.rows].mean() if group.rows.any() else 0 for _, rows in bars]
        at = np.arange(len(bars)) - 0.4 + (place + 0.5) * thick
        drawn = axis.barh(at, shares, thick, color=group.colour)
        if not is_known.all():
            drawn[-1].set(**_MISSING)
    axis.set_yticks(range(len(bars)), [name for name, _ in bars], fontsize=7)
    axis.set_ylim(len(bars) - 0.5, -0.5)
    axis.set_xticks([])


def _title(axis, name: str, note: str) -> None:
    axis.set_title(_cut(name, 30), loc="left", fontsize=9, fontweight="bold", pad=13 if note else 5)
    if note:
        axis.text(0, 1.03, note, transform=axis.transAxes, fontsize=7)


def _head(figure, groups: list[_Group], text: str) -> None:
    """What the colours stand for, and what is drawn, above all panels."""
    height = figure.get_figheight()
    figure.text(0.09 / figure.get_figwidth(), 1 - 0.12 / height, text, fontsize=9, va="top")
    if len(groups) < 2:
        return
    patches = [Patch(color=group.colour, label=_cut(group.name, 20)) for group in groups]
    figure.legend(
        handles=patches,
        loc="upper left",
        bbox_to_anchor=(0, 1 - 0.3 / height),
        borderaxespad=0,
        ncols=len(patches),
        fontsize=9,
    )


def _number(value: float) -> str:
    """A number in few characters.

    Example:
        >>> _number(1234567.0), _number(12000.0), _number(0.25)
        ('1.23M', '12k', '0.25')
    """
    for least, size, unit in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if least <= abs(value) < 1e12:
            return f"{value / size:.3g}{unit}"
    return f"{value:.4g}"


def _cut(name: str, most: int) -> str:
    line = " ".join(str(name).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def _save(figure, path: Path, head: float = 0.0) -> None:
    figure.tight_layout(rect=(0, 0, 1, 1 - head / figure.get_figheight()))
    with replacing(path) as temporary:
        # Names may be longer than the margin.
        figure.savefig(temporary, dpi=110, bbox_inches="tight", pad_inches=0.12)
