"""Labels in their usual forms, as integers."""

from __future__ import annotations

import numpy as np


def as_labels(y, num_classes: int) -> np.ndarray:
    """Convert labels to integers of shape ``(n,)``, ``-1`` for unlabelled examples.

    Args:
        y: Array or list of integers, ``(n,)`` or ``(n, 1)``, or of one-hot rows.
        num_classes: Number of classes.

    Raises:
        ValueError: If the labels have another form.

    Example:
        >>> as_labels([[0, 1], [1, 0]], 2), as_labels([1.0, -1.0], 2)
        (array([1, 0], dtype=int32), array([ 1, -1], dtype=int32))
    """
    labels = np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == num_classes:
        if not (np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all()):
            raise ValueError(
                f"labels of shape {labels.shape} that are not one-hot were given, expected "
                "integers: give soft targets as (labels, logits)"
            )
        return labels.argmax(axis=1).astype(np.int32)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iufb":
        raise ValueError(
            f"labels of shape {labels.shape} and type {labels.dtype} were given, expected integers "
            f"of shape (n,) or one-hot rows of {num_classes}"
        )
    fits = (labels == np.floor(labels)) & (labels >= -1) & (labels < num_classes)
    if not fits.all():
        raise ValueError(
            f"label {labels[~fits][0]} was given, expected integers from 0 to {num_classes - 1}, "
            "or -1 for none"
        )
    return labels.astype(np.int32)
