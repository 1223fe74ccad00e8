"""Plots of a comparison, as SVG for the report and as PNG for the run folder."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from kt_transfer.files.writing import replacing
from kt_transfer.reporting.wording import (
    IN_PERCENT,
    LOWER_IS_BETTER,
    METRICS,
    candidate_name,
    num_sources,
)

# On a white and on a dark page: a contrast of at least 4.5:1, and distinct to the colour-blind.
COLOURS = {
    "scratch": ("#5b6470", "#a9b4c2"),
    "parameters": ("#0b63c5", "#70b5ff"),
    "features": ("#a94f06", "#f2a65e"),
    "distilled": ("#0a7566", "#4fd1bd"),
    "linear": ("#8b3fa8", "#d49df0"),
    # Candidates with names of their own, in turn.
    "candidate_1": ("#a3195b", "#f58bb8"),
    "candidate_2": ("#5a6b0c", "#bccf5a"),
    "candidate_3": ("#2d3fb0", "#9aa8ff"),
    "candidate_4": ("#7a4a2b", "#d8ad8b"),
}
INK = ("#1d2430", "#e8ecf2")
FAINT = ("#d9dee6", "#353d4a")
_MARKERS = dict(zip(COLOURS, "osDv^PXph", strict=True))
_LINES = ("-", "--", ":", "-.")
STYLE = {
    "font.size": 9.5,
    "text.parse_math": False,  # names may contain a dollar sign
    "svg.fonttype": "none",
    "axes.edgecolor": FAINT[0],
    "axes.labelcolor": INK[0],
    "text.color": INK[0],
    "xtick.color": INK[0],
    "ytick.color": INK[0],
    "grid.color": FAINT[0],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "axes.axisbelow": True,
}


def plot_label_efficiency(curve: Sequence[dict], metric: str) -> Figure:
    """Plot mean scores with intervals against the number of labels.

    Args:
        curve: Rows of ``method``, ``source``, ``labels``, ``mean``, ``low``, ``high``.
        metric: A key of :data:`~kt_transfer.reporting.wording.METRICS`.
    """
    candidates = _candidates(curve)
    with matplotlib.rc_context(STYLE):
        figure, axis = _empty(3.4 + 0.1 * len(candidates))
        budgets = sorted({row["labels"] for row in curve})
        for number, (name, rows) in enumerate(candidates):
            rows = sorted(rows, key=lambda row: row["labels"])
            look = look_of(curve, rows[0]["method"])
            # A little beside one another, so that intervals do not hide one another.
            aside = 1 + 0.012 * (number - (len(candidates) - 1) / 2)
            means = [row["mean"] for row in rows]
            top = np.inf if metric in LOWER_IS_BETTER else 1.0
            axis.errorbar(
                [aside * row["labels"] for row in rows],
                means,
                yerr=[
                    [row["mean"] - max(row["low"], 0.0) for row in rows],
                    [min(row["high"], top) - row["mean"] for row in rows],
                ],
                label=name,
                color=COLOURS[look][0],
                marker=_MARKERS[look],
                linestyle=_LINES[_source_number(curve, rows[0]) % len(_LINES)],
                markersize=5,
                linewidth=1.8,
                elinewidth=1,
            )
        axis.set_xscale("log")
        axis.set_xticks(budgets, [f"{budget:,}" for budget in budgets])
        axis.minorticks_off()
        _scale(axis.yaxis, metric)
        axis.set(xlabel="labels", ylabel=f"{METRICS[metric]}, mean over the folds")
        axis.grid(axis="y", linewidth=0.8)
        figure.legend(
            loc="outside lower left",
            ncols=2 if max(len(name) for name, _ in candidates) < 20 else 1,
        )
    return figure


def plot_folds(scores: Sequence[dict], labels: int, metric: str) -> Figure:
    """Plot the score of every fold at one label budget as a dot, with a line at each mean.

    Args:
        scores: Rows of ``method``, ``source``, ``labels`` and the metric.
        labels: The budget.
        metric: A key of :data:`~kt_transfer.reporting.wording.METRICS`.
    """
    candidates = _candidates([row for row in scores if row["labels"] == labels])
    with matplotlib.rc_context(STYLE):
        figure, axis = _empty(0.9 + 0.42 * len(candidates))
        for height, (_, rows) in enumerate(candidates):
            look, values = look_of(scores, rows[0]["method"]), [row[metric] for row in rows]
            colour = COLOURS[look][0]
            heights = [height + 0.09 * (number % 5 - 2) for number in range(len(values))]
            axis.plot(
                values,
                heights,
                linestyle="none",
                marker=_MARKERS[look],
                markersize=5,
                color=colour,
                alpha=0.6,
                markeredgewidth=0,
            )
            mean = sum(values) / len(values)
            axis.plot([mean, mean], [height - 0.34, height + 0.34], color=INK[0], linewidth=1.8)
        axis.set_yticks(range(len(candidates)), [_in_lines(name) for name, _ in candidates])
        axis.set_ylim(len(candidates) - 0.5, -0.5)
        _scale(axis.xaxis, metric)
        axis.set(xlabel=METRICS[metric], title=f"{labels:,} labels")
        axis.title.set(size=10.5, weight="bold")
        axis.spines["left"].set_visible(False)
        axis.grid(axis="x", linewidth=0.8)
    return figure


def plot_shift(rows: Sequence[dict], metric: str) -> Figure:
    """Plot the mean score of each candidate on clean and on changed examples.

    Args:
        rows: Rows of ``method``, ``source``, ``change`` and ``mean``, in the order of the changes.
        metric: A key of :data:`~kt_transfer.reporting.wording.METRICS`.
    """
    candidates = _candidates(rows)
    changes = list(dict.fromkeys(row["change"] for row in rows))
    with matplotlib.rc_context(STYLE):
        figure, axis = _empty(1.2 + 0.42 * len(changes) + 0.1 * len(candidates))
        for number, (name, own) in enumerate(candidates):
            look = look_of(rows, own[0]["method"])
            # A little below one another, so that equal scores do not hide one another.
            aside = 0.4 * ((number + 0.5) / len(candidates) - 0.5)
            axis.plot(
                [row["mean"] for row in own],
                [changes.index(row["change"]) + aside for row in own],
                label=name,
                color=COLOURS[look][0],
                marker=_MARKERS[look],
                # Hollow for a second source, as the lines of the other plot are dashed.
                fillstyle="none" if _source_number(rows, own[0]) % 2 else "full",
                markersize=5.5,
                linestyle="none",
            )
        axis.set_yticks(range(len(changes)), changes)
        axis.set_ylim(len(changes) - 0.5, -0.5)
        axis.hlines(
            [place + 0.5 for place in range(len(changes) - 1)],
            0,
            1,
            color=FAINT[0],
            linewidth=0.8,
            transform=axis.get_yaxis_transform(),
        )
        _scale(axis.xaxis, metric)
        axis.set(xlabel=f"{METRICS[metric]}, mean over the folds")
        axis.spines["left"].set_visible(False)
        axis.grid(axis="x", linewidth=0.8)
        figure.legend(
            loc="outside lower left",
            ncols=2 if max(len(name) for name, _ in candidates) < 20 else 1,
        )
    return figure


def plot_reliability(groups: Mapping[str, Sequence[dict]]) -> Figure:
    """Plot accuracy against confidence; on the diagonal confidence is accuracy.

    Args:
        groups: By name, the bins of :func:`~kt_transfer.reporting.calibration.reliability`, of one
            or two groups. The area of a mark is the number of its examples.
    """
    looks = ("features", "parameters")
    with matplotlib.rc_context(STYLE):
        figure, axis = _empty(4.1)
        axis.plot([0, 1], [0, 1], color=INK[0], linewidth=1, linestyle=(0, (4, 3)))
        for look, (name, bins) in zip(looks, groups.items(), strict=False):
            colour, x = COLOURS[look][0], [each["confidence"] for each in bins]
            y = [each["accuracy"] for each in bins]
            ends = [each["interval"] for each in bins]
            below = [value - low for value, (low, _) in zip(y, ends, strict=True)]
            above = [high - value for value, (_, high) in zip(y, ends, strict=True)]
            axis.errorbar(x, y, yerr=[below, above], color=colour, elinewidth=1, linewidth=0.8)
            most = max(each["num_examples"] for each in bins)
            sizes = [12 + 60 * each["num_examples"] / most for each in bins]
            axis.scatter(x, y, sizes, colour, marker=_MARKERS[look], label=name, zorder=3)
        # A little more than from 0 to 1, so that no mark is cut.
        axis.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
        axis.set(xlabel="confidence", ylabel="accuracy")
        for side in (axis.xaxis, axis.yaxis):
            side.set_ticks([0, 0.25, 0.5, 0.75, 1])
            side.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
        axis.grid(linewidth=0.8)
        figure.legend(loc="outside lower left", ncols=len(groups))
    return figure


def as_svg(figure: Figure, title: str, description: str) -> str:
    """Convert a figure to SVG for embedding, with the font and colours of the page.

    Args:
        figure: A figure of this module.
        title: Title for screen readers.
        description: Description for screen readers.
    """
    file = io.StringIO()
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": title}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    width, height = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg).groups()
    # References are unique to the figure; other ids are not needed.
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"(fill|stroke): (#[0-9a-f]{6})", _as_variable, svg)
    head = (
        f'<svg viewBox="0 0 {width} {height}" role="img">'
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>"
    )
    return head + svg[svg.index(">") + 1 :]


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG file with a white background."""
    with matplotlib.rc_context(STYLE), replacing(path) as temporary:
        figure.savefig(temporary, dpi=160, facecolor="white")


