"""Rows that a model is asked about, some at a time, so that memory does not grow with them."""

from __future__ import annotations

import csv
import io
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kt_transfer.data import npz, tables
from kt_transfer.data.dataset import Dataset, Like
from kt_transfer.data.overlap import joined, keys_of, same_keys
from kt_transfer.data.ranges import observed_range
from kt_transfer.data.splits import split_test
from kt_transfer.data.table_labels import classes_of
from kt_transfer.data.table_options import TableOptions
from kt_transfer.data.tables import KnownRows
from kt_transfer.data.unseen import Unseen
from kt_transfer.errors import UserError

STANDARD_INPUT = "-"
_ROWS_AT_ONCE = 2**15


class Rows(NamedTuple):
    """Some rows of a source, one after the other.

    Attributes:
        x: Raw examples, shape ``(n, ...)``.
        numbers: Their rows in the source, shape ``(n,)``.
        part: ``"train"`` or ``"test"``; ``None`` where only all rows say which each is, or where
            there are no such parts.
        names: What they are called in the source; ``None`` for nothing.
    """

    x: np.ndarray
    numbers: np.ndarray
    part: str | None
    names: np.ndarray | None = None


class Stream:
    """The rows of a table, of an ``npz:`` file or of standard input, to be read once.

    Of each row only hashes, label and group are kept, 30 bytes or so: what says whether it belongs
    to the test part, as :func:`~kt_transfer.load_data` would split it off.

    Args:
        spec: ``csv:FILES``, ``parquet:FILES``, ``npz:FILE``, or ``-`` for standard input: CSV with
            names of columns, or rows of numbers for a model that takes no table.
        like: The examples that the model takes.
        options: What columns of a table are, besides its inputs.

    Attributes:
        notes: How the rows were read, once they are.
        splits: Whether the rows have a test part, which is known once they are read.

    Example:
        >>> np.savez("new.npz", x=np.zeros((5, 8, 8), "uint8"))
        >>> stream = Stream("npz:new.npz", Like((8, 8), "uint8"))
        >>> [rows.x.shape for rows in stream], stream.is_test().sum()
        ([(5, 8, 8)], np.int64(1))
    """

    def __init__(self, spec: str, like: Like, options: TableOptions | None = None):
        self.spec, self.notes = spec, []
        self.splits = spec != STANDARD_INPUT
        self._like, self._options = like, options or TableOptions()
        self._keys: list[np.ndarray] = []
        self._labels, self._groups = _Words(), _Words()
        self._y: np.ndarray | None = None

    def __iter__(self) -> Iterator[Rows]:
        kind, _, where = self.spec.partition(":")
        if kind == "npz":
            return self._of_npz(Path(where).expanduser())
        if self.spec == STANDARD_INPUT and self._like.schema is None:
            return self._of_numbers(sys.stdin.buffer)
        return self._of_table(kind, where)

    def is_test(self) -> np.ndarray:
        """Whether each row belongs to the test part, once all rows are read, shape ``(n,)``."""
        keys, self._keys = np.concatenate(self._keys), []
        rows, same = len(keys), same_keys(keys)
        del keys  # what is not needed any more makes room, since these are as long as the data
        y = classes_of(*self._labels.taken(rows))[0] if self._y is None else self._y
        groups = self._groups.taken(rows)[0]
        if not np.isnan(groups).all():
            same = joined(same, np.where(np.isnan(groups), -1, groups).astype(np.int64))
        elif (same == np.arange(rows)).all():
            same = None  # which says the same, and takes less
        del groups
        is_test = np.zeros(rows, bool)
        is_test[split_test(y, same)[1]] = True
        return is_test

    def _of_table(self, kind: str, where: str) -> Iterator[Rows]:
        from kt_transfer.data import cells
        from kt_transfer.data.csv_files import stream_csv, stream_open_csv
        from kt_transfer.data.parquet_files import stream_parquet

        if self.spec == STANDARD_INPUT:
            pieces = stream_open_csv(self.spec, sys.stdin.buffer, "standard input")
        else:
            read = {"csv": stream_csv, "parquet": stream_parquet}[kind]
            pieces = read(self.spec, tables.files_at(self.spec, Path(where)))
        start, unseen = 0, Unseen()
        for table in pieces:
            known = tables.known_rows(
                self.spec,
                table,
                self._options,
                self._like.schema,
                alone=not self.splits,
                unseen=unseen,
            )
            self.notes += [note for note in known.notes if note not in self.notes]
            self._keep(known)
            numbers = np.arange(start, start + len(known.x))
            yield Rows(known.x, numbers, None, known.ids)
            start += len(known.x)
            del table, known
            cells.release_memory()
        self.notes += unseen.notes()

    def _keep(self, known: KnownRows) -> None:
        if not self.splits:
            return
        self._keys.append(keys_of(known.x))
        self._labels.add(known.labels, known.label_words, len(known.x))
        self._groups.add(known.groups, known.group_words, len(known.x))

    def _of_npz(self, path: Path) -> Iterator[Rows]:
        y, y_test = npz.labels(self.spec, path)
        self._y, self.splits = y, y_test is None
        for name, start, x in npz.stream(self.spec, path):
            part = None if self.splits else {"x": "train", "x_test": "test"}[name]
            if self.splits:
                self._keys.append(keys_of(x))
            yield Rows(x, np.arange(start, start + len(x)), part)

    def _of_numbers(self, source) -> Iterator[Rows]:
        """Rows of numbers, a first one of names or none."""
        text = io.TextIOWrapper(source, "utf-8-sig", newline="")
        size, rows, start = math.prod(self._like.input_shape), [], 0
        try:
            for line, cells in enumerate(csv.reader(text), 1):
                if not cells:
                    continue
                values = _as_numbers(cells)
                if line == 1 and values is None:
                    continue  # names of columns
                if values is None or len(values) != size:
                    raise self._no_row(line, cells, values, size)
                rows.append(values)
                if len(rows) == _ROWS_AT_ONCE:
                    yield self._shaped(rows, start)
                    start, rows = start + len(rows), []
        except (UnicodeDecodeError, csv.Error) as error:
            raise UserError(
                setting="data",
                given=self.spec,
                expected="rows of numbers as UTF-8",
                but=f"standard input cannot be read ({error})",
                remedy="give it as CSV",
            ) from error
        if not rows and not start:
            raise UserError(
                setting="data",
                given=self.spec,
                expected="rows of numbers",
                but="standard input is empty",
                remedy="pipe some in",
            )
        if rows:
            yield self._shaped(rows, start)

    def _shaped(self, rows: list, start: int) -> Rows:
        x = np.array(rows, np.float64).reshape(-1, *self._like.input_shape)
        return Rows(x, np.arange(start, start + len(x)), None)

    def _no_row(self, line: int, cells, values, size: int) -> UserError:
        first = next((cell for cell in cells if _as_numbers([cell]) is None), "")
        return UserError(
            setting="data",
            given=self.spec,
            when=f"with {first[:60]!r} in row {line:,} of standard input"
            if values is None
            else f"with {len(values):,} numbers in row {line:,} of standard input",
            expected="numbers alone" if values is None else f"{size:,}, as the model takes",
            remedy="correct it",
        )


