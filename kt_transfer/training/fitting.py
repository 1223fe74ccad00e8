"""One fit with everything a command owes its user: log, checkpoint, curves, progress."""

from __future__ import annotations

import keras
import tensorflow as tf

from kt_transfer.engine.fused_model import FusedModel
from kt_transfer.training.callbacks import Checkpoint, EarlyStopping, EpochLog, Progress
from kt_transfer.training.callbacks import read_history as _read_history
from kt_transfer.training.diverging import StopOnDivergence


def fit_in_folder(
    model: FusedModel,
    network: keras.Model,
    run,
    x,
    y=None,
    *,
    epochs: int,
    batch_size: int,
    validation_data=None,
    callbacks: list[keras.callbacks.Callback] = (),
    patience: int | None = None,
    begins: int = 0,
    total_epochs: int | None = None,
    title: str = "training",
    quiet: bool = False,
) -> list[dict[str, float]]:
    """Fit, with ``history.csv``, TensorBoard ``logs/`` and ``checkpoint/`` in a folder.

    A checkpoint that lies there already is taken up: the fit continues exactly.

    Args:
        model: The compiled model that is fitted.
        network: The model whose weights the fit changes (of a distiller, the student).
        run: A :class:`~kt_transfer.runs.folder.Run`, or whatever has its ``path``, ``checkpoint``
            and ``is_chief``: where the files go, and who writes checkpoints.
        x: Examples, as ``model.fit`` takes them.
        y: Targets.
        epochs: Passes over the examples, those before an interruption included.
        batch_size: Examples per step, over all replicas.
        validation_data: As ``model.fit`` takes it; ``None`` for none.
        callbacks: Further callbacks, such as a learning-rate decay.
        patience: Epochs without a better validation loss before it stops; ``None`` trains to
            the end and keeps the last weights.
        begins: First epoch of this stage, where the fit has several, one call each.
        total_epochs: Epochs of all stages, for the progress bar (default: ``epochs``).
        title: What the progress bar says.
        quiet: Whether to leave out the progress bar.

    Returns:
        The rows of the history, one for each epoch since the very start.

    Raises:
        TrainingFailed: If a loss or a weight is not finite; the last checkpoint stays.
    """
    callbacks = list(callbacks)
    if patience is not None:
        callbacks.append(EarlyStopping(patience, "val_loss" if validation_data else "loss"))
    # Workers agree on epochs, not on the time.
    several = isinstance(model.strategy, tf.distribute.MultiWorkerMirroredStrategy)
    checkpoint = Checkpoint(
        run.checkpoint,
        network,
        callbacks,
        every_seconds=0.0 if several else 10.0,
        writes=run.is_chief,
        begins=begins,
    )
    first_epoch = checkpoint.first_epoch
    if first_epoch > epochs:  # a stage that was over before an interruption
        return _read_history(run.path / "history.csv")
    callbacks += [
        EpochLog(run.path / "history.csv", first_epoch),
        keras.callbacks.TensorBoard(run.path / "logs", write_graph=False),
        # Before the checkpoint: none is made of what has diverged.
        StopOnDivergence(network),
        checkpoint,
    ]
    if run.is_chief and not quiet:
        callbacks.append(Progress(total_epochs or epochs, title, first_epoch))
    model.fit(
        x,
        y,
        batch_size=batch_size,
        epochs=epochs,
        initial_epoch=first_epoch,
        validation_data=validation_data,
        validation_batch_size=max(batch_size, 256),
        callbacks=callbacks,
        verbose=0,
    )
    return _read_history(run.path / "history.csv")
