"""``csv:FILES`` and ``parquet:FILES``: a table with columns of numbers, words and dates."""

from __future__ import annotations

import dataclasses
import glob
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kt_transfer.data.dataset import UNLABELLED, Dataset, Like
from kt_transfer.data.overlap import joined, same_examples
from kt_transfer.data.ranges import observed_range
from kt_transfer.data.schema import (
    MOST_WORDS,
    Column,
    NeedsWholeTableError,
    Schema,
    require_known,
    short,
    shown,
)
from kt_transfer.data.splits import split_test
from kt_transfer.data.unseen import Unseen
from kt_transfer.errors import UserError, named

if TYPE_CHECKING:  # arrow takes a moment to import, and flags are checked without it
    from kt_transfer.data.cells import BadCell, Cells
    from kt_transfer.data.table_files import Table

# What a column of labels is usually called, where one that is taken as an input deserves a word.
_LABEL_NAMES = ("label", "target", "class", "y")
_PLURALS = {"category": "categories"}
# A float64 holds every whole number up to here; of larger ones it confuses neighbours.
_LARGEST_WHOLE = 2**53


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """What the columns of a table are, where their content does not tell.

    Attributes:
        label_column: The column with the labels; without one nothing is labelled.
        ignore: Columns that are left out.
        id_column: The column that names the rows; not an input.
        group_column: The column that says which rows belong together (such as those of one
            patient), so that no split separates them; not an input.
        categorical: Columns whose values are words, even if they look like numbers or all differ.
        numeric: Columns whose values are numbers; any other value in them is an error.
    """

    label_column: str | None = None
    ignore: tuple[str, ...] = ()
    id_column: str | None = None
    group_column: str | None = None
    categorical: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()

    def __post_init__(self):
        # In Python a list is at hand, and one name is easily given alone.
        for name in ("ignore", "categorical", "numeric"):
            value = getattr(self, name)
            names = (value,) if isinstance(value, str) else tuple(value)
            object.__setattr__(self, name, names)

    def given(self) -> dict[str, object]:
        """The settings that are not the defaults, by name.

        Example:
            >>> TableOptions(ignore=("name",)).given()
            {'ignore': ('name',)}
        """
        return {name: value for name, value in vars(self).items() if value}


class _Inputs(NamedTuple):
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
    from kt_transfer.data import table_files

    return _load(spec, path, table_files.read_csv, options or TableOptions(), like)


def load_parquet(
    spec: str, path: Path, options: TableOptions | None = None, like: Like | None = None
) -> Dataset:
    """The same from Parquet files. Text in them is looked at as in a CSV file."""
    from kt_transfer.data import table_files

    return _load(spec, path, table_files.read_parquet, options or TableOptions(), like)


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

    options = _checked(table, options, schema)
    if not alone and table.is_csv:
        for name in _may_hold_numbers(table, options, schema):
            if name in table.columns and cells.meaning_of_commas(cells.plain(table.columns[name])):
                raise NeedsWholeTableError(name)
    _tidy(table, options, schema)
    try:
        labels, label_words = _words_if(table, options.label_column)
        ids = _ids(table, options)
        groups, group_words = _words_if(table, options.group_column)
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
        inputs = _inputs("X", table, _checked(table, options, None), typed)
    except cells.BadCell as bad:
        raise _not_of_kind("X", table, bad, options, may_declare=bool(options.given())) from bad
    return _schema(inputs, inputs.x, inputs.x[:0], None)


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
    options = _checked(table, options, schema)
    typed = {name for name, values in table.columns.items() if cells.has_category_type(values)}
    no_labels = _said_of_no_labels(table, options.label_column)
    table.notes.extend(filter(None, [no_labels]))
    _tidy(table, options, schema)
    try:
        y, class_names = _labels(table, options, like is not None, no_labels)
        ids, groups = _ids(table, options), _groups(table, options, is_new=like is not None)
        if schema is None:
            inputs = _inputs(spec, table, options, typed)
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
        inputs, x, x_test = _filled_in_training(spec, inputs, x, x_test)
        schema = _schema(inputs, x, x_test, options.label_column)
        notes = _notes(schema, inputs, options, class_names)
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


# -- Settings --------------------------------------------------------------------------------------


