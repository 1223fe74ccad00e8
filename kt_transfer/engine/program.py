"""A training or evaluation step as a program: run many times in one call.

Each run gathers its batch by index from data that stays where the arithmetic is; under a strategy
every replica takes its share of it.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf
from keras import tree

from kt_transfer.engine.randomness import as_in_a_graph

logger = logging.getLogger("kt_transfer")

# Python looks in this often: for callbacks with batch hooks, progress and Ctrl-C.
SECONDS_PER_EXECUTION = 0.5
MAX_STEPS_PER_EXECUTION = 1024


class Program:
    """A step, run many times in one program, on every replica's share of a batch.

    Args:
        strategy: Under which the step's variables were made.
        step: From a batch, or a replica's share of one, to logs.
        jit: Whether to compile with XLA; where XLA does not know what the step does, the program
            becomes a graph, and says so.
    """

    def __init__(self, strategy: tf.distribute.Strategy, step: Callable, jit: bool):
        self.strategy, self.step = strategy, step
        self.num_replicas = strategy.num_replicas_in_sync
        self.several_workers = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        self.seconds_per_step = 0.0
        self._make(jit)

    def _make(self, jit: bool) -> None:
        self.jit = jit
        self.has_run = False
        # A graph does not need to know the size of a batch: one trace serves all of them.
        self.any_size = not jit and self.num_replicas == 1

        def on_replica(batch):
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            share = map_arrays(lambda leaf: _share(leaf, number, self.num_replicas), batch)
            return self.step(share)

        def one(data, rows):
            # Gathered where the data is: a replica elsewhere is sent a batch, not the data.
            batch = map_arrays(lambda leaf: tf.gather(leaf, rows), data)
            with as_in_a_graph() if jit else contextlib.nullcontext():
                logs = self.strategy.run(on_replica, args=(batch,))
            if self.num_replicas > 1:
                return map_arrays(lambda v: self.strategy.reduce("MEAN", v, axis=None), logs)
            return map_arrays(tf.convert_to_tensor, logs)

        one = tf.function(one, reduce_retracing=True, autograph=False)

        def many(data, indices, num_steps, sizes):
            def batch(i):
                return indices[i, : sizes[i]] if self.any_size else indices[i]

            outputs = one.get_concrete_function(data, batch(0)).structured_outputs
            nothing = map_arrays(lambda spec: tf.zeros(spec.shape, spec.dtype), outputs)
            return tf.while_loop(
                lambda i, _: i < num_steps,
                lambda i, _: (i + 1, one(data, batch(i))),
                (tf.constant(0), nothing),
            )[1]

        self.one = one
        self.many = tf.function(many, reduce_retracing=True, autograph=False, jit_compile=jit)

    def trace(self, feed) -> None:
        """Make the program for a feed, so that what cannot be traced is known before it runs.

        Raises:
            Exception: Whatever the step raises, or what it returns cannot be kept in a loop.
        """
        if self.any_size:
            any_rows = map_arrays(lambda s: tf.TensorSpec((None, *s.shape[1:]), s.dtype), feed.spec)
            number, table = tf.TensorSpec((), tf.int32), tf.TensorSpec((None, None), tf.int32)
            sizes = tf.TensorSpec((None,), tf.int32)
            self.many.get_concrete_function(any_rows, table, number, sizes)
            return
        rows = tf.TensorSpec((feed.batch_size,), tf.int32)
        outputs = self.one.get_concrete_function(feed.spec, rows).structured_outputs
        map_arrays(lambda spec: tf.zeros(spec.shape, spec.dtype), outputs)

    def run(
        self, feed, blocks: Iterator, every: int | None, on_begin: Callable
    ) -> Iterator[tuple[int, dict]]:
        """Run the blocks of one epoch; yields the last step and the logs of each execution.

        Args:
            feed: Where the blocks come from.
            blocks: ``(data, rows, sizes)``, see :mod:`~kt_transfer.engine.feeds`.
            every: Steps between two calls of ``on_begin``, and between two results; ``None`` for
                as many as half a second holds.
            on_begin: Called with the number of the step before it.
        """
        step = 0
        logs = None
        for data, rows, sizes in blocks:
            sizes = self._shareable(sizes)
            ends = np.cumsum(sizes)
            done = 0
            while done < len(sizes):
                if not every or step % every == 0:
                    on_begin(step)
                count = self._together(sizes[done:], feed, every and every - step % every)
                start = ends[done] - sizes[done]
                chosen = rows[start : ends[done + count - 1]]
                logs = self._execute(data, chosen, sizes[done : done + count], feed, every)
                done, step = done + count, step + count
                if not every or step % every == 0:
                    yield step - 1, logs
                    logs = None
        if logs is not None:  # stock Keras counts to the end of the execution here, too
            yield -(-step // every) * every - 1, logs

    def _together(self, sizes: np.ndarray, feed, most: int | None) -> int:
        """How many of the coming batches one execution takes."""
        count = min(len(sizes), most or self._steps_at_once(feed))
        if self.any_size:
            return count
        # One shape for every execution: XLA compiles once. Others go one by one.
        usual = sizes[:count] == feed.batch_size
        return count if usual.all() else max(int(usual.argmin()), 1)

    def _execute(self, data, rows: np.ndarray, sizes: np.ndarray, feed, every: int | None):
        if not self.any_size and sizes[0] != feed.batch_size:
            return self.one(data, tf.constant(rows))
        width = _block_width(every or feed.block_steps)
        table = np.zeros((width, max(sizes.max(), feed.batch_size)), np.int32)
        if (sizes == table.shape[1]).all():
            table[: len(sizes)] = rows.reshape(len(sizes), -1)
        else:
            table[: len(sizes)][np.arange(table.shape[1]) < sizes[:, None]] = rows
        counts = np.zeros(width, np.int32)
        counts[: len(sizes)] = sizes
        began = time.perf_counter()
        arguments = (tf.constant(table), tf.constant(len(sizes)), tf.constant(counts))
        try:
            logs = self.many(data, *arguments)
        except tf.errors.OpError as error:
            # Nothing of a program that is compiled as a whole has run before it compiles.
            if not self.jit or self.has_run:
                raise
            first = str(error).strip().splitlines()[0][:200]
            logger.warning("XLA cannot compile this, so it runs as a graph: %s", first)
            self._make(jit=False)
            logs = self.many(data, *arguments)
        self.has_run = True
        self.seconds_per_step = (time.perf_counter() - began) / len(sizes)
        return logs

    def _shareable(self, sizes: np.ndarray) -> np.ndarray:
        """Sizes of batches of which every replica gets a row."""
        if self.num_replicas == 1 or sizes.min() >= self.num_replicas:
            return sizes
        joined = []
        for size in sizes.tolist():
            if joined and size < self.num_replicas:
                joined[-1] += size
            else:
                joined.append(size)
        return np.array(joined, np.int32)

    def _steps_at_once(self, feed) -> int:
        width = _block_width(feed.block_steps)
        # Each worker has a clock of its own, and all must take the same steps together: what they
        # exchange is told apart by the number of the step within an execution.
        if not self.seconds_per_step or self.several_workers:
            return width
        return int(np.clip(SECONDS_PER_EXECUTION / self.seconds_per_step, 1, width))


def _share(leaf: tf.Tensor, number, num_replicas: int) -> tf.Tensor:
    """A replica's rows of a global batch, the same on any number of workers."""
    if num_replicas == 1:
        return leaf
    if leaf.shape[0] is not None and leaf.shape[0] % num_replicas == 0:
        # Known shapes, where the batch divides evenly.
        return tf.reshape(leaf, (num_replicas, -1, *leaf.shape[1:]))[number]
    rows = tf.shape(leaf)[0]
    return leaf[number * rows // num_replicas : (number + 1) * rows // num_replicas]


def map_arrays(function: Callable, structure):
    """A function of every array in a structure; ``None`` stays."""
    return tree.map_structure(lambda v: None if v is None else function(v), structure)


def _block_width(steps: int) -> int:
    # A power of two, so that folds of nearly one size share a program.
    return min(1 << max(steps - 1, 0).bit_length(), MAX_STEPS_PER_EXECUTION)
