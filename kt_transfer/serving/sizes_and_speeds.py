"""What the formats of one model cost, and whether they are as good."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kt_transfer.reporting.speed import LARGE_BATCH, measure_answers
from kt_transfer.serving.loading import load_served

HEADER = ["format", "version", "kB", "accuracy", "ms for one", f"rows/s at {LARGE_BATCH}"]


def measure_formats(
    versions: dict[str, Path], x: np.ndarray, labelled: tuple[np.ndarray, np.ndarray] | None
) -> list[dict]:
    """Measure exported classifiers on this machine, in this process.

    Each is asked as ``predict`` asks it, from raw examples to probabilities; they take turns.

    Args:
        versions: The folder of a version by its format.
        x: Raw examples, to be timed with.
        labelled: Raw examples and their labels, to measure the accuracy on; ``None`` for none.

    Returns:
        For each format ``format``, ``version``, ``bytes``, ``accuracy`` (``None`` if it is not
        known), ``latency_ms`` and ``throughput`` in rows per second.

    Example:
        >>> rows = np.zeros((3, 8, 8), "uint8")
        >>> (row,) = measure_formats({"saved_model": Path("saved_models/digits/1")}, rows, None)
        >>> row["format"], row["version"], row["accuracy"], row["latency_ms"] > 0
        ('saved_model', '1', None, True)
    """
    models = {name: load_served(version, trust=True)[0] for name, version in versions.items()}
    speeds = measure_answers(models, x)
    return [
        {
            "format": name,
            "version": versions[name].name,
            "bytes": sum(f.stat().st_size for f in versions[name].rglob("*") if f.is_file()),
            "accuracy": None if labelled is None else _accuracy(model, *labelled),
            **speeds[name],
        }
        for name, model in models.items()
    ]


def as_cells(measured: list[dict]) -> list[list[str]]:
    """Rows under ``HEADER`` for people."""
    return [
        [
            row["format"],
            row["version"],
            f"{row['bytes'] / 1000:,.1f}",
            "" if row["accuracy"] is None else f"{row['accuracy']:.4f}",
            f"{row['latency_ms']:.3f}",
            f"{row['throughput']:,.0f}",
        ]
        for row in measured
    ]


def _accuracy(model, x: np.ndarray, y: np.ndarray) -> float:
    predicted = [
        model(x[start : start + LARGE_BATCH]).argmax(axis=1)
        for start in range(0, len(x), LARGE_BATCH)
    ]
    return float((np.concatenate(predicted) == y).mean())