class _Words:
    """Positions of rows among words that are met one after the other."""

    def __init__(self):
        self._place_of: dict[str, int] = {}
        self._places: list[np.ndarray] = []

    def add(self, places: np.ndarray | None, words: list[str], rows: int) -> None:
        if places is None:
            self._places.append(np.full(rows, np.nan, np.float32))
            return
        known = [self._place_of.setdefault(word, len(self._place_of)) for word in words]
        found = np.append(np.array(known, np.float64), np.nan)
        self._places.append(found[np.where(np.isnan(places), -1, places).astype(np.int64)])

    def taken(self, rows: int) -> tuple[np.ndarray, list[str]]:
        """All positions, and the words; they are not kept any longer."""
        places, self._places = self._places, []
        return np.concatenate(places or [np.full(rows, np.nan, np.float32)]), [*self._place_of]


def can_stream(spec: str, like: Like) -> bool:
    """Whether :class:`Stream` reads such data for a model."""
    kind = spec.partition(":")[0]
    return spec == STANDARD_INPUT or kind == "npz" or (kind in _TABLES and like.schema is not None)


_TABLES = ("csv", "parquet")


def dataset_of(spec: str, rows: Rows, like: Like) -> Dataset:
    """The first rows of a stream as a data set, to be compared with what a model was made for."""
    x, none = rows.x, rows.x[:0]
    nothing = np.full(len(x), -1, np.int32)
    return Dataset(
        spec=spec,
        x=x,
        y=nothing,
        x_test=none,
        y_test=nothing[:0],
        class_names=(),
        value_range=observed_range(x),
        has_observed_range=True,
        rows=rows.numbers,
        rows_test=rows.numbers[:0],
        schema=like.schema,
    )


def _as_numbers(cells: list[str]) -> list[float] | None:
    try:
        values = [float(cell) for cell in cells]
    except ValueError:
        return None
    return values if all(map(math.isfinite, values)) else None
