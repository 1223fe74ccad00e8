"""One fit with everything a command owes its user: log, checkpoint, curves, progress."""

from __future__ import annotations

from pathlib import Path

import keras

from kt_transfer.training.callbacks import Checkpoint, EarlyStopping, EpochLog, Progress
from kt_transfer.training.callbacks import read_history as _read_history
from kt_transfer.training.steps import FusedModel


def fit_in_folder(
    model: FusedModel,
    network: keras.Model,
    folder: Path,
    x,
    y=None,
    *,
    epochs: int,
    batch_size: int,
    validation_data=None,
    callbacks: list[keras.callbacks.Callback] = (),
    patience: int | None = None,
    title: str = "training",
    quiet: bool = False,
) -> list[dict[str, float]]:
    """Fit, with ``history.csv``, TensorBoard ``logs/`` and ``checkpoint/`` in a folder.

    A checkpoint that lies there already is taken up: the fit continues exactly.

    Args:
        model: The compiled model that is fitted.
        network: The model whose weights the fit changes (of a distiller, the student).
        folder: Where the files go.
        x: Examples, as ``model.fit`` takes them.
        y: Targets.
        epochs: Passes over the examples, those before an interruption included.
        batch_size: Examples per step, over all replicas.
        validation_data: As ``model.fit`` takes it; ``None`` for none.
        callbacks: Further callbacks, such as a learning-rate decay.
        patience: Epochs without a better validation loss before it stops; ``None`` trains to
            the end and keeps the last weights.
        title: What the progress bar says.
        quiet: Whether to leave out the progress bar.

    Returns:
        The rows of the history, one for each epoch since the very start.
    """
    callbacks = list(callbacks)
    if patience is not None:
        callbacks.append(EarlyStopping(patience, "val_loss" if validation_data else "loss"))
    checkpoint = Checkpoint(folder / "checkpoint", network, callbacks)
    first_epoch = checkpoint.first_epoch
    callbacks += [
        EpochLog(folder / "history.csv", first_epoch),
        keras.callbacks.TensorBoard(folder / "logs", write_graph=False),
        checkpoint,
    ]
    if not quiet:
        callbacks.append(Progress(epochs, title, first_epoch))
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
    return _read_history(folder / "history.csv")
