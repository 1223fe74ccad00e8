"""Replicas whose shares of a batch differ in size equal one device, too.

Keras divides the mean loss of each replica by their number, so that an example counts more where a
share is smaller: of 7 examples on 2 replicas, 3 of them would count as much as the other 4. Here
each replica counts by its number of examples.

This module replaces two private functions of Keras, ``scale_loss_for_distribution`` and
``unscale_loss_for_distribution``; ``tests/engine/test_replicas.py`` fails if they change.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import tree
from keras.src.losses import loss as keras_loss

# Rows of the batch whose step is being traced; None where every share has the same size.
_rows_of_batch: list = [None]


def own_replicas(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """The first replica of this process, and the one after its last, among those of all workers."""
    resolver = getattr(strategy, "cluster_resolver", None)
    if strategy.num_replicas_in_sync == 1 or resolver is None:
        return 0, strategy.num_replicas_in_sync
    own = len(strategy.extended.worker_devices)
    # A chief comes before the workers.
    has_chief = "chief" in resolver.cluster_spec().jobs
    worker = resolver.task_id + (has_chief and resolver.task_type != "chief")
    return worker * own, (worker + 1) * own


def without_small_batches(sizes: np.ndarray, num_replicas: int) -> np.ndarray:
    """Sizes of batches, where one of fewer rows than replicas is part of the one before it."""
    if num_replicas == 1 or sizes.min() >= num_replicas:
        return sizes
    merged = []
    for size in sizes.tolist():
        if merged and size < num_replicas:
            merged[-1] += size
        else:
            merged.append(size)
    return np.array(merged, np.int32)


def require_same_update(optimizer, num_replicas: int) -> None:
    """Refuse an optimizer whose updates on several replicas are not those of one device.

    Keras clips each replica's gradient before they are added, and with it noise that the sum does
    not have: after 24 steps of SGD on two replicas weights differed by 0.002 to 0.006, and without
    clipping by 2e-7. What it accumulates or overwrites under a condition, TensorFlow
    cannot add up between replicas at all.

    Raises:
        ValueError: Naming the argument of the optimizer.
    """
    if num_replicas == 1 or not isinstance(optimizer, keras.optimizers.Optimizer):
        return
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # of a loss scale
    clipped = "Keras clips the gradient of each replica, not their sum"
    conditional = "TensorFlow cannot add up between replicas what is updated only now and then"
    overwrites = optimizer.use_ema and optimizer.ema_overwrite_frequency
    for name, value, why in (
        ("clipnorm", optimizer.clipnorm, clipped),
        ("clipvalue", optimizer.clipvalue, clipped),
        ("global_clipnorm", optimizer.global_clipnorm, clipped),
        ("gradient_accumulation_steps", optimizer.gradient_accumulation_steps, conditional),
        ("ema_overwrite_frequency", overwrites or None, conditional),
    ):
        if value is not None:
            raise ValueError(
                f"an optimizer with {name}={value} was given with {num_replicas} replicas, but "
                f"{why}: train on one device, or without {name}."
            )


class Shares(NamedTuple):
    """How replicas share the rows of a batch, of which a process may hold a part.

    Attributes:
        num_replicas: Of all workers.
        first: The first replica whose rows are at hand.
        end: The one after the last of these.
        equal: Whether all shares of the batch are known to have one size.
    """

    num_replicas: int
    first: int
    end: int
    equal: bool

    def of(self, leaf: tf.Tensor, replica, size) -> tf.Tensor:
        """A replica's rows of those at hand, of a batch with ``size`` rows in all."""
        if self.num_replicas == 1:
            return leaf
        if self.equal and leaf.shape[0] is not None:
            # A reshape keeps the shapes static where the batch divides evenly.
            count = self.end - self.first
            return tf.reshape(leaf, (count, -1, *leaf.shape[1:]))[replica - self.first]
        before, _ = bounds_of_share(size, self.first, self.num_replicas)
        start, end = bounds_of_share(size, replica, self.num_replicas)
        return leaf[start - before : end - before]

    def bounds(self, sizes):
        """Of batches with so many rows, the first one at hand, and the one after the last."""
        start, _ = bounds_of_share(sizes, self.first, self.num_replicas)
        _, end = bounds_of_share(sizes, self.end - 1, self.num_replicas)
        return start, end

    def num_read(self, sizes):
        """How many rows of batches with so many are at hand."""
        start, end = self.bounds(sizes)
        return end - start

    def most_read(self, size: int) -> int:
        """The most rows of a batch that any process with as many replicas has at hand.

        To this, the rows of a batch are padded: shapes that only some workers have would have only
        these trace a step again, after which the workers would wait for one another for ever.
        """
        return -(-size * (self.end - self.first) // self.num_replicas)


def bounds_of_share(rows, replica, num_replicas: int):
    """First row of a replica's share of a batch, and the row after its last."""
    return replica * rows // num_replicas, (replica + 1) * rows // num_replicas


def share_of_batch():
    """The share of a batch's examples that the current replica holds, between 0 and 1.

    Multiply a mean over the replica's examples by it, and the sum over all replicas is the mean
    over the batch. Called within a step.
    """
    context = tf.distribute.get_replica_context()
    num_replicas, rows = context.num_replicas_in_sync, _rows_of_batch[0]
    if rows is None or num_replicas == 1:
        return 1.0 / num_replicas
    first, end = bounds_of_share(rows, context.replica_id_in_sync_group, num_replicas)
    return tf.cast(end - first, "float32") / tf.cast(rows, "float32")


@contextlib.contextmanager
def counting_examples(rows) -> Iterator[None]:
    """Within this context, a step is traced whose losses are means over the whole batch.

    To be entered outside of ``strategy.run``, which traces the replicas in threads that wait for
    one another.

    Args:
        rows: Number of examples in the batch, a tensor; ``None`` where all shares of it have one
            size, for which Keras is right.
    """
    if rows is None:
        yield
        return
    stock = keras_loss.scale_loss_for_distribution, keras_loss.unscale_loss_for_distribution
    before = _rows_of_batch[0]
    _rows_of_batch[0] = rows
    keras_loss.scale_loss_for_distribution = _scale
    keras_loss.unscale_loss_for_distribution = _unscale
    try:
        yield
    finally:
        _rows_of_batch[0] = before
        keras_loss.scale_loss_for_distribution, keras_loss.unscale_loss_for_distribution = stock


def _scale(value):
    return value * tf.cast(share_of_batch(), value.dtype)


def _unscale(value):
    share = tf.cast(share_of_batch(), value.dtype)
    return tf.math.divide_no_nan(value, share)


def on_own_replicas(strategy: tf.distribute.Strategy, step: Callable) -> Callable:
    """A function of a batch that this process's replicas share, without a word to other workers.

    Args:
        strategy: The strategy under which the variables of the step were created.
        step: From a tuple of arrays, ``(n, ...)``, to arrays with as many rows.

    Returns:
        A function of the same arguments and values.
    """
    first, end = own_replicas(strategy)
    count = end - first
    if count == 1:
        return tf.function(step, reduce_retracing=True, autograph=False)
    shares = Shares(count, 0, count, equal=False)

    @tf.function(reduce_retracing=True, autograph=False)
    def step_of_all(batch):
        size = tf.shape(tree.flatten(batch)[0])[0]

        def step_of_one(batch):
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group - first
            return step(tree.map_structure(lambda leaf: shares.of(leaf, replica, size), batch))

        results = strategy.run(step_of_one, args=(batch,))
        return tree.map_structure(
            lambda value: tf.concat(strategy.experimental_local_results(value), 0), results
        )

    return step_of_all


def among_workers(strategy: tf.distribute.Strategy, answer: Callable) -> Callable:
    """A function of rows that the workers share; each is given the answers to all of them.

    Every worker has to call it with the same rows, and has read all of them.

    Args:
        strategy: The strategy under which the variables of ``answer`` were created.
        answer: From rows, ``(n, ...)``, to an array with as many, by this process alone.

    Returns:
        A function of the same argument and value; ``answer`` itself where there is one process.
    """
    first, end = own_replicas(strategy)
    num_replicas = strategy.num_replicas_in_sync
    if end - first == num_replicas:
        return answer

    @tf.function(reduce_retracing=True, autograph=False)
    def sum_of_all(own):
        def told(own):
            context = tf.distribute.get_replica_context()
            # Each of a worker's replicas would tell the same.
            is_first = context.replica_id_in_sync_group == first
            own = tf.where(is_first, own, tf.zeros_like(own))
            return context.all_reduce(tf.distribute.ReduceOp.SUM, own)

        return strategy.experimental_local_results(strategy.run(told, args=(own,)))[0]

    def answer_to_all(rows):
        if len(rows) < num_replicas:
            return answer(rows)
        start, _ = bounds_of_share(len(rows), first, num_replicas)
        _, stop = bounds_of_share(len(rows), end - 1, num_replicas)
        own = answer(rows[start:stop])
        answers = np.zeros((len(rows), *own.shape[1:]), own.dtype)
        answers[start:stop] = own
        return sum_of_all(answers).numpy()

    return answer_to_all


@contextlib.contextmanager
def synchronized_batch_statistics(layers: Iterable[keras.layers.Layer]) -> Iterator[int]:
    """Within this context, batch normalization goes by the whole batch, not by a replica's share.

    A model that is saved afterwards is what it was.

    Args:
        layers: Of the model, and of models within it.

    Yields:
        The number of those that normalize batches.
    """
    changed = [
        layer
        for layer in layers
        if isinstance(layer, keras.layers.BatchNormalization) and not layer.synchronized
    ]
    for layer in changed:
        layer.synchronized = True
    try:
        yield len(changed)
    finally:
        for layer in changed:
            layer.synchronized = False
