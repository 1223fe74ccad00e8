"""What the columns of a table hold, and the numbers that a model takes for them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kt_transfer.errors import UserError

KINDS = ("number", "boolean", "category", "date")
# Each word of a category is an input of its own to a network, which would drown the other columns
# if there were thousands; and of the words beyond a hundred most occur too rarely to be learned.
MOST_WORDS = 100
# What is written where nothing is known. Case matters: "na" is a word of some languages.
MISSING_WORDS = (
    *("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NaT"),
    *("null", "NULL", "Null", "None", "?", "-"),
)
# What a boolean is written as, in any case. The first of each pair is true.
BOOLEAN_WORDS = (("true", "false"), ("yes", "no"), ("1", "0"))
# Stands for every word that is not in a vocabulary where values are named again.
OTHER = "(other)"


class NeedsWholeTableError(Exception):
    """What only all rows of a table tell: some of them cannot be read by themselves."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One input column of a table.

    Attributes:
        name: Its name.
        kind: One of ``KINDS``.
        vocabulary: Of a category: its words, the most frequent first and equally frequent ones
            sorted. A word's code is its position.
        low: The smallest value among the training rows: of a number as it is, of a boolean 0 or 1,
            of a date in days since 1970-01-01. ``None`` for a category, or if all are missing.
        high: The largest.
        missing: The share of the training rows in which it is missing, from 0 to 1.
    """

    name: str
    kind: str
    vocabulary: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    missing: float = 0.0

    @property
    def words(self) -> tuple[str, ...]:
        """What its values 0, 1, … stand for; none where they are numbers or days."""
        if self.kind == "category":
            return (*self.vocabulary, OTHER)
        return ("no", "yes") if self.kind == "boolean" else ()


@dataclass(frozen=True, kw_only=True)
class Schema:
    """The input columns of a table, in the order in which a model takes them.

    Attributes:
        columns: The columns.
        label_column: Name of the column that the labels were read from, if any.

    Example:
        >>> color = Column(name="color", kind="category", vocabulary=("red", "blue"))
        >>> schema = Schema(columns=(Column(name="age", kind="number"), color))
        >>> schema.matrix({"color": ["blue", "green", None], "age": [31, None, 4.5]})
        array([[31. ,  1. ],
               [ nan,  2. ],
               [ 4.5,  nan]])
    """

    columns: tuple[Column, ...]
    label_column: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(column.name for column in self.columns)

    def to_note(self) -> dict:
        """All of it in types that JSON has."""
        return {
            "label_column": self.label_column,
            "columns": [vars(column) | {"vocabulary": [*column.vocabulary]} for column in self],
        }

    @classmethod
    def from_note(cls, note: Mapping) -> Schema:
        """The schema that :meth:`to_note` made this of.

        Raises:
            ValueError: If it is damaged.

        Example:
            >>> schema = Schema(columns=(Column(name="age", kind="number", low=0, high=99),))
            >>> Schema.from_note(schema.to_note()) == schema
            True
        """
        if not isinstance(note, Mapping) or not isinstance(note.get("columns"), Sequence):
            raise ValueError("it describes no columns of a table")
        columns = tuple(map(_column_from, note["columns"]))
        label = note.get("label_column")
        names = [column.name for column in columns]
        if not columns or len({*names}) < len(names) or not isinstance(label, str | None):
            raise ValueError("it describes no table: columns of one name, or none at all")
        return cls(columns=columns, label_column=label)

    def matrix(self, frame) -> np.ndarray:
        """The values of a table's columns as numbers.

        Args:
            frame: What gives the values of a column by its name: a ``pandas.DataFrame``, a
                dictionary of arrays or lists, or a ``pyarrow.Table``. The columns may be in any
                order, and further ones are ignored.

        Returns:
            ``float64`` of shape ``(n, columns)``: numbers as they are, booleans as 0 or 1, dates in
            days since 1970-01-01 with the time of day as a fraction (UTC if they name a zone),
            words as their position in the vocabulary, its length for a word that is not in it, and
            NaN for a missing value. Text is read as in a CSV file, and so is missing if it is one
            of ``MISSING_WORDS``.

        Raises:
            UserError: If a column is missing, or a value is not of its kind; rows are counted
                from 1.
        """
        # pyarrow is wanted here alone, and whoever only asks for a schema need not wait for it.
        from kt_transfer.data import cells

        require_known(self.names, frame.keys() if hasattr(frame, "keys") else frame.column_names)
        try:
            return cells.matrix(self.columns, {name: frame[name] for name in self.names})
        except cells.BadCell as bad:
            raise UserError(
                given="a table",
                when=f"with {bad.value!r} in row {bad.row + 1} of the column {bad.column!r}",
                expected=bad.expected,
                remedy="correct it",
            ) from bad

    def frame_of(self, matrix: np.ndarray) -> dict[str, list]:
        """The inverse of :meth:`matrix`: named values, for people to look at.

        Args:
            matrix: Shape ``(n, columns)``; codes and booleans need not be whole, as those of a
                reconstruction are not.

        Returns:
            For each column its values: numbers as ``float``, booleans as ``bool``, dates as
            ``numpy.datetime64`` to the second, words, ``OTHER`` for an unknown one, and ``None``
            for a missing value.

        Example:
            >>> color = Column(name="color", kind="category", vocabulary=("red", "blue"))
            >>> Schema(columns=(color,)).frame_of(np.array([[0.1], [2.0], [np.nan]]))
            {'color': ['red', '(other)', None]}
        """
        columns = zip(self.columns, np.asarray(matrix, np.float64).T, strict=True)
        return {
            column.name: [None if np.isnan(value) else _named(column, value) for value in values]
            for column, values in columns
        }

    def texts_of(self, matrix: np.ndarray) -> list[list[str]]:
        """What stands in each row, for people.

        Args:
            matrix: Shape ``(n, columns)``.

        Example:
            >>> schema = Schema(columns=(Column(name="age", kind="number"),))
            >>> schema.texts_of(np.array([[31.0], [np.nan]]))
            [['31'], ['missing']]
        """
        values = self.frame_of(matrix)
        return [[_text(values[name][row]) for name in self.names] for row in range(len(matrix))]

    def __iter__(self):
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)


def require_known(
    names: Sequence[str], known: Sequence[str], *, setting: str | None = None, given: object = None
) -> None:
    """Require that a table has all columns of these names.

    Args:
        names: The names that are asked for.
        known: The names of the table's columns.
        setting: The setting that named them; ``None`` if it was a model.
        given: Its value, or the table.

    Raises:
        UserError: For the first that is absent, with the names that are most like it.
    """
    known = [str(name) for name in known]
    there = {*known}
    absent = [name for name in names if name not in there]
    if not absent:
        return
    # Names of any length are compared, which takes long: the beginning tells as much.
    near = difflib.get_close_matches(absent[0][:100], [name[:100] for name in known[:1000]], 3, 0.5)
    folded = [name for name in known if name.lower() == absent[0].lower()]
    near = folded or near
    has = f"did you mean {' or '.join(map(short, near))}?" if near else "it has " + shown(known)
    several = len(absent) > 1
    if setting is None:
        raise UserError(
            setting=None if given is None else "data",
            given="a table" if given is None else given,
            when=f"without the column{'s' * several} {shown(absent, 5)}",
            expected="the columns that the model was made for",
            remedy=f"add {'them' if several else 'it'} ({has})",
        )
    raise UserError(
        setting=setting,
        given=given,
        but=f"the table has no column {short(absent[0])} ({has})",
        remedy="give the name of a column",
    )


def shown(names: Sequence[str], most: int = 10) -> str:
    """Names of columns in a line: the first of many, the beginning of long ones."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(short, names[:most])) + more


