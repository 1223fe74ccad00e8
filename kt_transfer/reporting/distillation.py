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
        logits: Logits of each model, ``(n, classes)``, by name; may include ``"teacher"``, with
            rows of NaN where it said nothing.

    Returns:
        For each model ``accuracy`` and ``calibration_error``, if there are labels, and for all but
        the teacher ``agreement``, the share of examples with the same prediction as the teacher.
        Where a teacher said nothing, no example counts for it or for agreement.
    """
    found = {name: {} for name in logits}
    for name, answers in logits.items():
        known = labels_where_answered(labels, answers)
        if (known >= 0).any():
            metrics = classification_metrics(known, answers)
            found[name] = {key: metrics[key] for key in ("accuracy", "calibration_error")}
        if "teacher" in logits and name != "teacher":
            asked = ~np.isnan(logits["teacher"][:, 0])
            same = answers[asked].argmax(axis=1) == logits["teacher"][asked].argmax(axis=1)
            found[name]["agreement"] = float(same.mean())
    return found


def labels_where_answered(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """The labels, and -1 where the logits are NaN, so that nothing was answered."""
    return np.where(np.isnan(logits[:, 0]), -1, labels)


def format_gained(comparison: dict[str, dict]) -> str:
    """The comparison as a table, one row per model."""
    figures = [figure for figure in FIGURES if any(figure[0] in row for row in comparison.values())]
    rows = [
        [NAMES[name], *(text.format(row[key]) if key in row else "" for key, _, text in figures)]
        for name, row in comparison.items()
    ]
    return format_table(["", *(title for _, title, _ in figures)], rows)
