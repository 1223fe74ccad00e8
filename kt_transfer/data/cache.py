"""A cache of decoded data sets on disk, so that later commands need not decode them."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from kt_transfer.data.rows import rows_in_file
from kt_transfer.errors import UserError
from kt_transfer.files.writing import disk_errno, size_in_words


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/kt_transfer``, by default under ``~/.cache``; safe to delete."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "kt_transfer"


def file_key(path: os.PathLike) -> str:
    """A hash of a file's content."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def cached_rows(key: str, num_rows: int, batches: Callable[[], Iterator[dict]]) -> dict:
    """Read arrays from the cache, or write what ``batches`` yields to it first.

    Batches are written as they come, so that the data may exceed the memory.

    Args:
        key: Cache key, which changes when the arrays would.
        num_rows: Number of rows of each array.
        batches: Function that yields batches, dictionaries of arrays.

    Returns:
        Arrays by name, in memory or on disk (:func:`~kt_transfer.data.rows.rows_in_file`).

    Raises:
        UserError: If the cache cannot be written, or has no room for them.
    """
    folder = cache_folder() / key
    if not folder.is_dir():
        unfinished = _unfinished(folder)
        try:
            _write(unfinished, num_rows, batches())
            unfinished.rename(folder)
        except OSError as error:
            if not folder.is_dir():  # otherwise another process wrote it first
                if disk_errno(error) and not error.filename:
                    error.filename = str(cache_folder())
                raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return cached(key)


def cached(key: str) -> dict:
    """The arrays that :func:`cached_rows` has written; empty if there are none."""
    return {path.stem: _read(path) for path in (cache_folder() / key).glob("*.npy")}


def _unfinished(folder: Path) -> Path:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=folder.parent))
    except OSError as error:
        raise UserError(
            given=cache_folder(),
            when="as the cache",
            expected=f"a folder that can be written ({error.strerror})",
            remedy="set XDG_CACHE_HOME to one",
        ) from error


def _write(folder: Path, num_rows: int, batches: Iterator[dict]) -> None:
    files = {}
    try:
        for batch in batches:
            if not files:
                _require_room(folder, num_rows * sum(piece[0].nbytes for piece in batch.values()))
            for name, piece in batch.items():
                if name not in files:
                    files[name] = (folder / f"{name}.npy").open("wb")
                    header = np.lib.format.header_data_from_array_1_0(piece)
                    header["shape"] = (num_rows, *piece.shape[1:])
                    np.lib.format.write_array_header_2_0(files[name], header)
                files[name].write(np.ascontiguousarray(piece).data)
    finally:
        for file in files.values():
            file.close()


def _require_room(folder: Path, needed: int) -> None:
    """Check free disk space before decoding, which may take hours."""
    if needed > (free := shutil.disk_usage(folder).free):
        raise UserError(
            given=cache_folder(),
            when="as the cache",
            expected=f"room for {size_in_words(needed)}",
            but=f"{size_in_words(free)} are free",
            remedy=f"free {size_in_words(needed - free)}, or set XDG_CACHE_HOME to a folder on "
            "another disk",
        )


def _read(path: Path):
    array = np.load(path, mmap_mode="r")
    return rows_in_file(path, array.dtype, array.shape, array.offset)
