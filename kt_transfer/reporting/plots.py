"""Plots for a run folder, as PNG files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from kt_transfer.files.writing import replacing
from kt_transfer.reporting.distillation import FIGURES, NAMES
from kt_transfer.reporting.drawing import drawn


@drawn
def plot_history(rows: list[dict], path: Path, scratch: list[dict] = ()) -> None:
    """Plot training and validation loss, and accuracy and learning rate where they apply.

    Args:
        rows: The history, one row per epoch.
        path: PNG file to write.
        scratch: The history of the same training from scratch, for comparison.
    """
    panels = ["loss"] + [name for name in ("accuracy",) if any(name in row for row in rows)]
    if len({row.get("learning_rate") for row in rows}) > 1:
        panels.append("learning_rate")
    figure = Figure(figsize=(5.5 * len(panels), 3.8))
    axes = figure.subplots(1, len(panels), squeeze=False)
    for axis, name in zip(axes[0], panels, strict=True):
        _plot_column(axis, rows, name, "training" if name != "learning_rate" else None)
        _plot_column(axis, rows, f"val_{name}", "validation")
        if name != "learning_rate":
            _plot_column(axis, scratch, f"val_{name}", "validation, from scratch", linestyle=":")
            axis.legend()
        axis.set(xlabel="epoch", ylabel=name.replace("_", " "))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    _save(figure, path)


@drawn
def plot_reconstructions(
    originals: np.ndarray, reconstructions: np.ndarray, path: Path, count: int = 24
) -> None:
    """Plot inputs above their reconstructions.

    Args:
        originals: Shape ``(n, height, width[, channels])``, or ``(n, features)`` as curves.
        reconstructions: Their reconstructions, in the same units.
        path: PNG file to write.
        count: Maximum number of examples.
    """
    count = min(count, len(originals))
    figure = Figure(figsize=(1.1 * count + 1, 2.9))
    axes = figure.subplots(2, count, squeeze=False)
    for row, (title, examples) in enumerate(
        (("input", originals), ("reconstruction", reconstructions))
    ):
        for axis, example in zip(axes[row], examples, strict=False):
            _show(axis, np.asarray(example), originals)
        axes[row, 0].set_title(title, loc="left", fontsize=9)
    _save(figure, path)


@drawn
def plot_confusion_matrix(counts: np.ndarray, names, path: Path) -> None:
    """Plot counts by true class (row) and predicted class, coloured by share of the true class."""
    size = max(4.0, 0.5 * len(names) + 1.5)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(size, size))
    axis = figure.subplots()
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axis.set(xlabel="predicted", ylabel="true")
    axis.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 2 else 0)
    axis.set_yticks(range(len(names)), names)
    if len(names) <= 30:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = "white" if shares[row, column] > 0.5 else "black"
                axis.text(column, row, count, ha="center", va="center", color=colour, fontsize=8)
    _save(figure, path)


@drawn
def plot_gained(comparison: dict[str, dict], path: Path) -> None:
    """Plot the comparison of teacher and students, a panel per figure with a bar per model.

    Args:
        comparison: The figures of each model, as in ``metrics.json``.
        path: PNG file to write.
    """
    names = list(comparison)
    shown = [f for f in FIGURES if sum(f[0] in row for row in comparison.values()) > 1]
    num_rows = -(-len(shown) // 2)
    figure = Figure(figsize=(10, 1.9 * num_rows))
    axes = figure.subplots(num_rows, 2)
    for axis in axes.flat[len(shown) :]:
        axis.axis("off")
    for axis, (key, title, text) in zip(axes.flat, shown, strict=False):
        values = [comparison[name].get(key) for name in names]
        bars = axis.barh(
            [NAMES[name] for name in names],
            [value or 0.0 for value in values],
            color=[_COLOURS[name] for name in names],
        )
        labels = [text.format(value) if value is not None else "" for value in values]
        axis.bar_label(bars, labels, padding=3, fontsize=9)
        axis.set_title(title, loc="left", fontsize=10)
        axis.set_xlim(0, 1.25 * max(value or 0.0 for value in values) or 1.0)
        axis.set_xticks([])
        axis.invert_yaxis()
        axis.spines[["top", "right", "bottom"]].set_visible(False)
    _save(figure, path)


@drawn
def plot_contact_sheet(examples: np.ndarray, titles, path: Path) -> None:
    """Images side by side, each with its title.

    Args:
        examples: Images, shape ``(n, height, width[, channels])``, n at least 1.
        titles: A line for each.
        path: PNG file to write.
    """
    columns = min(10, len(examples))
    rows = -(-len(examples) // columns)
    figure = Figure(figsize=(1.3 * columns, 1.5 * rows))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, example, title in zip(axes, examples, titles, strict=False):
        _show(axis, example, examples)
        axis.set_title(title, fontsize=7)
    _save(figure, path)


_COLOURS = {"teacher": "#7f7f7f", "scratch": "#a6cee3", "distilled": "#1f78b4"}


def _plot_column(axis, rows, name: str, label: str | None, **style) -> None:
    points = [(row["epoch"] + 1, row[name]) for row in rows if name in row]
    if points:
        marker = "." * (len(points) < 30)
        axis.plot(*zip(*points, strict=True), label=label, marker=marker, **style)


def _show(axis, example: np.ndarray, reference: np.ndarray) -> None:
    if example.ndim in (2, 3):
        axis.imshow(as_picture(example, reference), cmap="gray", vmin=0, vmax=1)
        axis.axis("off")
    else:
        axis.plot(example.ravel(), linewidth=0.8)
        axis.set_xticks([])
        axis.set_yticks([])


def as_picture(example: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Scale values to [0, 1]: three channels are red, green and blue, any other number is grey."""
    low, high = float(reference.min()), float(reference.max())
    scaled = np.clip((example - low) / max(high - low, 1e-12), 0, 1)
    return scaled if scaled.ndim == 2 or scaled.shape[-1] == 3 else scaled.mean(axis=-1)


def _save(figure, path: Path) -> None:
    figure.tight_layout()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
