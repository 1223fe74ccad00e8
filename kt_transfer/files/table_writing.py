"""Write a table some rows at a time: CSV, Parquet or JSON lines."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
import pyarrow.parquet as arrow_parquet

from kt_transfer.errors import UserError
from kt_transfer.files.spreadsheets import harmless
from kt_transfer.files.writing import replacing

STANDARD_OUTPUT = "-"
# What a quote must stand around in CSV.
_NEEDS_QUOTES = '[",\r\n]'
_DIGITS = 6


@contextlib.contextmanager
def writing_table(
    path: Path | str, *, overwrite: bool = False, as_they_are: tuple[str, ...] = ()
) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """Write a table under a temporary name, renamed once the block succeeds.

    Args:
        path: The file, whose suffix says the format: ``.parquet``, ``.jsonl``, or CSV; ``-`` for
            CSV on standard output, as it comes.
        overwrite: Whether to replace the file.
        as_they_are: Columns of CSV whose name and text stay, though a spreadsheet may take them
            for formulas.

    Yields:
        A function that appends the rows of a ``pyarrow.RecordBatch``; all have the same columns.

    Example:
        >>> with writing_table(Path("small.csv")) as write:
        ...     write(pa.record_batch({"name": ["a,b", "=1"], "share": [0.25, 2 / 3]}))
        >>> print(Path("small.csv").read_text())
        name,share
        "a,b",0.25
        '=1,0.666667
        <BLANKLINE>
    """
    if path == STANDARD_OUTPUT:
        yield _Csv(sys.stdout.buffer, as_they_are).write
        sys.stdout.buffer.flush()
        return
    path = Path(path)
    with replacing(path, overwrite=overwrite) as temporary, open(temporary, "wb") as file:
        writer = _FORMATS[require_format(path)](file, as_they_are)
        yield writer.write
        writer.close()


def require_format(path: Path | str) -> str:
    """The suffix that says the format of a table.

    Raises:
        UserError: If it is that of another kind of file.

    Example:
        >>> require_format("answers.parquet"), require_format("answers")
        ('.parquet', '.csv')
    """
    suffix = Path(path).suffix.lower() or ".csv"
    if path != STANDARD_OUTPUT and suffix not in _FORMATS:
        raise UserError(
            setting="out",
            given=path,
            expected=f"a file that ends in {', '.join(_FORMATS)}, or - for standard output",
            remedy="give one of these",
        )
    return suffix


class _Csv:
    def __init__(self, file: BinaryIO, as_they_are: tuple[str, ...]):
        self._file, self._as_they_are, self._has_header = file, as_they_are, False

    def write(self, batch: pa.RecordBatch) -> None:
        columns = {}
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if pa.types.is_floating(column.type):
                column = pa.array(_rounded(column.to_numpy(zero_copy_only=False)))
            if name in self._as_they_are:
                columns[name] = column
                continue
            is_text = pa.types.is_string(column.type)
            columns[harmless(name)] = _harmless_column(column) if is_text else column
        if not self._has_header:
            names = pa.record_batch({str(n): [name] for n, name in enumerate(columns)})
            self._write_rows(names)
            self._has_header = True
        self._write_rows(pa.record_batch(columns))

    def _write_rows(self, batch: pa.RecordBatch) -> None:
        texts = [column for column in batch.columns if pa.types.is_string(column.type)]
        quoted = any(pc.any(pc.match_substring_regex(t, _NEEDS_QUOTES)).as_py() for t in texts)
        options = arrow_csv.WriteOptions(
            include_header=False, quoting_style="needed" if quoted else "none"
        )
        arrow_csv.write_csv(batch, self._file, options)

    def close(self) -> None:
        pass


class _Parquet:
    def __init__(self, file: BinaryIO, as_they_are: tuple[str, ...]):
        self._file, self._writer = file, None

    def write(self, batch: pa.RecordBatch) -> None:
        if self._writer is None:
            self._writer = arrow_parquet.ParquetWriter(self._file, batch.schema)
        self._writer.write_batch(batch)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class _JsonLines:
    def __init__(self, file: BinaryIO, as_they_are: tuple[str, ...]):
        self._file = file

    def write(self, batch: pa.RecordBatch) -> None:
        table = batch.to_pandas()
        for name in table:
            if table[name].dtype.kind == "f":
                table[name] = _rounded(table[name].to_numpy())
        text = table.to_json(orient="records", lines=True, double_precision=15, force_ascii=False)
        self._file.write(text.encode())

    def close(self) -> None:
        pass


_FORMATS = {".csv": _Csv, ".parquet": _Parquet, ".jsonl": _JsonLines}


def _harmless_column(column: pa.Array) -> pa.Array:
    # The same few texts over and over, as labels are.
    encoded = column.dictionary_encode()
    safe = [harmless(text) for text in encoded.dictionary.to_pylist()]
    if safe == encoded.dictionary.to_pylist():
        return column
    return pa.array(safe, pa.string()).take(encoded.indices)


def _rounded(values: np.ndarray) -> np.ndarray:
    """The doubles whose shortest decimal is that of the values with six digits."""
    values = values.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        places = _DIGITS - 1 - np.floor(np.log10(np.abs(values)))
    is_number = np.isfinite(places)
    # Powers of ten are exact up to here, so that one division rounds once.
    factor = 10.0 ** np.where(is_number, np.minimum(places, 22), 0)
    return np.where(is_number, np.round(values * factor) / factor, values)
