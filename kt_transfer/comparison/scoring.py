"""Five metrics of predictions on held-out examples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from kt_transfer.reporting.classification import cross_entropies, softmax

METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "auc", "log_loss")
# As in scikit-learn: a certain answer that is wrong would outweigh all others.
_LEAST = 1e-15
# Of a class, times what it would have if all had the same share.
_UNEQUAL = 1.25


def scores(
    labels: np.ndarray, logits: np.ndarray, shares: np.ndarray | None = None
) -> dict[str, float]:
    """All metrics of logits against labels.

    Without ``shares`` they equal those of scikit-learn, except that mean recall and F1 are NaN if
    there is one class only, where a constant prediction would be perfect.

    Args:
        labels: Shape ``(n,)``.
        logits: Shape ``(n, classes)``.
        shares: Weight of each class's recall and F1, as from :func:`~.folds.class_shares`, for a
            fold that may lack some classes.

    Returns:
        ``accuracy``; ``balanced_accuracy`` (mean recall); ``macro_f1``; ``auc`` (mean area under
        the curve of each class against the rest, NaN where there is one class only);
        ``log_loss`` (mean cross-entropy in nats).

    Example:
        >>> scores(np.array([0, 1]), np.array([[2.0, 0.0], [0.0, 2.0]]))["accuracy"]
        1.0
    """
    probabilities = softmax(logits.astype(np.float64))
    predicted = logits.argmax(axis=1)
    present = np.unique(labels)
    recalls, f1s, areas = [], [], []
    for label in present:
        true, positive = labels == label, predicted == label
        hits = (true & positive).sum()
        recalls.append(hits / true.sum())
        f1s.append(2 * hits / (true.sum() + positive.sum()))
        areas.append(_area(true, probabilities[:, label]))
    if shares is None:
        # Classes that are predicted but do not occur have an F1 of 0.
        occurring = np.union1d(present, predicted)
        shares = np.full(logits.shape[1], 1 / len(present) if len(present) > 1 else np.nan)
        f1_shares = shares * (len(present) / len(occurring))
    else:
        f1_shares = shares
    return {
        "accuracy": float((predicted == labels).mean()),
        "balanced_accuracy": float(recalls @ shares[present]),
        "macro_f1": float(f1s @ f1_shares[present]),
        "auc": float(np.mean(areas)),
        "log_loss": float(_losses(labels, logits).mean()),
    }


def metric_beside(metric: str, labels: np.ndarray) -> str | None:
    """What stands beside a metric where classes are so unequal that accuracy may mislead.

    That is where the most frequent class has a quarter more examples than if all had the same
    number. ``None`` for other labels, and for metrics that no constant answer does well on.

    Example:
        >>> metric_beside("accuracy", np.array([0, 0, 0, 1]))
        'balanced_accuracy'
        >>> metric_beside("accuracy", np.array([0, 0, 1, 1])) is None
        True
    """
    others = {"accuracy": "balanced_accuracy", "balanced_accuracy": "accuracy"}
    counts = np.bincount(labels)
    is_unequal = counts.max() * (counts > 0).sum() >= _UNEQUAL * len(labels)
    return others.get(metric) if is_unequal else None


def constant_answer(labels: np.ndarray, class_names: Sequence[str]) -> dict:
    """What the most frequent class gets as the answer to everything.

    Returns:
        Its name as ``label``, ``accuracy`` and ``balanced_accuracy``.

    Example:
        >>> constant_answer(np.array([0, 0, 0, 1]), ["no", "yes"])
        {'label': 'no', 'accuracy': 0.75, 'balanced_accuracy': 0.5}
    """
    counts = np.bincount(labels)
    return {
        "label": str(class_names[int(counts.argmax())]),
        "accuracy": float(counts.max() / len(labels)),
        "balanced_accuracy": float(1 / (counts > 0).sum()),
    }


def contributions(
    metric: str, labels: np.ndarray, logits: np.ndarray, shares: np.ndarray
) -> np.ndarray | None:
    """What each example contributes to a score that is a mean over examples.

    Args:
        metric: One of :data:`METRICS`.
        labels: Shape ``(n,)``.
        logits: Shape ``(n, classes)``.
        shares: As for :func:`scores`.

    Returns:
        Shape ``(n,)``, with the score as their mean; ``None`` for ``macro_f1`` and ``auc``, which
        are no means over examples.

    Example:
        >>> labels, logits = np.array([0, 0, 0, 1]), np.eye(2)[[0, 0, 1, 1]]
        >>> given = "balanced_accuracy", labels, logits, np.array([0.5, 0.5])
        >>> round(float(contributions(*given).mean()), 4)
        0.8333
    """
    right = (logits.argmax(axis=1) == labels).astype(float)
    if metric == "accuracy":
        return right
    if metric == "balanced_accuracy":
        counts = np.bincount(labels, minlength=len(shares))
        return right * len(labels) * shares[labels] / counts[labels]
    if metric == "log_loss":
        return _losses(labels, logits)
    return None


def _losses(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """The cross-entropy of each example, in nats."""
    return np.minimum(cross_entropies(labels, logits.astype(np.float64)), -np.log(_LEAST))


def _area(true: np.ndarray, values: np.ndarray) -> float:
    """The share of pairs of a positive and a negative that are ranked correctly."""
    positives, negatives = true.sum(), (~true).sum()
    if not negatives:
        return float("nan")
    above = rankdata(values)[true].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))
