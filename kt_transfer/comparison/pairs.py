"""Two candidates judged by the same examples: who is right where the other is wrong."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from kt_transfer.comparison.held_out import HeldOut


def paired_answers(own: Iterable[HeldOut], other: Iterable[HeldOut], num_classes: int) -> dict:
    """Count answers in which two candidates differ, all in all and for each class.

    Args:
        own: The answers of one candidate, cell by cell.
        other: Those of the other on the same cells.
        num_classes: Number of classes.

    Returns:
        ``num_answers``, ``num_examples`` (an example is judged once in each repeat),
        ``both_right``, ``only_own``, ``only_other``, ``both_wrong`` (counts of answers) and
        ``by_class``: for each class ``num_answers``, ``only_own`` and ``only_other``.

    Example:
        >>> labels, shares = np.array([0, 1, 1]), np.full(2, 0.5)
        >>> own = HeldOut(np.arange(3), labels, np.eye(2)[[0, 1, 0]], shares)
        >>> other = HeldOut(np.arange(3), labels, np.eye(2)[[1, 1, 1]], shares)
        >>> found = paired_answers([own], [other], 2)
        >>> found["only_own"], found["only_other"], found["by_class"][1]["only_other"]
        (1, 1, 1)
    """
    rows, labels, mine, theirs = _right(own, other)
    counts = {
        "both_right": mine & theirs,
        "only_own": mine & ~theirs,
        "only_other": ~mine & theirs,
        "both_wrong": ~mine & ~theirs,
    }
    each = {
        name: np.bincount(labels[found], minlength=num_classes) for name, found in counts.items()
    }
    answers = np.bincount(labels, minlength=num_classes)
    return {
        "num_answers": len(rows),
        "num_examples": len(np.unique(rows)),
        **{name: int(found.sum()) for name, found in counts.items()},
        "by_class": [
            {
                "num_answers": int(answers[label]),
                "only_own": int(each["only_own"][label]),
                "only_other": int(each["only_other"][label]),
            }
            for label in range(num_classes)
        ],
    }


def most_different(
    own: Iterable[HeldOut], other: Iterable[HeldOut], count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The examples in which one candidate is right most often where the other is wrong.

    Of equals, those to which the right one gives the highest probability by its logits' margin.

    Args:
        own: As for :func:`paired_answers`.
        other: Likewise.
        count: At most so many of either kind.

    Returns:
        Row numbers in which the one is right, and in which the other is, most different first.
    """
    own, other = list(own), list(other)
    rows, _, mine, theirs = _right(own, other)
    sure = [np.concatenate([_margin(cell) for cell in cells]) for cells in (own, other)]
    found, place = np.unique(rows, return_inverse=True)
    chosen = []
    for right, wrong, margin in ((mine, ~theirs, sure[0]), (theirs, ~mine, sure[1])):
        times = np.bincount(place, right & wrong, len(found))
        # Repeats in which it is the other way round count against it.
        times -= np.bincount(place, ~right & ~wrong, len(found))
        order = np.lexsort((-np.bincount(place, margin, len(found)), -times))
        chosen.append(found[[number for number in order[:count] if times[number] > 0]])
    return chosen[0], chosen[1]


def most_frequent_answers(cells: Iterable[HeldOut], rows: np.ndarray) -> np.ndarray:
    """What a candidate answers most often to some examples, over all cells that judge by them."""
    cells = list(cells)
    counts = np.zeros((len(rows), cells[0].logits.shape[1]), int)
    for cell in cells:
        order = np.argsort(cell.rows)
        place = np.minimum(np.searchsorted(cell.rows[order], rows), len(order) - 1)
        found = cell.rows[order][place] == rows
        counts[np.flatnonzero(found), cell.predicted[order][place[found]]] += 1
    return counts.argmax(axis=1)


def _right(own, other) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows, labels, and whether either candidate is right, over all cells."""
    pairs = list(zip(own, other, strict=True))
    return (
        np.concatenate([cell.rows for cell, _ in pairs]),
        np.concatenate([cell.labels for cell, _ in pairs]),
        np.concatenate([cell.predicted == cell.labels for cell, _ in pairs]),
        np.concatenate([cell.predicted == cell.labels for _, cell in pairs]),
    )


def _margin(cell: HeldOut) -> np.ndarray:
    """By how much the logit of the true class exceeds that of the best other."""
    number = np.arange(len(cell.labels))
    others = cell.logits.astype(np.float64)
    true = others[number, cell.labels]
    others[number, cell.labels] = -np.inf
    return true - others.max(axis=1)