def short(name: str) -> str:
    """A name on one line, its beginning if it is long.

    Example:
        >>> short("a name of two" + chr(10) + "lines"), len(short("x" * 1000))
        ('a name of two lines', 60)
    """
    line = " ".join(str(name).replace("\0", " ").split())
    return line if len(line) <= 60 else line[:59] + "…"


def _named(column: Column, value: float):
    if column.kind == "number":
        return float(value)
    if column.kind == "boolean":
        return bool(value >= 0.5)
    if column.kind == "date":
        return np.datetime64("1970-01-01T00:00:00") + np.timedelta64(round(value * 86_400), "s")
    code = int(np.clip(round(value), 0, len(column.vocabulary)))
    return column.words[code]


def _text(value) -> str:
    if value is None:
        return "missing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else short(str(value))


def _column_from(note) -> Column:
    known = {"name", "kind", "vocabulary", "low", "high", "missing"}
    if not isinstance(note, Mapping) or not {"name", "kind"} <= {*note} <= known:
        raise ValueError("it describes a column by other things than a name, a kind and its values")
    column = Column(**{**note, "vocabulary": note.get("vocabulary", ())})
    if not isinstance(column.name, str) or column.kind not in KINDS:
        raise ValueError(f"the column {column.name!r} is of no kind among {', '.join(KINDS)}")
    words = column.vocabulary
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"the vocabulary of {column.name!r} is no list of words")
    if len({*words}) < len(words) or len(words) > MOST_WORDS:
        raise ValueError(f"the vocabulary of {column.name!r} has a word twice, or too many")
    ends = (column.low, column.high)
    if ends != (None, None) and not (all(map(_is_number, ends)) and ends[0] <= ends[1]):
        raise ValueError(f"the range of {column.name!r} is no two numbers in order")
    if not _is_number(column.missing) or not 0 <= column.missing <= 1:
        raise ValueError(f"{column.name!r} is missing in no share of the rows")
    return Column(
        name=column.name,
        kind=column.kind,
        vocabulary=tuple(words),
        low=column.low,
        high=column.high,
        missing=column.missing,
    )


def _is_number(value) -> bool:
    return type(value) in (int, float) and bool(np.isfinite(value))
