"""Why a classifier says so, for people: pictures, bars and words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from kt_transfer.reporting.comparison_plots import INK, STYLE, save_png
from kt_transfer.reporting.drawing import drawing
from kt_transfer.reporting.examples import picture_uri
from kt_transfer.reporting.plots import as_picture
from kt_transfer.reporting.terminal import format_table
from kt_transfer.reporting.wording import IN_PERCENT, LOWER_IS_BETTER, METRICS

# Distinct to the colour-blind, and on the grey that a value without a say has.
FOR, AGAINST = (11, 99, 197), (222, 106, 10)
MOST_BARS = 20
_MOST_ROWS, _MOST_LINES, _MOST_CHANGES = 15, 10, 3
PIXELS_FILE, COLUMNS_FILE = "explanations.png", "importance.png"
TITLES = {
    "right": "right and most confident",
    "wrong": "wrong and most confident",
    "unsure": "least sure",
}


class Explained(NamedTuple):
    """An example whose answer is explained.

    Attributes:
        group: A key of :data:`TITLES`: why it was chosen.
        row: Its row in the source.
        true: Name of its class.
        predicted: Name of the class that it was given.
        probability: Of that class, from 0 to 1.
    """

    group: str
    row: int
    true: str
    predicted: str
    probability: float


class PixelExplanation(NamedTuple):
    """What the pixels of some pictures contribute.

    Attributes:
        examples: Which they are.
        part: Of the data: ``test`` or ``train``.
        pictures: Raw, shape ``(n, height, width[, channels])``.
        value_range: Smallest and largest raw value.
        attributions: Shape ``(n, height, width)``, above 0 where a pixel speaks for the class.
        differences: What they add up to, shape ``(n,)``.
    """

    examples: Sequence[Explained]
    part: str
    pictures: np.ndarray
    value_range: tuple[float, float]
    attributions: np.ndarray
    differences: np.ndarray

    def to_note(self) -> dict:
        """All of it but the pixels, in types that JSON has."""
        return {
            "of": "pixels",
            "method": "integrated gradients of the log-odds of the predicted class",
            "baseline": "mean picture of the training part",
            "part": self.part,
            "examples": [
                one._asdict() | {"difference_in_log_odds": float(difference)}
                for one, difference in zip(self.examples, self.differences, strict=True)
            ],
        }


class ColumnExplanation(NamedTuple):
    """What the columns of a table contribute.

    Attributes:
        examples: Those that are explained one by one.
        part: Of the data: ``test`` or ``train``.
        names: Of the columns.
        metric: A key of :data:`~kt_transfer.reporting.wording.METRICS`.
        score: Of ``num_examples`` examples as they are.
        num_examples: How many were permuted.
        repeats: Permutations of each column.
        importance: How much worse the metric is with a column permuted, shape ``(columns,)``.
        deviations: Standard deviation over the repeats.
        texts: What stands in each of ``examples``, column by column.
        changes: How much less probable the answer would be with a column from other examples,
            shape ``(n, columns)``.
    """

    examples: Sequence[Explained]
    part: str
    names: Sequence[str]
    metric: str
    score: float
    num_examples: int
    repeats: int
    importance: np.ndarray
    deviations: np.ndarray
    texts: Sequence[Sequence[str]]
    changes: np.ndarray

    @property
    def order(self) -> np.ndarray:
        """The columns, the most important one first."""
        return np.argsort(-self.importance, kind="stable")

    def to_note(self) -> dict:
        """All of it in types that JSON has, the most important columns first."""
        return {
            "of": "columns",
            "method": "permutation importance",
            "metric": self.metric,
            "score": self.score,
            "part": self.part,
            "num_examples": self.num_examples,
            "repeats": self.repeats,
            "columns": [
                {
                    "column": self.names[place],
                    "importance": float(self.importance[place]),
                    "deviation": float(self.deviations[place]),
                }
                for place in self.order
            ],
            "examples": [
                one._asdict() | {"columns": self.strongest(row, len(self.names))}
                for row, one in enumerate(self.examples)
            ],
        }

    def strongest(self, row: int, most: int) -> list[dict]:
        """The columns with most effect on one of the examples: name, value and change."""
        order = np.argsort(-np.abs(self.changes[row]), kind="stable")[:most]
        return [
            {
                "column": self.names[place],
                "value": self.texts[row][place],
                "change": float(self.changes[row, place]),
            }
            for place in order
        ]

    def amount(self, place: int) -> str:
        """The importance of a column in words: points of the metric, with its deviation."""
        scale, unit = (100, " points") if self.metric in IN_PERCENT else (1, "")
        digits = 1 if scale == 100 else 3
        value, deviation = (scale * found[place] for found in (self.importance, self.deviations))
        return f"{_rounded(value, digits)} ± {deviation:.{digits}f}{unit}"


Explanation = PixelExplanation | ColumnExplanation


def save_explanation(explanation: Explanation, plots: Path) -> dict:
    """Draw an explanation into a folder.

    Returns:
        Its note, with the ``file`` that it was drawn to.
    """
    if isinstance(explanation, PixelExplanation):
        plot, name = plot_pixels, PIXELS_FILE
    else:
        plot, name = plot_columns, COLUMNS_FILE
    with drawing(plots / name):
        save_png(plot(explanation), plots / name)
    return explanation.to_note() | {"file": f"plots/{name}"}


def describe_explanation(explanation: Explanation) -> str:
    """What a command says of it: the columns that carry most, or what is drawn."""
    counts = ", ".join(
        f"{sum(one.group == group for one in explanation.examples)} {title}"
        for group, title in TITLES.items()
    )
    if isinstance(explanation, PixelExplanation):
        return (
            f"what pixels of {len(explanation.examples)} pictures say for and against their "
            f"answers ({counts}): plots/{PIXELS_FILE}"
        )
    of_all = f" of {len(explanation.names):,}" * (len(explanation.names) > _MOST_LINES)
    rows = [
        [_cut(explanation.names[place], 40), explanation.amount(place)]
        for place in explanation.order[:_MOST_LINES]
    ]
    return (
        f"how much worse {METRICS[explanation.metric]} is with a column permuted "
        f"({explanation.num_examples:,} {explanation.part} examples, {explanation.repeats} "
        f"repeats), and its deviation: plots/{COLUMNS_FILE}\n"
        + format_table([f"column{of_all}", "worse by"], rows)
    )


def plot_pixels(explanation: PixelExplanation) -> Figure:
    """Each picture beside what its pixels contribute, a row for each group."""
    groups = [g for g in TITLES if any(one.group == g for one in explanation.examples)]
    rows = {g: [n for n, one in enumerate(explanation.examples) if one.group == g] for g in groups}
    columns = max(map(len, rows.values()))
    with matplotlib.rc_context(STYLE):
        figure = Figure(
            figsize=(max(2.7 * columns, 4.5), 1.75 * len(groups) + 0.5), layout="constrained"
        )
        figure.legend(
            handles=[
                Patch(color=_hex(FOR), label="speaks for the answer"),
                Patch(color=_hex(AGAINST), label="speaks against it"),
            ],
            loc="outside lower left",
            ncols=2,
            fontsize=8,
        )
        of_groups = np.ravel(figure.subfigures(len(groups), 1))
        for group, part in zip(groups, of_groups, strict=True):
            part.suptitle(TITLES[group], x=0.01, ha="left", fontsize=9, weight="bold")
            axes = part.subplots(1, 2 * columns, squeeze=False)[0]
            for axis in axes:
                axis.axis("off")
            for n, (left, right) in zip(
                rows[group], zip(axes[::2], axes[1::2], strict=True), strict=False
            ):
                left.imshow(_picture(explanation, n), cmap="gray", vmin=0, vmax=1)
                left.set_title(_short(explanation.examples[n]), fontsize=7.5, loc="left")
                right.imshow(blended(explanation, n))
    return figure


def plot_columns(explanation: ColumnExplanation) -> Figure:
    """A bar for each of the most important columns, with its deviation over the repeats."""
    order = explanation.order[:MOST_BARS]
    scale = 100 if explanation.metric in IN_PERCENT else 1
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6, 0.9 + 0.27 * len(order)), layout="constrained")
        axis = figure.subplots()
        axis.barh(
            range(len(order)),  # not names: two long ones may be cut to the same
            scale * explanation.importance[order],
            xerr=scale * explanation.deviations[order],
            color=_hex(FOR),
            ecolor=INK[0],
            error_kw={"elinewidth": 1},
        )
        axis.set_yticks(range(len(order)), [_cut(explanation.names[place], 40) for place in order])
        axis.invert_yaxis()
        axis.axvline(0, color=INK[0], linewidth=0.8)
        axis.grid(axis="x", linewidth=0.8)
        words = METRICS[explanation.metric]
        rise = f"rise of {words}" if explanation.metric in LOWER_IS_BETTER else f"{words} lost"
        axis.set_xlabel(f"points of {rise}" if scale == 100 else rise)
    return figure


def on_page(explanation: Explanation | None) -> dict | None:
    """An explanation as the template of the report takes it."""
    if explanation is None:
        return None
    if isinstance(explanation, PixelExplanation):
        return {
            "of": "pixels",
            "part": explanation.part,
            "groups": _grouped(explanation, lambda n: _images(explanation, n)),
            "colours": [_hex(FOR), _hex(AGAINST)],
        }
    return {
        "of": "columns",
        "part": explanation.part,
        "metric": METRICS[explanation.metric],
        "num_examples": f"{explanation.num_examples:,}",
        "repeats": explanation.repeats,
        "columns": _bars(explanation),
        "num_columns": f"{len(explanation.names):,}",
        "groups": _grouped(
            explanation,
            lambda n: {"changes": [*map(_change, explanation.strongest(n, _MOST_CHANGES))]},
        ),
    }


def blended(explanation: PixelExplanation, row: int) -> np.ndarray:
    """A picture in faint grey, its pixels coloured by what they contribute, ``uint8`` colours.

    The colour is full for the pixel that contributes most, in either direction.
    """
    picture = _picture(explanation, row)
    grey = picture if picture.ndim == 2 else picture.mean(axis=-1)
    base = np.repeat(255 * (0.72 + 0.26 * grey)[..., None], 3, axis=-1)
    found = explanation.attributions[row]
    share = np.abs(found) / max(np.abs(found).max(), 1e-300)
    colour = np.where((found > 0)[..., None], FOR, AGAINST)
    return np.round(base + share[..., None] * (colour - base)).astype(np.uint8)


def _picture(explanation: PixelExplanation, row: int) -> np.ndarray:
    picture = explanation.pictures[row].astype(np.float64)
    return as_picture(picture, np.array(explanation.value_range))


def _images(explanation: PixelExplanation, row: int) -> dict:
    picture = np.round(255 * _picture(explanation, row)).astype(np.uint8)
    return {"image": picture_uri(picture), "why": picture_uri(blended(explanation, row))}


def _grouped(explanation: Explanation, about: Callable) -> list[dict]:
    """The examples by group, in words, each with what there is to tell about it."""
    groups = []
    for group, title in TITLES.items():
        own = [
            _words(one) | about(n)
            for n, one in enumerate(explanation.examples)
            if one.group == group
        ]
        if own:
            groups.append({"title": title.capitalize(), "examples": own})
    return groups


def _bars(explanation: ColumnExplanation) -> list[dict]:
    """The columns as bars, whose ends are percentages of the width between all ends."""
    order = explanation.order[:_MOST_ROWS]
    low = explanation.importance[order] - explanation.deviations[order]
    high = explanation.importance[order] + explanation.deviations[order]
    least, most = min(0.0, low.min()), max(high.max(), 1e-12)

    def at(value: float) -> float:
        return round(float(100 * (value - least) / (most - least)), 1)

    return [
        {
            "name": explanation.names[place],
            "amount": _typeset(explanation.amount(place)),
            "zero": at(0.0),
            "left": at(min(0.0, explanation.importance[place])),
            "width": round(abs(at(explanation.importance[place]) - at(0.0)), 1),
            "low": at(low[n]),
            "high": at(high[n]),
        }
        for n, place in enumerate(order)
    ]


def _words(one: Explained) -> dict:
    return {
        "row": one.row,
        "true": one.true,
        "predicted": one.predicted,
        "is_right": one.true == one.predicted,
        "sure": f"{100 * one.probability:.0f}\N{NO-BREAK SPACE}%",
    }


def _change(change: dict) -> dict:
    points = _typeset(_rounded(100 * change["change"], 0, "+"))
    return {"column": change["column"], "value": change["value"], "points": points}


def _rounded(value: float, digits: int, sign: str = "") -> str:
    """A number without the sign of what rounds to 0."""
    rounded = round(float(value), digits)
    return f"{rounded:{sign}.{digits}f}" if rounded else f"{0:.{digits}f}"


def _typeset(number: str) -> str:
    return number.replace("-", "\N{MINUS SIGN}")


def _short(one: Explained) -> str:
    sure = f"{100 * one.probability:.0f} %"
    if one.true == one.predicted:
        return f"{_cut(one.true, 14)} ({sure})"
    return f"{_cut(one.true, 14)}, predicted\n{_cut(one.predicted, 14)} ({sure})"


def _cut(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
