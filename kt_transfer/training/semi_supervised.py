"""Semi-supervised pretraining: reconstruct all examples, and classify the labelled ones."""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np

from kt_transfer.models.autoencoders import corrupted_input
from kt_transfer.training.denoising import inputs_and_targets
from kt_transfer.training.losses import reconstruction_loss

# Minimum share of labelled examples in an epoch. Rare ones would give rare, large gradients, for
# which Adam takes small steps in all weights.
LABELLED_SHARE = 0.25


class Targets(NamedTuple):
    """Label of each example (-1 for none), and its weight in each loss."""

    labels: np.ndarray
    reconstruction_weight: np.ndarray
    label_weight: np.ndarray


def repeat_labelled(labels: np.ndarray) -> tuple[np.ndarray, Targets]:
    """Oversample labelled rows, with sample weights that leave the objective unchanged.

    Args:
        labels: Shape ``(n,)``, -1 for none; at least one example has a label.

    Returns:
        The rows of an epoch, all of ``range(n)`` followed by repeats of labelled ones, and their
        targets. Over these rows the weighted mean losses are the mean reconstruction error of all
        n examples and the mean cross-entropy of the labelled ones.
    """
    num, labelled = len(labels), np.flatnonzero(labels >= 0)
    wanted = LABELLED_SHARE / (1 - LABELLED_SHARE) * (num - len(labelled))
    more = max(0, round(wanted / len(labelled)) - 1)
    rows = np.concatenate([np.arange(num), np.tile(labelled, more)])
    counts = rows >= 0, labels[rows] >= 0
    # Repeats do not count in the reconstruction loss.
    counts[0][num:] = False
    reconstruction, label = ((len(rows) / c.sum()) * c.astype(np.float32) for c in counts)
    return rows, Targets(labels[rows].astype(np.int32), reconstruction, label)


def only_reconstruct(num: int) -> Targets:
    """Targets for validation on the reconstruction loss alone."""
    weightless = np.zeros(num, np.float32)
    return Targets(np.full(num, -1, np.int32), np.ones(num, np.float32), weightless)


def joint_model(autoencoder: keras.Model, num_classes: int) -> keras.Model:
    """Add a new head to an autoencoder's code; layers and weights are shared, not copied.

    Returns:
        A functional model from ``(batch, …)`` to the reconstruction and ``(batch, num_classes)``
        logits.
    """
    x, corrupted = corrupted_input(autoencoder)
    code = autoencoder.get_layer("encoder")(corrupted)
    logits = keras.layers.Dense(num_classes, name="head")(code)
    return keras.Model(x, [autoencoder.get_layer("decoder")(code), logits], name="joint")


def compile_joint(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, label_weight: float
) -> None:
    """Compile for ‖x − D(E(x))‖² + β · cross-entropy(y, head(E(x))), β = ``label_weight``."""
    model.compile(
        optimizer=optimizer,
        loss=[
            reconstruction_loss(model),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        ],
        loss_weights=[1.0, label_weight],
        weighted_metrics=[["mse"], ["accuracy"]],
    )


def joint_transform(preprocessing: keras.Model):
    """The transform of raw examples and :class:`Targets` to inputs of :func:`joint_model`."""

    def transform(x, y, sample_weight):
        inputs, features = inputs_and_targets(preprocessing, x)
        labels, reconstruction, label = y
        return inputs, (features, keras.ops.maximum(labels, 0)), (reconstruction, label)

    return transform
