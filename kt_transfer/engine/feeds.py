"""Feeds of batches from arrays: all of the data in memory, or streamed in blocks.

A feed yields blocks ``(data, rows, sizes)``: tensors, the order in which to visit their rows, and
the size of each batch. Its ``spec`` holds the ``tf.TensorSpec`` of ``data``. Data in memory is one
block per epoch. Larger data is many blocks, and a thread reads the next one during training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from kt_transfer.data.rows import DiskRows, take_rows
from kt_transfer.engine.fallback import NeedsStockKeras
from kt_transfer.engine.replicas import Shares, own_replicas, without_small_batches

# Small enough for several blocks per epoch, so that most of the reading overlaps with training.
BLOCK_BYTES = 8 * 2**20
# Larger from disk, since every block reads rows from all over the file.
DISK_BLOCK_BYTES = 32 * 2**20
MAX_BLOCK_STEPS = 1024
# Size of the examples, as float32, that are predicted at once.
PREDICT_BYTES = 64 * 2**20
# Data of up to so many rows is padded to a power of two, so that cross-validation folds of nearly
# the same size share a program.
MAX_ROWS_TO_PAD = 2**14


def epoch_order(num_rows: int, seed: int | None, epoch: int) -> np.ndarray:
    """Order of the examples in one epoch: a pure function of seed and epoch.

    Args:
        num_rows: Number of examples.
        seed: Non-negative seed; ``None`` keeps the given order.
        epoch: Index of the epoch, from 0.

    Returns:
        A permutation of ``range(num_rows)``, ``int32``.
    """
    if seed is None:
        return np.arange(num_rows, dtype=np.int32)
    return np.random.default_rng([seed, epoch]).permutation(num_rows).astype(np.int32)


def map_arrays(function: Callable, structure):
    """Apply a function to every array in a structure; ``None`` stays ``None``."""
    return tree.map_structure(lambda leaf: None if leaf is None else function(leaf), structure)


def is_arrays(x) -> bool:
    """Whether ``x`` is an array or a structure of arrays."""
    leaves = [leaf for leaf in tree.flatten(x) if leaf is not None]
    return bool(leaves) and all(hasattr(leaf, "shape") and len(leaf.shape) for leaf in leaves)


def pack(x, y=None, sample_weight=None, keep_types: bool = False):
    """Arrays as ``(x, y, sample_weight)``, in the dtypes to which Keras would convert them.

    With ``keep_types``, ``x`` keeps its dtypes: a transform that scales ``float64`` examples sees
    their full precision.

    Raises:
        NeedsStockKeras: If only stock Keras can read them, such as sparse arrays.
        ValueError: If their lengths differ.
    """
    x = tree.map_structure(_readable if keep_types else _standard, x)
    y, sample_weight = tree.map_structure(_standard, (y, sample_weight))
    packed = keras.utils.pack_x_y_sample_weight(*tree.lists_to_tuples((x, y, sample_weight)))
    rows = {len(leaf) for leaf in tree.flatten(packed) if leaf is not None}
    if len(rows) > 1:
        raise ValueError(f"arrays of {sorted(rows)} rows were given, expected one length")
    if rows == {0}:
        raise NeedsStockKeras("no examples were given")
    return packed


def class_weights(y, class_weight: dict) -> np.ndarray:
    """The weight of each example; where ``y`` is a tuple, by its first array, the labels."""
    labels = np.asarray(y[0] if isinstance(y, tuple) else y)
    labels = labels.argmax(-1) if labels.ndim > 1 and labels.shape[-1] > 1 else labels.ravel()
    return np.array([class_weight.get(int(k), 1.0) for k in np.round(labels)], np.float32)


def for_each_output(y, sample_weight):
    """``sample_weight`` repeated for each of several outputs, as Keras does."""
    if sample_weight is None or not tree.is_nested(y) or tree.is_nested(sample_weight):
        return sample_weight
    if len(sample_weight.shape) > 1 and tuple(sample_weight.shape[1:]) != (1,):
        raise NeedsStockKeras("sample_weight has several values per example, and y several outputs")
    return tree.map_structure(lambda _: sample_weight, y)


def split_tail(data, share: float):
    """Split off the last rows, as Keras does for ``validation_split``."""
    rows = np.arange(num_rows(data))
    cut = int(np.floor(len(rows) * (1.0 - share)))
    if not 0 < cut < len(rows):
        raise NeedsStockKeras(f"validation_split {share} leaves one part of {len(rows)} rows empty")
    kept = map_arrays(lambda leaf: take_rows(leaf, rows[:cut]), data)
    return kept, map_arrays(lambda leaf: take_rows(leaf, rows[cut:]), data)


def num_rows(data) -> int:
    """Number of examples in a structure of arrays."""
    return len(next(leaf for leaf in tree.flatten(data) if leaf is not None))


def predict_batch_size(data) -> int:
    """Batch size for predictions that are made quietly: 1024, or fewer if examples are large."""
    values = sum(np.prod(tuple(leaf.shape[1:])) for leaf in tree.flatten(data) if leaf is not None)
    return int(np.clip(PREDICT_BYTES // (4 * max(values, 1)), 1, 1024))


def batches_of(data, size: int) -> Iterator:
    """Batches of the examples in the given order."""
    for start in range(0, num_rows(data), size):
        yield _take(data, slice(start, start + size))


def make_feed(data, batch_size: int, memory_budget: int, strategy: tf.distribute.Strategy):
    """A feed of these arrays: in memory if they fit the budget, else streamed."""
    if sum(leaf.nbytes for leaf in tree.flatten(data) if leaf is not None) <= memory_budget:
        return ResidentFeed(data, batch_size)
    num_replicas = strategy.num_replicas_in_sync
    return StreamedFeed(data, batch_size, num_replicas, own_replicas(strategy))


def batch_sizes(rows: int, batch_size: int) -> np.ndarray:
    """Size of each batch: the last one may be smaller."""
    full, tail = divmod(rows, batch_size)
    return np.array([batch_size] * full + [tail] * (tail > 0), np.int32)


class ResidentFeed:
    """All examples as tensors, in one block per epoch."""

    kind = "data resident"

    def __init__(self, data, batch_size: int):
        self.batch_size = batch_size
        self.num_rows = num_rows(data)
        self.block_steps = self.num_rows // batch_size
        self.num_steps = -(-self.num_rows // batch_size)
        rows = _rows_with_padding(self.num_rows)
        self.data = map_arrays(lambda leaf: tf.constant(pad(leaf[:], rows)), data)
        self.spec = map_arrays(tf.TensorSpec.from_tensor, self.data)

    def blocks(self, seed: int | None, epoch: int, prefetch_next: bool = False) -> Iterator:
        """The one block of the epoch."""
        order = epoch_order(self.num_rows, seed, epoch)
        yield self.data, order, batch_sizes(self.num_rows, self.batch_size)


class Prefetcher:
    """Reads the next block in a thread, and, across the end of an epoch, the next epoch's first.

    Args:
        read: From seed and epoch to an iterator over the blocks of that epoch.
    """

    def __init__(self, read: Callable):
        self.read = read
        self.thread = ThreadPoolExecutor(1)
        self.started: dict[tuple, tuple] = {}

    def blocks(self, seed: int | None, epoch: int, prefetch_next: bool = False) -> Iterator:
        """The blocks of an epoch; with ``prefetch_next``, starts to read the next one, too."""
        blocks, future = self.started.pop((seed, epoch), None) or self.start(seed, epoch)
        next_epoch = (seed, epoch + 1) if prefetch_next else None
        while (block := future.result()) is not None:
            future = self.thread.submit(self._advance, blocks, next_epoch)
            yield block

    def start(self, seed: int | None, epoch: int) -> tuple:
        """Start to read an epoch: its iterator, and a future of the first block."""
        blocks = self.read(seed, epoch)
        return blocks, self.thread.submit(next, blocks, None)

    def _advance(self, blocks: Iterator, next_epoch: tuple | None):
        block = next(blocks, None)
        if block is None and next_epoch:
            self.started[next_epoch] = self.start(*next_epoch)
        return block


class StreamedFeed:
    """Arrays larger than the memory budget, read in blocks.

    Of several workers, each reads the rows of its own replicas alone.

    Args:
        data: The arrays.
        batch_size: Rows of a batch, over all replicas.
        num_replicas: Of all workers.
        replicas: The first of this process, and the one after its last (default: all).
    """

    kind = "data streamed"

    def __init__(
        self,
        data,
        batch_size: int,
        num_replicas: int = 1,
        replicas: tuple[int, int] | None = None,
    ):
        self.array = data
        self.batch_size = batch_size
        self.replicas = replicas or (0, num_replicas)
        self.num_rows = num_rows(data)
        self.shares = Shares(num_replicas, *self.replicas, equal=False)
        self.sizes = without_small_batches(batch_sizes(self.num_rows, batch_size), num_replicas)
        leaves = [leaf for leaf in tree.flatten(data) if leaf is not None]
        on_disk = any(isinstance(leaf, DiskRows) for leaf in leaves)
        row_bytes = sum(leaf[:1].nbytes for leaf in leaves)
        batch_bytes = self.shares.most_read(batch_size) * row_bytes
        self.block_steps = steps_per_block(batch_bytes, on_disk)
        self.num_steps = len(self.sizes)
        # The last batch may be larger than others, by fewer rows than there are replicas.
        self.block_rows = self.block_steps * self.shares.most_read(batch_size) + num_replicas - 1
        self.spec = map_arrays(
            lambda leaf: tf.TensorSpec((self.block_rows, *leaf.shape[1:]), leaf.dtype), data
        )
        self.blocks = Prefetcher(self._blocks).blocks

    def _blocks(self, seed: int | None, epoch: int) -> Iterator:
        """The blocks of the epoch; all but the last have the same number of rows."""
        order = epoch_order(self.num_rows, seed, epoch)
        ends = np.cumsum(self.sizes, dtype=np.int64)
        for step in range(0, self.num_steps, self.block_steps):
            sizes = self.sizes[step : step + self.block_steps]
            first = ends[step] - sizes[0]
            yield self._block(order[first : first + sizes.sum()], sizes)

    def _block(self, rows: np.ndarray, sizes: np.ndarray):
        own = rows[self._is_read(sizes)]
        # Read in ascending order, which is fast on disk, and visited in the order of the epoch.
        ascending = np.argsort(own, kind="stable")
        position = np.empty(len(own), np.int32)
        position[ascending] = np.arange(len(own), dtype=np.int32)
        data = _take(self.array, own[ascending])
        data = map_arrays(lambda leaf: tf.constant(pad(leaf, self.block_rows)), data)
        return data, position, sizes

    def _is_read(self, sizes: np.ndarray) -> np.ndarray:
        """Which rows of these batches are those of this process's replicas."""
        start, end = (np.repeat(bounds, sizes) for bounds in self.shares.bounds(sizes))
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return (within >= start) & (within < end)


