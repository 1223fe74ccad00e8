"""A fit whose numbers are no longer finite ends there, with what is the likely cause."""

from __future__ import annotations

import math

import keras
import numpy as np

from kt_transfer.errors import TrainingFailed
from kt_transfer.models.finite import why_not_finite

_WATCHED = ("loss", "val_loss")
# Of inputs within [-1, 1] no weight comes near it; units that saturate keep the loss finite then.
TOO_LARGE = 1e9


class StopOnDivergence(keras.callbacks.Callback):
    """Looks at the losses at the end of each epoch, and at the weights at the end of the fit.

    The last step may spoil the weights after its loss was measured. It belongs before what keeps
    checkpoints, so that none is made of an epoch that went wrong.

    Args:
        network: The model whose weights the fit changes.

    Raises:
        TrainingFailed: Where a loss or a weight is not finite, or a weight is beyond ``TOO_LARGE``.
    """

    def __init__(self, network: keras.Model):
        super().__init__()
        self.network, self.epoch = network, 0

    def on_epoch_end(self, epoch, logs=None):
        """Look at the losses."""
        self.epoch = epoch
        for name in _WATCHED:
            value = (logs or {}).get(name, 0.0)
            if not math.isfinite(value):
                raise diverged(epoch, f"{name} is {value}", self.model.optimizer)

    def on_train_end(self, logs=None):
        """Look at the weights."""
        require_finite_weights(self.network, self.epoch, self.model.optimizer)


def require_finite_weights(network: keras.Model, epoch: int, optimizer) -> None:
    """Refuse weights that are not finite, or out of all proportion, after an epoch from 0 on."""
    if reason := why_not_finite(network.variables):
        raise diverged(epoch, f"{network.name} {reason}", optimizer)
    for variable in network.trainable_variables:
        largest = float(np.abs(variable.numpy()).max(initial=0))
        if largest > TOO_LARGE:
            what = f"{network.name} has weights of up to {largest:g} ({variable.path})"
            raise diverged(epoch, what, optimizer)


def diverged(epoch: int, what: str, optimizer) -> TrainingFailed:
    """The error of a fit that went wrong in an epoch, counted from 0."""
    rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
    return TrainingFailed(
        f"training diverged in epoch {epoch + 1} with a learning rate of {rate:g}: {what}, "
        "expected finite numbers of a usual size: most likely the learning rate is too large, or "
        "the weight of a term of the loss; give a smaller one."
    )
