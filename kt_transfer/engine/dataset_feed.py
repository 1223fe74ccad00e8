"""The batches of a ``tf.data.Dataset``, of whatever sizes, read in blocks of many."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from keras import tree

from kt_transfer.engine.fallback import NeedsStockKeras
from kt_transfer.engine.feeds import MAX_BLOCK_STEPS, Prefetcher, pad, steps_per_block


class DatasetFeed:
    """The batches of a dataset, read once per epoch.

    Args:
        dataset: Batches of arrays. All dimensions except the batch dimension must be known.

    Raises:
        NeedsStockKeras: If they are not.
        ValueError: If the dataset is infinite.
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
        self.block_steps = self.block_rows = None
        self.epochs = 0
        self.prefetcher = Prefetcher(self._blocks)

    def read_first_block(self) -> None:
        """Read the first block, which tells the batch size.

        The block is kept for the first epoch: a dataset may not be readable a second time.
        """
        self.prefetcher.started[None, 0] = self.prefetcher.start(None, 0)
        self.prefetcher.started[None, 0][1].result()

    def blocks(self, seed: int | None, epoch: int, prefetch_next: bool = False) -> Iterator:
        """One pass over the dataset, in its own order: ``seed`` and ``epoch`` are ignored."""
        number, self.epochs = self.epochs, self.epochs + 1
        return self.prefetcher.blocks(None, number, prefetch_next)

    def _blocks(self, seed: int | None, number: int) -> Iterator:
        batches = iter(self.dataset)
        if self.block_steps is None:
            data, sizes = self._first_block(batches)
        else:
            data, sizes = self._read(batches, self.block_steps)
        while len(sizes):
            rows = int(sizes.sum())
            if rows > self.block_rows:  # batches are larger than those of the first block
                self.block_rows = 1 << (rows - 1).bit_length()
            padded = tree.map_structure(lambda leaf: pad(leaf, self.block_rows), data)
            yield padded, np.arange(rows, dtype=np.int32), sizes
            data, sizes = self._read(batches, self.block_steps)

    def _read(self, batches, count: int):
        data, rows = _next_batches(batches, tf.constant(count))
        rows = rows.numpy()
        if (rows != rows[:, :1]).any():
            raise NeedsStockKeras("the tf.data.Dataset has batches whose arrays differ in length")
        return data, rows[:, 0]

    def _first_block(self, batches):
        data, sizes = self._read(batches, 1)
        batch_bytes = sum(leaf.dtype.size * int(tf.size(leaf)) for leaf in tree.flatten(data))
        self.block_steps = min(steps_per_block(batch_bytes), self.num_steps or MAX_BLOCK_STEPS)
        if self.block_steps > 1:
            more, more_sizes = self._read(batches, self.block_steps - 1)
            data = tree.map_structure(lambda *parts: tf.concat(parts, 0), data, more)
            sizes = np.concatenate([sizes, more_sizes])
        if self.batch_size is None:
            # The most frequent size: where batches are shuffled, the partial one may come first.
            values, counts = np.unique(sizes, return_counts=True)
            self.batch_size = int(values[counts.argmax()]) if len(values) else 1
        self.block_rows = self.block_steps * self.batch_size
        return data, sizes


def _any_rows(spec) -> tf.TensorSpec:
    known = isinstance(spec, tf.TensorSpec) and spec.shape.rank
    if not known or None in spec.shape[1:] or not (spec.dtype.is_numpy_compatible):
        raise NeedsStockKeras(f"the tf.data.Dataset has batches of {spec}")
    if not (spec.dtype.is_floating or spec.dtype.is_integer or spec.dtype.is_bool):
        raise NeedsStockKeras(f"the tf.data.Dataset has batches of {spec.dtype.name}")
    return tf.TensorSpec((None, *spec.shape[1:]), spec.dtype)


@tf.function(autograph=False)
def _next_batches(batches, count):
    """The next batches, concatenated, and their sizes: read in one program, without Python."""
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
        lambda i, has_more, *_: has_more & (i < count), read_one, (0, True, arrays, sizes)
    )
    data = tree.pack_sequence_as(batches.element_spec, [array.concat() for array in arrays])
    return data, sizes.stack()
