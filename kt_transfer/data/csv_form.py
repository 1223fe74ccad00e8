"""How a CSV file is written: its encoding, its separator, and what stands above its names."""

from __future__ import annotations

import codecs
import csv
import re
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from kt_transfer.data.table_files import unreadable
from kt_transfer.files.reading import require_plausible_size

_SEPARATORS = (",", ";", "\t", "|")
# The longer marks first, as one begins with the other.
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Text of Western Europe, as older spreadsheets write it; almost any bytes are text in it, so last.
_UNMARKED = ("utf-8", "cp1252")
_BYTES_AT_ONCE = 2**22
SAMPLE = 2**18
_SAMPLE_ROWS = 20


class Form(NamedTuple):
    """How a CSV file is written."""

    encoding: str
    separator: str
    odd_quotes: bool
    lines_above: int  # the names of columns


def form_of(spec: str, path: Path) -> Form:
    """The encoding and separator of a file, whose whole content is text in that encoding."""
    try:
        with pa.input_stream(str(path)) as stream:
            beginning = stream.read(SAMPLE)
        marked = [encoding for mark, encoding in MARKS if beginning.startswith(mark)][:1]
        tried = ((encoding, _quotes(path, encoding)) for encoding in marked or _UNMARKED)
        encoding, quotes = next((e for e in tried if e[1] is not None), (None, 0))
    except (OSError, EOFError, ValueError, pa.ArrowException) as error:
        raise unreadable(spec, path, str(error)) from error
    if encoding is None:
        which = "UTF-16 or UTF-32, as its first bytes say" if marked else "UTF-8 or Windows-1252"
        raise unreadable(spec, path, f"it is no text in {which}")
    text = beginning.decode(encoding, "ignore")
    if not text.strip():
        raise unreadable(spec, path, "it is empty")
    separator, above = separator_below_remarks(text, whole=len(beginning) < SAMPLE)
    return Form(encoding, separator, quotes % 2 == 1, above)


def separator_below_remarks(text: str, whole: bool) -> tuple[str, int]:
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
