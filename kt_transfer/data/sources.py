"""Data specs: dispatch each kind of source to its reader."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from kt_transfer.data import digits, idx, images, npz, tables, tfds
from kt_transfer.data.dataset import Dataset, Like
from kt_transfer.data.table_options import TableOptions
from kt_transfer.errors import UserError, listed, settings_named


class _AtPath(NamedTuple):
    """A kind of source that is read from a path."""

    form: str
    expected: str
    load: Callable[[str, Path, Like | None], Dataset]


# Of each such kind how a spec is written, what is at its path, and what reads it.
_AT_PATHS = {
    "idx": _AtPath("idx:DIR", "a folder with MNIST-format files", idx.load),
    "images": _AtPath("images:DIR", "a folder with one folder of pictures per class", images.load),
    "npz": _AtPath("npz:FILE", "a file", npz.load),
}
# Tables besides, whose reader is told what their columns are, and whose path may be a pattern.
_TABLES = {"csv": tables.load_csv, "parquet": tables.load_parquet}


def load_data(
    spec: str,
    *,
    data_dir: str | os.PathLike | None = None,
    flag: str = "--data",
    like: Like | None = None,
    table: TableOptions | None = None,
    image_size: images.ImageSize = images.IMAGE_SIZE,
    strict: bool = False,
) -> Dataset:
    """Load a data set.

    Args:
        spec: ``digits`` (the UCI digits that scikit-learn ships: 1,797 images of 8 × 8),
            ``tfds:NAME[:VERSION]``, ``idx:DIR`` (the four MNIST-format files, ``.gz`` or
            not), ``images:DIR`` (one folder of pictures per class, ``unlabelled`` for those
            without one; or ``train/``, ``test/`` and ``val/`` with such folders), ``npz:FILE``
            (arrays ``x``, ``y``, optional ``x_test``, ``y_test``), or ``csv:FILES`` or
            ``parquet:FILES`` (one table, or several by a pattern as ``part-*.csv``).
        data_dir: TensorFlow Datasets directory, for ``tfds:``.
        flag: The flag or setting that a mistake is reported for.
        like: What a model was made for: pictures are read in that size, with these channels, and
            few examples are enough; of a table its columns are taken.
        table: What the columns of a table are.
        image_size: Pixels of the longer side that pictures (``images:``) are scaled down to if they
            have more, or the height and width of all; a model says it where ``like`` is given.
        strict: Whether a picture that cannot be read is a mistake, rather than left out and said.

    Returns:
        The :class:`Dataset`, with raw, unscaled examples.

    Raises:
        UserError: If the spec is unknown, or the data is missing or malformed.

    Example:
        >>> data = load_data("digits")
        >>> data.x.shape, data.x.dtype, data.value_range
        ((1438, 8, 8), dtype('uint8'), (0.0, 16.0))
    """
    with settings_named(data=flag.removeprefix("--").replace("-", "_")):
        return _load(spec, data_dir, like, table, image_size, strict)


def _load(
    spec: str,
    data_dir,
    like: Like | None,
    table: TableOptions | None,
    image_size: images.ImageSize,
    strict: bool,
) -> Dataset:
    kind, where = _parse(spec)
    if kind in _TABLES:
        return _TABLES[kind](spec, Path(where), table, like)
    if like is not None and like.schema is not None:
        raise UserError(
            setting="data",
            given=spec,
            expected=f"a table (csv:, parquet:) with the columns {listed(like.schema.names, 3)}",
            remedy="give such data, or another model",
        )
    _require_no_columns(spec, table)
    if kind == "digits":
        return digits.load(spec)
    if kind == "tfds":
        return tfds.load(spec, where, data_dir, like)
    path = Path(where).expanduser()
    if kind == "images":
        return images.load(spec, path, like, image_size, strict)
    return _AT_PATHS[kind].load(spec, path, like)


def require_data(spec: str, *, data_dir: str | os.PathLike | None = None) -> None:
    """Refuse at once, before anything heavy is imported, a set that is not to be had.

    Args:
        spec: As for :func:`load_data`.
        data_dir: The same.

    Raises:
        UserError: If the spec is unknown, or the set is missing and cannot be downloaded.
    """
    kind, where = _parse(spec)
    if kind == "tfds":
        tfds.prepare(spec, where, data_dir)
    elif kind in _TABLES:
        tables.files_at(spec, Path(where))
    elif kind == "images" and glob.has_magic(where):
        return  # a pattern, of which the reader says whether there are such files
    elif kind != "digits" and not Path(where).expanduser().exists():
        raise UserError(
            setting="data",
            given=spec,
            expected=_AT_PATHS[kind].expected,
            but=f"{where} does not exist",
            remedy="give one that does",
        )


def _require_no_columns(spec: str, table: TableOptions | None) -> None:
    """Refuse settings of a table's columns where there is no table."""
    for setting, given in (table.given() if table else {}).items():
        raise UserError(
            setting=setting,
            given=given,
            expected="csv: or parquet:",
            but=f"{spec} is no table",
            remedy="leave it out",
        )


def _parse(spec: str) -> tuple[str, str]:
    kind, _, where = spec.partition(":")
    if kind in ("tfds", *_AT_PATHS, *_TABLES) and where or spec == "digits":
        return kind, where
    at_paths = [kind.form for kind in _AT_PATHS.values()]
    forms = ["digits", "tfds:NAME[:VERSION]", *at_paths, *(f"{kind}:FILES" for kind in _TABLES)]
    *forms, last = forms
    raise UserError(
        setting="data",
        given=spec,
        expected=f"{', '.join(forms)} or {last}",
        remedy="give one of these",
    )