def _checked(table: Table, options: TableOptions, schema: Schema | None) -> TableOptions:
    """The options, all of whose columns exist; those of a model's own where it has a schema."""
    known = [*table.columns]
    if schema is not None:
        # What is an input, and of which kind, is the model's to say.
        options = dataclasses.replace(options, ignore=(), categorical=(), numeric=())
        label = options.label_column or schema.label_column
        if label == schema.label_column and label not in table.columns:
            label = None
        options = dataclasses.replace(options, label_column=label)
    roles: dict[str, str] = {}
    for setting, value in options.given().items():
        names = value if isinstance(value, tuple) else (value,)
        require_known(names, known, setting=setting, given=value)
        for name in names:
            # One column may both name the rows and say which belong together.
            both = {roles.get(name), setting} == {"id_column", "group_column"}
            if name in roles and roles[name] != setting and not both:
                raise UserError(
                    setting=setting,
                    given=value,
                    when=f"with {short(name)} as {named(roles[name])} too",
                    expected="a column in one of these alone",
                    remedy="leave it out of one",
                )
            roles[name] = setting
    return options


# -- From cells to numbers -------------------------------------------------------------------------


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


def _words(table: Table, name: str) -> tuple[np.ndarray, list[str]]:
    """The words of a column that is no input, as ``cells.words`` describes."""
    from kt_transfer.data import cells

    found = cells.named_cells(name, table.columns.pop(name), "category")
    return found.values, found.words


def _words_if(table: Table, name: str | None) -> tuple[np.ndarray | None, list[str]]:
    return (None, []) if name is None else _words(table, name)


def _said_of_no_labels(table: Table, name: str | None) -> str:
    """Which words count as no label, though a person may have meant them as classes."""
    from kt_transfer.data import cells

    counts = {} if name is None else cells.missing_words(table.columns[name])
    if not counts:
        return ""
    count, words = sum(counts.values()), " or ".join(map(repr, counts))
    cells_say = "cell of {} says" if count == 1 else "cells of {} say"
    verb = "counts" if count == 1 else "count"
    return f"{count:,} {cells_say.format(short(name))} {words} and {verb} as no label"


def _labels(
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
    return values if whole and np.abs(values).max(initial=0) < _LARGEST_WHOLE else None


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


def _ids(table: Table, options: TableOptions) -> np.ndarray | None:
    from kt_transfer.data import cells

    if options.id_column is None:
        return None
    cells.require_words(options.id_column, table.columns[options.id_column])
    column = table.columns[options.id_column]
    if options.group_column != options.id_column:
        del table.columns[options.id_column]
    return np.array(cells.texts(column), object)


def _groups(table: Table, options: TableOptions, is_new: bool) -> np.ndarray | None:
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


def _as_known(
    spec: str, table: Table, schema: Schema, unseen: Unseen | None
) -> tuple[np.ndarray, list[str]]:
    """The columns that a model takes, as it takes them."""
    from kt_transfer.data import cells

    require_known(schema.names, [*table.columns], given=spec)
    surplus = [name for name in table.columns if name not in {*schema.names}]
    notes = [f"left out, since the model does not know it: {shown(surplus)}"] if surplus else []
    return cells.matrix(schema, table.columns, unseen), notes


def _inputs(spec: str, table: Table, options: TableOptions, typed: set[str]) -> _Inputs:
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
    return _Inputs(columns, x[:, : len(columns)], words, _told(left_out), doubts)


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


def _filled_in_training(
    spec: str, inputs: _Inputs, x: np.ndarray, x_test: np.ndarray
) -> tuple[_Inputs, np.ndarray, np.ndarray]:
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


_NOTHING = "empty, or of no kind that is known"
_ALL_DIFFERENT = "text that is nearly all different: --categorical keeps it"


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
    if found.kind == "number" and np.fmax.reduce(np.abs(found.values)) > _LARGEST_WHOLE:
        notes.append(
            f"{short(name)} has numbers beyond {_LARGEST_WHOLE:,}, of which neighbours are one: "
            f"give --id, --ignore or --categorical {name} if they are names"
        )
    if found.kind == "number" and len(found.values) > 2 and (np.diff(found.values) == 1).all():
        notes.append(f"{short(name)} counts the rows: give --ignore {name} if it says nothing else")
    return notes


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


# -- The schema ------------------------------------------------------------------------------------


def _schema(inputs: _Inputs, x: np.ndarray, x_test: np.ndarray, label_column: str | None) -> Schema:
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


# -- Notes -----------------------------------------------------------------------------------------


def _notes(
    schema: Schema, inputs: _Inputs, options: TableOptions, class_names: tuple[str, ...]
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
