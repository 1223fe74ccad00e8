"""Read the files of a table, CSV or Parquet, as arrow columns: all rows, or some at a time."""

from __future__ import annotations

import base64
import codecs
import csv
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as arrow_parquet

from kt_transfer.data.cells import NUMBER
from kt_transfer.data.schema import NeedsWholeTableError, short, shown
from kt_transfer.errors import UserError
from kt_transfer.files.reading import machine_memory, require_plausible_size

_SEPARATORS = (",", ";", "\t", "|")
# The longer marks first, as one begins with the other.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Text of Western Europe, as older spreadsheets write it; almost any bytes are text in it, so last.
_UNMARKED = ("utf-8", "cp1252")
_BYTES_AT_ONCE = 2**22
# A row must fit into a block, and threads share the work by blocks.
_LARGEST_ROW = 2**24
_SAMPLE = 2**18
_SAMPLE_ROWS = 20
# Rows of a Parquet file that are read at a time.
_ROWS_AT_ONCE = 2**15
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


class _Form(NamedTuple):
    """How a CSV file is written."""

    encoding: str
    separator: str
    odd_quotes: bool
    lines_above: int  # the names of columns


def read_csv(spec: str, paths: Sequence[Path]) -> Table:
    """Read CSV files, ``.gz`` or not, whose separators and encodings are found out.

    Raises:
        UserError: If one is no table, or they differ in columns.
    """
    forms = [_form(spec, path) for path in paths]
    tables = [_csv(spec, path, form) for path, form in zip(paths, forms, strict=True)]
    notes = _notes_of(paths, forms)
    comma = any(form.separator != "," for form in forms)
    first_rows = [form.lines_above + 2 for form in forms]
    return _joined(spec, paths, tables, first_rows, comma, True, notes)


def _notes_of(paths: Sequence[Path], forms: Sequence[_Form]) -> list[str]:
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


def read_parquet(spec: str, paths: Sequence[Path]) -> Table:
    """Read Parquet files.

    Raises:
        UserError: If one cannot be read, or they differ in columns.
    """
    tables = [_parquet(spec, path) for path in paths]
    return _joined(spec, paths, tables, [1] * len(paths), False, False, [])


def stream_csv(spec: str, paths: Sequence[Path]) -> Iterator[Table]:
    """The rows of CSV files as tables of some rows, of which one is in memory at a time.

    Raises:
        UserError: As :func:`read_csv`.
        NeedsWholeTableError: If a row is too long to be read so.
    """
    forms = [_form(spec, path) for path in paths]
    comma, notes = any(form.separator != "," for form in forms), _notes_of(paths, forms)
    names, has_rows = None, False
    for path, form in zip(paths, forms, strict=True):
        written = _reading(spec, path, form, _raw_names)
        own = _checked_names(spec, path.name, written)
        names = names or own
        _require_same_columns(spec, paths[0].name, names, path.name, own)
        start, last = form.lines_above + 2, None
        try:
            for batch in _batches(str(path), form, written):
                yield _some_rows(batch, own, path.name, start, comma, True, notes)
                start, notes, last, has_rows = start + batch.num_rows, [], batch, True
        except (pa.ArrowException, OSError, EOFError, ValueError) as error:
            _csv(spec, path, form)  # which says in which row
            raise NeedsWholeTableError(path.name) from error  # a row is longer than a block
        if last is not None:
            _require_closed_quote(spec, path, form, last.column(-1)[-1], start - 1)
    _require_rows(spec, paths, has_rows)


def stream_parquet(spec: str, paths: Sequence[Path]) -> Iterator[Table]:
    """The same from Parquet files.

    Raises:
        UserError: As :func:`read_parquet`.
    """
    names, has_rows = None, False
    for path in paths:
        try:
            with arrow_parquet.ParquetFile(path) as file:
                own = _checked_parquet(spec, path, file)
                names = names or own
                _require_same_columns(spec, paths[0].name, names, path.name, own)
                start = 1
                for batch in file.iter_batches(_ROWS_AT_ONCE):
                    batch.validate(full=True)
                    yield _some_rows(batch, own, path.name, start, False, False, [])
                    start, has_rows = start + batch.num_rows, True
        except (pa.ArrowException, OSError, EOFError, ValueError, MemoryError) as error:
            raise _unreadable(spec, path, str(error), "a Parquet file") from error
    _require_rows(spec, paths, has_rows)


