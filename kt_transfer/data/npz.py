"""``npz:FILE``: arrays ``x``, ``y``, optional ``x_test``, ``y_test``."""

from __future__ import annotations

import difflib
import io
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kt_transfer.data.arrays import dataset_from_arrays, require_finite, require_shapes
from kt_transfer.data.dataset import UNLABELLED, Dataset, Like
from kt_transfer.data.labels import number_classes
from kt_transfer.data.ranges import LARGEST_VALUE
from kt_transfer.errors import UserError
from kt_transfer.files.reading import require_plausible_zip

_NAMES = ("x", "y", "x_test", "y_test")
_LONGEST_HEADER = 2**16
# Of a stream.
_BYTES_AT_ONCE, _ROWS_AT_ONCE = 2**24, 2**15


class _Array(NamedTuple):
    """The header of an array."""

    dtype: np.dtype
    shape: tuple[int, ...]
    is_fortran: bool = False
    offset: int = 0


_NONE = _Array(np.dtype(np.uint8), (0,))


def load(spec: str, path: Path, like: Like | None = None) -> Dataset:
    """The arrays of one file; examples without ``y``, or with -1, are unlabelled.

    Arrays are read only after their headers have been checked.
    """
    _checked_headers(spec, path, like)
    arrays = _readable(spec, path, _arrays)
    x, x_test = _numbers(spec, "x", arrays["x"]), arrays.get("x_test")
    if x_test is not None:
        x_test = _numbers(spec, "x_test", x_test)
        if (x.dtype == np.uint8) == (x_test.dtype == np.uint8):
            common = np.result_type(x, x_test)
            x, x_test = x.astype(common, copy=False), x_test.astype(common, copy=False)
    return dataset_from_arrays(
        spec, x, arrays.get("y"), x_test, arrays.get("y_test"), value_range=None, like=like
    )


