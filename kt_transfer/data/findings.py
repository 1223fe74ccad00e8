"""What a person should know of a data set before she trains: one sentence each, with what to do."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from kt_transfer.data.column_copies import EQUAL, RECODED, SCALED, Copy, column_copies
from kt_transfer.data.dataset import UNLABELLED, Dataset
from kt_transfer.data.giveaways import GIVES_AWAY, rows_to_ask, told_alone, told_by_missing
from kt_transfer.data.schema import Column, shown
from kt_transfer.errors import listed
from kt_transfer.reporting.wording import percent

SAY_THE_SAME = "columns that say the same"
# Of wider tables the columns are looked at by request alone, since it takes longer than it is worth
# at the start of a training.
MOST_COLUMNS = 200
_ROWS_AT_ONCE = 2**12
_MOST_NAMED = 5
# Distance between two distribution functions, 0 to 1, from which on they differ strongly.
_FAR_APART = 0.2
# The largest class over the smallest, from which on accuracy says little of the small one.
_UNBALANCED = 10
_COPIED = {EQUAL: "equal", RECODED: "recoded one to one", SCALED: "in another unit"}


class Finding(NamedTuple):
    """Something to look at.

    Attributes:
        kind: What it is about, in a word or two.
        text: The sentence.
        columns: The columns of a table that it is about.
        rows: Rows of the training part that it is about, as they are counted in the source from 0;
            the first of many.
    """

    kind: str
    text: str
    columns: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()


def table_columns(data: Dataset) -> tuple[Column, ...]:
    """The columns of data whose examples are rows of values; none of pictures.

    Example:
        >>> from kt_transfer import load_data
        >>> table_columns(load_data("digits"))
        ()
    """
    if data.schema is not None:
        return data.schema.columns
    if len(data.input_shape) != 1:
        return ()
    return tuple(Column(name=f"column {place}", kind="number") for place in range(data.input_dim))


def is_pictures(data: Dataset) -> bool:
    """Whether examples have a height and a width."""
    return len(data.input_shape) in (2, 3)


def alone(data: Dataset) -> dict[str, float]:
    """How well each column of a table tells the label by itself, from chance to 1.

    Columns for which that cannot be said are left out.
    """
    columns = table_columns(data)
    asked = rows_to_ask(data.y, data.copies) if columns else None
    if asked is None:
        return {}
    # Of the rows that are asked alone, since all may be on disk.
    rows = np.union1d(*asked)
    x, y = np.asarray(data.x[rows], np.float64), data.y[rows]
    asked = type(asked)(*(np.searchsorted(rows, part) for part in asked))
    told = {
        column.name: told_alone(x[:, place], y, asked, column.kind in ("category", "boolean"))
        for place, column in enumerate(columns)
    }
    return {name: value for name, value in told.items() if value is not None}


def column_findings(data: Dataset, told: dict[str, float] | None = None) -> Iterator[Finding]:
    """Columns that give the label away, and columns that say the same as another.

    Takes a fraction of a second, so that every command can begin with it.

    Args:
        data: The data set; of pictures, there is nothing to say.
        told: What :func:`alone` says, if it is known already.
    """
    columns = table_columns(data)
    if not columns or not len(data.x):
        return
    told = alone(data) if told is None else told
    giving = [name for name, value in told.items() if value >= GIVES_AWAY]
    yield from _giving_away(data, giving, told)
    yield from _counting(data, columns, giving, told)
    yield from _telling_by_missing(data, columns, giving)
    yield from _copied(data, columns)


def further_findings(data: Dataset) -> Iterator[Finding]:
    """What takes longer to look for, or matters less: labels, constant columns, columns of another
    test part, blank pictures."""
    yield from _labels(data)
    if columns := table_columns(data):
        yield from _constant(data, columns)
        yield from _differing(data, columns)
    if is_pictures(data):
        yield from _blank(data)


# -- Labels ----------------------------------------------------------------------------------------


def _labels(data: Dataset) -> Iterator[Finding]:
    counts = np.bincount(data.y[data.y != UNLABELLED], minlength=data.num_classes)
    occurring = np.flatnonzero(counts)
    if not len(occurring):
        advice = "pretrain needs none, all else does"
        if data.schema is not None and data.schema.label_column is None:
            advice = "give --label-column COLUMN if one of the columns holds the classes"
        yield Finding("labels", f"no training example has a label: {advice}")
        return
    if len(occurring) == 1:
        name = data.class_names[occurring[0]]
        yield Finding(
            "labels", f"all labels are {name}: add examples of another class to tell it from"
        )
        return
    small, large = occurring[counts[occurring].argmin()], int(counts.argmax())
    if counts[large] / counts[small] >= _UNBALANCED:
        yield Finding(
            "balance",
            f"class {data.class_names[large]} has {counts[large]:,} training examples, class "
            f"{data.class_names[small]} {counts[small]:,}: judge by --metric balanced_accuracy, "
            "since accuracy hardly notices the small one",
        )


# -- Columns ---------------------------------------------------------------------------------------


def _giving_away(data: Dataset, giving: list[str], told) -> Iterator[Finding]:
    if not giving:
        return
    several = len(giving) > 1
    names = listed((f"{name} ({percent(told[name])})" for name in giving), _MOST_NAMED)
    verb = "each tell" if several else "tells"
    they = "they come" if several else "it comes"
    yield Finding(
        "gives the label away",
        f"{names} {verb} the label without any other column: if {they} from the label or "
        f"{'are' if several else 'is'} known only after it, {_leave_out(data, giving)}",
        tuple(giving),
    )


def _counting(data: Dataset, columns, giving: list[str], told) -> Iterator[Finding]:
    """Columns that count the rows say where a row stands, and nothing about new ones."""
    chance = 1 / max(data.num_classes, 1)
    order = np.argsort(data.rows)
    for place, column in enumerate(columns):
        value = told.get(column.name, 0)
        if column.kind != "number" or column.name in giving or value < chance + 0.2:
            continue
        values = np.asarray(data.x[order[:10_000]])[:, place]
        if (np.diff(values) > 0).all() and (values == np.trunc(values)).all():
            yield Finding(
                "gives the label away",
                f"{column.name} numbers the rows and yet tells the label of "
                f"{percent(value)} of them, since they are in the order of the classes: "
                f"{_leave_out(data, [column.name])}",
                (column.name,),
            )


def _telling_by_missing(data: Dataset, columns, giving: list[str]) -> Iterator[Finding]:
    if data.schema is None:
        return
    for place, column in enumerate(columns):
        side = None if column.name in giving else told_by_missing(data.x[:, place], data.y)
        if side is not None:
            yield Finding(
                "gives the label away",
                f"where {column.name} is {'missing' if side.is_missing else 'known'}, "
                f"{percent(side.share)} of {side.rows:,} rows are "
                f"{data.class_names[side.label]} ({percent(side.elsewhere)} elsewhere): if it is "
                f"filled in only after the label is known, {_leave_out(data, [column.name])}",
                (column.name,),
            )


def _copied(data: Dataset, columns) -> Iterator[Finding]:
    copies = column_copies(data.x)
    if not copies:
        return
    told = []
    for of in dict.fromkeys(copy.of for copy in copies):
        same = [copy for copy in copies if copy.of == of]
        each = [f"{columns[copy.column].name} ({_how(columns, copy)})" for copy in same]
        verb = "says" if len(same) == 1 else "say"
        told.append(f"{listed(each, _MOST_NAMED)} {verb} the same as {columns[of].name}")
    names = [columns[copy.column].name for copy in copies]
    yield Finding(
        SAY_THE_SAME,
        f"{listed(told, _MOST_NAMED)}: one is enough, {_leave_out(data, names)}",
        tuple(names),
    )


def _how(columns, copy: Copy) -> str:
    """How a column is like another; equal codes may stand for other words."""
    one, other = columns[copy.column], columns[copy.of]
    has_words = (one.kind, one.vocabulary) == (other.kind, other.vocabulary)
    return _COPIED[copy.kind if has_words or copy.kind != EQUAL else RECODED]


def _constant(data: Dataset, columns) -> Iterator[Finding]:
    low, high = np.full(len(columns), np.inf), np.full(len(columns), -np.inf)
    missing = np.zeros(len(columns), int)
    for start in range(0, len(data.x), _ROWS_AT_ONCE):
        some = data.x[start : start + _ROWS_AT_ONCE]
        low = np.fmin(low, np.fmin.reduce(some, axis=0))
        high = np.fmax(high, np.fmax.reduce(some, axis=0))
        missing += np.isnan(some).sum(axis=0)
    # A value that is missing here and there says something by that.
    same = (low == high) & (missing == 0) | (missing == len(data.x))
    if same.any():
        names = [columns[place].name for place in np.flatnonzero(same)]
        has = "has one value" if len(names) == 1 else "have one value each"
        yield Finding(
            "constant columns",
            f"{shown(names, _MOST_NAMED)} {has} in all training rows, of which nothing can be "
            f"learned: {_leave_out(data, names)}",
            tuple(names),
        )


def _differing(data: Dataset, columns) -> Iterator[Finding]:
    """Columns that have other values in a test part that the source gives."""
    if not data.has_own_test:
        return
    rng = np.random.default_rng(0)
    some, tested = (
        np.asarray(x[np.sort(rng.permutation(len(x))[:5000])]) for x in (data.x, data.x_test)
    )
    # The distance that two parts of one set rarely have by chance.
    chance = 2 * np.sqrt(1 / len(some) + 1 / len(tested))
    far = {}
    for place, column in enumerate(columns):
        distance = distance_of(some[:, place], tested[:, place])
        if distance > _FAR_APART + chance:
            far[column.name] = distance
    if far:
        names = sorted(far, key=far.get, reverse=True)
        have = "has" if len(names) == 1 else "have"
        yield Finding(
            "test part differs",
            f"{shown(names, _MOST_NAMED)} {have} other values in the test part than in training: "
            "check that both were made in the same way, or expect worse answers on new data",
            tuple(names),
        )


def distance_of(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference of two distribution functions (Kolmogorov-Smirnov), from 0 to 1.

    Example:
        >>> distance_of(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
        0.5
    """
    a, b = np.sort(a), np.sort(b)
    both = np.concatenate([a, b])
    shares = [np.searchsorted(part, both, side="right") / len(part) for part in (a, b)]
    return float(np.abs(shares[0] - shares[1]).max())


