"""What a classifier emits, logits or probabilities, and how others' become the student's logits."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from kt_transfer.models.classifier_output import are_distributions, last_activation, logarithm

# Logit of a class that is never meant: even at a high temperature its probability is zero.
_NEVER = -1e4


def infer_output_kind(said: str | None, rows: np.ndarray) -> str | None:
    """Whether a model emits logits or probabilities.

    Args:
        said: What its last layer or the name of its output says: ``"logits"``,
            ``"probabilities"`` or ``None``.
        rows: What it emits for some examples, ``(n, classes)``.

    Returns:
        ``"logits"`` or ``"probabilities"``; ``None`` where that is in doubt: values from 0 to 1
        that do not sum to one, or that do where logits were announced.

    Example:
        >>> infer_output_kind(None, np.array([[2.0, -1.0]]))
        'logits'
        >>> infer_output_kind(None, np.array([[0.3, 0.7]]))
        'probabilities'
        >>> print(infer_output_kind(None, np.array([[0.3, 0.3]])))
        None
    """
    within = bool(((rows >= 0) & (rows <= 1)).all())
    sums_to_one = within and are_distributions(rows)
    if said == "logits":
        return None if sums_to_one else "logits"
    if said == "probabilities" or sums_to_one:
        return "probabilities" if sums_to_one else None
    return None if within else "logits"


def output_kind_of_last_layer(model: keras.Model) -> str | None:
    """``"logits"`` or ``"probabilities"``, where the layer that ends a model says so."""
    return {"softmax": "probabilities", "linear": "logits"}.get(last_activation(model))


def with_logarithm(model: keras.Model) -> keras.Model:
    """A model of probabilities as one of logits."""
    return keras.Model(model.input, logarithm(model.output))


def with_mapped_classes(
    model: keras.Model, pairs: Sequence[tuple[int, int]], num_classes: int
) -> keras.Model:
    """A model of logits over other classes: what becomes one class adds up, in probability.

    Args:
        model: From examples to logits of its own classes.
        pairs: Which of its classes becomes which; those that are left out are dropped, and the
            rest is renormalized (logits need no more).
        num_classes: Number of classes afterwards; one that no other becomes is never meant.
    """
    mask = np.full((model.output_shape[-1], num_classes), _NEVER, np.float32)
    mask[tuple(zip(*pairs, strict=True))] = 0.0
    log_p = ops.expand_dims(ops.log_softmax(model.output), -1)
    return keras.Model(model.input, ops.logsumexp(log_p + mask[None], axis=1))