def colour_variables(dark: bool) -> str:
    """CSS declarations of the colours: ``--scratch: #5b6470; …``."""
    named = {**COLOURS, "ink": INK, "faint": FAINT}
    return " ".join(f"--{name}: {pair[dark]};" for name, pair in named.items())


def _as_variable(match: re.Match) -> str:
    named = {**COLOURS, "ink": INK, "faint": FAINT}
    names = {pair[0]: name for name, pair in named.items()}
    kind, colour = match.groups()
    return f"{kind}: var(--{names[colour]})" if colour in names else match[0]


def _in_lines(name: str) -> str:
    """A candidate's name in short lines, so that the scores have room."""
    parts = (textwrap.fill(part, 18, break_long_words=False) for part in name.split(" · "))
    return "\n".join(parts)


def _empty(height: float):
    figure = Figure(figsize=(3.9, height), layout="constrained")
    return figure, figure.add_subplot()


def _scale(axis, metric: str) -> None:
    axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    if metric in IN_PERCENT:
        axis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))


def _candidates(rows: Sequence[dict]) -> list[tuple[str, list[dict]]]:
    """Name and rows of each candidate, in the order in which their methods were trained."""
    sources = num_sources(rows)
    groups: dict[tuple, list[dict]] = {}
    order = list(dict.fromkeys(row["method"] for row in rows))
    for row in sorted(rows, key=lambda row: order.index(row["method"])):
        groups.setdefault((row["method"], row["source"]), []).append(row)
    return [(candidate_name(*own, sources), rows) for own, rows in groups.items()]


def look_of(rows: Sequence[dict], method: str) -> str:
    """Under which name the colour and marker of a method are, which may have a name of its own."""
    if method in COLOURS:
        return method
    others = dict.fromkeys(row["method"] for row in rows if row["method"] not in COLOURS)
    spare = [name for name in COLOURS if name.startswith("candidate_")]
    return spare[list(others).index(method) % len(spare)]


def _source_number(rows: Sequence[dict], row: dict) -> int:
    sources = dict.fromkeys(other["source"] for other in rows if other["source"])
    return list(sources).index(row["source"]) if row["source"] in sources else 0
