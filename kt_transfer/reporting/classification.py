"""Classification metrics in NumPy."""

from __future__ import annotations

import numpy as np


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities from logits of shape ``(n, classes)``."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def cross_entropies(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """The cross-entropy of each example in nats, from labels ``(n,)`` and logits ``(n, classes)``.

    Example:
        >>> cross_entropies(np.array([0, 1]), np.array([[0.0, 0.0], [0.0, 0.0]])).round(3)
        array([0.693, 0.693])
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]


def expected_calibration_error(
    labels: np.ndarray, probabilities: np.ndarray, num_bins: int = 15
) -> float:
    """Mean gap between confidence and accuracy over equal-width bins of confidence.

    Naeini, Cooper & Hauskrecht (2015), https://doi.org/10.1609/aaai.v29i1.9602.

    Args:
        labels: Shape ``(n,)``.
        probabilities: Shape ``(n, classes)``.
        num_bins: Bins between 0 and 1.

    Returns:
        A share from 0 (calibrated) to 1.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    number = confidence_bins(confidence, num_bins)
    gaps = np.bincount(number, weights=correct - confidence, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(labels))


def confidence_bins(confidence: np.ndarray, num_bins: int) -> np.ndarray:
    """The number of the equal-width bin that each confidence falls into; 1 is in the last."""
    return np.minimum((confidence * num_bins).astype(int), num_bins - 1)


def classification_metrics(labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """Accuracy, loss and calibration error over the labelled examples.

    Args:
        labels: Shape ``(n,)``; ``-1`` for none.
        logits: Shape ``(n, classes)``.

    Returns:
        ``accuracy`` (share), ``loss`` (mean cross-entropy in nats), ``calibration_error``
        (share) and ``num_examples``.
    """
    labels, logits = labels[labels >= 0], logits[labels >= 0].astype(np.float64)
    probabilities = softmax(logits)
    return {
        "accuracy": float((probabilities.argmax(axis=1) == labels).mean()),
        "loss": float(cross_entropies(labels, logits).mean()),
        "calibration_error": expected_calibration_error(labels, probabilities),
        "num_examples": len(labels),
    }


def per_class_metrics(labels: np.ndarray, predicted: np.ndarray, names) -> list[dict]:
    """Precision, recall, F1 and number of examples of each class."""
    from sklearn.metrics import precision_recall_fscore_support

    table = precision_recall_fscore_support(
        labels, predicted, labels=range(len(names)), zero_division=0.0
    )
    return [
        {"class": name, "precision": p, "recall": r, "f1": f, "num_examples": int(n)}
        for name, p, r, f, n in zip(names, *table, strict=True)
    ]


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts of true class (row) against predicted class (column)."""
    counts = np.zeros((num_classes, num_classes), int)
    np.add.at(counts, (labels, predicted), 1)
    return counts
