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
from kt_transfer.data.folders import Found, find_pictures
from kt_transfer.data.rows import take_rows
from kt_transfer.errors import UserError, listed

# Larger pictures are scaled down to so many pixels on their longer side, since the networks trained
# here are small; to more for a network that was made for larger ones.
IMAGE_SIZE, LARGE_IMAGE_SIZE = 32, 128
# Part of the cache key; increase it when the same files decode to other values.
_RULES = 3
_ROWS_AT_ONCE = 512
_MOST_NAMED = 5


def load(
    spec: str, folder: Path, like: Like | None = None, image_size: int = IMAGE_SIZE
) -> Dataset:
    """Pictures of ``CLASS/`` folders, or of ``train/CLASS/`` and ``test/CLASS/``.

    All are resized to their most common size (at most ``image_size``), with one channel if every
    one is grey, decoded once and cached. 8-bit pictures become ``uint8`` values from 0 to 255;
    others keep their values, as floats.

    Args:
        spec: The data spec, for messages.
        folder: The folder, one picture, or a pattern for several such as ``new/*.png``.
        like: Size, channels and type of the examples, instead of the most common ones.
        image_size: Pixels of the longer side at most, where nothing else says the size.
    """
    folder, found, notes = _found(spec, folder)
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
    rows = _decoded(spec, folder, [picture.path for picture in found], like, image_size)
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
    return dataclasses.replace(data, notes=(line,), files=of_parts)


def file_sizes(spec: str, folder: Path) -> dict[str | None, list[tuple[int, int]]]:
    """Height and width of each picture of a folder as its file has it, before it is resized.

    Args:
        spec: The data spec, for messages.
        folder: As for :func:`load`, which has read them all.

    Returns:
        The sizes of each class, by name; ``None`` for those without one.
    """
    _, found, _ = _found(spec, folder)
    with ThreadPoolExecutor() as pool:
        headers = pool.map(pictures.read_header, [picture.path for picture in found])
    sizes: dict[str | None, list[tuple[int, int]]] = {}
    for picture, header in zip(found, headers, strict=True):
        sizes.setdefault(picture.class_name, []).append((header.height, header.width))
    return sizes


def _found(spec: str, path: Path) -> tuple[Path, list[Found], list[str]]:
    """The folder that holds all pictures, these, and messages about how it was read."""
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
    return folder, [Found(file, None, False) for file in files], []


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


def _scaled_down(flags: np.ndarray, data: Dataset, image_size: int) -> list[str]:
    """A message about pictures that had more pixels than were read."""
    count = int((flags & pictures.LARGER > 0).sum())
    if not count or max(data.input_shape[:2]) != image_size:
        return []
    return [f"{count} scaled down: --image-size PIXELS says how far"]


def _remarks(flags: np.ndarray) -> list[str]:
    """Messages about pictures that needed special treatment."""
    counts = {
        "the first frame of {} with several": pictures.FIRST_FRAME,
        "{} transparent on white": pictures.ON_WHITE,
        "{} transparent on black": pictures.ON_BLACK,
    }
    return [
        text.format(int((flags & flag > 0).sum()))
        for text, flag in counts.items()
        if (flags & flag).any()
    ]


def _decoded(spec: str, root: Path, paths: list[Path], like: Like | None, image_size: int) -> dict:
    """The examples ``x``, and flags for each in ``said``."""
    own = f"images/{_key(root, paths, image_size)}"
    if like is None:
        return cached_rows(own, len(paths), lambda: _decode_all(spec, root, paths, image_size))
    # They may be cached already in the form that they have without a model.
    if (rows := cached(own)) and (rows["x"].shape[1:], str(rows["x"].dtype)) == like[:2]:
        return rows
    key = f"{own}-{'x'.join(map(str, like.input_shape))}-{like.dtype}"
    return cached_rows(key, len(paths), lambda: _decode_all(spec, root, paths, like))


