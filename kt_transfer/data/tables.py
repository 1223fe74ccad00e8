"""``csv:FILES`` and ``parquet:FILES``: a table with columns of numbers, words and dates."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kt_transfer.data.dataset import Dataset, Like
from kt_transfer.data.overlap import joined, same_examples
from kt_transfer.data.ranges import observed_range
from kt_transfer.data.schema import NeedsWholeTableError, Schema, require_known, short, shown
from kt_transfer.data.splits import split_test
from kt_transfer.data.table_inputs import (
    filled_in_training,
    inputs_of,
    notes_of,
    schema_of_inputs,
)
from kt_transfer.data.table_labels import (
    groups_of,
    ids_of,
    labels_of,
    said_of_no_labels,
    words_if,
)
from kt_transfer.data.table_options import TableOptions, checked_options
from kt_transfer.data.unseen import Unseen
from kt_transfer.errors import UserError, named

if TYPE_CHECKING:  # arrow takes a moment to import, and flags are checked without it
    from kt_transfer.data.cells import BadCell
    from kt_transfer.data.table_files import Table


def load_csv(
    spec: str, path: Path, options: TableOptions | None = None, like: Like | None = None
) -> Dataset:
    """A table from one CSV file, or from several by a pattern as ``part-*.csv``.

    Separators, decimal commas, encodings and kinds of columns are found out, and said in notes.

    Args:
        spec: The data spec, for messages.
        path: The file or pattern; files are joined in the order of their names.
        options: What the columns are.
        like: The examples that a model takes; with a schema, its columns are taken, and the column
            of the labels may be absent.

    Returns:
        The data set, with a ``schema`` from the training rows; ``x`` is its ``matrix``.

    Raises:
        UserError: If the files are no table, or their columns are not what they must be.

    Example:
        >>> rows = ["age;color;sick", "31,5;red;no", "44;blue;yes", "27;red;no", "61;blue;yes"]
        >>> _ = Path("people.csv").write_text(chr(10).join(rows))
        >>> data = load_csv("csv:people.csv", "people.csv", TableOptions(label_column="sick"))
        >>> data.notes
        ('2 columns: 1 number, 1 category (color); label: sick (2 classes)',)
        >>> data.schema.frame_of(data.x)["age"], data.class_names
        ([31.5, 27.0, 61.0], ('no', 'yes'))
    """
    from kt_transfer.data.csv_files import read_csv

    return _load(spec, path, read_csv, options or TableOptions(), like)


def load_parquet(
    spec: str, path: Path, options: TableOptions | None = None, like: Like | None = None
) -> Dataset:
    """The same from Parquet files. Text in them is looked at as in a CSV file."""
    from kt_transfer.data.parquet_files import read_parquet

    return _load(spec, path, read_parquet, options or TableOptions(), like)


class KnownRows(NamedTuple):
    """Rows of a table as a model takes them.

    Attributes:
        x: ``schema.matrix`` of them.
        labels: For each row the position of its label in ``label_words``, NaN for none; ``None``
            without a column of labels.
        label_words: The distinct labels.
        groups: The same of the column whose equal values belong together.
        group_words: Its distinct values.
        ids: Their names; ``None`` without a column of names.
        notes: How they were read.
    """

    x: np.ndarray
    labels: np.ndarray | None
    label_words: list[str]
    groups: np.ndarray | None
    group_words: list[str]
    ids: np.ndarray | None
    notes: list[str]


def known_rows(
    spec: str,
    table: Table,
    options: TableOptions,
    schema: Schema,
    *,
    alone: bool,
    unseen: Unseen | None = None,
) -> KnownRows:
    """Some rows of a table that a model is asked about.

    Args:
        spec: The data spec, for messages.
        table: The rows, as they are read; its columns are taken out.
        options: Which columns are labels, names and groups.
        schema: The columns that the model takes.
        alone: Whether these rows alone are to say what their commas mean.
        unseen: Counts what training did not see.

    Raises:
        UserError: If a column is missing, or a value is not of its kind.
        NeedsWholeTableError: If numbers have commas, of which only all rows tell what they are.
    """
    from kt_transfer.data import cells

    options = checked_options(table, options, schema)
    if not alone and table.is_csv:
        for name in _may_hold_numbers(table, options, schema):
            if name in table.columns and cells.meaning_of_commas(cells.plain(table.columns[name])):
                raise NeedsWholeTableError(name)
    _tidy(table, options, schema)
    try:
        labels, label_words = words_if(table, options.label_column)
        ids = ids_of(table, options)
        groups, group_words = words_if(table, options.group_column)
        x, notes = _as_known(spec, table, schema, unseen)
    except cells.BadCell as bad:
        raise _not_of_kind(spec, table, bad, options, may_declare=False) from bad
    return KnownRows(x, labels, label_words, groups, group_words, ids, [*table.notes, *notes])


def schema_of(frame, options: TableOptions | None = None) -> Schema:
    """What the columns of a table in memory are, all of its rows being training rows.

    Args:
        frame: A ``pandas.DataFrame``, or a dictionary of arrays or lists.
        options: What the columns are, where their content does not tell.

    Raises:
        UserError: If there is no column to learn from, or a value is not of its declared kind.

    Example:
        >>> schema = schema_of({"age": [31, 44, 27], "color": ["red", "blue", "red"]})
        >>> [(column.name, column.kind) for column in schema]
        [('age', 'number'), ('color', 'category')]
    """
    from kt_transfer.data import cells
    from kt_transfer.data.table_files import Table

    options = options or TableOptions()
    columns = {str(name): frame[name] for name in frame}
    typed = {name for name, values in columns.items() if cells.has_category_type(values)}
    columns = {name: cells.plain(values) for name, values in columns.items()}
    rows = len(next(iter(columns.values()), ()))
    table = Table(columns, rows, [("X", rows, 0)], 0, False, False, [])
    try:
        inputs = inputs_of("X", table, checked_options(table, options, None), typed)
    except cells.BadCell as bad:
        raise _not_of_kind("X", table, bad, options, may_declare=bool(options.given())) from bad
    return schema_of_inputs(inputs, inputs.x, inputs.x[:0], None)


def files_at(spec: str, path: Path) -> list[Path]:
    """The files that a path or pattern stands for, in the order of their names.

    Raises:
        UserError: If there are none.
    """
    path = Path(path).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        raise UserError(
            setting="data",
            given=spec,
            expected="a file, or a pattern for several",
            but=f"{path} is a folder",
            remedy=f"give {spec.partition(':')[0]}:{path / '*'}",
        )
    found = sorted(found for name in glob.glob(str(path)) if (found := Path(name)).is_file())
    if not found:
        is_pattern = glob.has_magic(str(path))
        raise UserError(
            setting="data",
            given=spec,
            expected="a file, or a pattern for several such as part-*.csv",
            but="no file has such a name" if is_pattern else f"{path} does not exist",
            remedy="give one that does",
        )
    return found


def _load(
    spec: str, path: Path, read: Callable, options: TableOptions, like: Like | None
) -> Dataset:
    from kt_transfer.data import cells

    table = read(spec, files_at(spec, path))
    schema = None if like is None else like.schema
    least = 2 if like is None else like.least
    if table.num_rows < least:
        raise UserError(
            setting="data",
            given=spec,
            when=f"with {table.num_rows} row of data",
            expected=f"at least {least}",
            remedy="add rows",
        )
    options = checked_options(table, options, schema)
    typed = {name for name, values in table.columns.items() if cells.has_category_type(values)}
    no_labels = said_of_no_labels(table, options.label_column)
    table.notes.extend(filter(None, [no_labels]))
    _tidy(table, options, schema)
    try:
        y, class_names = labels_of(table, options, like is not None, no_labels)
        ids, groups = ids_of(table, options), groups_of(table, options, is_new=like is not None)
        if schema is None:
            inputs = inputs_of(spec, table, options, typed)
            x = inputs.x
        else:
            x, notes = _as_known(spec, table, schema, unseen := Unseen())
            notes += unseen.notes()
    except cells.BadCell as bad:
        raise _not_of_kind(spec, table, bad, options, may_declare=schema is None) from bad
    table.columns.clear()
    cells.release_memory()
    rows, rows_test = split_test(y, joined(same_examples(x)[0], groups))
    x, x_test = x[rows], x[rows_test]
    if schema is None:
        # From the training rows alone: of the others nothing is known before they are tested.
        inputs, x, x_test = filled_in_training(spec, inputs, x, x_test)
        schema = schema_of_inputs(inputs, x, x_test, options.label_column)
        notes = notes_of(schema, inputs, options, class_names)
    return Dataset(
        spec=spec,
        x=x,
        y=y[rows],
        x_test=x_test,
        y_test=y[rows_test],
        class_names=class_names,
        value_range=observed_range(x if len(x) else x_test),
        has_observed_range=True,
        rows=rows,
        rows_test=rows_test,
        notes=(*table.notes, *notes),
        schema=schema,
        ids=ids,
        groups=groups,
    )


def _tidy(table: Table, options: TableOptions, schema: Schema | None) -> None:
    """Make all columns plain, and write the numbers of inputs with points and nothing else."""
    from kt_transfer.data import cells

    for name in table.columns:
        table.columns[name] = cells.plain(table.columns[name])
    if table.is_csv:
        _write_numbers_plainly(table, _may_hold_numbers(table, options, schema))


def _may_hold_numbers(table: Table, options: TableOptions, schema: Schema | None) -> list[str]:
    """The text columns that are inputs and may be numbers; all others keep their text."""
    from kt_transfer.data import cells

    if schema is not None:
        return [column.name for column in schema if column.kind in ("number", "boolean")]
    roles = (options.label_column, options.id_column, options.group_column)
    others = {*roles, *options.ignore, *options.categorical}
    return [n for n, column in table.columns.items() if n not in others and cells.is_text(column)]


def _write_numbers_plainly(table: Table, names: Sequence[str]) -> None:
    """Find out for each column whether its commas are decimal ones, and write points for them."""
    from kt_transfer.data import cells

    columns = table.columns
    meaning = {n: cells.meaning_of_commas(columns[n]) for n in names if n in columns}
    found = {*meaning.values()}
    # Of 12,500 alone nobody can tell: the other columns of the table may.
    may_be_decimal = table.decimal_comma and "decimal" in found and "thousands" not in found
    unsure = "decimal" if may_be_decimal else "thousands"
    said: dict[str, list[str]] = {}
    for name, commas in meaning.items():
        is_unsure, commas = commas == "either", unsure if commas == "either" else commas
        if commas == "thousands":
            columns[name] = cells.without_thousands(columns[name])
            said.setdefault("thousands separators", []).append(name)
        # Where commas separate columns, a quoted 0,5 would not be guessed to be a number.
        elif commas == "decimal" and table.decimal_comma:
            columns[name] = cells.with_decimal_points(columns[name])
            if is_unsure:
                said.setdefault("decimal commas, as others do", []).append(name)
    for what, which in said.items():
        table.notes.append(f"{shown(which, 5)} {'has' if len(which) == 1 else 'have'} {what}")


def _as_known(
    spec: str, table: Table, schema: Schema, unseen: Unseen | None
) -> tuple[np.ndarray, list[str]]:
    """The columns that a model takes, as it takes them."""
    from kt_transfer.data import cells

    require_known(schema.names, [*table.columns], given=spec)
    surplus = [name for name in table.columns if name not in {*schema.names}]
    notes = [f"left out, since the model does not know it: {shown(surplus)}"] if surplus else []
    return cells.matrix(schema, table.columns, unseen), notes


def _not_of_kind(
    spec: str, table: Table, bad: BadCell, options: TableOptions, may_declare: bool
) -> UserError:
    place = table.place(bad.row)
    roles = ("label_column", "id_column", "group_column")
    role = next((role for role in roles if getattr(options, role) == bad.column), None)
    remedy = "correct it, or leave it empty"
    if role:
        remedy = f"give another column as {named(role)}"
    elif bad.column in options.categorical:
        remedy = f"leave the column out with {named('ignore', short(bad.column))}"
    elif may_declare:
        remedy += f", or give {named('categorical', short(bad.column))}"
    return UserError(
        setting="data",
        given=spec,
        when=f"with {bad.value!r} in {place} in the column {short(bad.column)}",
        expected=bad.expected,
        remedy=remedy,
    )
