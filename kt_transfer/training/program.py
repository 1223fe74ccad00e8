"""A training or evaluation step as a program: run many times in one call.

Each run gathers its batch by index from data that stays where the arithmetic is; under a strategy
every replica takes its share of it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf
from keras import tree

from kt_transfer.training.randomness import as_in_a_graph

# Python looks in this often: for callbacks with batch hooks, progress and Ctrl-C.
SECONDS_PER_EXECUTION = 0.5
MAX_STEPS_PER_EXECUTION = 1024


class Program:
    """A step, run many times in one program, on every replica's share of a batch.

    Args:
        strategy: Under which the step's variables were made.
        step: From a batch, or a replica's share of one, to logs.
        jit: Whether to compile with XLA.
    """

    def __init__(self, strategy: tf.distribute.Strategy, step: Callable, jit: bool):
        self.num_replicas = strategy.num_replicas_in_sync

        def on_replica(batch):
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            share = map_arrays(lambda leaf: _share(leaf, number, self.num_replicas), batch)
            return step(share)

        def one(data, rows):
            # Gathered where the data is: a replica elsewhere is sent a batch, not the data.
            batch = map_arrays(lambda leaf: tf.gather(leaf, rows), data)
            with as_in_a_graph() if jit else contextlib.nullcontext():
                logs = strategy.run(on_replica, args=(batch,))
            return map_arrays(lambda value: strategy.reduce("MEAN", value, axis=None), logs)

        one = tf.function(one, reduce_retracing=True, autograph=False)
        # A graph does not need to know the size of a batch: one trace serves the last batch too.
        any_size = not jit and self.num_replicas == 1

        def many(data, indices, num_steps, size):
            def batch(i):
                return indices[i, :size] if any_size else indices[i]

            outputs = one.get_concrete_function(data, batch(0)).structured_outputs
            nothing = map_arrays(lambda spec: tf.zeros(spec.shape, spec.dtype), outputs)
            return tf.while_loop(
                lambda i, _: i < num_steps,
                lambda i, _: (i + 1, one(data, batch(i))),
                (tf.constant(0), nothing),
            )[1]

        self.one = one
        self.many = tf.function(many, reduce_retracing=True, autograph=False, jit_compile=jit)
        self.seconds_per_step = 0.0

    def run(
        self, feed, blocks: Iterator, every_batch: bool, on_begin: Callable
    ) -> Iterator[tuple[int, dict]]:
        """Run the blocks of one epoch; yields the last step and the logs of each execution."""
        size = feed.batch_size
        step = 0
        for data, rows in blocks:
            full, tail = divmod(len(rows), size)
            if full and 0 < tail < self.num_replicas:
                # Every replica needs a row: a tail too small to share joins the batch before.
                full, tail = full - 1, tail + size
            # One shape for every execution: XLA compiles once.
            width = 1 if every_batch else _block_width(feed.block_steps)
            table = rows[: full * size].reshape(full, size)
            done = 0
            while done < full:
                count = min(self._steps_at_once(width), full - done)
                indices = np.zeros((width, size), np.int32)
                indices[:count] = table[done : done + count]
                on_begin(step)
                began = time.perf_counter()
                logs = self.many(data, tf.constant(indices), tf.constant(count), tf.constant(size))
                self._note(time.perf_counter() - began, count)
                done, step = done + count, step + count
                yield step - 1, logs
            if tail:
                on_begin(step)
                logs = self.one(data, tf.constant(rows[full * size :]))
                step += 1
                yield step - 1, logs

    def _steps_at_once(self, width: int) -> int:
        if not self.seconds_per_step:
            return width
        return int(np.clip(SECONDS_PER_EXECUTION / self.seconds_per_step, 1, width))

    def _note(self, seconds: float, steps: int) -> None:
        self.seconds_per_step = seconds / steps


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
