"""Columns of a table that are worth learning from, and what they are: their schema."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kt_transfer.data.ranges import LARGEST_WHOLE
from kt_transfer.data.schema import MOST_WORDS, Column, Schema, short, shown
from kt_transfer.data.table_options import TableOptions
from kt_transfer.errors import UserError, named

if TYPE_CHECKING:
    from kt_transfer.data.cells import Cells
    from kt_transfer.data.table_files import Table

# What a column of labels is usually called, where one that is taken as an input deserves a word.
_LABEL_NAMES = ("label", "target", "class", "y")
_PLURALS = {"category": "categories"}
_NOTHING = "empty, or of no kind that is known"
_ALL_DIFFERENT = "text that is nearly all different: --categorical keeps it"


class Inputs(NamedTuple):
    """Columns that are inputs.

    Attributes:
        columns: Name and kind of each.
        x: ``float64`` of shape ``(n, columns)``; of categories positions in their ``words``.
        words: The distinct words of each category, by name.
        left_out: Which columns are not, in words; empty if all are.
        doubts: Notes about columns that may not be what they seem.
    """

    columns: list[tuple[str, str]]
    x: np.ndarray
    words: dict[str, list[str]]
    left_out: str
    doubts: list[str]


def inputs_of(spec: str, table: Table, options: TableOptions, typed: set[str]) -> Inputs:
    """The columns that are worth learning from, each as what it looks like or was declared.

    Those in ``typed`` are categories by their type, but need not be worth anything.
    """
    from kt_transfer.data import cells

    declared = dict.fromkeys(options.categorical, "category")
    declared |= dict.fromkeys(options.numeric, "number")
    kinds = dict.fromkeys(typed, "category") | declared
    for name in options.ignore:
        table.columns.pop(name, None)
    x = np.empty((table.num_rows, len(table.columns)))
    columns, words, doubts, left_out = [], {}, [], {}
    for name in [*table.columns]:
        found = cells.named_cells(name, table.columns.pop(name), kinds.get(name))
        if name not in declared and (why := _worthless(found)):
            left_out.setdefault(why, []).append(name)
        else:
            x[:, len(columns)] = found.values
            columns.append((name, found.kind))
            if found.words is not None:
                words[name] = found.words
        doubts += _doubts(name, found, table, declared)
    if table.nameless:
        left_out["without a name"] = [f"{table.nameless} column{'s'[: table.nameless > 1]}"]
    if not columns:
        raise UserError(
            setting="data",
            given=spec,
            expected="columns to learn from",
            but=f"it has none besides {_told(left_out)}" if left_out else "it has none",
            remedy=f"add some, or name words that matter with {named('categorical')}",
        )
    return Inputs(columns, x[:, : len(columns)], words, _told(left_out), doubts)


def _worthless(found: Cells) -> str:
    """Why nothing can be learned from a column; empty if something can."""
    if found.kind is None:
        return _NOTHING
    filled = found.values[~np.isnan(found.values)]
    if not len(filled):
        return _NOTHING
    # A value that is missing here and there says something by that.
    if len(filled) == len(found.values) and (filled == filled[0]).all():
        return "constant"
    if found.kind != "category":
        return ""
    once = int((np.bincount(filled.astype(np.int64)) == 1).sum())
    return _ALL_DIFFERENT if 2 * once > len(filled) else ""


def filled_in_training(
    spec: str, inputs: Inputs, x: np.ndarray, x_test: np.ndarray
) -> tuple[Inputs, np.ndarray, np.ndarray]:
    """The inputs without those that say nothing in any training row."""
    filled = ~np.isnan(x).all(axis=0)
    if filled.all():
        return inputs, x, x_test
    empty = [name for (name, _), kept in zip(inputs.columns, filled, strict=True) if not kept]
    told = _told({"empty in all training rows": empty})
    if not filled.any():
        raise UserError(
            setting="data",
            given=spec,
            expected="columns to learn from",
            but=f"it has none besides {told}",
            remedy="add some",
        )
    inputs = inputs._replace(
        columns=[column for column in inputs.columns if column[0] not in empty],
        words={name: words for name, words in inputs.words.items() if name not in empty},
        left_out=", ".join(filter(None, [inputs.left_out, told])),
    )
    return inputs, x[:, filled], x_test[:, filled]


def _told(left_out: dict[str, list[str]]) -> str:
    return ", ".join(f"{shown(names, 5)} ({why})" for why, names in left_out.items())


def _doubts(name: str, found: Cells, table: Table, declared) -> list[str]:
    """What a person should know of a column, which may be other than it seems."""
    from kt_transfer.data import cells

    if name in declared or found.kind is None:
        return []
    notes = []
    if name.lower() in _LABEL_NAMES:
        notes.append(
            f"a column {name!r} is taken as an input: give --label-column {name} if it is the label"
        )
    if found.kind == "category":
        share, row = cells.share_of_numbers(found)
        if 0.5 <= share < 1:
            word = found.words[int(found.values[row])]
            notes.append(
                f"{short(name)} is taken as words, though {share:.1%} of it are numbers: "
                f"{table.place(row)} says {short(word)!r}"
            )
    if found.kind == "number" and np.fmax.reduce(np.abs(found.values)) > LARGEST_WHOLE:
        notes.append(
            f"{short(name)} has numbers beyond {LARGEST_WHOLE:,}, of which neighbours are one: "
            f"give --id, --ignore or --categorical {name} if they are names"
        )
    if found.kind == "number" and len(found.values) > 2 and (np.diff(found.values) == 1).all():
        notes.append(f"{short(name)} counts the rows: give --ignore {name} if it says nothing else")
    return notes


def schema_of_inputs(
    inputs: Inputs, x: np.ndarray, x_test: np.ndarray, label_column: str | None
) -> Schema:
    """The schema of the training rows; positions of words in both parts become its codes."""
    from kt_transfer.data import cells

    columns = []
    for place, (name, kind) in enumerate(inputs.columns):
        values = x[:, place]
        known = values[~np.isnan(values)]
        about = {"name": name, "kind": kind, "missing": 1 - len(known) / len(values)}
        if kind == "category":
            words = inputs.words[name]
            about["vocabulary"] = _vocabulary(words, known.astype(np.int64))
            codes = cells.codes_in(words, about["vocabulary"])
            for part in (x, x_test):
                part[:, place] = cells.coded(part[:, place], codes)
        elif len(known):
            about |= {"low": float(known.min()), "high": float(known.max())}
        columns.append(Column(**about))
    return Schema(columns=tuple(columns), label_column=label_column)


def _vocabulary(words: Sequence[str], places: np.ndarray) -> tuple[str, ...]:
    """The words that occur, most frequent first; of many the ``MOST_WORDS`` most frequent."""
    counts = np.bincount(places, minlength=len(words))
    occurring = np.flatnonzero(counts)
    ordered = sorted(occurring, key=lambda place: (-counts[place], words[place]))
    return tuple(words[place] for place in ordered[:MOST_WORDS])


def notes_of(
    schema: Schema, inputs: Inputs, options: TableOptions, class_names: tuple[str, ...]
) -> list[str]:
    """What was made of the table: one line, and one for each doubt."""
    line = [f"{len(schema)} column{'s'[: len(schema) > 1]}: {_kinds(schema)}"]
    if options.label_column:
        line.append(f"label: {short(options.label_column)} ({len(class_names)} classes)")
    if options.group_column:
        line.append(f"no split separates rows of one {short(options.group_column)}")
    if inputs.left_out:
        line.append(f"left out: {inputs.left_out}")
    many = [
        f"{short(name)} ({len(words):,})"
        for name, words in inputs.words.items()
        if len(words) > MOST_WORDS
    ]
    if many:
        line.append(
            f"of many words the {MOST_WORDS} most frequent are told apart: {shown(many, 5)}"
        )
    return ["; ".join(line), *inputs.doubts]


def _kinds(schema: Schema) -> str:
    """How many columns are of which kind, and which those are that a person would check."""
    told = []
    for kind, count in Counter(column.kind for column in schema).items():
        words = f"{count} {kind if count == 1 else _PLURALS.get(kind, f'{kind}s')}"
        names = [column.name for column in schema if column.kind == kind]
        told.append(words if kind == "number" else f"{words} ({shown(names, 5)})")
    return ", ".join(told)
