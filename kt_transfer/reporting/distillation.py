"""The gain of distillation: teacher, student from scratch and distilled student compared."""

from __future__ import annotations

import numpy as np

from kt_transfer.reporting.classification import classification_metrics
from kt_transfer.reporting.terminal import format_table

# For each figure: its key in metrics.json, its title, and its format.
FIGURES = (
    ("accuracy", "test accuracy", "{:.4f}"),
    ("calibration_error", "calibration error", "{:.4f}"),
    ("agreement", "agrees with teacher", "{:.4f}"),
    ("num_parameters", "parameters", "{:,}"),
    ("num_bytes", "bytes on disk", "{:,}"),
    ("latency_ms", "ms for one", "{:.2f}"),
    ("throughput", "examples/s by 256", "{:,.0f}"),
)
NAMES = {
    "teacher": "teacher",
    "scratch": "student from scratch",
    "distilled": "student, distilled",
}


def compare_answers(labels: np.ndarray, logits: dict[str, np.ndarray]) -> dict[str, dict]:
    """Quality of each model.

    Args:
        labels: Labels of the test examples, ``(n,)``; ``-1`` for none.
        logits: Logits of each model, ``(n, classes)``, by name; may include ``"teacher"``.

    Returns:
        For each model ``accuracy`` and ``calibration_error``, if there are labels, and for all but
        the teacher ``agreement``, the share of examples with the same prediction as the teacher.
    """
    found = {name: {} for name in logits}
    for name, answers in logits.items():
        if (labels >= 0).any():
            metrics = classification_metrics(labels, answers)
            found[name] = {key: metrics[key] for key in ("accuracy", "calibration_error")}
        if "teacher" in logits and name != "teacher":
            same = answers.argmax(axis=1) == logits["teacher"].argmax(axis=1)
            found[name]["agreement"] = float(same.mean())
    return found


def format_gained(comparison: dict[str, dict]) -> str:
    """The comparison as a table, one row per model."""
    figures = [figure for figure in FIGURES if any(figure[0] in row for row in comparison.values())]
    rows = [
        [NAMES[name], *(text.format(row[key]) if key in row else "" for key, _, text in figures)]
        for name, row in comparison.items()
    ]
    return format_table(["", *(title for _, title, _ in figures)], rows)