def _leave_out(data: Dataset, names: Sequence[str]) -> str:
    if data.schema is None:
        return f"leave {'it' if len(names) == 1 else 'them'} out of x"
    return f"give --ignore {' '.join(shlex.quote(name) for name in names)}"


# -- Pictures --------------------------------------------------------------------------------------


def size_findings(sizes: dict[str | None, list[tuple[int, int]]]) -> Iterator[Finding]:
    """Sizes of files that give the class away, which resizing does not undo: it leaves pictures
    sharper or coarser.

    Args:
        sizes: Height and width of each file, by class; ``None`` for those without one.

    Example:
        >>> sizes = {"cat": [(640, 480)] * 20, "dog": [(32, 32)] * 20}
        >>> [finding.text[:44] for finding in size_findings(sizes)]
        ['the size of a file tells its class (100 %): ']
    """
    labelled = [list(of_class) for name, of_class in sizes.items() if name is not None]
    y = np.repeat(np.arange(len(labelled)), [len(of_class) for of_class in labelled])
    asked = rows_to_ask(y, np.arange(len(y))) if labelled else None
    if asked is None:
        return
    every = [size for of_class in labelled for size in of_class]
    codes = np.unique(every, axis=0, return_inverse=True)[1].ravel().astype(float)
    told = told_alone(codes, y, asked, is_category=True)
    if told is not None and told >= GIVES_AWAY:
        yield Finding(
            "gives the label away",
            f"the size of a file tells its class ({percent(told)}): a network may learn how sharp "
            "pictures are, so give pictures of all classes from the same source or cut to one size",
        )


def _blank(data: Dataset) -> Iterator[Finding]:
    for part in data.parts("all"):
        blank = []
        for start in range(0, len(part.x), _ROWS_AT_ONCE):
            flat = part.x[start : start + _ROWS_AT_ONCE]
            flat = flat.reshape(len(flat), -1)
            blank += (start + np.flatnonzero((flat == flat[:, :1]).all(axis=1))).tolist()
        if blank:
            rows = [int(row) for row in part.rows[blank]]
            in_part = "training" if part.name == "train" else "test"
            one = len(rows) == 1
            yield Finding(
                "blank pictures",
                f"{len(rows):,} {in_part} picture{'' if one else 's'} {'is' if one else 'are'} of "
                f"one colour throughout (row {listed(map(str, rows), _MOST_NAMED)}): remove "
                f"{'it' if one else 'them'} if nothing should be there",
                rows=tuple(rows[:100]),
            )
