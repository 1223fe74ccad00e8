"""Which callbacks have to be called for every batch."""

from __future__ import annotations

import keras

_HOOKS = {
    "train": ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end"),
    "test": ("on_test_batch_begin", "on_test_batch_end"),
    "predict": ("on_predict_batch_begin", "on_predict_batch_end"),
}


def looks_at_batches(callbacks: keras.callbacks.CallbackList, kind: str) -> bool:
    """Whether any of these callbacks does something at each batch.

    Args:
        callbacks: The callbacks.
        kind: ``"train"``, ``"test"`` or ``"predict"``.
    """
    return any(_acts(callback, hook) for callback in callbacks.callbacks for hook in _HOOKS[kind])


def writes_summaries(callbacks: keras.callbacks.CallbackList) -> bool:
    """Whether one of these callbacks opens a writer for the summaries of layers, batch by batch."""
    return any(
        isinstance(callback, keras.callbacks.TensorBoard) and callback.update_freq != "epoch"
        for callback in callbacks.callbacks
    )


def _acts(callback: keras.callbacks.Callback, hook: str) -> bool:
    if hook in vars(callback):  # LambdaCallback, or whoever sets it on an instance
        return True
    owner = next(kind for kind in type(callback).__mro__ if hook in vars(kind))
    return owner is not keras.callbacks.Callback and not _is_idle(callback, owner)


def _is_idle(callback: keras.callbacks.Callback, owner: type) -> bool:
    """Whether a hook that Keras itself wrote does nothing, as this callback is set."""
    ours = keras.callbacks
    if owner is ours.ProgbarLogger:
        return True
    if owner in (ours.ModelCheckpoint, ours.BackupAndRestore):
        return callback.save_freq == "epoch"
    if owner is ours.TensorBoard:
        profiles = callback._stop_batch > 0
        return callback.update_freq == "epoch" and not (callback.write_steps_per_second or profiles)
    return False
