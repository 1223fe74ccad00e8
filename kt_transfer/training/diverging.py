"""Stop a fit that diverges, and name the likely cause."""

from __future__ import annotations

import math

import keras
import numpy as np

from kt_transfer.errors import TrainingFailed
from kt_transfer.models.finite import why_not_finite

_WATCHED = ("loss", "val_loss")
# With inputs in [-1, 1] no useful weight comes near this. Saturated units can keep the loss finite
# even then, so the loss alone does not reveal it.
TOO_LARGE = 1e9


class StopOnDivergence(keras.callbacks.Callback):
    """Checks the losses after each epoch, and the weights after the fit.

    The weights are checked because the last step may spoil them after its loss was measured.
    Place it before callbacks that save checkpoints, so that no diverged epoch is saved.

    Args:
        network: The model whose weights the fit changes.

    Raises:
        TrainingFailed: If a loss or a weight is not finite, or a weight exceeds ``TOO_LARGE``.
    """

    def __init__(self, network: keras.Model):
        super().__init__()
        self.network, self.epoch = network, 0

    def on_epoch_end(self, epoch, logs=None):
        """Check the losses."""
        self.epoch = epoch
        for name in _WATCHED:
            value = (logs or {}).get(name, 0.0)
            if not math.isfinite(value):
                raise diverged(epoch, f"{name} is {value}", self.model.optimizer)

    def on_train_end(self, logs=None):
        """Check the weights."""
        require_finite_weights(self.network, self.epoch, self.model.optimizer)


def require_finite_weights(network: keras.Model, epoch: int, optimizer) -> None:
    """Raise :class:`TrainingFailed` if a weight is not finite or exceeds ``TOO_LARGE``."""
    if reason := why_not_finite(network.variables):
        raise diverged(epoch, f"{network.name} {reason}", optimizer)
    for variable in network.trainable_variables:
        largest = float(np.abs(variable.numpy()).max(initial=0))
        if largest > TOO_LARGE:
            what = f"{network.name} has weights of up to {largest:g} ({variable.path})"
            raise diverged(epoch, what, optimizer)


def diverged(epoch: int, what: str, optimizer) -> TrainingFailed:
    """The error for a fit that diverged in ``epoch``, counted from 0."""
    rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
    return TrainingFailed(
        f"training diverged in epoch {epoch + 1} with a learning rate of {rate:g}: {what}, "
        "expected finite numbers of a usual size: most likely the learning rate is too large, or "
        "the weight of a term of the loss; give a smaller one."
    )
