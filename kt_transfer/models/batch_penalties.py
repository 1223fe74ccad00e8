"""Penalties on batch statistics under tf.distribute, where each replica holds part of the batch.

It relies on the private operation behind ``keras.ops.mean`` and on ``Layer._clear_losses``;
``tests/models/test_batch_penalties.py`` fails if they change.
"""

from __future__ import annotations

import tensorflow as tf
from keras.layers import ActivityRegularization
from keras.src.ops.numpy import Mean


class _ReplicaMean(Mean):
    """The mean over the first axis, across all replicas."""

    def call(self, x):
        replica = tf.distribute.get_replica_context()
        if replica is None or replica.num_replicas_in_sync == 1:
            return super().call(x)
        # Sums and counts, since replicas may hold different numbers of a last batch's examples.
        total, count = tf.reduce_sum(x, axis=0), tf.cast(tf.shape(x)[0], x.dtype)
        return replica.all_reduce("SUM", total) / replica.all_reduce("SUM", count)


class _OwnPenalty(ActivityRegularization):
    """Adds its input to the losses of the current replica only.

    Replicas synchronize in the mean above and then trace in turn over one Keras model, which still
    holds the loss of the previous replica.
    """

    def call(self, inputs):
        self._clear_losses()
        return super().call(inputs)


# Saved under the names of the stock classes, so that the model loads without this package.
for _ours, _stock in ((_ReplicaMean, Mean), (_OwnPenalty, ActivityRegularization)):
    _ours.__module__, _ours.__name__ = _stock.__module__, _stock.__name__


def replica_mean(x):
    """The mean over the batch, across all replicas; the stock mean in a saved model.

    Args:
        x: Symbolic tensor of shape ``(batch, units)``.

    Returns:
        Symbolic tensor of shape ``(units,)``.

    Example:
        >>> code = keras.Input((8,))
        >>> replica_mean(code).shape
        (8,)
    """
    return _ReplicaMean(axis=0)(x)


def penalty_layer(weight: float) -> ActivityRegularization:
    """The layer ``"sparsity_penalty"``, which adds ``weight`` times its input to the loss.

    A saved model holds the stock ``ActivityRegularization``.
    """
    return _OwnPenalty(l1=weight, name="sparsity_penalty")