def labels(spec: str, path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The number of the class of each example of ``x``, and of ``x_test`` where the file has it.

    Raises:
        UserError: If they are no labels.
    """
    headers = _checked_headers(spec, path, None, least=1)
    arrays = _readable(spec, path, lambda path: _arrays(path, ("y", "y_test")))
    sizes = {"y": headers["x"].shape[0], "y_test": headers.get("x_test", _NONE).shape[0]}
    y, y_test = (arrays.get(n, np.full(size, UNLABELLED)) for n, size in sizes.items())
    y, y_test, _ = number_classes(spec, y, y_test)
    return y, y_test if "x_test" in headers else None


def stream(spec: str, path: Path) -> Iterator[tuple[str, int, np.ndarray]]:
    """The examples of a file in pieces, of which one is in memory: those of ``x``, then the test
    part's.

    Yields:
        ``"x"`` or ``"x_test"``, the number of the first row, and raw examples of one type.

    Raises:
        UserError: As :func:`load`.
    """
    headers = _checked_headers(spec, path, None, least=1)
    names = [name for name in ("x", "x_test") if name in headers]
    # Of no rows, whose type is that of all.
    kinds = [_numbers(spec, name, np.empty(0, headers[name].dtype)).dtype for name in names]
    if len({kind == np.uint8 for kind in kinds}) == 1:
        kinds = [np.result_type(*kinds)] * len(kinds)
    for name, kind in zip(names, kinds, strict=True):
        yield from _pieces(spec, path, name, headers[name], kind)


def _pieces(spec: str, path: Path, name: str, about: _Array, kind) -> Iterator:
    row_bytes = max(1, math.prod(about.shape[1:]) * about.dtype.itemsize)
    at_once = int(np.clip(_BYTES_AT_ONCE // row_bytes, 1, _ROWS_AT_ONCE))
    if about.is_fortran:  # columns after one another, so that no rows come out of it alone
        x = _numbers(spec, name, _readable(spec, path, lambda path: _arrays(path, (name,)))[name])
        for start in range(0, len(x), at_once):
            yield name, start, x[start : start + at_once].astype(kind, copy=False)
        return
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
        file.read(about.offset)
        for start in range(0, about.shape[0], at_once):
            rows = min(at_once, about.shape[0] - start)
            content = _readable(spec, path, lambda _, size=rows * row_bytes: file.read(size))
            x = np.frombuffer(content, about.dtype).reshape(rows, *about.shape[1:])
            x = _numbers(spec, name, x).astype(kind, copy=False)
            require_finite(spec, name, x, start)
            yield name, start, x


def _checked_headers(
    spec: str, path: Path, like: Like | None, least: int | None = None
) -> dict[str, _Array]:
    headers = _readable(spec, path, _headers)
    _require_names(spec, headers)
    for name in ("x", "x_test"):
        if name in headers and headers[name].dtype.kind not in "buif":
            raise UserError(
                setting="data",
                given=spec,
                when=f"with {name} of type {headers[name].dtype}",
                expected="numbers",
                remedy="convert it",
            )
    shapes = {name: header.shape for name, header in headers.items()}
    for x, y in (("x", "y"), ("x_test", "y_test")):
        at_least = least or (2 if like is None else like.least)
        require_shapes(spec, x, shapes.get(x), y, shapes.get(y), at_least)
    return headers


def _readable(spec: str, path: Path, read):
    try:
        return read(path)
    except Exception as error:
        raise UserError(
            setting="data",
            given=spec,
            expected="an .npz file with an array x",
            but=f"it cannot be read ({error})",
            remedy="write one with numpy.savez(FILE, x=..., y=...)",
        ) from error


def _headers(path: Path) -> dict[str, _Array]:
    """Type and shape of every array; ``ValueError`` if a size does not match its header."""
    require_plausible_zip(path)
    with zipfile.ZipFile(path) as archive:
        return {
            member.filename.removesuffix(".npy"): _header(archive, member)
            for member in archive.infolist()
        }


def _header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> _Array:
    with archive.open(member) as file:
        # A header states its own length, so the amount to read is limited.
        beginning = io.BytesIO(file.read(_LONGEST_HEADER))
    version = np.lib.format.read_magic(beginning)
    read = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read = np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(beginning)
    if dtype.hasobject:
        raise ValueError(f"{member.filename} holds Python objects, not numbers or names")
    if beginning.tell() + math.prod(shape) * dtype.itemsize != member.file_size:
        raise ValueError(f"the header of {member.filename} does not describe its content")
    return _Array(dtype, shape, is_fortran, beginning.tell())


def _arrays(path: Path, names=_NAMES) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files if name in names}


def _require_names(spec: str, found) -> None:
    """Refuse a file without examples, and arrays that would be ignored silently."""
    given = ", ".join(found) or "(none)"
    if "x" not in found:
        raise UserError(
            setting="data",
            given=spec,
            when=f"with the arrays {given}",
            expected="x",
            remedy="name the examples x and the labels y",
        )
    if unknown := [name for name in found if name not in _NAMES]:
        meant = difflib.get_close_matches(unknown[0].lower(), _NAMES, 1)
        rename = f"rename it to {meant[0]}, " if meant and meant[0] not in found else ""
        raise UserError(
            setting="data",
            given=spec,
            when=f"with an array {unknown[0]}",
            expected=f"{', '.join(_NAMES[:-1])} and {_NAMES[-1]} alone",
            remedy=f"{rename}leave it out, or, if it holds examples without labels, append them to "
            "x with labels of -1",
        )


def _numbers(spec: str, name: str, x: np.ndarray) -> np.ndarray:
    """The values as ``uint8``, ``float32`` or ``float64``, the smallest suitable type."""
    if x.dtype.kind == "b":
        return x.astype(np.uint8)
    if x.dtype in (np.uint8, np.float32):
        return x
    numbers = x.astype(np.float32 if x.dtype.itemsize <= 2 else np.float64, copy=False)
    if x.dtype.itemsize == 8 and x.dtype.kind in "iu":
        _require_distinguishable(spec, name, x)
    largest = float(np.abs(numbers).max(initial=0.0, where=np.isfinite(numbers)))
    if largest > LARGEST_VALUE:
        raise UserError(
            setting="data",
            given=spec,
            when=f"with a value beyond {LARGEST_VALUE:g} in {name}",
            expected="smaller ones",
            remedy="divide it, or take its logarithm",
        )
    return numbers


def _require_distinguishable(spec: str, name: str, x: np.ndarray) -> None:
    """Refuse integers that are too large and close together for floats to distinguish."""
    if x.size == 0:
        return
    low, high = x.min(axis=0).astype(object), x.max(axis=0).astype(object)
    apart = np.spacing(np.maximum(abs(low), abs(high)).astype(np.float64))
    if ((apart > 1) & (high > low) & (high - low < 1000 * apart)).any():
        raise UserError(
            setting="data",
            given=spec,
            when=f"with whole numbers around {int(np.ravel(high).max()):.3g} in {name} that lie "
            "closer together than floats of that size do",
            expected="numbers that float64 tells apart",
            remedy="subtract what they have in common",
        )
