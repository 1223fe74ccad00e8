"""``images:DIR``: pictures in folders, one folder per class."""

from __future__ import annotations

import collections
import dataclasses
import functools
import glob
import hashlib
import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from kt_transfer.data import pictures
from kt_transfer.data.arrays import dataset_from_arrays
from kt_transfer.data.cache import cached, cached_rows
from kt_transfer.data.dataset import UNLABELLED, Dataset, Like
from kt_transfer.data.folders import Found, LeftOut, find_pictures, readable_name
from kt_transfer.data.rows import take_rows
from kt_transfer.errors import UserError, listed

# Larger pictures are scaled down to so many pixels on their longer side, since the networks trained
# here are small; to more for a network that was made for larger ones.
IMAGE_SIZE, LARGE_IMAGE_SIZE = 32, 128
# Part of the cache key; increase it when the same files decode to other values.
_RULES = 5
_ROWS_AT_ONCE = 512
# Of pictures that cannot be read, those named in a line and in the error that ends it all.
_MOST_NAMED, _MOST_ERRORS = 5, 20


# Pixels of the longer side at most, or height and width exactly.
ImageSize = int | tuple[int, int]


def load(
    spec: str,
    folder: Path,
    like: Like | None = None,
    image_size: ImageSize = IMAGE_SIZE,
    strict: bool = False,
) -> Dataset:
    """Pictures of ``CLASS/`` folders, or of ``train/CLASS/`` and ``test/CLASS/``.

    All are resized to one size: the one that most of them have, or, where most differ, their median
    height and width; at most ``image_size``. They have one channel if every one is grey, and are
    decoded once and cached. 8-bit pictures become ``uint8`` values from 0 to 255; others keep their
    values, as floats. Those that cannot be read are left out, and said.

    Args:
        spec: The data spec, for messages.
        folder: The folder, one picture, or a pattern for several such as ``new/*.png``.
        like: Size, channels and type of the examples, instead of the most common ones.
        image_size: Pixels of the longer side at most, or height and width, where nothing else
            says the size.
        strict: Whether one that cannot be read is a mistake.
    """
    folder, found, notes, left_out = _found(spec, folder)
    rows = _decoded(spec, folder, [picture.path for picture in found], like, image_size)
    if broken := np.flatnonzero(rows["said"][:] & pictures.UNREADABLE).tolist():
        errors = _why_unreadable([found[number].path for number in broken])
        kept = np.setdiff1d(np.arange(len(found)), broken)
        if strict or len(kept) < (2 if like is None else like.least):
            raise _unreadable(spec, folder, errors)
        found = [found[number] for number in kept]
        rows = {name: take_rows(of_each, kept) for name, of_each in rows.items()}
        reasons = _reasons(folder, errors)
        notes = [
            *notes,
            f"skipped {len(broken)} that cannot be read: {listed(reasons, _MOST_NAMED)}",
        ]
        left_out = [*left_out, *(LeftOut(path, _reason(error)) for path, error in errors.items())]
    names = tuple(sorted({p.class_name for p in found if p.class_name is not None}))
    numbers = {name: number for number, name in enumerate(names)} | {None: UNLABELLED}
    y = np.array([numbers[picture.class_name] for picture in found], np.int32)
    is_test = np.array([picture.is_test for picture in found])
    if is_test.all() and (like is None or like.least > 1):
        raise UserError(
            setting="data",
            given=spec,
            when="with a test folder alone",
            expected="a train folder too",
            remedy="add one, or give the test folder itself to have part of it for training",
        )
    x, train, test = rows["x"], np.flatnonzero(~is_test), np.flatnonzero(is_test)
    data = dataset_from_arrays(
        spec,
        take_rows(x, train),
        y[train],
        take_rows(x, test) if len(test) else None,
        y[test] if len(test) else None,
        class_names=names,
        value_range=(0.0, 255.0) if x.dtype == np.uint8 else None,
        like=like,
    )
    flags = rows["said"][:]
    smaller = [] if like else _scaled_down(flags, data, image_size)
    files = np.array([_name(folder, picture.path) for picture in found], object)
    of_parts = (files[train], files[test]) if len(test) else (files, files)
    line = "; ".join([_summary(found, names, data), *smaller, *notes, *_remarks(flags)])
    skipped = tuple((_name(folder, file.path), file.what) for file in left_out)
    return dataclasses.replace(data, notes=(line,), left_out=skipped, files=of_parts)


def file_sizes(spec: str, folder: Path) -> dict[str | None, list[tuple[int, int]]]:
    """Height and width of each picture of a folder as its file has it, before it is resized.

    Args:
        spec: The data spec, for messages.
        folder: As for :func:`load`, which has read them all.

    Returns:
        The sizes of each class, by name; ``None`` for those without one.
    """
    _, found, _, _ = _found(spec, folder)
    classes = {picture.path: picture.class_name for picture in found}
    with ThreadPoolExecutor() as pool:
        headers = _each(pool, {}, pictures.read_header, list(classes))
    sizes: dict[str | None, list[tuple[int, int]]] = {}
    for path, header in headers.items():
        sizes.setdefault(classes[path], []).append((header.height, header.width))
    return sizes


