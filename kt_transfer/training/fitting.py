"""One fit with everything that its user needs: schedule, early stopping, checkpoint, log."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from kt_transfer.engine.fused_model import FusedModel
from kt_transfer.training.callbacks import Checkpoint, EarlyStopping
from kt_transfer.training.diverging import StopOnDivergence


def fit(
    model: FusedModel,
    network: keras.Model,
    x,
    y=None,
    *,
    epochs: int,
    batch_size: int,
    sample_weight=None,
    first_epoch: int = 0,
    validation_data=None,
    validation_freq: int = 1,
    patience: int | None = None,
    schedule: Sequence[keras.callbacks.Callback] = (),
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> dict[str, list[float]]:
    """Fit; where a checkpoint of this fit lies already, continue exactly.

    Args:
        model: The compiled model that is fitted.
        network: The model whose weights the fit changes (of a distiller, the student).
        x: Examples, as ``model.fit`` takes them.
        y: Targets.
        epochs: Passes over the examples, those before an interruption included.
        batch_size: Examples per step, over all replicas.
        sample_weight: As ``model.fit`` takes it.
        first_epoch: First epoch of this stage, where the fit has several, one call each.
        validation_data: As ``model.fit`` takes it; ``None`` for none.
        validation_freq: The same.
        patience: Epochs without a better validation loss before it stops; ``None`` trains to
            the end and keeps the last weights.
        schedule: Callbacks that change the training, such as a learning-rate decay.
        callbacks: Callbacks that watch it, a :class:`~.callbacks.Checkpoint` among them.

    Returns:
        The history of Keras: for each number its values, one an epoch; empty for a stage that
        was over before an interruption.

    Raises:
        TrainingFailed: If a loss or a weight is not finite; the last checkpoint stays.
    """
    changing = list(schedule)
    if patience is not None:
        changing.append(EarlyStopping(patience, "val_loss" if validation_data else "loss"))
    checkpoints = [callback for callback in callbacks if isinstance(callback, Checkpoint)]
    for checkpoint in checkpoints:
        checkpoint.watch(network, changing, first_epoch)
        # Workers agree on epochs, not on the time.
        if isinstance(model.strategy, tf.distribute.MultiWorkerMirroredStrategy):
            checkpoint.every_seconds = 0.0
        first_epoch = checkpoint.first_epoch
    if first_epoch > epochs:
        return {}
    watching = [callback for callback in callbacks if callback not in checkpoints]
    return model.fit(
        x,
        y,
        sample_weight=sample_weight,
        batch_size=batch_size,
        epochs=epochs,
        initial_epoch=first_epoch,
        validation_data=validation_data,
        validation_batch_size=max(batch_size, 256),
        validation_freq=validation_freq,
        # A checkpoint is made of nothing that has diverged.
        callbacks=[*changing, *watching, StopOnDivergence(network), *checkpoints],
        verbose=0,
    ).history
