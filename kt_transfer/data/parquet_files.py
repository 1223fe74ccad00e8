"""Read Parquet files as arrow columns: all rows, or some at a time."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as arrow_parquet

from kt_transfer.data.table_files import (
    Table,
    joined_files,
    require_names,
    require_rows,
    require_same_columns,
    some_rows,
    unreadable,
)
from kt_transfer.files.reading import machine_memory, require_plausible_size

# Rows of a Parquet file that are read at a time.
_ROWS_AT_ONCE = 2**15


def read_parquet(spec: str, paths: Sequence[Path]) -> Table:
    """Read Parquet files.

    Raises:
        UserError: If one cannot be read, or they differ in columns.
    """
    tables = [_parquet(spec, path) for path in paths]
    return joined_files(spec, paths, tables, [1] * len(paths), False, False, [])


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
                require_same_columns(spec, paths[0].name, names, path.name, own)
                start = 1
                for batch in file.iter_batches(_ROWS_AT_ONCE):
                    batch.validate(full=True)
                    yield some_rows(batch, own, path.name, start, False, False, [])
                    start, has_rows = start + batch.num_rows, True
        except (pa.ArrowException, OSError, EOFError, ValueError, MemoryError) as error:
            raise unreadable(spec, path, str(error), "a Parquet file") from error
    require_rows(spec, paths, has_rows)


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
        raise unreadable(spec, path, str(error), "a Parquet file") from error


def _checked_parquet(spec: str, path: Path, file: arrow_parquet.ParquetFile) -> list[str]:
    """The names of its columns, once what it says of its size is plausible."""
    require_plausible_size(path.stat().st_size, _size(file.metadata))
    require_names(spec, path.name, file.schema_arrow.names)
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
