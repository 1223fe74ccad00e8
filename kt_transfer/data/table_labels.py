"""Columns of a table that are no inputs: the labels, the names and the groups of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from kt_transfer.data.dataset import UNLABELLED
from kt_transfer.data.ranges import LARGEST_WHOLE
from kt_transfer.data.schema import short
from kt_transfer.data.table_options import TableOptions
from kt_transfer.errors import UserError

if TYPE_CHECKING:
    from kt_transfer.data.table_files import Table


def labels_of(
    table: Table, options: TableOptions, is_new: bool, no_labels: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The class of each row, -1 for none, and the names of the classes."""
    name = options.label_column
    if name is None:
        return np.full(table.num_rows, UNLABELLED, np.int32), ()
    places, words = _words(table, name)
    values = _whole_numbers(words)
    if values is None and (fraction := _fraction(words)) is not None:
        row = int(np.flatnonzero(places == fraction)[0])
        raise UserError(
            setting="label_column",
            given=name,
            when=f"with {words[fraction]} in {table.place(row)}",
            expected="names or whole numbers of classes",
            remedy="give a column of classes, or divide its numbers into classes",
        )
    y, class_names = classes_of(places, words)
    if "-1" in class_names and len(class_names) > 2:
        table.notes.append(f"-1 is a class of {short(name)} (an empty cell would be no label)")
    labelled = int((y != UNLABELLED).sum())
    if not is_new and labelled:
        _require_classes(name, class_names, labelled, table.num_rows, no_labels)
    return y, class_names


def said_of_no_labels(table: Table, name: str | None) -> str:
    """Which words count as no label, though a person may have meant them as classes."""
    from kt_transfer.data import cells

    counts = {} if name is None else cells.missing_words(table.columns[name])
    if not counts:
        return ""
    count, words = sum(counts.values()), " or ".join(map(repr, counts))
    cells_say = "cell of {} says" if count == 1 else "cells of {} say"
    verb = "counts" if count == 1 else "count"
    return f"{count:,} {cells_say.format(short(name))} {words} and {verb} as no label"


def classes_of(places: np.ndarray, words: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """The class of each row, from the words of a column of labels.

    Args:
        places: The position of each row's label in ``words``, NaN for none.
        words: The distinct labels.

    Returns:
        Labels, ``int32``, -1 for none, and the names of the classes, sorted.

    Example:
        >>> classes_of(np.array([0.0, 1.0, np.nan]), ["10", "9"])
        (array([ 1,  0, -1], dtype=int32), ('9', '10'))
    """
    values = _whole_numbers(words)
    values = np.array(words, str) if values is None else values
    # In a table an empty cell has no label, and -1 is a class as any other.
    classes, numbers = np.unique(values, return_inverse=True)
    whole = classes.dtype.kind == "f"
    class_names = tuple(str(int(name) if whole else name) for name in classes.tolist())
    y = np.append(numbers, UNLABELLED)[np.where(np.isnan(places), -1, places).astype(int)]
    return y.astype(np.int32), class_names


def _whole_numbers(words: Sequence[str]) -> np.ndarray | None:
    """The words as whole numbers, if all are: ``2`` and ``2.0``, but not ``007``."""
    import pyarrow as pa

    if any(len(word) > 1 and word[0] == "0" and word[1].isdigit() for word in words):
        return None
    try:
        return np.array(pa.array(words, pa.string()).cast(pa.int64()))
    except pa.ArrowInvalid:
        pass
    try:
        values = np.array([float(word) for word in words])
    except ValueError:
        return None
    whole = np.isfinite(values).all() and (values == np.trunc(values)).all()
    return values if whole and np.abs(values).max(initial=0) < LARGEST_WHOLE else None


def _fraction(words: Sequence[str]) -> int | None:
    """The position of the first fraction, if all words are numbers."""
    try:
        values = np.array([float(word) for word in words])
    except ValueError:
        return None
    fractions = np.flatnonzero(values != np.trunc(values))
    return int(fractions[0]) if len(fractions) else None


def _require_classes(
    name: str, class_names: tuple[str, ...], labelled: int, rows: int, no_labels: str
) -> None:
    """Refuse labels that teach nothing: all the same, or none twice."""
    if len(class_names) == 1:
        raise UserError(
            setting="label_column",
            given=name,
            expected="at least 2 classes",
            but=f"all labels are {short(class_names[0])}"
            + (f", and {no_labels}" if no_labels else ""),
            remedy="write a word for the other class, or give another column"
            if no_labels
            else "give another column, or none if there are no labels",
        )
    # A few labelled examples among many, each of a class of its own, are few, but all right.
    if len(class_names) == labelled > 2 and 2 * labelled > rows:
        raise UserError(
            setting="label_column",
            given=name,
            expected="classes with several examples",
            but=f"all its {labelled:,} values are different",
            remedy="give another column",
        )


def ids_of(table: Table, options: TableOptions) -> np.ndarray | None:
    """The name of each row; ``None`` without a column of names. It is taken out of the table."""
    from kt_transfer.data import cells

    if options.id_column is None:
        return None
    cells.require_words(options.id_column, table.columns[options.id_column])
    column = table.columns[options.id_column]
    if options.group_column != options.id_column:
        del table.columns[options.id_column]
    return np.array(cells.texts(column), object)


def groups_of(table: Table, options: TableOptions, is_new: bool) -> np.ndarray | None:
    """The group of each row, -1 for none."""
    if options.group_column is None:
        return None
    places, words = _words(table, options.group_column)
    if len(words) == 1 and not np.isnan(places).any() and not is_new:
        raise UserError(
            setting="group_column",
            given=options.group_column,
            expected="at least 2 groups",
            but=f"all rows are in {short(words[0])}",
            remedy="leave it out, since no split could keep these rows together",
        )
    return np.where(np.isnan(places), -1, places).astype(np.int64)


def words_if(table: Table, name: str | None) -> tuple[np.ndarray | None, list[str]]:
    """For each row the position of its word in a column that is no input, and these words; ``None``
    and none without such a column. It is taken out of the table."""
    return (None, []) if name is None else _words(table, name)


def _words(table: Table, name: str) -> tuple[np.ndarray, list[str]]:
    """The words of a column that is no input, as ``cells.words`` describes."""
    from kt_transfer.data import cells

    found = cells.named_cells(name, table.columns.pop(name), "category")
    return found.values, found.words
