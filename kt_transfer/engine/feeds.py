"""Where batches come from: resident arrays, and blocks of large ones.

A feed yields blocks, ``(data, rows, sizes)``: tensors, the rows of them to visit in order, and
how many each batch takes. Its ``spec`` says what the data look like. Resident data is one block
an epoch; what is larger than memory is many, read by a thread of its own while the one before
trains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from kt_transfer.data.rows import DiskRows, take_rows
from kt_transfer.engine.handover import HandOver

# A block is read while the one before it trains: several an epoch, so that this is most of it.
BLOCK_BYTES = 8 * 2**20
# From disk more at once: every block reads rows from all over the file.
DISK_BLOCK_BYTES = 32 * 2**20
MAX_BLOCK_STEPS = 1024
# What a prediction takes at once, as float32.
PREDICTED_BYTES = 64 * 2**20
# Small data is padded to a power of two rows, so that folds of nearly one size share a program.
MAX_ROWS_TO_PAD = 2**14


def epoch_order(num_rows: int, seed: int | None, epoch: int) -> np.ndarray:
    """The order of examples in one epoch: a pure function of seed and epoch.

    Args:
        num_rows: Number of examples.
        seed: Seed, 0 or more; ``None`` for the order in which they came.
        epoch: Number of the epoch, from 0.

    Returns:
        A permutation of ``range(num_rows)``, ``int32``.
    """
    if seed is None:
        return np.arange(num_rows, dtype=np.int32)
    return np.random.default_rng([seed, epoch]).permutation(num_rows).astype(np.int32)


def is_arrays(x) -> bool:
    """Whether ``x`` is an array or a structure of arrays."""
    leaves = [leaf for leaf in tree.flatten(x) if leaf is not None]
    return bool(leaves) and all(hasattr(leaf, "shape") and len(leaf.shape) for leaf in leaves)


def pack(x, y=None, sample_weight=None, keep_types: bool = False):
    """Arrays as ``(x, y, sample_weight)`` in the types that Keras would give them.

    With ``keep_types`` the examples keep their own: a transform that scales them sees every
    digit of a ``float64``.

    Raises:
        HandOver: If they are of a kind that only stock Keras reads, such as sparse ones.
        ValueError: If their lengths differ.
    """
    x = tree.map_structure(_readable if keep_types else _standard, x)
    y, sample_weight = tree.map_structure(_standard, (y, sample_weight))
    packed = keras.utils.pack_x_y_sample_weight(*tree.lists_to_tuples((x, y, sample_weight)))
    rows = {len(leaf) for leaf in tree.flatten(packed) if leaf is not None}
    if len(rows) > 1:
        raise ValueError(f"arrays of {sorted(rows)} rows were given, expected one length")
    if rows == {0}:
        raise HandOver("no examples were given")
    return packed


def class_weights(y, class_weight: dict) -> np.ndarray:
    """The weight of each example; of labels and soft targets, by the labels."""
    labels = np.asarray(y[0] if isinstance(y, tuple) else y)
    labels = labels.argmax(-1) if labels.ndim > 1 and labels.shape[-1] > 1 else labels.ravel()
    return np.array([class_weight.get(int(k), 1.0) for k in np.round(labels)], np.float32)


def for_each_output(y, sample_weight):
    """One weight for each of several outputs, as stock Keras repeats it."""
    if sample_weight is None or not tree.is_nested(y) or tree.is_nested(sample_weight):
        return sample_weight
    if len(sample_weight.shape) > 1 and tuple(sample_weight.shape[1:]) != (1,):
        raise HandOver("sample_weight of several numbers an example was given to several outputs")
    return tree.map_structure(lambda _: sample_weight, y)


def split_tail(data, share: float):
    """``data`` without its last rows, and those rows, as Keras's ``validation_split`` does."""
    rows = np.arange(num_rows(data))
    cut = int(np.floor(len(rows) * (1.0 - share)))
    if not 0 < cut < len(rows):
        raise HandOver(f"validation_split {share} leaves one part of {len(rows)} rows empty")
    kept = _map(lambda leaf: take_rows(leaf, rows[:cut]), data)
    return kept, _map(lambda leaf: take_rows(leaf, rows[cut:]), data)


def num_rows(data) -> int:
    """Number of examples in a structure of arrays."""
    return len(next(leaf for leaf in tree.flatten(data) if leaf is not None))


