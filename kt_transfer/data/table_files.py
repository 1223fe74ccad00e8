"""The columns of the files of a table, and what these must have: names and rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from kt_transfer.data.schema import short, shown
from kt_transfer.errors import UserError

# Of so many columns, 1,000 rows take 5 s to read on one core (measured).
MOST_COLUMNS = 20_000
# A name that pandas gives to row numbers in a Parquet file; in CSV it has none.
_INDEX_NAME = re.compile(r"__index_level_\d+__|Unnamed: \d+|")


class Table(NamedTuple):
    """The columns of one or several files.

    Attributes:
        columns: Arrow columns by name; text is as it was written, and null where it is empty.
        num_rows: Number of rows.
        files: Name of each file, the number of its rows, and that of the first as a spreadsheet
            shows it: 2 below a header.
        nameless: Number of columns without a name, which are left out.
        decimal_comma: Whether numbers may have decimal commas, since these separate no columns.
        is_csv: Whether all of it was text, whose commas may be those of numbers.
        notes: How it was read, where that is not evident.
    """

    columns: dict[str, pa.ChunkedArray]
    num_rows: int
    files: list[tuple[str, int, int]]
    nameless: int
    decimal_comma: bool
    is_csv: bool
    notes: list[str]

    def place(self, row: int) -> str:
        """A row, counted from 0 over all files, as a person finds it."""
        for name, rows, first in self.files:
            if row < rows:
                return f"row {row + first:,} of {name}"
            row -= rows
        raise IndexError(row)


def joined_files(spec, paths, tables: list[pa.Table], first_rows, comma, is_csv, notes) -> Table:
    """The rows of several files as one table; ``first_rows`` as a spreadsheet shows them."""
    names = tables[0].column_names
    for path, table in zip(paths[1:], tables[1:], strict=True):
        require_same_columns(spec, paths[0].name, names, path.name, table.column_names)
    try:
        # A file in which a column is whole numbers, and another in which it has fractions.
        joined = pa.concat_tables(
            [table.select(names) for table in tables], promote_options="permissive"
        )
    except pa.ArrowException as error:
        raise UserError(
            setting="data",
            given=spec,
            expected="columns of one type in all files",
            but=str(error).splitlines()[0],
            remedy="convert them",
        ) from error
    files = [
        (path.name, table.num_rows, first)
        for path, table, first in zip(paths, tables, first_rows, strict=True)
    ]
    require_rows(spec, paths, joined.num_rows > 0)
    named = [name for name in names if not _INDEX_NAME.fullmatch(name)]
    return Table(
        {name: joined.column(name) for name in named},
        joined.num_rows,
        files,
        len(names) - len(named),
        comma,
        is_csv,
        notes,
    )


def some_rows(batch, names, file: str, first: int, comma: bool, is_csv: bool, notes) -> Table:
    """A batch of a file as a table; ``first`` is its first row as a spreadsheet shows it."""
    named = [place for place, name in enumerate(names) if not _INDEX_NAME.fullmatch(name)]
    return Table(
        {names[place]: pa.chunked_array([batch.column(place)]) for place in named},
        batch.num_rows,
        [(file, batch.num_rows, first)],
        len(names) - len(named),
        comma,
        is_csv,
        [*notes],
    )


def require_rows(spec: str, paths: Sequence[Path], has_rows: bool) -> None:
    """Refuse files without any row of data."""
    if not has_rows:
        raise UserError(
            setting="data",
            given=spec,
            expected="rows of data",
            but=f"{shown([path.name for path in paths], 3)} holds names of columns alone",
            remedy="add rows",
        )


def require_same_columns(spec, first: str, wanted, other: str, found) -> None:
    """Refuse a file with other columns than the first, in whatever order."""
    absent, further = (
        [n for n in a if n not in {*b}] for a, b in ((wanted, found), (found, wanted))
    )
    if absent or further:
        which = f"without {shown(absent, 3)}" if absent else f"with {shown(further, 3)} besides"
        raise UserError(
            setting="data",
            given=spec,
            when=f"with {other} {which}",
            expected=f"the columns of {first}",
            remedy="correct the files, or give those that have the same columns",
        )


def require_names(spec: str, name: str, names: Sequence[str]) -> None:
    """Refuse columns that a name does not tell apart, or that are more than can be read."""
    if len(names) > MOST_COLUMNS:
        raise UserError(
            setting="data",
            given=spec,
            when=f"with {len(names):,} columns in {name}",
            expected=f"at most {MOST_COLUMNS:,}",
            remedy="leave some out, or give numbers of that many columns as npz:FILE",
        )
    seen: set[str] = set()
    for column in filter(None, names):
        if column in seen:
            raise UserError(
                setting="data",
                given=spec,
                when=f"with two columns {short(column)} in {name}",
                expected="names that differ",
                remedy="rename one",
            )
        seen.add(column)
    if not any(not _INDEX_NAME.fullmatch(column) for column in names):
        raise UserError(
            setting="data",
            given=spec,
            when=f"with no name in the first row of {name}",
            expected="names of columns there",
            remedy="add them",
        )


def unreadable(spec: str, path: Path, why: str, expected: str = "a table as text") -> UserError:
    """The error for a file that cannot be read."""
    why = short(why.splitlines()[0]) if "\n" in why or len(why) > 200 else why
    return UserError(
        setting="data",
        given=spec,
        expected=f"{expected} with names of columns",
        but=f"{path.name} cannot be read ({why})",
        remedy="write it again"
        if expected == "a Parquet file"
        else "save it as UTF-8, with names of columns in its first row",
    )