def _found(spec: str, path: Path) -> tuple[Path, list[Found], list[str], list[LeftOut]]:
    """The folder that holds all pictures, these, messages about how it was read, other files."""
    if path.exists() or not glob.has_magic(str(path)):
        return path, *find_pictures(spec, path, pictures.is_picture)
    files = sorted(file for name in glob.glob(str(path)) if (file := Path(name)).is_file())
    if not files:
        raise UserError(
            setting="data",
            given=spec,
            expected="a folder, a picture, or a pattern for several such as new/*.png",
            but="no file has such a name",
            remedy="give one that does",
        )
    folder = Path(os.path.commonpath([file.parent for file in files]))
    return folder, [Found(file, None, False) for file in files], [], []


def _summary(found: list[Found], names: tuple[str, ...], data: Dataset) -> str:
    unlabelled = sum(picture.class_name is None for picture in found)
    classes = "class" if len(names) == 1 else "classes"
    of_classes = f" of {len(names)} {classes} ({listed(names)})" if names else " without a class"
    without = f", {unlabelled} of them without a class" if names and unlabelled else ""
    low, high = data.value_range
    values = f" with values from {low:g} to {high:g}" if data.has_observed_range else ""
    shape = "x".join(map(str, data.input_shape))
    s = "s" if len(found) != 1 else ""
    return f"read {len(found)} picture{s}{of_classes}{without} as {shape}{values}"


def _scaled_down(flags: np.ndarray, data: Dataset, image_size: ImageSize) -> list[str]:
    """A message about pictures that had more pixels than were read."""
    count = int((flags & pictures.LARGER > 0).sum())
    if not count or max(data.input_shape[:2]) != image_size:
        return []
    return [f"{count} scaled down: --image-size PIXELS says how far"]


def _remarks(flags: np.ndarray) -> list[str]:
    """Messages about pictures that needed special treatment."""
    counts = {
        "{} turned upright": pictures.TURNED,
        "the first frame of {} with several": pictures.FIRST_FRAME,
        "{} transparent on white": pictures.ON_WHITE,
        "{} transparent on black": pictures.ON_BLACK,
        "{} transparent throughout as if opaque": pictures.AS_OPAQUE,
    }
    return [
        text.format(int((flags & flag > 0).sum()))
        for text, flag in counts.items()
        if (flags & flag).any()
    ]


def _decoded(spec: str, root: Path, paths: list[Path], like: Like | None, size: ImageSize) -> dict:
    """The examples ``x``, and flags for each in ``said``."""
    own = f"images/{_key(root, paths, size)}"
    if like is None:
        return cached_rows(own, len(paths), lambda: _decode_all(spec, root, paths, size))
    # They may be cached already in the form that they have without a model.
    if (rows := cached(own)) and (rows["x"].shape[1:], str(rows["x"].dtype)) == like[:2]:
        return rows
    key = f"{own}-{'x'.join(map(str, like.input_shape))}-{like.dtype}"
    return cached_rows(key, len(paths), lambda: _decode_all(spec, root, paths, like))


def _key(root: Path, paths: list[Path], image_size: ImageSize) -> str:
    """A hash that changes when a picture does."""
    digest = hashlib.sha256(f"{_RULES} {image_size}".encode())
    for path in paths:
        status = path.stat()
        line = f"{path.relative_to(root)}\0{status.st_size}\0{status.st_mtime_ns}\n"
        digest.update(os.fsencode(line))
        if not os.access(path, os.R_OK):  # left out until it may be read
            digest.update(b"closed")
    return digest.hexdigest()[:16]


def _decode_all(
    spec: str, root: Path, paths: list[Path], wanted: Like | ImageSize
) -> Iterator[dict]:
    """Batches of pictures in the form that a model takes, or of the size that is asked for.

    Those that cannot be read are black, and said to be ``UNREADABLE``.
    """
    from PIL import Image
    from rich.console import Console
    from rich.progress import track

    like = wanted if isinstance(wanted, Like) else None
    unreadable: dict[Path, Exception] = {}
    with ThreadPoolExecutor() as pool, warnings.catch_warnings():
        # Pillow still raises an error for pictures twice as large.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        read = functools.partial(_each, pool, unreadable)
        headers = read(pictures.read_header, paths)
        shape = _common_shape(headers, read, wanted) if like is None else _shape_like(spec, like)
        if not headers:
            raise _unreadable(spec, root, unreadable)
        kind = _require_kind(spec, root, headers, like)
        missing = np.zeros(shape, pictures.type_of(kind)), pictures.UNREADABLE
        console = Console(stderr=True)
        for start in track(
            range(0, len(paths), _ROWS_AT_ONCE),
            f"reading {spec}",
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ):
            some = paths[start : start + _ROWS_AT_ONCE]
            known = [path for path in some if path in headers]
            decoded = read(functools.partial(pictures.decode, shape=shape), known)
            of_each = [decoded.get(path, missing) for path in some]
            x = np.stack([pixels for pixels, _ in of_each])
            yield {
                "x": x if like is None else x.reshape(-1, *like.input_shape),
                "said": np.array([flags for _, flags in of_each], np.uint8),
            }
    if len(unreadable) == len(paths):
        raise _unreadable(spec, root, unreadable)


