"""Which callbacks have to be called at every batch."""

from __future__ import annotations

import keras

_HOOKS = {
    "train": ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end"),
    "test": ("on_test_batch_begin", "on_test_batch_end"),
}


def uses_batch_hooks(callbacks: keras.callbacks.CallbackList, kind: str) -> bool:
    """Whether any of these callbacks does something at every batch.

    Args:
        callbacks: The callbacks.
        kind: ``"train"`` or ``"test"``.
    """
    return any(_acts(callback, hook) for callback in callbacks.callbacks for hook in _HOOKS[kind])


def writes_batch_summaries(callbacks: keras.callbacks.CallbackList) -> bool:
    """Whether a ``TensorBoard`` callback collects the summaries that layers write in a step."""
    return any(
        isinstance(callback, keras.callbacks.TensorBoard) and callback.update_freq != "epoch"
        for callback in callbacks.callbacks
    )


def _acts(callback: keras.callbacks.Callback, hook: str) -> bool:
    if hook in vars(callback):  # set on the instance, as LambdaCallback does
        return True
    owner = next(kind for kind in type(callback).__mro__ if hook in vars(kind))
    return owner is not keras.callbacks.Callback and not _is_noop(callback, owner)


def _is_noop(callback: keras.callbacks.Callback, owner: type) -> bool:
    """Whether the batch hooks of a callback of Keras's own do nothing, given its settings."""
    kinds = keras.callbacks
    if owner is kinds.ProgbarLogger:
        return True
    if owner in (kinds.ModelCheckpoint, kinds.BackupAndRestore):
        return callback.save_freq == "epoch"
    if owner is kinds.TensorBoard:
        profiles = callback._stop_batch > 0
        return callback.update_freq == "epoch" and not (callback.write_steps_per_second or profiles)
    return False
