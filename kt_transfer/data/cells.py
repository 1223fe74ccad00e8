"""What the cells of a table say: numbers, booleans, dates or words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kt_transfer.data.ranges import LARGEST_VALUE
from kt_transfer.data.schema import BOOLEAN_WORDS, MISSING_WORDS, Column
from kt_transfer.data.unseen import Unseen

EXPECTED = {
    "number": f"a number up to ±{LARGEST_VALUE:g}",
    "boolean": " or ".join(f"{yes}/{no}" for yes, no in BOOLEAN_WORDS),
    "date": "a date as 2024-12-31 or 2024-12-31T23:59:59, all with a time zone or none",
    "category": "a word",
}
# Tried in turn. Microseconds reach from year 1 to 9999, nanoseconds only around today.
_DATE_TYPES = tuple(pa.timestamp(unit, zone) for unit in ("us", "ns") for zone in (None, "UTC"))
_PER_DAY = {"us": 86_400 * 10**6, "ns": 86_400 * 10**9}
_MISSING = pa.array(MISSING_WORDS, pa.string())
# What the strings of a served model are stripped of, and so no other spaces.
_MARGINS = " \t\r\n\f\v"
_FIRST = 100
# Few enough to be compared with those of booleans, in all mixtures of case.
_FEW_WORDS = 32
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
# No thousands begin with a zero: 0,125 is an eighth.
_COMMA_THOUSANDS = r"^[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?$"
# Where commas cannot be decimal ones: several groups, or a point behind them.
_SURE_THOUSANDS = r"^[+-]?[1-9]\d{0,2}((,\d{3}){2,}(\.\d*)?|,\d{3}\.\d*)$"
_POINT_THOUSANDS = r"^[+-]?[1-9]\d{0,2}(\.\d{3})+(,\d+)?$"
_COMMA_DECIMAL = r"^[+-]?(\d*|[1-9]\d{0,2}(\.\d{3})+),\d+([eE][+-]?\d+)?$"


class BadCell(Exception):
    """A value that is not of its column's kind.

    Attributes:
        column: Name of the column.
        row: Its row, counted from 0.
        value: What stands there.
        expected: What should.
    """

    def __init__(self, row: int, value: object, expected: str, column: str = ""):
        super().__init__(f"{value!r} in row {row}")
        if isinstance(value, str) and len(value) > 60:
            value = value[:59] + "…"
        self.row, self.value, self.expected, self.column = row, value, expected, column


class Cells(NamedTuple):
    """The cells of a column, read as one kind.

    Attributes:
        kind: One of ``schema.KINDS``; ``None`` if all are missing, or their type is no such kind.
        values: ``float64`` of shape ``(n,)``, NaN for missing; of words their position in
            ``words``.
        words: The distinct words of a category.
    """

    kind: str | None
    values: np.ndarray
    words: list[str] | None = None


def texts(column: pa.ChunkedArray) -> list[str]:
    """Names as they are written, ``""`` where one is missing."""
    return ["" if value is None else str(value) for value in column.to_pylist()]


def release_memory() -> None:
    """Give back to the system what arrow keeps of tables that are no longer there."""
    pa.default_memory_pool().release_unused()


def matrix(
    columns: Iterable[Column], values: Mapping[str, object], unseen: Unseen | None = None
) -> np.ndarray:
    """The values of columns of known kinds, as ``Schema.matrix`` describes.

    Args:
        columns: The columns.
        values: By name: arrow columns, or anything that ``plain`` takes. A ``dict`` is emptied on
            the way, so that a large table is not held twice.
        unseen: Counts what training did not see.

    Raises:
        BadCell: If a value is not of its kind.
        ValueError: If columns differ in length.
    """
    columns, rows = list(columns), None
    for place, column in enumerate(columns):
        cells = named_cells(column.name, plain(values.pop(column.name)), column.kind)
        if rows is None:
            rows = np.empty((len(cells.values), len(columns)))
        if len(cells.values) != len(rows):
            raise ValueError(f"{column.name!r} has {len(cells.values)} values, others {len(rows)}")
        rows[:, place] = cells.values
        if column.kind == "category":
            rows[:, place] = coded(cells.values, codes_in(cells.words, column.vocabulary))
        if unseen is not None:
            unseen.add(column, rows[:, place], cells.words)
    return rows


def codes_in(words: list[str], vocabulary: tuple[str, ...]) -> np.ndarray:
    """The code of each word: its position in the vocabulary, or the vocabulary's length."""
    code_of = {word: code for code, word in enumerate(vocabulary)}
    return np.array([code_of.get(word, len(vocabulary)) for word in words], np.float64)