def _why_unreadable(paths: list[Path]) -> dict[Path, Exception]:
    """The error of each picture that cannot be read, though the others are cached."""
    unreadable: dict[Path, Exception] = {}
    with ThreadPoolExecutor() as pool:
        _each(pool, unreadable, lambda path: pictures.decode(path, (1, 1, 3)), paths)
    return {path: unreadable.get(path, ValueError("it could not be read before")) for path in paths}


def _each(pool, unreadable: dict, function: Callable, paths: list[Path]) -> dict:
    """Apply a function to each file, collecting errors in ``unreadable``."""

    def attempt(path):
        try:
            return function(path)
        except Exception as error:  # a damaged file makes Pillow fail in many ways
            return error

    results = dict(zip(paths, pool.map(attempt, paths), strict=True))
    failed = {path: given for path, given in results.items() if isinstance(given, Exception)}
    unreadable.update(failed)
    return {path: given for path, given in results.items() if path not in failed}


def _common_shape(headers: dict, read: Callable, wanted: ImageSize) -> tuple[int, int, int]:
    """The size that is asked for, with one channel if every picture is grey."""
    in_doubt = [path for path, header in headers.items() if header.is_grey is None]
    # In small groups, since the first pictures usually decide.
    channels = 1
    for start in range(0, len(in_doubt), _ROWS_AT_ONCE // 16):
        if not all(read(pictures.is_grey, in_doubt[start : start + _ROWS_AT_ONCE // 16]).values()):
            channels = 3
            break
    if not headers:
        return 1, 1, channels
    if not isinstance(wanted, int):
        return *wanted, channels
    height, width = _usual_size([(header.height, header.width) for header in headers.values()])
    scale = min(1.0, wanted / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale)), channels


def _usual_size(sizes: list[tuple[int, int]]) -> tuple[float, float]:
    """The size that most have; where they differ, as cropped photographs do, a middle one."""
    (usual, count), *_ = collections.Counter(sorted(sizes)).most_common(1)
    return usual if 2 * count >= len(sizes) else tuple(np.median(sizes, axis=0))


def _shape_like(spec: str, like: Like) -> tuple[int, int, int]:
    shape = (*like.input_shape, 1) if len(like.input_shape) == 2 else like.input_shape
    if len(shape) != 3 or shape[2] not in (1, 3):
        raise UserError(
            setting="data",
            given=spec,
            but=f"pictures cannot become examples of shape {like.input_shape}, which the model "
            "expects",
            remedy="give data of that kind",
        )
    return shape


def _require_kind(spec: str, root: Path, headers: dict, like: Like | None) -> str:
    """The kind of all pictures; refused if it is not one, or not a model's."""
    by_kind: dict[str, list[Path]] = {}
    for path, header in headers.items():
        by_kind.setdefault(header.kind, []).append(path)
    if len(by_kind) > 1:
        counts = listed(
            f"{len(paths)} {kind} ({_name(root, paths[0])}{', …' if len(paths) > 1 else ''})"
            for kind, paths in by_kind.items()
        )
        raise UserError(
            setting="data",
            given=spec,
            when=f"with pictures of several kinds, {counts}",
            expected="one, since their values are not in proportion",
            remedy="convert them to one kind",
        )
    ((kind, paths),) = by_kind.items()
    if like is None or (like.dtype == "uint8") == (kind == pictures.BYTES):
        return kind
    wanted = "8-bit" if like.dtype == "uint8" else "not 8-bit"
    raise UserError(
        setting="data",
        given=spec,
        when=f"with {kind} pictures such as {_name(root, paths[0])}",
        but=f"the model was trained on examples that are {wanted}",
        remedy="give pictures like those",
    )


def _unreadable(spec: str, root: Path, errors: dict[Path, Exception]) -> UserError:
    return UserError(
        setting="data",
        given=spec,
        expected="pictures",
        but=f"{listed(_reasons(root, errors), _MOST_ERRORS)} cannot be read",
        remedy="replace or remove them",
    )


def _reasons(root: Path, errors: dict[Path, Exception]) -> list[str]:
    return [f"{_name(root, path)} ({_reason(error)})" for path, error in sorted(errors.items())]


def _name(root: Path, path: Path) -> str:
    return readable_name(str(path.relative_to(root)) if path != root else path.name)


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "its content is no picture of a known kind"
    return str(error).split("\n")[0].rstrip(".") or type(error).__name__
