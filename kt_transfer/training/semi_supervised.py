"""Semi-supervised pretraining: all examples are reconstructed, the labelled ones classified too."""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np

from kt_transfer.training.losses import ReconstructionLoss

# Of the examples of an epoch, how many at least have a label: rare ones would give rare, large
# gradients, which Adam answers with small steps for all.
LABELLED_SHARE = 0.25


class Targets(NamedTuple):
    """Of each example: its label (-1 for none), and what it weighs in either loss."""

    labels: np.ndarray
    reconstruction_weight: np.ndarray
    label_weight: np.ndarray


def repeat_labelled(labels: np.ndarray) -> tuple[np.ndarray, Targets]:
    """The rows of an epoch, labelled ones again and again, weighed so that the objective holds.

    Args:
        labels: Shape ``(n,)``, -1 for none; at least one has a label.

    Returns:
        Rows, every one of ``range(n)`` and labelled ones several times; and their targets. The
        mean of weighted losses over these rows is the mean reconstruction error over all n
        examples and the mean cross-entropy over those with a label.
    """
    num, labelled = len(labels), np.flatnonzero(labels >= 0)
    wanted = LABELLED_SHARE / (1 - LABELLED_SHARE) * (num - len(labelled))
    more = max(0, round(wanted / len(labelled)) - 1)
    rows = np.concatenate([np.arange(num), np.tile(labelled, more)])
    counts = rows >= 0, labels[rows] >= 0
    # A repeated row is reconstructed once.
    counts[0][num:] = False
    reconstruction, label = ((len(rows) / c.sum()) * c.astype(np.float32) for c in counts)
    return rows, Targets(labels[rows].astype(np.int32), reconstruction, label)


def only_reconstruct(num: int) -> Targets:
    """Targets of examples without labels: what is watched is the reconstruction alone."""
    weightless = np.zeros(num, np.float32)
    return Targets(np.full(num, -1, np.int32), np.ones(num, np.float32), weightless)


def joint_model(autoencoder: keras.Model, num_classes: int) -> keras.Model:
    """An autoencoder with a new head on its code; layers and weights are shared, not copied.

    Returns:
        A functional model from ``(batch, …)`` to the reconstruction and logits of
        ``(batch, num_classes)``.
    """
    x = corrupted = keras.Input(autoencoder.input_shape[1:], name="features")
    if "noise" in [layer.name for layer in autoencoder.layers]:
        corrupted = autoencoder.get_layer("noise")(x)
    code = autoencoder.get_layer("encoder")(corrupted)
    logits = keras.layers.Dense(num_classes, name="head")(code)
    return keras.Model(x, [autoencoder.get_layer("decoder")(code), logits], name="joint")


def compile_joint(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, label_weight: float
) -> None:
    """Compile for ‖x − D(E(x))‖² + β · cross-entropy(y, head(E(x))), β = ``label_weight``."""
    model.compile(
        optimizer=optimizer,
        loss=[ReconstructionLoss(), keras.losses.SparseCategoricalCrossentropy(from_logits=True)],
        loss_weights=[1.0, label_weight],
        weighted_metrics=[["mse"], ["accuracy"]],
    )


def joint_transform(preprocessing: keras.Model):
    """From raw examples and :class:`Targets` to what :func:`joint_model` is trained on."""

    def transform(x, y, sample_weight):
        features = preprocessing(x)
        labels, reconstruction, label = y
        return features, (features, keras.ops.maximum(labels, 0)), (reconstruction, label)

    return transform
