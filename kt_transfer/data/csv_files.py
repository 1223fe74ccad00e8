"""Read CSV files as arrow columns: all rows, or some at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as arrow_csv

from kt_transfer.data.cells import NUMBER
from kt_transfer.data.csv_form import MARKS, SAMPLE, Form, form_of, separator_below_remarks
from kt_transfer.data.schema import NeedsWholeTableError, shown
from kt_transfer.data.table_files import (
    Table,
    joined_files,
    require_names,
    require_rows,
    require_same_columns,
    some_rows,
    unreadable,
)
from kt_transfer.errors import UserError

_BYTES_AT_ONCE = 2**22
# A row must fit into a block, and threads share the work by blocks.
_LARGEST_ROW = 2**24


def read_csv(spec: str, paths: Sequence[Path]) -> Table:
    """Read CSV files, ``.gz`` or not, whose separators and encodings are found out.

    Raises:
        UserError: If one is no table, or they differ in columns.
    """
    forms = [form_of(spec, path) for path in paths]
    tables = [_csv(spec, path, form) for path, form in zip(paths, forms, strict=True)]
    notes = _notes_of(paths, forms)
    comma = any(form.separator != "," for form in forms)
    first_rows = [form.lines_above + 2 for form in forms]
    return joined_files(spec, paths, tables, first_rows, comma, True, notes)


def _notes_of(paths: Sequence[Path], forms: Sequence[Form]) -> list[str]:
    notes = [
        f"{path.name} is read as {form.encoding}, since it is no UTF-8"
        for path, form in zip(paths, forms, strict=True)
        if form.encoding == "cp1252"
    ]
    return notes + [
        f"{path.name} is read from row {form.lines_above + 1} on, below its remarks"
        for path, form in zip(paths, forms, strict=True)
        if form.lines_above
    ]


def stream_csv(spec: str, paths: Sequence[Path]) -> Iterator[Table]:
    """The rows of CSV files as tables of some rows, of which one is in memory at a time.

    Raises:
        UserError: As :func:`read_csv`.
        NeedsWholeTableError: If a row is too long to be read so.
    """
    forms = [form_of(spec, path) for path in paths]
    comma, notes = any(form.separator != "," for form in forms), _notes_of(paths, forms)
    names, has_rows = None, False
    for path, form in zip(paths, forms, strict=True):
        written = _reading(spec, path, form, _raw_names)
        own = _checked_names(spec, path.name, written)
        names = names or own
        require_same_columns(spec, paths[0].name, names, path.name, own)
        start, last = form.lines_above + 2, None
        try:
            for batch in _batches(str(path), form, written):
                yield some_rows(batch, own, path.name, start, comma, True, notes)
                start, notes, last, has_rows = start + batch.num_rows, [], batch, True
        except (pa.ArrowException, OSError, EOFError, ValueError) as error:
            _csv(spec, path, form)  # which says in which row
            raise NeedsWholeTableError(path.name) from error  # a row is longer than a block
        if last is not None:
            _require_closed_quote(spec, path, form, last.column(-1)[-1], start - 1)
    require_rows(spec, paths, has_rows)


def stream_open_csv(spec: str, source, name: str) -> Iterator[Table]:
    """The same from an open file of bytes that can be read once, such as standard input.

    Args:
        spec: The data spec, for messages.
        source: What is read from, by ``read(size)``; UTF-8, or marked as another encoding.
        name: What it is called in messages.

    Raises:
        UserError: If it is no table.
    """
    path, beginning = Path(name), _first_of(source, SAMPLE)
    encoding = next((encoding for mark, encoding in MARKS if beginning.startswith(mark)), "utf-8")
    text = beginning.decode(encoding, "ignore")
    if not text.strip():
        raise unreadable(spec, path, "it is empty")
    is_whole = len(beginning) < SAMPLE
    separator, above = separator_below_remarks(text, is_whole)
    form = Form(encoding, separator, False, above)
    whole_rows = beginning if is_whole else beginning[: beginning.rfind(b"\n") + 1]
    try:
        written = _raw_names(pa.BufferReader(whole_rows), *_options(form, use_threads=True))
        own, start = _checked_names(spec, name, written), above + 2
        for batch in _batches(_Again(beginning, source), form, written):
            yield some_rows(batch, own, name, start, separator != ",", True, [])
            start += batch.num_rows
    except (pa.ArrowException, OSError, EOFError, ValueError) as error:
        raise _csv_error(spec, path, str(error)) from error


def _csv(spec: str, path: Path, form: Form) -> pa.Table:
    written = _reading(spec, path, form, _raw_names)
    names = _checked_names(spec, path.name, written)

    def read(source, options, parsing):
        return arrow_csv.read_csv(
            source, read_options=options, parse_options=parsing, convert_options=_as_text(written)
        )

    table = _reading(spec, path, form, read).rename_columns(names)
    if table.num_rows:
        last = table.num_rows + 1 + form.lines_above
        _require_closed_quote(spec, path, form, table.column(-1)[-1], last)
    return table


def _checked_names(spec: str, file: str, written: Sequence[str]) -> list[str]:
    names = [name.strip() for name in written]
    _require_no_data_as_names(spec, file, names)
    require_names(spec, file, names)
    return names


def _as_text(written: Sequence[str]) -> arrow_csv.ConvertOptions:
    """All columns as text: types are looked for later, in whole columns."""
    return arrow_csv.ConvertOptions(
        column_types=dict.fromkeys(written, pa.string()),
        null_values=[""],  # words that say the same are counted first where they are labels
        strings_can_be_null=True,
        check_utf8=False,  # done
    )


def _require_closed_quote(spec: str, path: Path, form: Form, last_cell, row: int) -> None:
    """Refuse a file in which all that follows a quote is one cell, which its end closes."""
    if form.odd_quotes and "\n" in (last_cell.as_py() or ""):
        raise unreadable(spec, path, f"the quote that opens in row {row:,} is never closed")


def _batches(source, form: Form, written: Sequence[str]) -> Iterator[pa.RecordBatch]:
    options, parsing = _options(form, use_threads=True)
    options.block_size = _BYTES_AT_ONCE
    with arrow_csv.open_csv(
        source, read_options=options, parse_options=parsing, convert_options=_as_text(written)
    ) as reader:
        yield from reader


def _first_of(source, size: int) -> bytes:
    """The first bytes of a file, fewer only if it has fewer."""
    pieces = []
    while size > 0 and (piece := source.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


class _Again:
    """A file whose beginning has been read already, to be read from there."""

    closed = False

    def __init__(self, beginning: bytes, rest):
        self._beginning, self._rest = beginning, rest

    def read(self, size: int = -1) -> bytes:
        if not self._beginning:
            return self._rest.read(size)
        size = len(self._beginning) if size < 0 else size
        first, self._beginning = self._beginning[:size], self._beginning[size:]
        return first

    def close(self) -> None:
        """Whoever opened it closes it."""


def _raw_names(source, options, parsing) -> list[str]:
    with arrow_csv.open_csv(source, read_options=options, parse_options=parsing) as reader:
        return reader.schema.names


def _reading(spec: str, path: Path, form: Form, read: Callable):
    """What ``read`` makes of a file, or the sentence that says why it cannot."""

    def attempt(use_threads: bool):
        return read(str(path), *_options(form, use_threads))

    try:
        try:
            return attempt(use_threads=True)
        except pa.ArrowInvalid as error:
            if "columns, got" not in str(error):
                raise
            return attempt(use_threads=False)  # which says in which row
    except (pa.ArrowException, OSError, EOFError, ValueError) as error:
        raise _csv_error(spec, path, str(error)) from error


def _options(form: Form, use_threads: bool):
    """How arrow is to read and to parse a file."""
    options = arrow_csv.ReadOptions(
        block_size=_LARGEST_ROW,
        use_threads=use_threads,
        encoding=_codec(form.encoding),
        skip_rows=form.lines_above,
    )
    parsing = arrow_csv.ParseOptions(delimiter=form.separator, newlines_in_values=True)
    return options, parsing


def _codec(encoding: str) -> str:
    # Arrow leaves out the mark of UTF-8 by itself, and reads UTF-8 alone without a detour.
    return "utf8" if encoding == "utf-8-sig" else encoding.replace("utf-8", "utf8")


def _csv_error(spec: str, path: Path, said: str) -> UserError:
    if ragged := re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", said):
        row, wanted, found = map(int, ragged.groups())
        return UserError(
            setting="data",
            given=spec,
            when=f"with {found} cell{'s' if found != 1 else ''} in row {row:,} of {path.name}",
            expected=f"{wanted} as in its first row",
            remedy="correct that row (text that holds a separator or a quote must be quoted)",
        )
    if "cannot infer number of columns" in said:
        return unreadable(spec, path, "it holds names of columns alone, and no rows")
    if "straddling" in said:
        most = f"{_LARGEST_ROW >> 20} MiB"
        said = f"a row is longer than {most}, as after a quote that is never closed"
    return unreadable(spec, path, said)


def _require_no_data_as_names(spec: str, file: str, names: Sequence[str]) -> None:
    """Refuse a first row of numbers, unless they may number the columns."""
    if not all(re.fullmatch(NUMBER, name) for name in names):
        return
    if all(name.isdigit() for name in names) and sorted({*map(int, names)}) == [*map(int, names)]:
        return
    raise UserError(
        setting="data",
        given=spec,
        when=f"with the numbers {shown(names, 4)} in the first row of {file}",
        expected="names of columns there",
        remedy="add a row of names above the data",
    )
