"""A ``tf.data.Dataset`` as it comes: its own batches, of whatever sizes, in blocks of many."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from keras import tree

from kt_transfer.engine.feeds import MAX_BLOCK_STEPS, ReadAhead, pad, steps_in_block
from kt_transfer.engine.handover import HandOver


class DatasetFeed:
    """A dataset of batches, read once an epoch.

    Args:
        dataset: Batches of arrays whose shapes are known but for the number of examples.

    Raises:
        HandOver: If they are not.
        ValueError: If the dataset has no end.
    """

    kind = "tf.data streamed"

    def __init__(self, dataset: tf.data.Dataset):
        self.dataset = dataset
        self.spec = tree.map_structure(_any_rows, dataset.element_spec)
        cardinality = int(dataset.cardinality())
        if cardinality == tf.data.INFINITE_CARDINALITY:
            raise ValueError("an endless tf.data.Dataset was given: give steps_per_epoch with it")
        self.num_steps = cardinality if cardinality > 0 else None
        sizes = {spec.shape[0] for spec in tree.flatten(dataset.element_spec)}
        self.batch_size = sizes.pop() if len(sizes) == 1 else None
        self.block_steps = self.rows = None
        self.passes = 0
        self.ahead = ReadAhead(self._blocks)

    def begin(self) -> None:
        """Read the first block, which says how large batches are: of a one-shot dataset it is
        the only chance, so it is kept for the first pass."""
        self.ahead.begun[None, 0] = self.ahead.begin(None, 0)
        self.ahead.begun[None, 0][1].result()

    def blocks(self, seed: int | None, epoch: int, goes_on: bool = False) -> Iterator:
        """One pass over the dataset, in its own order: ``seed`` and ``epoch`` do not matter."""
        number, self.passes = self.passes, self.passes + 1
        return self.ahead.blocks(None, number, goes_on)

    def _blocks(self, seed: int | None, number: int) -> Iterator:
        batches = iter(self.dataset)
        if self.block_steps is None:
            data, sizes = self._first_block(batches)
        else:
            data, sizes = self._read(batches, self.block_steps)
        while len(sizes):
            rows = int(sizes.sum())
            if rows > self.rows:  # batches that are larger than those before
                self.rows = 1 << (rows - 1).bit_length()
            padded = tree.map_structure(lambda leaf: pad(leaf, self.rows), data)
            yield padded, np.arange(rows, dtype=np.int32), sizes
            data, sizes = self._read(batches, self.block_steps)

    def _read(self, batches, count: int):
        data, rows = _next_batches(batches, tf.constant(count))
        rows = rows.numpy()
        if (rows != rows[:, :1]).any():
            raise HandOver("the tf.data.Dataset has batches whose arrays differ in length")
        return data, rows[:, 0]

    def _first_block(self, batches):
        data, sizes = self._read(batches, 1)
        batch_bytes = sum(leaf.dtype.size * int(tf.size(leaf)) for leaf in tree.flatten(data))
        self.block_steps = min(steps_in_block(batch_bytes), self.num_steps or MAX_BLOCK_STEPS)
        if self.block_steps > 1:
            more, more_sizes = self._read(batches, self.block_steps - 1)
            data = tree.map_structure(lambda *parts: tf.concat(parts, 0), data, more)
            sizes = np.concatenate([sizes, more_sizes])
        if self.batch_size is None:
            # Most of them: the first one may be a small one, where batches are shuffled.
            values, counts = np.unique(sizes, return_counts=True)
            self.batch_size = int(values[counts.argmax()]) if len(values) else 1
        self.rows = self.block_steps * self.batch_size
        return data, sizes


def _any_rows(spec) -> tf.TensorSpec:
    known = isinstance(spec, tf.TensorSpec) and spec.shape.rank
    if not known or None in spec.shape[1:] or not (spec.dtype.is_numpy_compatible):
        raise HandOver(f"the tf.data.Dataset has batches of {spec}")
    if not (spec.dtype.is_floating or spec.dtype.is_integer or spec.dtype.is_bool):
        raise HandOver(f"the tf.data.Dataset has batches of {spec.dtype.name}")
    return tf.TensorSpec((None, *spec.shape[1:]), spec.dtype)


@tf.function(autograph=False)
def _next_batches(batches, count):
    """The next batches, joined, and their sizes: read without Python, as one program."""
    specs = tree.flatten(batches.element_spec)
    arrays = [
        tf.TensorArray(
            spec.dtype, 0, dynamic_size=True, infer_shape=False, element_shape=spec.shape
        )
        for spec in specs
    ]
    sizes = tf.TensorArray(tf.int32, 0, dynamic_size=True, element_shape=(len(specs),))

    def read_one(i, _, arrays, sizes):
        batch = batches.get_next_as_optional()

        def add():
            leaves = tree.flatten(batch.get_value())
            rows = tf.stack([tf.shape(leaf)[0] for leaf in leaves])
            written = [array.write(i, leaf) for array, leaf in zip(arrays, leaves, strict=True)]
            return i + 1, written, sizes.write(i, rows)

        i, arrays, sizes = tf.cond(batch.has_value(), add, lambda: (i, arrays, sizes))
        return i, batch.has_value(), arrays, sizes

    _, _, arrays, sizes = tf.while_loop(
        lambda i, goes_on, *_: goes_on & (i < count), read_one, (0, True, arrays, sizes)
    )
    joined = tree.pack_sequence_as(batches.element_spec, [array.concat() for array in arrays])
    return joined, sizes.stack()