def rows_at_once(data) -> int:
    """How many examples a prediction takes at once: 1024, or fewer of large ones."""
    values = sum(np.prod(tuple(leaf.shape[1:])) for leaf in tree.flatten(data) if leaf is not None)
    return int(np.clip(PREDICTED_BYTES // (4 * max(values, 1)), 1, 1024))


def batches_of(data, size: int) -> Iterator:
    """The examples in their order, at most ``size`` at a time."""
    for start in range(0, num_rows(data), size):
        yield _take(data, slice(start, start + size))


def make_feed(data, batch_size: int, memory_budget: int):
    """The feed for these arrays."""
    if sum(leaf.nbytes for leaf in tree.flatten(data) if leaf is not None) <= memory_budget:
        return ResidentFeed(data, batch_size)
    return StreamedFeed(data, batch_size)


def sizes_of_batches(rows: int, batch_size: int) -> np.ndarray:
    """How many examples each batch takes: the last one may take fewer."""
    full, tail = divmod(rows, batch_size)
    return np.array([batch_size] * full + [tail] * (tail > 0), np.int32)


class ResidentFeed:
    """All examples as tensors; an epoch is one block."""

    kind = "data resident"

    def __init__(self, data, batch_size: int):
        self.batch_size = batch_size
        self.num_rows = num_rows(data)
        self.block_steps = self.num_rows // batch_size
        self.num_steps = -(-self.num_rows // batch_size)
        rows = _padded(self.num_rows)
        self.data = _map(lambda leaf: tf.constant(pad(leaf[:], rows)), data)
        self.spec = _map(tf.TensorSpec.from_tensor, self.data)

    def blocks(self, seed: int | None, epoch: int, goes_on: bool = False) -> Iterator:
        """The one block of the epoch."""
        order = epoch_order(self.num_rows, seed, epoch)
        yield self.data, order, sizes_of_batches(self.num_rows, self.batch_size)


class ReadAhead:
    """Reads the next block while the last one trains, over the end of an epoch too."""

    def __init__(self, read: Callable):
        self.read = read
        self.thread = ThreadPoolExecutor(1)
        self.begun: dict[tuple, tuple] = {}

    def blocks(self, seed: int | None, epoch: int, goes_on: bool = False) -> Iterator:
        """The blocks of ``read(seed, epoch)``; with ``goes_on`` the next epoch is begun."""
        blocks, coming = self.begun.pop((seed, epoch), None) or self.begin(seed, epoch)
        following = (seed, epoch + 1) if goes_on else None
        while (block := coming.result()) is not None:
            coming = self.thread.submit(self._advance, blocks, following)
            yield block

    def begin(self, seed: int | None, epoch: int) -> tuple:
        """Begin to read an epoch: its blocks, and the first one as a future."""
        blocks = self.read(seed, epoch)
        return blocks, self.thread.submit(next, blocks, None)

    def _advance(self, blocks: Iterator, following: tuple | None):
        block = next(blocks, None)
        if block is None and following:
            self.begun[following] = self.begin(*following)
        return block


class StreamedFeed:
    """Arrays larger than the budget: read in blocks."""

    kind = "data streamed"

    def __init__(self, data, batch_size: int):
        self.array = data
        self.batch_size = batch_size
        self.num_rows = num_rows(data)
        leaves = [leaf for leaf in tree.flatten(data) if leaf is not None]
        on_disk = any(isinstance(leaf, DiskRows) for leaf in leaves)
        batch_bytes = batch_size * sum(leaf[:1].nbytes for leaf in leaves)
        self.block_steps = steps_in_block(batch_bytes, on_disk)
        self.num_steps = -(-self.num_rows // batch_size)
        rows = self.block_steps * batch_size
        self.spec = _map(lambda leaf: tf.TensorSpec((rows, *leaf.shape[1:]), leaf.dtype), data)
        self.blocks = ReadAhead(self._blocks).blocks

    def _blocks(self, seed: int | None, epoch: int) -> Iterator:
        """The blocks of the epoch; all but the last hold the same number of rows."""
        order = epoch_order(self.num_rows, seed, epoch)
        size = self.block_steps * self.batch_size
        for start in range(0, len(order), size):
            yield self._block(order[start : start + size], size)

    def _block(self, rows: np.ndarray, size: int):
        # Ascending on disk, then visited in the order of the epoch.
        ascending = np.argsort(rows, kind="stable")
        place = np.empty(len(rows), np.int32)
        place[ascending] = np.arange(len(rows), dtype=np.int32)
        data = _take(self.array, rows[ascending])
        data = _map(lambda leaf: tf.constant(pad(leaf, size)), data)
        return data, place, sizes_of_batches(len(rows), self.batch_size)


def steps_in_block(batch_bytes: int, on_disk: bool = False) -> int:
    """How many batches a block holds."""
    size = DISK_BLOCK_BYTES if on_disk else BLOCK_BYTES
    return int(np.clip(size // max(batch_bytes, 1), 1, MAX_BLOCK_STEPS))


def _readable(leaf):
    """An array that rows can be taken from, in its own type."""
    if leaf is None or isinstance(leaf, DiskRows):
        return leaf
    if isinstance(leaf, np.memmap):
        return DiskRows(leaf)
    if type(leaf).__module__.split(".")[0] == "pandas":
        # As Keras reads it: a column is (n, 1).
        array = leaf.to_numpy().reshape(len(leaf), -1)
    elif hasattr(leaf, "__array__") and not isinstance(leaf, (tf.RaggedTensor, tf.SparseTensor)):
        array = np.asarray(leaf)
    else:
        raise HandOver(f"{type(leaf).__name__} was given")
    if not (array.dtype.kind in "biuf" or array.dtype == tf.bfloat16.as_numpy_dtype):
        raise HandOver(f"{type(leaf).__name__} of type {array.dtype} was given")
    if not array.ndim:
        raise HandOver("a number was given, not an array")
    return array


def _standard(leaf):
    """An array in the type that Keras would give it."""
    array = _readable(leaf)
    if isinstance(array, np.ndarray) and array.dtype.kind not in "biu":
        return array.astype(keras.config.floatx(), copy=False)
    return array


def _map(function, data):
    return tree.map_structure(lambda leaf: None if leaf is None else function(leaf), data)


def _take(data, rows):
    return _map(lambda leaf: leaf[rows], data)


def _padded(rows: int) -> int:
    return rows if rows > MAX_ROWS_TO_PAD else 1 << max(rows - 1, 0).bit_length()


def pad(leaf, rows: int):
    """An array or tensor with zeros after its rows."""
    if len(leaf) == rows:
        return leaf
    missing = [(0, rows - len(leaf))] + [(0, 0)] * (leaf.ndim - 1)
    return (
        tf.pad(leaf, missing) if isinstance(leaf, tf.Tensor) else np.pad(np.asarray(leaf), missing)
    )
