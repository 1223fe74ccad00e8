"""Convert the outputs of any classifier to logits of the student's classes."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from kt_transfer.models.classifier_output import are_distributions, last_activation, logarithm

# Logit of a class that no other maps to: its probability is zero even at a high temperature.
_NEVER = -1e4


def infer_output_kind(declared: str | None, rows: np.ndarray) -> str | None:
    """Whether a model outputs logits or probabilities.

    Args:
        declared: The kind that its last layer or the name of its output indicates:
            ``"logits"``, ``"probabilities"`` or ``None``.
        rows: Its outputs for some examples, ``(n, classes)``.

    Returns:
        ``"logits"`` or ``"probabilities"``; ``None`` if ambiguous: values from 0 to 1 that do not
        sum to one, or that do although logits are declared.

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
    if declared == "logits":
        return None if sums_to_one else "logits"
    if declared == "probabilities" or sums_to_one:
        return "probabilities" if sums_to_one else None
    return None if within else "logits"


def output_kind_of_last_layer(model: keras.Model) -> str | None:
    """``"logits"`` or ``"probabilities"``, if the activation of the last layer determines it."""
    return {"softmax": "probabilities", "linear": "logits"}.get(last_activation(model))


def with_logarithm(model: keras.Model) -> keras.Model:
    """Extend a model that outputs probabilities to output logits."""
    return keras.Model(model.input, logarithm(model.output))


def with_mapped_classes(
    model: keras.Model, pairs: Sequence[tuple[int, int]], num_classes: int
) -> keras.Model:
    """Map a model's logits to other classes, summing the probabilities of merged classes.

    Args:
        model: Model from examples to logits of its own classes.
        pairs: Pairs of a class of the model and the class it maps to. Classes without a pair are
            dropped; softmax renormalizes the rest.
        num_classes: Number of resulting classes; those that no class maps to get probability 0.
    """
    mask = np.full((model.output_shape[-1], num_classes), _NEVER, np.float32)
    mask[tuple(zip(*pairs, strict=True))] = 0.0
    log_p = ops.expand_dims(ops.log_softmax(model.output), -1)
    return keras.Model(model.input, ops.logsumexp(log_p + mask[None], axis=1))
