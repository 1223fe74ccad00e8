"""Plots of a search of settings: scores by trial, settings beside scores, and what matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from kt_transfer.reporting.comparison_plots import COLOURS, FAINT, INK, STYLE

_BEST, _OTHERS = COLOURS["features"][0], COLOURS["parameters"][0]


def plot_scores(trials: Sequence[Mapping], best: str, direction: str, label: str) -> Figure:
    """The score of every trial in the order in which they ran, and the best one so far.

    Args:
        trials: With ``trial``, ``score`` and ``ended_early``; those without a score are left out.
        best: Number of the best trial.
        direction: ``"min"`` or ``"max"``.
        label: What a score is.
    """
    done = [trial for trial in trials if trial["score"] is not None]
    numbers = [int(trial["trial"]) for trial in done]
    scores = [trial["score"] for trial in done]
    so_far = (np.minimum if direction == "min" else np.maximum).accumulate(scores)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.2, 3.0), layout="constrained")
        axis = figure.add_subplot()
        axis.step(numbers, so_far, where="post", color=INK[0], linewidth=1.2, label="best so far")
        for early, marker, name in ((False, "o", "trial"), (True, "x", "ended early")):
            own = [n for n, trial in enumerate(done) if trial["ended_early"] == early]
            if own:
                axis.plot(
                    [numbers[n] for n in own],
                    [scores[n] for n in own],
                    marker,
                    color=_OTHERS,
                    markersize=5,
                    label=name,
                )
        place = [trial["trial"] for trial in done].index(best)
        axis.plot(numbers[place], scores[place], "D", color=_BEST, markersize=7, label="best")
        axis.set(xlabel="trial", ylabel=label)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(axis="y", linewidth=0.8)
        figure.legend(loc="outside lower left", ncols=4)
    return figure


def plot_parallel_coordinates(trials: Sequence[Mapping], best: str, label: str) -> Figure:
    """Every trial as a line through its settings to its score; the best one stands out.

    Numbers that span more than a factor of 20 are on a logarithmic scale.

    Args:
        trials: With ``trial``, ``score`` and ``settings``.
        best: Number of the best trial.
        label: What a score is.
    """
    done = [trial for trial in trials if trial["score"] is not None]
    columns = {name: [t["settings"].get(name) for t in done] for name in done[0]["settings"]}
    columns[label] = [trial["score"] for trial in done]
    scores = np.array(columns[label])
    shade = (scores - scores.min()) / (np.ptp(scores) or 1.0)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(max(4.5, 1.25 * len(columns)), 3.4), layout="constrained")
        axis = figure.add_subplot()
        heights = {}
        for place, (name, values) in enumerate(columns.items()):
            heights[name], ticks = _on_axis(values)
            axis.axvline(place, color=FAINT[0], linewidth=1.2)
            for height, text in ticks:
                axis.annotate(
                    text,
                    (place, height),
                    (4, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=8,
                    zorder=4,
                    bbox={"facecolor": "white", "alpha": 0.75, "pad": 0.5, "edgecolor": "none"},
                )
        lines = np.array(list(heights.values())).T
        for number in np.argsort(shade):
            is_best = done[number]["trial"] == best
            axis.plot(
                lines[number],
                color=_BEST if is_best else _OTHERS,
                linewidth=2.4 if is_best else 1.1,
                alpha=1.0 if is_best else 0.15 + 0.6 * shade[number],
                zorder=3 if is_best else 2,
            )
        axis.set_xticks(range(len(columns)), [name.replace("_", "\n") for name in columns])
        axis.set_yticks([])
        axis.set(xlim=(-0.15, len(columns) - 0.55), ylim=(-0.05, 1.05))
        axis.spines[:].set_visible(False)
    return figure


def _on_axis(values: Sequence) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Heights from 0 to 1 of the values, and which of them are written beside the axis."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        numbers = np.array(values, float)
        low, high = numbers.min(), numbers.max()
        if low > 0 and high > 20 * low:
            numbers, ends = np.log(numbers), np.log([low, high])
        else:
            ends = np.array([low, high])
        width = np.ptp(ends) or 1.0
        shown = sorted({low, high} | set(values) if len(set(values)) <= 5 else {low, high})
        scale = np.log if width != high - low and low > 0 and high > 20 * low else float
        ticks = [(float((scale(v) - ends[0]) / width), f"{v:.3g}") for v in shown]
        return (numbers - ends[0]) / width, ticks
    words = sorted({str(value) for value in values})
    places = {word: n / max(len(words) - 1, 1) for n, word in enumerate(words)}
    return np.array([places[str(v)] for v in values]), [(h, w) for w, h in places.items()]


def plot_importance(importance: Mapping[str, float]) -> Figure:
    """The share of the differences between scores that each setting accounts for.

    Args:
        importance: Share by setting, which sum to 1.
    """
    names = sorted(importance, key=importance.get)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.6, 0.9 + 0.36 * len(names)), layout="constrained")
        axis = figure.add_subplot()
        axis.barh(names, [importance[name] for name in names], color=_OTHERS, height=0.6)
        for name in names:
            axis.annotate(
                f"{importance[name]:.0%}",
                (importance[name], name),
                (4, 0),
                textcoords="offset points",
                va="center",
            )
        axis.set_xticks([])
        axis.spines["bottom"].set_visible(False)
        axis.margins(x=0.15)
    return figure
