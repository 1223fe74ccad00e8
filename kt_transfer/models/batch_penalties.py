"""What a penalty on the whole batch needs where every replica holds a share of it.

This module stands on Keras's own operation behind ``keras.ops.mean`` and on
``Layer._clear_losses``; ``tests/models/test_batch_penalties.py`` says plainly when they move.
"""

from __future__ import annotations

import tensorflow as tf
from keras.layers import ActivityRegularization
from keras.src.ops.numpy import Mean


class _ReplicaMean(Mean):
    """The mean over the first axis, all replicas together."""

    def call(self, x):
        replica = tf.distribute.get_replica_context()
        if replica is None or replica.num_replicas_in_sync == 1:
            return super().call(x)
        # Sums and counts, since the shares of a last batch may differ by one.
        total, count = tf.reduce_sum(x, axis=0), tf.cast(tf.shape(x)[0], x.dtype)
        return replica.all_reduce("SUM", total) / replica.all_reduce("SUM", count)


class _OwnPenalty(ActivityRegularization):
    """Adds its input to the losses of this replica alone.

    Replicas wait for one another in the mean above and then go on in turn, over one Keras model:
    the loss of the one before is still there.
    """

    def call(self, inputs):
        self._clear_losses()
        return super().call(inputs)


# Saved as what they are on one replica, so that the model loads without this package.
for _ours, _stock in ((_ReplicaMean, Mean), (_OwnPenalty, ActivityRegularization)):
    _ours.__module__, _ours.__name__ = _stock.__module__, _stock.__name__


def replica_mean(x):
    """The mean over the batch, all replicas together; in a saved model the stock mean.

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
    """The layer ``"sparsity_penalty"``: adds ``weight`` times the penalty that it is given.

    In a saved model it is the stock ``ActivityRegularization``.
    """
    return _OwnPenalty(l1=weight, name="sparsity_penalty")
