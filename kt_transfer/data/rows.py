"""Arrays on disk that are indexed like arrays in memory but never loaded as a whole."""

from __future__ import annotations

import mmap
import tempfile

import numpy as np

from kt_transfer.files.reading import machine_memory

# Reading a row maps its page and up to 64 KiB around it, which count towards the process's memory
# until released: the number of rows read before each release.
_ROWS_AT_ONCE = 128


class DiskRows:
    """All or some rows of a memory-mapped array, read when indexed.

    Pages are released after reading, so that peak memory does not grow with the file.

    Args:
        array: A ``numpy.memmap``.
        rows: Row numbers to include, in order (default: all rows).

    Example:
        >>> np.save("x.npy", np.zeros((10, 784)))
        >>> x = DiskRows(np.load("x.npy", mmap_mode="r"))
        >>> x[[0, 2]].shape, x.subset([5, 6, 7]).shape
        ((2, 784), (3, 784))
    """

    def __init__(self, array: np.memmap, rows: np.ndarray | None = None):
        self.array = array
        self.rows = None if rows is None else np.asarray(rows)
        self.shape = (len(array) if rows is None else len(rows), *array.shape[1:])
        self.dtype = array.dtype
        self.ndim = array.ndim
        self.nbytes = int(np.prod(self.shape)) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key) -> np.ndarray:
        wanted = self._numbers(key)
        if np.ndim(wanted) == 0:
            return np.array(self.array[wanted])
        read = np.empty((len(wanted), *self.shape[1:]), self.dtype)
        for start in range(0, len(wanted), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            read[part] = self.array[wanted[part]]
            self._release()
        return read

    def __setitem__(self, key: slice, values: np.ndarray) -> None:
        self.array[key] = values
        self.array.flush()
        self._release()

    def subset(self, rows: np.ndarray) -> DiskRows:
        """Select rows without reading them."""
        return DiskRows(self.array, self._numbers(rows))

    def _numbers(self, key) -> np.ndarray:
        return (np.arange(len(self.array)) if self.rows is None else self.rows)[key]

    def _release(self) -> None:
        # NumPy has no public access to the mmap of a memmap.
        self.array._mmap.madvise(mmap.MADV_DONTNEED)


def take_rows(x, rows: np.ndarray):
    """``x[rows]``, without reading it if ``x`` is on disk."""
    return x.subset(rows) if isinstance(x, DiskRows) else x[rows]


def rows_in_file(path, dtype, shape: tuple[int, ...], offset: int):
    """An array in a file: read if it fits in a quarter of the memory, otherwise left on disk."""
    array = np.memmap(path, dtype, "r", offset, shape)
    return np.array(array) if array.nbytes <= quarter_of_memory() else DiskRows(array)


def quarter_of_memory() -> int:
    """The default memory budget in bytes: a quarter of the machine's memory."""
    return machine_memory() // 4


def empty_rows(shape: tuple[int, ...], memory_budget: int | None = None):
    """An uninitialized ``float32`` array, in a temporary file if it exceeds the memory budget.

    Args:
        shape: ``(rows, ...)``.
        memory_budget: Bytes that it may take in memory; ``None`` for no limit.
    """
    size = int(np.prod(shape)) * 4
    if memory_budget is None or size <= memory_budget:
        return np.empty(shape, np.float32)
    # Unlinked while open, so that it disappears with the process however this ends.
    with tempfile.TemporaryFile() as file:
        return DiskRows(np.memmap(file, np.float32, "w+", shape=shape))
