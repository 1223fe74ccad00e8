"""``images:DIR``: pictures in folders, one folder per class."""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kt_transfer.data.arrays import dataset_from_arrays
from kt_transfer.data.cache import cached_rows
from kt_transfer.data.dataset import UNLABELLED, Dataset
from kt_transfer.errors import UserError
from kt_transfer.rows import take_rows

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"))
UNLABELLED_FOLDER = "unlabelled"
# Larger pictures are scaled down: what is trained here is small.
MAX_SIDE = 128
_ROWS_AT_ONCE = 512


class _Picture(NamedTuple):
    path: Path
    class_name: str
    is_test: bool


def load(spec: str, folder: Path) -> Dataset:
    """Pictures of ``CLASS/`` folders, or of ``train/CLASS/`` and ``test/CLASS/``.

    The folder ``unlabelled`` holds pictures without a class. All are brought to the size that
    most of them have (at most ``MAX_SIDE``), grey if every one is grey, decoded once and then
    kept in the cache.
    """
    pictures = _find(spec, folder)
    names = tuple(sorted({p.class_name for p in pictures} - {UNLABELLED_FOLDER}))
    numbers = {name: number for number, name in enumerate(names)} | {UNLABELLED_FOLDER: UNLABELLED}
    y = np.array([numbers[picture.class_name] for picture in pictures], np.int32)
    x = cached_rows(
        f"images/{_key(folder, pictures)}", len(pictures), lambda: _decode_all(spec, pictures)
    )["x"]
    is_test = np.array([picture.is_test for picture in pictures])
    train, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
    return dataset_from_arrays(
        spec,
        take_rows(x, train),
        y[train],
        take_rows(x, test) if len(test) else None,
        y[test] if len(test) else None,
        class_names=names,
        value_range=(0.0, 255.0),
    )


def _find(spec: str, folder: Path) -> list[_Picture]:
    """Every picture, in the order of its path."""
    has_splits = (folder / "train").is_dir()
    splits = {"train": folder / "train", "test": folder / "test"} if has_splits else {"": folder}
    pictures = [
        _Picture(path, inner.name, split == "test")
        for split, outer in splits.items()
        for inner in sorted(outer.iterdir() if outer.is_dir() else [])
        if inner.is_dir() and not inner.name.startswith(".")
        for path in sorted(inner.rglob("*"))
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    ]
    if not pictures:
        raise UserError(
            f"--data {spec} was given, expected one folder of pictures per class "
            f"({', '.join(sorted(SUFFIXES))}), but there is none: put them in {folder}/CLASS/."
        )
    return pictures


def _key(folder: Path, pictures: list[_Picture]) -> str:
    """A word that changes when a picture does."""
    digest = hashlib.sha256(f"{MAX_SIDE}".encode())
    for picture in pictures:
        status = picture.path.stat()
        line = f"{picture.path.relative_to(folder)}\0{status.st_size}\0{status.st_mtime_ns}\n"
        digest.update(line.encode())
    return digest.hexdigest()[:16]


def _decode_all(spec: str, pictures: list[_Picture]) -> Iterator[dict]:
    from rich.console import Console
    from rich.progress import track

    paths = [picture.path for picture in pictures]
    with ThreadPoolExecutor() as pool:
        shapes = list(pool.map(lambda path: _shape(spec, path), paths))
        height, width = _common_size([shape[:2] for shape in shapes])
        mode = "L" if all(shape[2] == 1 for shape in shapes) else "RGB"
        console = Console(stderr=True)
        starts = range(0, len(paths), _ROWS_AT_ONCE)
        for start in track(
            starts,
            f"reading {spec}",
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ):
            some = paths[start : start + _ROWS_AT_ONCE]
            decoded = pool.map(lambda path: _decode(spec, path, (width, height), mode), some)
            yield {"x": np.stack(list(decoded))}


def _shape(spec: str, path: Path) -> tuple[int, int, int]:
    """Height, width and channels, from the header alone."""
    with _opened(spec, path) as image:
        return image.height, image.width, 1 if image.mode in ("1", "L", "I;16", "I", "F") else 3


def _common_size(sizes: list[tuple[int, int]]) -> tuple[int, int]:
    ((height, width), _), *_ = collections.Counter(sorted(sizes)).most_common(1)
    scale = min(1.0, MAX_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _decode(spec: str, path: Path, size: tuple[int, int], mode: str) -> np.ndarray:
    from PIL import Image

    with _opened(spec, path) as image:
        if image.mode in ("I;16", "I"):  # 16 bits a pixel, which Pillow would cut off at 255
            image = Image.fromarray((np.asarray(image) // 256).astype(np.uint8))
        try:
            image = image.convert(mode)
        except OSError as error:
            raise _unreadable(spec, path, error) from error
        if image.size != size:
            image = image.resize(size, Image.Resampling.BILINEAR)
        pixels = np.asarray(image, np.uint8)
    return pixels.reshape(size[1], size[0], -1)


def _opened(spec: str, path: Path):
    from PIL import Image

    try:
        return Image.open(path)
    except OSError as error:
        raise _unreadable(spec, path, error) from error


def _unreadable(spec: str, path: Path, error: OSError) -> UserError:
    return UserError(
        f"--data {spec} was given, expected {path} to be a picture, but it cannot be read "
        f"({error}): replace or remove it."
    )
