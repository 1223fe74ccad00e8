"""The columns of a table by name, as they stand in a file, at the entrance of what is served.

Numbers are ``float64``, NaN where one is missing. Categories, dates and truth values are strings,
``""`` where one is missing, so that a server takes what stands in the file.
"""

from __future__ import annotations

import keyword
import re

import numpy as np
import tensorflow as tf

from kt_transfer.data.schema import BOOLEAN_WORDS, MISSING_WORDS, Column, Schema

# What counts as a date, and as a time of that day; and as a time with a zone.
_DATE = r"\d{4}-\d{2}-\d{2}([T ]\d{2}(:\d{2}(:\d{2}(\.\d+)?)?)?)?"
_ZONED = r"^(\d{4}-\d{2}-\d{2}[T ][\d:.]+) ?(Z|[+-]\d{2}(:?\d{2})?)$"
_DAYS_OF_MONTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
# As where a file is read (data/cells.py): spaces of other alphabets are part of a word.
_MARGINS = "^[ \t\r\n\f\v]+|[ \t\r\n\f\v]+$"
_SECONDS_PER_DAY = 86400.0
_EPOCH = "1970-01-01T00:00:00"
_TRUE, _FALSE = zip(*BOOLEAN_WORDS, strict=True)


def served_names(schema: Schema) -> dict[str, str]:
    """The name of each column where it is served: one that TensorFlow can have.

    Example:
        >>> columns = [Column(name=name, kind="number") for name in ("age", "hours per week", "if")]
        >>> served_names(Schema(columns=tuple(columns)))
        {'age': 'age', 'hours per week': 'hours_per_week', 'if': 'if_'}
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for column in schema.columns:
        name = re.sub(r"[^0-9A-Za-z_]", "_", column.name)[:_LONGEST_NAME]
        if not name or not (name[0].isalpha()):
            name = f"column_{name}"
        if keyword.iskeyword(name) or name in _TAKEN:
            name += "_"
        stem, number = name, 1
        # TensorFlow makes arguments of them, whose names it writes in small letters.
        while name.lower() in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name.lower())
        names[column.name] = name
    return names


# Arguments of a signature that TensorFlow has itself.
_TAKEN = ("self", "args", "kwargs")
_LONGEST_NAME = 60


def column_specs(schema: Schema) -> dict[str, tf.TensorSpec]:
    """What is served takes, by served name: a vector for each column."""
    names = served_names(schema)
    return {
        names[column.name]: tf.TensorSpec(
            [None], tf.float64 if column.kind == "number" else tf.string, names[column.name]
        )
        for column in schema.columns
    }


def to_matrix(columns: dict, schema: Schema):
    """The matrix of a table from its named columns, within a graph.

    Args:
        columns: A tensor of shape ``(n,)`` for each served name.
        schema: The columns.

    Returns:
        ``float64`` of shape ``(n, columns)``, as ``schema.matrix`` of the same rows.
    """
    names = served_names(schema)
    values = [_values(columns[names[column.name]], column) for column in schema.columns]
    return tf.stack(values, axis=1)


def to_columns(matrix: np.ndarray, schema: Schema) -> dict[str, np.ndarray]:
    """The inverse of :func:`to_matrix`; a word that is not in a vocabulary becomes another such.

    Args:
        matrix: Shape ``(n, columns)``.
        schema: The columns.

    Returns:
        An array of shape ``(n,)`` for each served name, of numbers or words.
    """
    names = served_names(schema)
    return {
        names[column.name]: _cells(matrix[:, place].astype(np.float64), column)
        for place, column in enumerate(schema.columns)
    }


def _values(cells, column: Column):
    if column.kind == "number":
        return tf.cast(cells, tf.float64)
    words = tf.strings.regex_replace(cells, _MARGINS, "")
    if column.kind == "category":
        return _codes(words, column.vocabulary)
    if column.kind == "date":
        return _days(words)
    words = tf.strings.lower(words)
    is_true, is_false = (_is_one_of(words, known) for known in (_TRUE, _FALSE))
    # pandas writes a column of truth values with gaps as 1.0 and 0.0.
    is_true |= tf.strings.regex_full_match(words, r"1\.0*")
    is_false |= tf.strings.regex_full_match(words, r"0\.0*")
    value = tf.where(is_true, tf.constant(1.0, tf.float64), tf.constant(0.0, tf.float64))
    return tf.where(is_true | is_false, value, tf.constant(np.nan, tf.float64))


def _codes(words, vocabulary):
    """The position of each word, the size of the vocabulary for one that is not in it."""
    is_missing = _is_one_of(words, MISSING_WORDS)
    nothing = tf.constant(np.nan, tf.float64)
    if not vocabulary:
        return tf.where(is_missing, nothing, tf.zeros_like(nothing))
    # A comparison with all of them, not a table, which would be a resource to be loaded.
    same = tf.equal(words[:, None], tf.constant(list(vocabulary), tf.string)[None])
    found = tf.reduce_any(same, axis=1)
    code = tf.where(found, tf.argmax(tf.cast(same, tf.int32), axis=1), len(vocabulary))
    return tf.where(is_missing, nothing, tf.cast(code, tf.float64))


def _is_one_of(words, known):
    return tf.reduce_any(tf.equal(words[:, None], tf.constant(known)[None]), axis=1)


def _days(words):
    """Days since 1970-01-01 of ISO dates and times, in UTC; NaN for anything else."""
    is_zoned = tf.strings.regex_full_match(words, _ZONED)
    zone = tf.where(is_zoned, tf.strings.regex_replace(words, _ZONED, r"\2"), "Z")
    words = tf.where(is_zoned, tf.strings.regex_replace(words, _ZONED, r"\1"), words)
    is_date = tf.strings.regex_full_match(words, _DATE)
    # Of a whole length, so that every part can be cut out: a date alone is the start of the day.
    whole = tf.where(is_date, words, _EPOCH)
    whole = tf.where(tf.strings.length(whole) == len("1970-01-01"), whole + "T00:00:00", whole)
    whole = tf.where(tf.strings.length(whole) == len("1970-01-01T00"), whole + ":00", whole)
    whole = tf.where(tf.strings.length(whole) == len("1970-01-01T00:00"), whole + ":00", whole)

    def part(start: int, length: int):
        return _number(tf.strings.substr(whole, start, length))

    year, month, day = part(0, 4), part(5, 2), part(8, 2)
    hour, minute, second = part(11, 2), part(14, 2), part(17, 32)
    is_date &= (month >= 1) & (month <= 12) & (day >= 1) & (day <= _days_of_month(year, month))
    is_date &= (hour < 24) & (minute < 60) & (second < 60)
    seconds = 3600.0 * hour + 60.0 * minute + second - _offset(zone)
    # Days from the civil calendar: years begin in March, so that a leap day is the last one.
    year -= tf.cast(month <= 2, tf.float64)
    of_year = tf.floor((153.0 * tf.math.floormod(month + 9.0, 12.0) + 2.0) / 5.0) + day - 1.0
    leap_days = tf.floor(year / 4.0) - tf.floor(year / 100.0) + tf.floor(year / 400.0)
    days = 365.0 * year + leap_days + of_year - 719468.0
    days += seconds / _SECONDS_PER_DAY
    return tf.where(is_date, days, tf.constant(np.nan, tf.float64))


def _number(words):
    return tf.strings.to_number(words, tf.float64)


def _days_of_month(year, month):
    place = tf.clip_by_value(tf.cast(month, tf.int32) - 1, 0, 11)
    days = tf.gather(tf.constant(_DAYS_OF_MONTHS, tf.float64), place)
    by = tf.math.floormod
    is_leap = (by(year, 4.0) == 0) & ((by(year, 100.0) != 0) | (by(year, 400.0) == 0))
    return days + tf.cast(is_leap & (month == 2), tf.float64)


def _offset(zone):
    """Seconds by which a zone is ahead of UTC: ``Z``, ``+05``, ``+0530`` or ``+05:30``."""
    zone = tf.strings.regex_replace(zone, "^Z$", "+00")
    zone = tf.strings.regex_replace(zone, r"^([+-]\d{2})$", r"\1:00")
    zone = tf.strings.regex_replace(zone, r"^([+-]\d{2})(\d{2})$", r"\1:\2")
    ahead = 3600.0 * _number(tf.strings.substr(zone, 1, 2))
    ahead += 60.0 * _number(tf.strings.substr(zone, 4, 2))
    return tf.where(tf.equal(tf.strings.substr(zone, 0, 1), "-"), -ahead, ahead)


def _cells(values: np.ndarray, column: Column) -> np.ndarray:
    if column.kind == "number":
        return values
    is_missing = np.isnan(values)
    values = np.where(is_missing, 0, values)
    if column.kind == "category":
        words = np.array([*column.vocabulary, _unknown_to(column)])
        cells = words[values.astype(int)]
    elif column.kind == "date":
        microseconds = np.round(values * _SECONDS_PER_DAY * 1e6).astype("int64")
        cells = np.datetime_as_string(microseconds.astype("datetime64[us]"))
    else:
        cells = np.where(values > 0, "true", "false")
    return np.where(is_missing, "", cells)


def _unknown_to(column: Column) -> str:
    word = "other"
    while word in column.vocabulary:
        word += "_"
    return word
