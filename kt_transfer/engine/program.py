"""Many training or evaluation steps as one TensorFlow program.

Each step gathers its batch by index from data that stays on the device. Under a ``tf.distribute``
strategy, every replica takes its share of the batch.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from kt_transfer.engine.feeds import map_arrays, pad
from kt_transfer.engine.randomness import graph_random_numbers
from kt_transfer.engine.replicas import Shares, counting_examples, without_small_batches

logger = logging.getLogger("kt_transfer")

# How often control returns to Python, for callbacks, the progress bar and Ctrl-C.
SECONDS_PER_EXECUTION = 0.5
MAX_STEPS_PER_EXECUTION = 1024


class Program:
    """Runs a step many times per call.

    Args:
        strategy: The strategy under which the variables of the step were created.
        step: From a batch, or a replica's share of one, to logs.
        jit: Whether to compile with XLA. If XLA does not support an op of the step, the program
            is run as a graph instead, with a warning.
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
        # A graph on one replica is traced once for batches of every size.
        self.takes_any_size = not jit and self.num_replicas == 1

        def one_step(data, rows, size, shares):
            # Gathered outside strategy.run: other devices are sent the batch, not all the data.
            batch = map_arrays(lambda leaf: tf.gather(leaf, rows), data)

            def replica_step(batch):
                replica = tf.distribute.get_replica_context().replica_id_in_sync_group
                return self.step(map_arrays(lambda leaf: shares.of(leaf, replica, size), batch))

            random_numbers = graph_random_numbers() if jit else contextlib.nullcontext()
            with random_numbers, counting_examples(None if shares.equal else size):
                logs = self.strategy.run(replica_step, args=(batch,))
            if self.num_replicas > 1:
                return map_arrays(lambda v: self.strategy.reduce("MEAN", v, axis=None), logs)
            return map_arrays(tf.convert_to_tensor, logs)

        one_step = tf.function(one_step, reduce_retracing=True, autograph=False)

        def many_steps(data, indices, num_steps, sizes, shares):
            def batch(i):
                rows = indices[i, : sizes[i]] if self.takes_any_size else indices[i]
                return rows, sizes[i], shares

            outputs = one_step.get_concrete_function(data, *batch(0)).structured_outputs
            initial_logs = map_arrays(lambda spec: tf.zeros(spec.shape, spec.dtype), outputs)
            return tf.while_loop(
                lambda i, _: i < num_steps,
                lambda i, _: (i + 1, one_step(data, *batch(i))),
                (tf.constant(0), initial_logs),
            )[1]

        self.one_step = one_step
        self.many_steps = tf.function(
            many_steps, reduce_retracing=True, autograph=False, jit_compile=jit
        )

    def trace(self, feed) -> None:
        """Trace the program for a feed, so that errors show before anything is run.

        Raises:
            Exception: Whatever the step raises, or that its logs cannot be carried by a loop.
        """
        if self.takes_any_size:
            any_rows = map_arrays(lambda s: tf.TensorSpec((None, *s.shape[1:]), s.dtype), feed.spec)
            indices, num_steps = tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((), tf.int32)
            sizes = tf.TensorSpec((None,), tf.int32)
            shares = self._shares(feed, feed.batch_size)
            self.many_steps.get_concrete_function(any_rows, indices, num_steps, sizes, shares)
            return
        shares = self._shares(feed, feed.batch_size)
        width = None if feed.batch_size is None else shares.most_read(feed.batch_size)
        rows = tf.TensorSpec((width,), tf.int32)
        size = tf.TensorSpec((), tf.int32)
        traced = self.one_step.get_concrete_function(feed.spec, rows, size, shares)
        outputs = traced.structured_outputs
        map_arrays(lambda spec: tf.zeros(spec.shape, spec.dtype), outputs)

    def run(
        self, feed, blocks: Iterator, every: int | None, on_begin: Callable
    ) -> Iterator[tuple[int, dict]]:
        """Run the blocks of one epoch; yields the last step and the logs of each execution.

        Args:
            feed: The feed that the blocks are from.
            blocks: ``(data, rows, sizes)``, see :mod:`~kt_transfer.engine.feeds`.
            every: Steps per call of ``on_begin`` and per result, as ``steps_per_execution``;
                ``None`` for as many as take half a second.
            on_begin: Called with the index of the first of these steps.
        """
        step = 0
        logs = None
        for data, rows, sizes in blocks:
            sizes = without_small_batches(sizes, self.num_replicas)
            read = self._shares(feed).num_read(sizes)
            ends = np.cumsum(read)
            done = 0
            while done < len(sizes):
                if not every or step % every == 0:
                    on_begin(step)
                count = self._num_steps(sizes[done:], feed, every and every - step % every)
                start = ends[done] - read[done]
                visited = rows[start : ends[done + count - 1]]
                logs = self._execute(data, visited, sizes[done : done + count], feed, every)
                done, step = done + count, step + count
                if not every or step % every == 0:
                    yield step - 1, logs
                    logs = None
        if logs is not None:  # as Keras does, the last step of a full execution, not of this one
            yield -(-step // every) * every - 1, logs

    def _num_steps(self, sizes: np.ndarray, feed, limit: int | None) -> int:
        """Number of steps in the next execution, given the sizes of the remaining batches."""
        count = min(len(sizes), limit or self._steps_in_half_a_second(feed))
        if self.takes_any_size:
            return count
        # One shape, so that the program is compiled once: other batches are run one by one.
        is_full = sizes[:count] == feed.batch_size
        return count if is_full.all() else max(int(is_full.argmin()), 1)

    def _execute(self, data, rows: np.ndarray, sizes: np.ndarray, feed, every: int | None):
        if not self.takes_any_size and sizes[0] != feed.batch_size:
            shares = self._shares(feed, int(sizes[0]))
            rows = tf.constant(pad(rows, shares.most_read(int(sizes[0]))))
            return self.one_step(data, rows, tf.constant(sizes[0]), shares)
        shares = self._shares(feed, feed.batch_size)
        width = _block_width(every or feed.block_steps)
        largest = max(int(sizes.max()), feed.batch_size)
        indices, read = (
            np.zeros((width, shares.most_read(largest)), np.int32),
            shares.num_read(sizes),
        )
        if (read == indices.shape[1]).all():
            indices[: len(sizes)] = rows.reshape(len(sizes), -1)
        else:
            indices[: len(sizes)][np.arange(indices.shape[1]) < read[:, None]] = rows
        padded_sizes = np.zeros(width, np.int32)
        padded_sizes[: len(sizes)] = sizes
        began = time.perf_counter()
        arguments = (
            tf.constant(indices),
            tf.constant(len(sizes)),
            tf.constant(padded_sizes),
            shares,
        )
        try:
            logs = self.many_steps(data, *arguments)
        except tf.errors.OpError as error:
            # XLA compiles the whole program before any of it runs, so no step is repeated.
            if not self.jit or self.has_run:
                raise
            first = str(error).strip().splitlines()[0][:200]
            logger.warning("XLA cannot compile this, so it runs as a graph: %s", first)
            self._make(jit=False)
            logs = self.many_steps(data, *arguments)
        self.has_run = True
        self.seconds_per_step = (time.perf_counter() - began) / len(sizes)
        return logs

    def _shares(self, feed, size: int | None = None) -> Shares:
        """How the replicas share a batch of this size, of which the feed may have read a part."""
        first, end = getattr(feed, "replicas", None) or (0, self.num_replicas)
        equal = self.num_replicas == 1 or (size is not None and size % self.num_replicas == 0)
        return Shares(self.num_replicas, first, end, equal)

    def _steps_in_half_a_second(self, feed) -> int:
        width = _block_width(feed.block_steps)
        # Workers have to execute the same number of steps, whatever each one's clock says: their
        # collectives are matched by the index of the step within an execution.
        if not self.seconds_per_step or self.several_workers:
            return width
        return int(np.clip(SECONDS_PER_EXECUTION / self.seconds_per_step, 1, width))


def _block_width(steps: int) -> int:
    # A power of two, so that cross-validation folds of nearly the same size share a program.
    return min(1 << max(steps - 1, 0).bit_length(), MAX_STEPS_PER_EXECUTION)