def _key(root: Path, paths: list[Path], image_size: int) -> str:
    """A hash that changes when a picture does."""
    digest = hashlib.sha256(f"{_RULES} {image_size}".encode())
    for path in paths:
        status = path.stat()
        line = f"{path.relative_to(root)}\0{status.st_size}\0{status.st_mtime_ns}\n"
        digest.update(os.fsencode(line))
    return digest.hexdigest()[:16]


def _decode_all(spec: str, root: Path, paths: list[Path], wanted: Like | int) -> Iterator[dict]:
    """Batches of pictures in the form that a model takes, or of at most so many pixels a side."""
    from PIL import Image
    from rich.console import Console
    from rich.progress import track

    like = None if isinstance(wanted, int) else wanted
    unreadable: dict[Path, Exception] = {}
    with ThreadPoolExecutor() as pool, warnings.catch_warnings():
        # Pillow still raises an error for pictures twice as large.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        read = functools.partial(_each, pool, unreadable)
        headers = read(pictures.read_header, paths)
        shape = _common_shape(headers, read, wanted) if like is None else _shape_like(spec, like)
        _require_kind(spec, root, headers, like)
        console = Console(stderr=True)
        for start in track(
            range(0, len(paths), _ROWS_AT_ONCE),
            f"reading {spec}",
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ):
            some = [path for path in paths[start : start + _ROWS_AT_ONCE] if path in headers]
            decoded = read(functools.partial(pictures.decode, shape=shape), some).values()
            if not unreadable:
                x = np.stack([pixels for pixels, _ in decoded])
                yield {
                    "x": x if like is None else x.reshape(-1, *like.input_shape),
                    "said": np.array([flags for _, flags in decoded], np.uint8),
                }
    if unreadable:
        raise _unreadable(spec, root, unreadable)


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


def _common_shape(headers: dict, read: Callable, image_size: int) -> tuple[int, int, int]:
    """The most common size within a limit, with one channel if every picture is grey."""
    if not headers:
        return 1, 1, 1
    sizes = sorted((header.height, header.width) for header in headers.values())
    ((height, width), _), *_ = collections.Counter(sizes).most_common(1)
    scale = min(1.0, image_size / max(height, width))
    in_doubt = [path for path, header in headers.items() if header.is_grey is None]
    # In small groups, since the first pictures usually decide.
    channels = 1
    for start in range(0, len(in_doubt), _ROWS_AT_ONCE // 16):
        if not all(read(pictures.is_grey, in_doubt[start : start + _ROWS_AT_ONCE // 16]).values()):
            channels = 3
            break
    return max(1, round(height * scale)), max(1, round(width * scale)), channels


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


def _require_kind(spec: str, root: Path, headers: dict, like: Like | None) -> None:
    """Refuse pictures whose values are not comparable with one another or with a model's."""
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
    if like is None or not by_kind or (like.dtype == "uint8") == (pictures.BYTES in by_kind):
        return
    ((kind, paths),) = by_kind.items()
    wanted = "8-bit" if like.dtype == "uint8" else "not 8-bit"
    raise UserError(
        setting="data",
        given=spec,
        when=f"with {kind} pictures such as {_name(root, paths[0])}",
        but=f"the model was trained on examples that are {wanted}",
        remedy="give pictures like those",
    )


def _unreadable(spec: str, root: Path, errors: dict[Path, Exception]) -> UserError:
    named = [f"{_name(root, path)} ({_reason(error)})" for path, error in sorted(errors.items())]
    return UserError(
        setting="data",
        given=spec,
        expected="pictures",
        but=f"{listed(named, _MOST_NAMED)} cannot be read",
        remedy="replace or remove them",
    )


def _name(root: Path, path: Path) -> str:
    return str(path.relative_to(root)) if path != root else path.name


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "its content is no picture of a known kind"
    return str(error).split("\n")[0].rstrip(".") or type(error).__name__
