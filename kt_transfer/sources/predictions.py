"""What a teacher of any kind said, read from a file: probabilities or logits by class."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kt_transfer.data.dataset import Dataset
from kt_transfer.data.ranges import LARGEST_VALUE
from kt_transfer.data.schema import short, shown
from kt_transfer.errors import UserError, named, settings_named
from kt_transfer.files.reading import require_plausible_zip
from kt_transfer.models.classifier_output import logarithm

# How far the probabilities of a row may be from summing to one, so that rounded ones do.
TOLERANCE = 0.01
# What predict writes in front of the name of a class, and beside its probabilities.
PREFIX = "probability_"
BESIDE = ("split", "row", "file", "class_id", "label", "unusual")
_TABLES = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".gz": "csv"}
_TABLES |= {".parquet": "parquet", ".pq": "parquet"}
_SETTING = "teacher_predictions"


class Predictions(NamedTuple):
    """What a teacher said of the examples of a data set.

    Attributes:
        train: Logits for the training examples, ``float32`` of shape ``(n, classes)``; a row of NaN
            where it said nothing.
        test: The same for the test examples.
        sha256: Hash of the file.
    """

    train: np.ndarray
    test: np.ndarray
    sha256: str

    @property
    def is_taught(self) -> np.ndarray:
        """Of which training examples it said something, shape ``(n,)``."""
        return ~np.isnan(self.train[:, 0])


class _Content(NamedTuple):
    """The content of a file.

    Attributes:
        values: One row for each prediction, ``(n, classes)`` in the order of the data's classes;
            NaN where nothing was said.
        place: What a person calls a row.
        ids: Which example each is of, by its name; ``None`` if the file has no such column.
        rows: The same by split and row; ``None`` likewise.
        are_probabilities: Whether the file itself calls them that.
    """

    values: np.ndarray
    place: Callable[[int], str]
    ids: list[str] | None = None
    rows: _Rows | None = None
    are_probabilities: bool = False


class _Rows(NamedTuple):
    """Where in the source the example of each prediction stands."""

    split: list[str | None] | None
    row: np.ndarray


def read_predictions(
    path: Path | str,
    data: Dataset,
    *,
    output: str = "auto",
    id_column: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Predictions:
    """Read the predictions of a teacher, whatever made them, and find the example of each.

    A table (``.csv``, ``.tsv``, ``.parquet``) has a column for each class, named by the class or,
    as ``predict`` writes it, ``probability_CLASS``. A prediction belongs to the example of the same
    id, if the table has that column; else to the one at ``row`` of ``split``, if it has these two,
    as ``predict`` writes them; else the rows are those of the source, in its order: those of the
    training part, then of the test part, where the source has these apart. An ``.npz`` file has an
    array ``predictions`` of shape ``(n, classes)`` and, if need be, ``classes``, the names of its
    columns, and ``id``. A row that is empty, or NaN throughout, is no prediction.

    Args:
        path: The file.
        data: The examples, and the classes of the student.
        output: ``"logits"``, ``"probabilities"``, or ``"auto"``: rows that are not negative and sum
            to one are probabilities.
        id_column: Name of the column that names the rows of the data, which are ``data.ids``.
        say: Function that prints what was left out.

    Raises:
        UserError: If the file cannot be read, its classes, rows or ids are not those of the data,
            or a value cannot be a prediction.

    Example:
        >>> from kt_transfer import load_data
        >>> rows = np.eye(3)[[0, 1, 2, 0]] * 0.7 + 0.1
        >>> np.savez("few.npz", x=np.arange(8.0).reshape(4, 2), y=["a", "b", "c", "a"])
        >>> np.savez("said.npz", predictions=rows)
        >>> said = read_predictions("said.npz", load_data("npz:few.npz"))
        >>> np.exp(said.test).round(1)
        array([[0.8, 0.1, 0.1]], dtype=float32)
    """
    path = Path(path)
    if not path.is_file():
        raise _bad(
            path,
            expected="a .csv, .tsv, .parquet or .npz file",
            but="it is a folder" if path.is_dir() else "it does not exist",
            remedy="give a file that does",
        )
    content = (_read_npz if path.suffix == ".npz" else _read_table)(path, data, id_column)
    logits = _as_logits(path, content, data, output)
    if content.ids is not None:
        found = _by_id(path, content, data, id_column)
    elif content.rows is not None:
        found = _by_row(path, content, data)
    else:
        found = _in_order(path, content, data, id_column)
    known = found >= 0
    if not known.any():
        raise _bad(
            path,
            when=f"with {_name_of(content, 0)} first",
            expected=f"predictions for the rows of {data.spec}",
            but="it has none for any of them",
            remedy="name the rows as the data do",
        )
    if not known.all():
        first = _name_of(content, int(np.argmin(known)))
        say(
            f"{path}: {(~known).sum():,} of {len(found):,} predictions are for rows that "
            f"{data.spec} does not have ({first} is the first)"
        )
    of_source = np.full((_num_rows(data), data.num_classes), np.nan, np.float32)
    of_source[found[known]] = logits[known]
    train, test = of_source[data.rows], of_source[data.rows_test + _start_of_test(data)]
    for part, name in ((train, "training"), (test, "test")):
        if absent := int(np.isnan(part[:, 0]).sum()):
            say(f"{path}: no prediction for {absent:,} of {len(part):,} {name} examples")
    with open(path, "rb") as file:
        return Predictions(train, test, hashlib.file_digest(file, "sha256").hexdigest())


# -- From a file to rows of numbers ----------------------------------------------------------------


def _read_table(path: Path, data: Dataset, id_column: str | None) -> _Content:
    if path.suffix not in _TABLES:
        raise _bad(
            path,
            expected="a .csv, .tsv, .parquet or .npz file",
            remedy="write one of these",
        )
    # Arrow takes a moment to import, and who gives a model as a teacher need not wait for it.
    from kt_transfer.data import cells
    from kt_transfer.data.csv_files import read_csv
    from kt_transfer.data.parquet_files import read_parquet

    read = {"csv": read_csv, "parquet": read_parquet}[_TABLES[path.suffix]]
    with settings_named(data=_SETTING):
        table = read(str(path), [path])
    columns = {name: cells.plain(column) for name, column in table.columns.items()}
    # predict writes ids under another name where their own is that of one of its columns.
    is_taken = id_column in BESIDE or str(id_column).startswith(PREFIX)
    own = "id" if is_taken and "id" in columns else id_column
    ids = cells.texts(columns.pop(own)) if own in columns else None
    names, are_probabilities = _class_columns(path, [*columns], data, id_column)
    values = np.empty((table.num_rows, len(names)))
    for place, name in enumerate(names):
        column = columns.pop(name)
        if table.decimal_comma and cells.is_text(column):
            column = cells.with_points(column)
        values[:, place] = _numbers(path, name, column, table.place)
    rows = None
    if "row" in columns:
        split = cells.texts(columns["split"]) if "split" in columns else None
        rows = _Rows(split, _numbers(path, "row", columns["row"], table.place))
    return _Content(values, table.place, ids, rows, are_probabilities)


def _numbers(path: Path, name: str, column, place: Callable[[int], str]) -> np.ndarray:
    from kt_transfer.data import cells

    try:
        return cells.numbers(column)
    except cells.BadCell as bad:
        raise _bad(
            path,
            when=f"with {bad.value!r} for {short(name)} in {place(bad.row)}",
            expected=bad.expected,
            remedy="correct it",
        ) from bad


def _class_columns(
    path: Path, names: list[str], data: Dataset, id_column: str | None
) -> tuple[list[str], bool]:
    """The column of each class, and whether their names say that they hold probabilities."""
    is_plain = {*names} >= {*data.class_names}
    # As predict writes them, whatever else stands beside.
    has_all = {*names} >= {f"{PREFIX}{name}" for name in data.class_names}
    has_prefix = has_all or not is_plain and any(name.startswith(PREFIX) for name in names)
    prefix = PREFIX if has_prefix else ""
    beside = {*BESIDE} if has_prefix else {*BESIDE} - {*data.class_names}
    names = [name for name in names if name not in beside]
    given = [name.removeprefix(prefix) for name in names]
    _require_distinct(path, given, "columns", "the class")
    _require_classes(path, given, data, "a column", id_column)
    return [names[given.index(name)] for name in data.class_names], has_prefix


def _require_classes(
    path: Path, given: list[str], data: Dataset, what: str, id_column: str | None = None
) -> None:
    unknown = [name for name in given if name not in data.class_names]
    absent = [name for name in data.class_names if name not in given]
    if not unknown and not absent:
        return
    parts = [f"without {shown(absent, 5)}"] if absent else []
    parts += [f"with {shown(unknown, 5)}"] if unknown else []
    near = unknown and difflib.get_close_matches(unknown[0], absent or data.class_names, 1, 0.5)
    remedy = f"leave {short(unknown[0])} out" if unknown else f"add {short(absent[0])}"
    if unknown and not absent and data.schema is not None and id_column is None:
        remedy += f", or give {named('id', unknown[0])} if it names the rows"
    if near and absent:
        remedy = f"did you mean {short(near[0])} by {short(unknown[0])}"
    raise _bad(
        path,
        when=" and ".join(parts),
        expected=f"{what} for each of the {data.num_classes} classes of {data.spec} "
        f"({shown(data.class_names)})",
        remedy=remedy,
    )


def _read_npz(path: Path, data: Dataset, id_column: str | None) -> _Content:
    try:
        require_plausible_zip(path)
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        texts = {
            name: np.ravel(arrays[name]).astype(str).tolist()
            for name in ("classes", "id")
            if name in arrays
        }
    except Exception as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "allow_pickle" in why:  # advice that would execute code in the file
            why = "it holds Python objects instead of numbers"
        raise _bad(
            path,
            expected="an .npz file with an array predictions",
            but=f"it cannot be read ({why})",
            remedy="write one with numpy.savez(FILE, predictions=...)",
        ) from error
    if "predictions" not in arrays or {*arrays} - {"predictions", "classes", "id"}:
        raise _bad(
            path,
            when=f"with the arrays {shown([*arrays])}",
            expected="predictions and, if need be, classes and id",
            remedy="name the array of shape (n, classes) predictions, and leave others out",
        )
    values = arrays["predictions"]
    classes = texts.get("classes", [*data.class_names])
    if values.ndim != 2 or values.dtype.kind not in "fiu" or values.shape[1] != len(classes):
        raise _bad(
            path,
            when=f"with predictions of shape {values.shape} and type {values.dtype}",
            expected=f"numbers of shape (n, {len(classes)})",
            remedy="give a row for each example and a column for each class",
        )
    _require_distinct(path, classes, "classes", "the class")
    _require_classes(path, classes, data, "a name in classes")
    ids = texts.get("id")
    if ids is not None:
        if len(ids) != len(values):
            raise _bad(
                path,
                when=f"with {len(ids):,} ids and {len(values):,} predictions",
                expected="as many of both",
                remedy="correct the file",
            )
        if id_column is None:
            raise _bad(
                path,
                when=f"with ids, without {named('id')}",
                expected="the column of the data that they are in",
                remedy=f"add {named('id', 'COLUMN')}, or leave the array id out",
            )
    values = values[:, [classes.index(name) for name in data.class_names]].astype(np.float64)
    place = f"of {path.name}"
    beyond = np.argwhere(np.abs(values) > LARGEST_VALUE)
    if len(beyond):
        row, column = map(int, beyond[0])
        raise _bad(
            path,
            when=f"with {values[row, column]:g} for {short(data.class_names[column])} in "
            f"predictions[{row}] {place}",
            expected=f"a number up to ±{LARGEST_VALUE:g}",
            remedy="correct it",
        )
    return _Content(values, lambda row: f"predictions[{row}] {place}", ids)


def _require_distinct(path: Path, names: list[str], where: str, what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise _bad(
                path,
                when=f"with {what} {short(name)} twice in its {where}",
                expected="each once",
                remedy="leave one out",
            )
        seen.add(name)


# -- From numbers to logits ------------------------------------------------------------------------


def _as_logits(path: Path, content: _Content, data: Dataset, output: str) -> np.ndarray:
    """Logits of each prediction, whose values have been checked; NaN stays."""
    values = content.values
    absent = np.isnan(values)
    partly = np.flatnonzero(absent.any(axis=1) & ~absent.all(axis=1))
    if len(partly):
        row = int(partly[0])
        raise _bad(
            path,
            when=f"without a value for {short(data.class_names[int(absent[row].argmax())])} in "
            f"{content.place(row)}",
            expected="one for each class, or for none where there is no prediction",
            remedy="complete that row, or empty it",
        )
    if output == "auto":
        output = "probabilities" if content.are_probabilities else _kind(path, values)
    if output == "logits":
        return values.astype(np.float32)
    _require_probabilities(path, content, data)
    return np.asarray(logarithm(values.astype(np.float32)))


def _kind(path: Path, values: np.ndarray) -> str:
    """Probabilities if one row is some, since no logits happen to be; in doubt, an error."""
    known = values[~np.isnan(values[:, 0])]
    if not len(known):  # nothing is said, which is told by whoever wanted to learn
        return "logits"
    sums = np.abs(known.sum(axis=1) - 1)
    if ((known >= 0).all(axis=1) & (sums <= TOLERANCE)).any():
        return "probabilities"
    if not ((known >= 0) & (known <= 1)).all():
        return "logits"
    raise _bad(
        path,
        expected="probabilities, which sum to one, or logits",
        but="all its values are from 0 to 1 and no row sums to one",
        remedy=f"say which they are with {named('teacher_output', 'logits')}, or divide each row "
        "by its sum",
    )


def _require_probabilities(path: Path, content: _Content, data: Dataset) -> None:
    values = content.values
    remedy = f"correct it, or say {named('teacher_output', 'logits')} if these are logits"
    negative = np.argwhere(values < 0)
    if len(negative):
        row, column = map(int, negative[0])
        raise _bad(
            path,
            when=f"with {values[row, column]:g} for {short(data.class_names[column])} in "
            f"{content.place(row)}",
            expected="probabilities of 0 or more",
            remedy=remedy,
        )
    sums = values.sum(axis=1)
    off = np.flatnonzero(np.abs(sums - 1) > TOLERANCE)
    if len(off):
        row = int(off[0])
        raise _bad(
            path,
            when=f"with probabilities that sum to {sums[row]:.4g} in {content.place(row)}",
            expected=f"1, within {TOLERANCE:g}",
            remedy=remedy,
        )


# -- Of which example each is ----------------------------------------------------------------------


def _num_rows(data: Dataset) -> int:
    return len(data.x) + len(data.x_test)


def _start_of_test(data: Dataset) -> int:
    """What to add to the rows of the test part: their number in training where both begin at 0."""
    both = np.concatenate([data.rows, data.rows_test])
    one_numbering = len(np.unique(both)) == len(both)
    return 0 if one_numbering else len(data.x)


def _by_id(path: Path, content: _Content, data: Dataset, id_column: str) -> np.ndarray:
    """The row of the source that each prediction is of, -1 for none."""
    if data.ids is None:
        raise UserError(
            setting="id",
            given=id_column,
            when=f"with {named(_SETTING, path)}",
            expected="a table as the data",
            but=f"the rows of {data.spec} have no names",
            remedy="give predictions in the order of the rows, without ids",
        )
    _require_distinct(path, [name for name in content.ids if name], "ids", "the id")
    row_of: dict[str, int] = {}
    for row, name in enumerate(data.ids):
        if name and name in row_of:
            raise UserError(
                setting="id",
                given=id_column,
                when=f"with {named(_SETTING, path)}",
                expected="a column whose values differ",
                but=f"{data.spec} has {short(name)} in two rows",
                remedy="give one that does, or predictions in the order of the rows",
            )
        row_of[name] = row
    row_of.pop("", None)
    return np.array([row_of.get(name, -1) for name in content.ids], np.int64)


def _by_row(path: Path, content: _Content, data: Dataset) -> np.ndarray:
    split, row = content.rows
    bad = np.flatnonzero(~((row >= 0) & (row == np.trunc(row))))
    if len(bad):
        raise _bad(
            path,
            when=f"with {row[bad[0]]:g} for 'row' in {content.place(int(bad[0]))}",
            expected="the row of an example, counted from 0",
            remedy="correct it",
        )
    found, start = row.astype(np.int64), _start_of_test(data)
    sizes = np.full(len(row), _num_rows(data))
    if start:
        found, sizes = _behind_training(path, content, data, found)
    found = np.where(found < sizes, found, -1)
    _require_distinct(path, [str(n) for n in found if n >= 0], "rows", "the row")
    return found


def _behind_training(path, content: _Content, data: Dataset, found: np.ndarray):
    """Rows of the test part behind those of the training part, and where each part ends."""
    split = content.rows.split or [""] * len(found)
    for number, name in enumerate(split):
        if name not in ("train", "test"):
            raise _bad(
                path,
                when=f"with {name!r} for 'split' in {content.place(number)}",
                expected=f"train or test, which {data.spec} has apart",
                remedy="correct it",
            )
    is_test = np.array(split) == "test"
    sizes = np.where(is_test, _num_rows(data), len(data.x))
    return np.where(is_test, found + len(data.x), found), sizes


def _in_order(path: Path, content: _Content, data: Dataset, id_column: str | None) -> np.ndarray:
    num, wanted = len(content.values), _num_rows(data)
    if num != wanted:
        apart = ""
        if _start_of_test(data):
            apart = f" ({len(data.x):,} for training, then {len(data.x_test):,} of the test part)"
        by_name = "" if id_column is None else f", or a column {short(id_column)}"
        raise _bad(
            path,
            when=f"with {num:,} rows",
            expected=f"the {wanted:,} of {data.spec} in their order{apart}{by_name}",
            remedy="leave rows without a prediction empty, or name those that have one by "
            f"{named('id', 'COLUMN')} or by columns split and row as predict writes them",
        )
    return np.arange(num)


def _name_of(content: _Content, number: int) -> str:
    if content.ids is not None:
        return f"the id {short(content.ids[number])}"
    return content.place(number)


def _bad(path: Path, **parts: str) -> UserError:
    return UserError(setting=_SETTING, given=path, **parts)