def stream_open_csv(spec: str, source, name: str) -> Iterator[Table]:
    """The same from an open file of bytes that can be read once, such as standard input.

    Args:
        spec: The data spec, for messages.
        source: What is read from, by ``read(size)``; UTF-8, or marked as another encoding.
        name: What it is called in messages.

    Raises:
        UserError: If it is no table.
    """
    path, beginning = Path(name), _first_of(source, _SAMPLE)
    encoding = next((encoding for mark, encoding in _MARKS if beginning.startswith(mark)), "utf-8")
    text = beginning.decode(encoding, "ignore")
    if not text.strip():
        raise _unreadable(spec, path, "it is empty")
    is_whole = len(beginning) < _SAMPLE
    separator, above = _separator_below_remarks(text, is_whole)
    form = _Form(encoding, separator, False, above)
    whole_rows = beginning if is_whole else beginning[: beginning.rfind(b"\n") + 1]
    try:
        written = _raw_names(pa.BufferReader(whole_rows), *_options(form, use_threads=True))
        own, start = _checked_names(spec, name, written), above + 2
        for batch in _batches(_Again(beginning, source), form, written):
            yield _some_rows(batch, own, name, start, separator != ",", True, [])
            start += batch.num_rows
    except (pa.ArrowException, OSError, EOFError, ValueError) as error:
        raise _csv_error(spec, path, str(error)) from error


def _joined(spec, paths, tables: list[pa.Table], first_rows, comma, is_csv, notes) -> Table:
    names = tables[0].column_names
    for path, table in zip(paths[1:], tables[1:], strict=True):
        _require_same_columns(spec, paths[0].name, names, path.name, table.column_names)
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
    _require_rows(spec, paths, joined.num_rows > 0)
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


def _some_rows(batch, names, file: str, first: int, comma: bool, is_csv: bool, notes) -> Table:
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


def _require_rows(spec: str, paths: Sequence[Path], has_rows: bool) -> None:
    if not has_rows:
        raise UserError(
            setting="data",
            given=spec,
            expected="rows of data",
            but=f"{shown([path.name for path in paths], 3)} holds names of columns alone",
            remedy="add rows",
        )


def _require_same_columns(spec, first: str, wanted, other: str, found) -> None:
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


def _require_names(spec: str, name: str, names: Sequence[str]) -> None:
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


# -- CSV -------------------------------------------------------------------------------------------


def _form(spec: str, path: Path) -> _Form:
    """The encoding and separator of a file, whose whole content is text in that encoding."""
    try:
        with pa.input_stream(str(path)) as stream:
            beginning = stream.read(_SAMPLE)
        marked = [encoding for mark, encoding in _MARKS if beginning.startswith(mark)][:1]
        tried = ((encoding, _quotes(path, encoding)) for encoding in marked or _UNMARKED)
        encoding, quotes = next((e for e in tried if e[1] is not None), (None, 0))
    except (OSError, EOFError, ValueError, pa.ArrowException) as error:
        raise _unreadable(spec, path, str(error)) from error
    if encoding is None:
        which = "UTF-16 or UTF-32, as its first bytes say" if marked else "UTF-8 or Windows-1252"
        raise _unreadable(spec, path, f"it is no text in {which}")
    text = beginning.decode(encoding, "ignore")
    if not text.strip():
        raise _unreadable(spec, path, "it is empty")
    separator, above = _separator_below_remarks(text, whole=len(beginning) < _SAMPLE)
    return _Form(encoding, separator, quotes % 2 == 1, above)


def _separator_below_remarks(text: str, whole: bool) -> tuple[str, int]:
    """The separator, and the number of lines before the names of columns.

    These are a line ``sep=;`` for Excel, and remarks that begin with ``#``.
    """
    lines = [match[0] for match in re.finditer(r"[^\r\n]*(\r\n|\r|\n|$)", text)]
    told = re.fullmatch(r'"?sep=([^\w"])"?', lines[0].rstrip("\r\n"), re.I | re.A)
    above = first = int(told is not None)
    while above < len(lines) and lines[above].startswith("#"):
        above += 1
    rest = "".join(lines[above:])
    if not rest.strip():
        return _separator(text, whole), 0
    separator = told[1] if told else _separator(rest, whole)
    # The last may be the names of columns themselves: it has as many cells as the row below.
    if above > first and lines[above - 1].count(separator) == lines[above].count(separator):
        above -= 1
    return separator, above


