"""Which examples are explained: some that are right, some that are wrong, some that are unsure."""

from __future__ import annotations

import numpy as np

GROUPS = ("right", "wrong", "unsure")


def choose_examples(
    labels: np.ndarray, probabilities: np.ndarray, most: int
) -> dict[str, np.ndarray]:
    """Choose examples to explain.

    Args:
        labels: Shape ``(n,)``.
        probabilities: Shape ``(n, classes)``.
        most: Number of examples in each group.

    Returns:
        Rows by group, none twice: ``right``, the most confident right answer of each of the most
        confident classes; ``wrong``, the most confident wrong answers; ``unsure``, of all others
        those whose two largest probabilities are closest. Equally good ones are taken in order.

    Example:
        >>> probabilities = np.array([[0.9, 0.1], [0.7, 0.3], [0.45, 0.55], [0.2, 0.8]])
        >>> chosen = choose_examples(np.array([0, 0, 1, 0]), probabilities, 1)
        >>> {group: rows.tolist() for group, rows in chosen.items()}
        {'right': [0], 'wrong': [3], 'unsure': [2]}
    """
    predicted = probabilities.argmax(axis=1)
    sure = probabilities.max(axis=1)
    order = np.argsort(-sure, kind="stable")
    hits = order[(predicted == labels)[order]]
    _, first = np.unique(predicted[hits], return_index=True)
    right = hits[np.sort(first)][:most]
    wrong = order[(predicted != labels)[order]][:most]
    two = np.sort(probabilities, axis=1)[:, -2:]
    close = np.argsort(two[:, 1] - two[:, 0], kind="stable")
    unsure = close[~np.isin(close, np.concatenate([right, wrong]))][:most]
    return dict(zip(GROUPS, (right, wrong, unsure), strict=True))
