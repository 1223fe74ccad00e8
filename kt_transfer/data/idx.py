"""``idx:DIR``: the four files of MNIST's own format (yann.lecun.com), ``.gz`` or not."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kt_transfer.data.arrays import dataset_from_arrays, require_shapes
from kt_transfer.data.dataset import Dataset, Like
from kt_transfer.data.rows import rows_in_file
from kt_transfer.errors import UserError
from kt_transfer.files.reading import require_plausible_size

_UBYTE = 0x08
_LONGEST_HEADER = 4 + 4 * 255
_BYTES_AT_ONCE = 2**16
_GZIP = 31  # zlib's code for the gzip format
_MISFIT = "its header does not describe its content"
_DAMAGES = (OSError, EOFError, ValueError, IndexError, zlib.error)


class _File(NamedTuple):
    """A file whose header has been read: the shape of the array, and its offset."""

    path: Path
    shape: tuple[int, ...]
    offset: int


def load(spec: str, folder: Path, like: Like | None = None) -> Dataset:
    """Images and labels of ``train-`` and ``t10k-``; a missing test part is split off.

    New examples for a model need no labels. Content is read only after the headers have been
    checked.
    """
    if not folder.is_dir():
        raise UserError(
            setting="data",
            given=spec,
            expected="a folder with train-images-idx3-ubyte(.gz) and train-labels-idx1-ubyte(.gz)",
            but="there is none",
            remedy="give such a folder",
        )
    x = _find(spec, folder, "train-images")
    y = _find(spec, folder, "train-labels", optional=like is not None)
    x_test, y_test = (
        _find(spec, folder, f"t10k-{part}", optional=True) for part in ("images", "labels")
    )
    least = 2 if like is None else like.least
    require_shapes(spec, "images", x.shape, "labels", None if y is None else y.shape, least)
    require_shapes(
        spec,
        "test images",
        None if x_test is None else x_test.shape,
        "test labels",
        None if y_test is None else y_test.shape,
        least,
    )
    return dataset_from_arrays(
        spec,
        _read(spec, x),
        None if y is None else _read(spec, y)[:],
        None if x_test is None else _read(spec, x_test),
        None if y_test is None else _read(spec, y_test)[:],
        value_range=(0.0, 255.0),
        like=like,
    )


def _find(spec: str, folder: Path, stem: str, optional: bool = False) -> _File | None:
    # Copies of MNIST have a dash or a dot before "idx".
    found = sorted(folder.glob(f"{stem}?idx?-ubyte*"))
    if not found:
        if optional:
            return None
        raise UserError(
            setting="data",
            given=spec,
            expected=f"a file {stem}-idx*-ubyte(.gz) in it",
            but="there is none",
            remedy="put it there",
        )
    path = found[0]
    try:
        with path.open("rb") as file:
            beginning = file.read(_LONGEST_HEADER)
        if path.suffix == ".gz":
            beginning = zlib.decompressobj(_GZIP).decompress(beginning, _LONGEST_HEADER)
        return _File(path, *_header(beginning))
    except _DAMAGES as error:
        raise _unreadable(spec, path, error) from error


def _read(spec: str, file: _File):
    path, shape, offset = file
    size, packed = math.prod(shape), path.stat().st_size
    try:
        if path.suffix == ".gz":
            require_plausible_size(packed, size)
            # Gzip expands incompressible data by less; more would be padding.
            if packed > 1.01 * size + _BYTES_AT_ONCE:
                raise ValueError(_MISFIT)
            return _unpacked(file, size)
        if offset + size != packed:
            raise ValueError(_MISFIT)
        return rows_in_file(path, np.uint8, shape, offset)
    except _DAMAGES as error:
        raise _unreadable(spec, path, error) from error


def _unpacked(file: _File, size: int) -> np.ndarray:
    """The content, which must be exactly as long as the header says."""
    content = np.empty(size, np.uint8)
    with gzip.open(file.path) as unpacking:
        unpacking.seek(file.offset)
        for start in range(0, size, _BYTES_AT_ONCE):
            part = content[start : start + _BYTES_AT_ONCE]
            if unpacking.readinto(part.data) != len(part):
                raise ValueError(_MISFIT)
        if unpacking.read(1):
            raise ValueError(_MISFIT)
    return content.reshape(file.shape)


def _header(content: bytes) -> tuple[tuple[int, ...], int]:
    """Shape of the array, and its offset."""
    num_dims = content[3]
    shape = tuple(map(int, np.frombuffer(content, ">u4", num_dims, offset=4)))
    if content[:3] != bytes([0, 0, _UBYTE]):
        raise ValueError(_MISFIT)
    return shape, 4 + 4 * num_dims


def _unreadable(spec: str, path: Path, error: Exception) -> UserError:
    return UserError(
        setting="data",
        given=spec,
        expected=f"{path.name} to be an idx file of unsigned bytes",
        but=f"it cannot be read ({error})",
        remedy="fetch it again",
    )