def _quotes(path: Path, encoding: str) -> int | None:
    """The number of quotes in a file; ``None`` if it is no text in this encoding."""
    count = 0
    decoder, size = codecs.getincrementaldecoder(encoding)(), 0
    packed = path.stat().st_size
    with pa.input_stream(str(path)) as stream:
        while piece := stream.read(_BYTES_AT_ONCE):
            require_plausible_size(packed, size := size + len(piece))
            try:
                text = decoder.decode(piece)
            except UnicodeDecodeError:
                return None
            if "\0" in text:  # no text, or UTF-16 without a mark
                return None
            count += text.count('"')
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return None
    return count


def _separator(text: str, whole: bool) -> str:
    """The separator that divides the first rows into equally many cells, the most of them."""

    def cells(separator: str) -> list[int]:
        lines = iter(text.splitlines(keepends=True)[: None if whole else -1])
        rows = csv.reader(lines, delimiter=separator)
        counts = []
        try:
            for row in rows:
                counts += [len(row)] if row else []
                if len(counts) == _SAMPLE_ROWS:
                    break
        except csv.Error:  # a cell that is longer than any of a table
            pass
        return counts or [0]

    counts = {separator: cells(separator) for separator in _SEPARATORS}
    even = {s: found[0] for s, found in counts.items() if len({*found}) == 1 and found[0] > 1}
    # Where no separator divides all rows alike, the header decides, and the reader names the row.
    return max(_SEPARATORS, key=lambda s: (even.get(s, 0), counts[s][0]))


def _csv(spec: str, path: Path, form: _Form) -> pa.Table:
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
    _require_names(spec, file, names)
    return names


def _as_text(written: Sequence[str]) -> arrow_csv.ConvertOptions:
    """All columns as text: types are looked for later, in whole columns."""
    return arrow_csv.ConvertOptions(
        column_types=dict.fromkeys(written, pa.string()),
        null_values=[""],  # words that say the same are counted first where they are labels
        strings_can_be_null=True,
        check_utf8=False,  # done
    )


def _require_closed_quote(spec: str, path: Path, form: _Form, last_cell, row: int) -> None:
    """Refuse a file in which all that follows a quote is one cell, which its end closes."""
    if form.odd_quotes and "\n" in (last_cell.as_py() or ""):
        raise _unreadable(spec, path, f"the quote that opens in row {row:,} is never closed")


def _batches(source, form: _Form, written: Sequence[str]) -> Iterator[pa.RecordBatch]:
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


def _reading(spec: str, path: Path, form: _Form, read: Callable):
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


def _options(form: _Form, use_threads: bool):
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
        return _unreadable(spec, path, "it holds names of columns alone, and no rows")
    if "straddling" in said:
        most = f"{_LARGEST_ROW >> 20} MiB"
        said = f"a row is longer than {most}, as after a quote that is never closed"
    return _unreadable(spec, path, said)


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


# -- Parquet ---------------------------------------------------------------------------------------


def _parquet(spec: str, path: Path) -> pa.Table:
    try:
        with arrow_parquet.ParquetFile(path) as file:
            about = file.metadata
            _checked_parquet(spec, path, file)
            if (size := 8 * about.num_rows * about.num_columns) > machine_memory():
                raise ValueError(f"its {about.num_rows:,} rows would take {size:,} bytes of memory")
            table = file.read()
            table.validate(full=True)
            return _with_categories(table, about)
    except (pa.ArrowException, OSError, EOFError, ValueError, MemoryError) as error:
        raise _unreadable(spec, path, str(error), "a Parquet file") from error


def _checked_parquet(spec: str, path: Path, file: arrow_parquet.ParquetFile) -> list[str]:
    """The names of its columns, once what it says of its size is plausible."""
    require_plausible_size(path.stat().st_size, _size(file.metadata))
    _require_names(spec, path.name, file.schema_arrow.names)
    return file.schema_arrow.names


def _with_categories(table: pa.Table, about) -> pa.Table:
    """The table in which categories of numbers have their type again, which arrow leaves off."""
    noted = (about.metadata or {}).get(b"ARROW:schema")
    if noted is None:
        return table
    for field in pa.ipc.read_schema(pa.py_buffer(base64.b64decode(noted))):
        place = table.schema.get_field_index(field.name)
        if place < 0 or not pa.types.is_dictionary(field.type):
            continue
        column = table.column(place)
        if not pa.types.is_dictionary(column.type):
            table = table.set_column(place, field.name, column.dictionary_encode())
    return table


def _size(about) -> int:
    return sum(about.row_group(k).total_byte_size for k in range(about.num_row_groups))


def _unreadable(spec: str, path: Path, why: str, expected: str = "a table as text") -> UserError:
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
