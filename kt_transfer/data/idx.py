"""``idx:DIR``: the four files of MNIST's own format (yann.lecun.com), ``.gz`` or not."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np

from kt_transfer.data.arrays import dataset_from_arrays
from kt_transfer.data.dataset import Dataset
from kt_transfer.errors import UserError
from kt_transfer.rows import rows_in_file

_UBYTE = 0x08
_LONGEST_HEADER = 4 + 4 * 255


def load(spec: str, folder: Path) -> Dataset:
    """Images and labels of ``train-`` and ``t10k-``; a missing test pair is split off."""
    if not folder.is_dir():
        raise UserError(
            f"--data {spec} was given, expected a folder with train-images-idx3-ubyte(.gz) and "
            "train-labels-idx1-ubyte(.gz), but there is none: give such a folder."
        )
    return dataset_from_arrays(
        spec,
        _read(spec, folder, "train-images"),
        _labels(_read(spec, folder, "train-labels")),
        _read(spec, folder, "t10k-images", optional=True),
        _labels(_read(spec, folder, "t10k-labels", optional=True)),
        value_range=(0.0, 255.0),
    )


def _labels(values):
    return None if values is None else values[:]


def _read(spec: str, folder: Path, stem: str, optional: bool = False) -> np.ndarray | None:
    # MNIST is found with a dash and with a dot before "idx".
    found = sorted(folder.glob(f"{stem}?idx?-ubyte*"))
    if not found:
        if optional:
            return None
        raise UserError(
            f"--data {spec} was given, expected a file {stem}-idx*-ubyte(.gz) in it, but there is "
            "none: put it there."
        )
    path = found[0]
    try:
        if path.suffix != ".gz":
            shape, offset = _header(_beginning(path), path.stat().st_size)
            return rows_in_file(path, np.uint8, shape, offset)
        content = gzip.decompress(path.read_bytes())
        shape, offset = _header(content, len(content))
        return np.frombuffer(content, np.uint8, offset=offset).reshape(shape)
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise UserError(
            f"--data {spec} was given, expected {path.name} to be an idx file of unsigned bytes, "
            f"but it cannot be read ({error}): fetch it again."
        ) from error


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_LONGEST_HEADER)


def _header(content: bytes, size: int) -> tuple[tuple[int, ...], int]:
    """Shape of the array, and where it begins."""
    num_dims = content[3]
    offset = 4 + 4 * num_dims
    shape = tuple(map(int, np.frombuffer(content, ">u4", num_dims, offset=4)))
    if content[:3] != bytes([0, 0, _UBYTE]) or offset + math.prod(shape) != size:
        raise ValueError("its header does not describe its content")
    return shape, offset