def coded(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Positions among words, NaN for missing, as the codes of these words."""
    known = ~np.isnan(values)
    result = np.full(len(values), np.nan)
    result[known] = codes[values[known].astype(np.int64)]
    return result


def named_cells(name: str, column: pa.ChunkedArray, kind: str | None) -> Cells:
    """A column's cells, read as the given kind or, without one, as what they look like.

    Raises:
        BadCell: With this name, if one is not of the kind, or is infinite.
    """
    try:
        return looked_at(column) if kind is None else cells_as(kind, column)
    except BadCell as bad:
        bad.column = name
        raise


def plain(values) -> pa.ChunkedArray:
    """A column of any origin as an arrow column of text without margins, numbers or dates.

    Text that stands for a missing value becomes null, and so does NaN.
    """
    values = trimmed(values)
    if is_text(values):
        return _null_where(pc.is_in(values, value_set=_MISSING.cast(values.type)), values)
    return _null_where(pc.is_nan(values), values) if pa.types.is_floating(values.type) else values


def trimmed(values) -> pa.ChunkedArray:
    """The same with the words that stand for missing values."""
    if not isinstance(values, pa.ChunkedArray | pa.Array):
        values = _from_python(values)
    if isinstance(values, pa.Array):
        values = pa.chunked_array([values], values.type)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_string_view(values.type) or _is_bytes(values.type):
        text = _cast(values, pa.string())  # bytes need not be text
        values = values if text is None else text
    if pa.types.is_decimal(values.type):
        values = values.cast(pa.float64())
    if pa.types.is_float16(values.type):
        values = values.cast(pa.float32())
    return pc.ascii_trim(values, characters=_MARGINS) if is_text(values) else values


def missing_words(values) -> dict[str, int]:
    """How often a column says which of the words that stand for missing values, but nothing."""
    column = trimmed(values)
    if not is_text(column):
        return {}
    said = column.filter(pc.is_in(column, value_set=_MISSING.cast(column.type)))
    counts = {pair["values"]: pair["counts"] for pair in said.value_counts().to_pylist()}
    return {word: count for word, count in counts.items() if word}


def has_category_type(values) -> bool:
    """Whether the type of a column says that it is a category: arrow's and pandas' dictionaries."""
    if isinstance(values, pa.ChunkedArray | pa.Array):
        return pa.types.is_dictionary(values.type)
    return hasattr(getattr(values, "dtype", None), "categories")


def require_words(name: str, column: pa.ChunkedArray) -> None:
    """Raise ``BadCell`` if a column is of a type that is not written as words, such as lists."""
    if _is_bytes(column.type) or _cast(column[:1], pa.string()) is None:
        try:
            _only_missing(column, "category")
        except BadCell as bad:
            bad.column = name
            raise


def _from_python(values) -> pa.ChunkedArray | pa.Array:
    kind = getattr(values, "dtype", None)
    kind = getattr(getattr(kind, "categories", None), "dtype", kind)
    if str(kind).startswith("interval"):
        values = values.astype(str)  # as pandas.cut makes them
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError):
        # Of mixed types, such as numbers among words, or more than arrow's integers hold.
        absent = [value is None or value != value for value in values]
        texts = (None if no else str(value) for value, no in zip(values, absent, strict=True))
        return pa.array(list(texts), pa.string())


def _null_where(are: pa.ChunkedArray, column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pc.any(are).as_py():
        return column
    return pc.if_else(are, pa.scalar(None, column.type), column)


def _is_bytes(kind: pa.DataType) -> bool:
    tests = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    return any(test(kind) for test in tests)


def with_points(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text in which every number with a decimal comma has a point instead."""
    if not pc.any(pc.match_substring(column, ",")).as_py():
        return column
    return pc.replace_substring_regex(column, r"^([+-]?\d*),(\d+([eE][+-]?\d+)?)$", r"\1.\2")


def meaning_of_commas(column: pa.ChunkedArray) -> str | None:
    """What the commas in the numbers of a column are.

    Returns:
        ``"decimal"`` or ``"thousands"`` where only one of them can be; ``"either"`` where each
        comma has three digits behind it and one to three before; ``None`` if there are none, or
        words have some too.
    """
    if not _has_byte(column, b","):
        return None
    with_comma = column.filter(pc.match_substring(column, ","))
    if not len(with_comma):
        return None
    thousands = pc.match_substring_regex(with_comma, _COMMA_THOUSANDS)
    if pc.all(thousands).as_py():
        sure = pc.any(pc.match_substring_regex(with_comma, _SURE_THOUSANDS)).as_py()
        return "thousands" if sure else "either"
    others = with_comma.filter(pc.invert(thousands))
    return "decimal" if pc.any(pc.match_substring_regex(others, _COMMA_DECIMAL)).as_py() else None


def _has_byte(text: pa.ChunkedArray, byte: bytes) -> bool:
    """Whether a byte occurs where the text lies, which is seen much faster than in which cell."""
    buffers = (chunk.buffers()[-1] for chunk in text.chunks)
    return any((np.frombuffer(b, np.uint8) == ord(byte)).any() for b in buffers if b is not None)


def without_thousands(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text in which no number has commas between its thousands."""
    return _without(",", column, _COMMA_THOUSANDS)


def with_decimal_points(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The same with points for decimal commas, and without points between thousands."""
    pointed = column.filter(pc.match_substring(column, "."))
    # In 2.5 a point is no such point, nor is it then in the 1.234 of the same column.
    if pc.all(pc.match_substring_regex(pointed, _POINT_THOUSANDS)).as_py():
        column = _without(".", column, _POINT_THOUSANDS)
    return with_points(column)


def _without(mark: str, column: pa.ChunkedArray, pattern: str) -> pa.ChunkedArray:
    are = pc.match_substring_regex(column, pattern)
    return pc.if_else(are, pc.replace_substring(column, mark, ""), column)


def is_text(column: pa.ChunkedArray) -> bool:
    """Whether a column holds text."""
    return pa.types.is_string(column.type) or pa.types.is_large_string(column.type)


def looked_at(column: pa.ChunkedArray) -> Cells:
    """A column's cells, read as the kind that they look like.

    Raises:
        BadCell: If they are numbers, one of which is infinite.
    """
    kind = _kind_of_type(column.type)
    if column.null_count == len(column):
        return Cells(None, np.full(len(column), np.nan))
    if kind in ("date", "boolean"):
        return cells_as(kind, column)
    if kind == "number" or (kind == "text" and _all_are_numbers(column)):
        return Cells("number", numbers(column))  # 0 and 1 too: so they stand in a request
    if kind != "text":
        return Cells(None, np.full(len(column), np.nan))
    codes, found = words(column)
    lower = {word.lower() for word in found[:_FEW_WORDS]}
    if len(found) <= _FEW_WORDS and any(lower <= {*pair} for pair in BOOLEAN_WORDS):
        return cells_as("boolean", column)
    days = _parsed_dates(column)
    return Cells("category", codes, found) if days is None else Cells("date", days)


def cells_as(kind: str, column: pa.ChunkedArray) -> Cells:
    """A column's cells, read as this kind.

    Raises:
        BadCell: If one of them is not of this kind.
    """
    if kind == "category":
        return Cells(kind, *words(column))
    return Cells(kind, {"number": numbers, "boolean": booleans, "date": days}[kind](column))


def numbers(column: pa.ChunkedArray) -> np.ndarray:
    """The numbers that cells hold, ``float64`` of shape ``(n,)``, NaN for missing.

    Raises:
        BadCell: If one is no number, or infinite.
    """
    kind = _kind_of_type(column.type)
    if kind == "text":
        values = _cast(column, pa.float64())
        if values is None:
            raise _first_bad(column, lambda some: _cast(some, pa.float64()), "number")
    elif kind == "boolean":
        values = column.cast(pa.uint8()).cast(pa.float64())
    elif kind == "number":
        values = column.cast(pa.float64(), safe=False)
    else:
        values = _only_missing(column, "number")
    result = np.array(values.to_numpy(), np.float64)
    # NaN has many bit patterns, and equal examples are found by their bytes.
    result[np.isnan(result)] = np.nan
    beyond = np.flatnonzero(np.abs(result) > LARGEST_VALUE)
    if len(beyond):
        row = int(beyond[0])
        raise BadCell(row, column[row].as_py(), EXPECTED["number"])
    return result


def booleans(column: pa.ChunkedArray) -> np.ndarray:
    """The same for what is true (1) or false (0)."""
    kind = _kind_of_type(column.type)
    if kind == "text" and not _all_are_numbers(column):
        value_of = {w: 1.0 - n for pair in BOOLEAN_WORDS for n, w in enumerate(pair)}
        codes, found = words(column)
        values = coded(codes, np.array([value_of.get(word.lower(), 2.0) for word in found]))
    else:
        values = numbers(column)
    neither = np.flatnonzero(~(np.isnan(values) | (values == 0) | (values == 1)))
    if len(neither):
        row = int(neither[0])
        raise BadCell(row, column[row].as_py(), EXPECTED["boolean"])
    return values


def days(column: pa.ChunkedArray) -> np.ndarray:
    """The same for dates, in days since 1970-01-01."""
    kind = _kind_of_type(column.type)
    if kind == "date":
        return _days_of(column.cast(_in_microseconds(column.type), safe=False))
    if kind != "text":
        return np.array(_only_missing(column, "date").to_numpy(), np.float64)
    values = _parsed_dates(column)
    if values is None:
        raise _first_bad(column, _parsed_dates, "date")
    return values


def words(column: pa.ChunkedArray) -> tuple[np.ndarray, list[str]]:
    """The same for words: positions among the distinct ones, and these.

    Numbers and dates are the words that they are written as, whole numbers without a point.

    Raises:
        BadCell: If they are of a type that is not written as words, such as lists.
    """
    if pa.types.is_floating(column.type):
        whole = _cast(column, pa.int64())
        column = column if whole is None else whole
    if not is_text(column):
        text = _cast(column, pa.string())
        column = _only_missing(column, "category").cast(pa.string()) if text is None else text
    encoded = column.dictionary_encode()  # all chunks have one dictionary
    found = encoded.chunk(0).dictionary.to_pylist() if encoded.num_chunks else []
    places = [chunk.indices.fill_null(-1).to_numpy() for chunk in encoded.chunks]
    codes = np.concatenate([np.empty(0, np.float64), *places])
    codes[codes < 0] = np.nan
    return codes, found


def share_of_numbers(cells: Cells) -> tuple[float, int]:
    """Of a category: the share of its filled cells that hold a number, and the first other row."""
    are = np.array(pc.match_substring_regex(pa.array(cells.words, pa.string()), NUMBER))
    number = coded(cells.values, are.astype(np.float64))
    filled = ~np.isnan(number)
    return float(number[filled].mean()), int(np.flatnonzero(filled & (number == 0))[:1].sum())


def _kind_of_type(kind: pa.DataType) -> str | None:
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "text"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return "number"
    if pa.types.is_boolean(kind):
        return "boolean"
    return "date" if pa.types.is_date(kind) or pa.types.is_timestamp(kind) else None


def _all_are_numbers(text: pa.ChunkedArray) -> bool:
    """Whether all cells are numbers, none of them written as a code is: 007, but not 0.7."""
    if _cast(text, pa.float64()) is None:
        return False
    zeros = text.filter(pc.starts_with(text, "0"))
    return not pc.any(pc.match_substring_regex(zeros, r"^0\d")).as_py()


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray | None:
    """The cells in another type; ``None`` if one of them has no equal there."""
    try:
        # Arrow goes on after a cell that fails, slowly: of a column of words the first ones tell.
        column[:_FIRST].cast(kind)
        return column.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def _parsed_dates(text: pa.ChunkedArray) -> np.ndarray | None:
    for kind in _DATE_TYPES:
        if (values := _cast(text, kind)) is not None:
            return _days_of(values)
    return None


def _in_microseconds(kind: pa.DataType) -> pa.DataType:
    return pa.timestamp("us", kind.tz if pa.types.is_timestamp(kind) else None)


def _days_of(dates: pa.ChunkedArray) -> np.ndarray:
    counts = dates.cast(pa.int64()).cast(pa.float64(), safe=False).to_numpy()
    result = counts / _PER_DAY[dates.type.unit]
    result[np.isnan(result)] = np.nan
    return result


def _only_missing(column: pa.ChunkedArray, kind: str) -> pa.ChunkedArray:
    """Nothing but missing values, for a type that holds none of this kind."""
    if column.null_count < len(column):
        row = int(np.argmax(pc.is_valid(column).to_numpy()))
        value = column[row].as_py()
        raise BadCell(row, value if isinstance(value, int | float) else str(value), EXPECTED[kind])
    return pa.chunked_array([pa.nulls(len(column), pa.float64())])


def _first_bad(column: pa.ChunkedArray, read, kind: str) -> BadCell:
    """The first cell that cannot be read: the end of the shortest beginning that cannot."""
    good, bad = 0, len(column)
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (good, middle) if read(column[:middle]) is None else (middle, bad)
    return BadCell(good, column[good].as_py(), EXPECTED[kind])
