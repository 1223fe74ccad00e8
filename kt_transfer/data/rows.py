"""Rows that lie on disk: indexed like an array, never held in memory as a whole."""

from __future__ import annotations

import mmap
import os
import tempfile

import numpy as np

# Reading a row maps its page and up to 64 KiB around it, which count as this process's memory
# until they are given back: so many rows are read in between.
_ROWS_AT_ONCE = 128


class DiskRows:
    """The rows of a memory-mapped array, or some of them, read when they are asked for.

    What was read does not stay in the process's memory, so that its peak does not grow with
    the file.

    Args:
        array: A ``numpy.memmap``.
        rows: Which of its rows, in which order (default: all, as they are).

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
        """Some of the rows, still on disk."""
        return DiskRows(self.array, self._numbers(rows))

    def _numbers(self, key) -> np.ndarray:
        return (np.arange(len(self.array)) if self.rows is None else self.rows)[key]

    def _release(self) -> None:
        # NumPy has no public way to the map under a memmap.
        self.array._mmap.madvise(mmap.MADV_DONTNEED)


def take_rows(x, rows: np.ndarray):
    """``x[rows]``, left on disk if ``x`` lies there."""
    return x.subset(rows) if isinstance(x, DiskRows) else x[rows]


def rows_in_file(path, dtype, shape: tuple[int, ...], offset: int):
    """An array that lies in a file: read, if it fits a quarter of the memory, or left there."""
    array = np.memmap(path, dtype, "r", offset, shape)
    return np.array(array) if array.nbytes <= quarter_of_memory() else DiskRows(array)


def quarter_of_memory() -> int:
    """Bytes that data may take by default: a quarter of what the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4


def empty_rows(shape: tuple[int, ...], memory_budget: int | None = None):
    """Room for ``float32`` rows: in memory, or in a temporary file beyond the budget.

    Args:
        shape: ``(rows, ...)``.
        memory_budget: Bytes that may be held in memory; ``None`` for any number.
    """
    size = int(np.prod(shape)) * 4
    if memory_budget is None or size <= memory_budget:
        return np.empty(shape, np.float32)
    # Unlinked as soon as it is open: gone with the process, however it ends.
    with tempfile.TemporaryFile() as file:
        return DiskRows(np.memmap(file, np.float32, "w+", shape=shape))