def steps_per_block(batch_bytes: int, on_disk: bool = False) -> int:
    """Number of batches in a block."""
    size = DISK_BLOCK_BYTES if on_disk else BLOCK_BYTES
    return int(np.clip(size // max(batch_bytes, 1), 1, MAX_BLOCK_STEPS))


def _readable(leaf):
    """A leaf as an array that can be indexed, in its own dtype."""
    if leaf is None or isinstance(leaf, DiskRows):
        return leaf
    if isinstance(leaf, np.memmap):
        return DiskRows(leaf)
    if type(leaf).__module__.split(".")[0] == "pandas":
        # As Keras does: a single column has the shape (n, 1).
        array = leaf.to_numpy().reshape(len(leaf), -1)
    elif hasattr(leaf, "__array__") and not isinstance(leaf, (tf.RaggedTensor, tf.SparseTensor)):
        array = np.asarray(leaf)
    else:
        raise NeedsStockKeras(f"{type(leaf).__name__} was given")
    if not (array.dtype.kind in "biuf" or array.dtype == tf.bfloat16.as_numpy_dtype):
        raise NeedsStockKeras(f"{type(leaf).__name__} of type {array.dtype} was given")
    if not array.ndim:
        raise NeedsStockKeras("a number was given, not an array")
    return array


def _standard(leaf):
    """A leaf as an array in the dtype to which Keras would convert it."""
    array = _readable(leaf)
    if isinstance(array, np.ndarray) and array.dtype.kind not in "biu":
        return array.astype(keras.config.floatx(), copy=False)
    return array


def _take(data, rows):
    return map_arrays(lambda leaf: leaf[rows], data)


def _rows_with_padding(rows: int) -> int:
    return rows if rows > MAX_ROWS_TO_PAD else 1 << max(rows - 1, 0).bit_length()


def pad(leaf, rows: int):
    """An array or tensor padded with zeros to a number of rows."""
    if len(leaf) == rows:
        return leaf
    missing = [(0, rows - len(leaf))] + [(0, 0)] * (leaf.ndim - 1)
    return (
        tf.pad(leaf, missing) if isinstance(leaf, tf.Tensor) else np.pad(np.asarray(leaf), missing)
    )
