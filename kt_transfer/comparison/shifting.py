"""What the candidates score on examples that differ from those they learn from."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from kt_transfer.comparison.folds import derived_seed
from kt_transfer.comparison.generalization import CLEAN, SECOND_SET
from kt_transfer.comparison.scoring import METRICS, scores
from kt_transfer.comparison.table import Cell, Table, cell_of, read_rows, write_rows
from kt_transfer.data import Dataset, Like
from kt_transfer.data.example_summary import summarize
from kt_transfer.data.overlap import shared_rows
from kt_transfer.data.ranges import observed_range
from kt_transfer.data.rows import take_rows
from kt_transfer.data.shifts import Change, changed, changes_of, spread_of
from kt_transfer.data.splits import stratified_order
from kt_transfer.errors import UserError, named, settings_named
from kt_transfer.runs import session
from kt_transfer.sources.loading import adaptation_to

# More examples of a second set, or held-out examples of a fold, take time and tell little more.
MOST_EXAMPLES, MOST_HELD_OUT = 5000, 2000
COLUMNS = (*Cell._fields, "change", *METRICS, "num_examples")


class Second(NamedTuple):
    """Labelled examples of a second set: raw, with the target's class numbers, and its spec."""

    x: np.ndarray
    y: np.ndarray
    spec: str


class Shift:
    """Asks each candidate about changed examples, and keeps its scores in ``shift.csv``.

    All candidates of a fold are asked about the same examples: a change is a pure function of seed,
    repeat and fold. Of many held-out examples the first are taken, which are a random draw; what
    candidates answer to these as they are, ``"clean"``, is kept as well. The examples of a second
    set are dealt to the folds of a repeat as those of the target are, so scores also vary with the
    examples, and the same intervals hold.

    Args:
        folder: Folder of ``shift.csv``, which is read if it exists.
        data: The target.
        is_changed: Whether to change held-out examples.
        second: Examples of a second set, if there are any.
        seed: Of the comparison.
        num_folds: Likewise.

    Raises:
        UserError: If the file is damaged, or no change applies to such examples.
    """

    def __init__(
        self,
        folder: Path,
        data: Dataset,
        *,
        is_changed: bool,
        second: Second | None,
        seed: int,
        num_folds: int,
    ):
        self.path, self.data, self.second = Path(folder) / "shift.csv", data, second
        self.seed, self.num_folds = seed, num_folds
        self.applied = changes_of(data.input_shape, data.schema) if is_changed else ()
        if is_changed and not self.applied:
            raise UserError(
                setting="shift",
                given=True,
                expected="pictures, numbers, or more than one column",
                but=f"{data.spec} has a single column of words",
                remedy=f"leave it out, or give {named('shift_data', 'SPEC')}",
            )
        self.changes = self.applied
        if second is not None:
            self.changes += (Change(SECOND_SET, f"labelled examples of {second.spec}"),)
        self.rows: dict[tuple[Cell, str], dict] = {}
        self._read(self.path)
        self._usual: tuple = (None, None, None)

    def _read(self, path: Path) -> None:
        for row in read_rows(path, COLUMNS):
            self.rows[cell_of(row), row["change"]] = row

    def take(self, folder: Path) -> None:
        """Add what another has found in a folder."""
        self._read(Path(folder) / "shift.csv")
        write_rows(self.path, COLUMNS, self.rows.values())

    def order(self, cells: list[Cell]) -> None:
        """Put the rows in the order of these cells."""
        places = {cell: place for place, cell in enumerate(cells)}
        own = sorted(self.rows.items(), key=lambda item: places.get(item[0][0], len(places)))
        self.rows = dict(own)
        write_rows(self.path, COLUMNS, self.rows.values())

    def has(self, cell: Cell) -> bool:
        """Whether a cell was asked about all."""
        return all((cell, name) in self.rows for name in (CLEAN, *(c.name for c in self.changes)))

    def forget_unasked(self, table: Table, labels: int) -> None:
        """Remove cells of a table that were trained but not asked: ``shift.csv`` was lost."""
        for cell in [cell for cell in table.rows if cell.labels == labels and not self.has(cell)]:
            del table.rows[cell]

    def rows_of(self, table: Table) -> list[dict]:
        """The scores of the cells that a table holds, with the numbers of their fold."""
        numbers = ("num_train", "num_held_out", "num_labelled")
        return [
            row | {name: table.rows[cell][name] for name in numbers}
            for (cell, _), row in self.rows.items()
            if cell in table
        ]

    def measure(self, cell: Cell, part, learned, clean: np.ndarray, comparison) -> None:
        """Ask what a cell has learned about all, and write the file.

        Args:
            cell: The cell.
            part: What it may use, a :class:`~.comparison.Part`.
            learned: What it learned.
            clean: Its logits for the held-out examples as they are.
            comparison: The :class:`~.comparison.Comparison`, for its examples.
        """
        held_out = part.held_out[:MOST_HELD_OUT]
        y = comparison.y[held_out]
        self._note(cell, CLEAN, y, clean[:MOST_HELD_OUT], part.shares)
        for number, change in enumerate(self.applied):
            x = self._changed(change.name, number, part, comparison)
            self._note(cell, change.name, y, learned.logits(x), part.shares)
        if self.second is not None:
            rows = self._dealt(part)
            logits = learned.logits(self.second.x[rows])
            self._note(cell, SECOND_SET, self.second.y[rows], logits)
        write_rows(self.path, COLUMNS, self.rows.values())

    def _note(self, cell: Cell, change: str, y, logits, shares=None) -> None:
        found = scores(y, logits, shares)
        self.rows[cell, change] = {
            **cell._asdict(),
            "change": change,
            **found,
            "num_examples": len(y),
        }

    def _changed(self, name: str, number: int, part, comparison) -> np.ndarray:
        value_range, spread = self._usual_of(part, comparison)
        seed = derived_seed(self.seed, part.repeat, part.fold, 0, 5, number)
        held_out = comparison.examples(part, part.held_out[:MOST_HELD_OUT])
        return changed(name, held_out, seed=seed, value_range=value_range, spread=spread)

    def _usual_of(self, part, comparison) -> tuple:
        """The range and the spread of the values, by what may be seen in a fold."""
        fold = part.repeat, part.fold
        if self._usual[0] != fold:
            seen, is_picture = take_rows(comparison.x, part.seen), len(self.data.input_shape) > 1
            value_range = self.data.value_range
            if self.data.has_observed_range:
                # A column may well exceed what was seen of it, a picture its range hardly.
                value_range = observed_range(seen) if is_picture else None
            self._usual = fold, value_range, spread_of(seen, self.data.schema)
        return self._usual[1:]

    def _dealt(self, part) -> np.ndarray:
        rng = np.random.default_rng(derived_seed(self.seed, part.repeat, 0, 6))
        return stratified_order(self.second.y, rng)[part.fold :: self.num_folds]


def shift_of(config, data: Dataset, folder: Path) -> Shift | None:
    """What the settings ask for; ``None`` if they ask for neither changes nor a second set."""
    if not config.shift and config.shift_data is None:
        return None
    second = None if config.shift_data is None else second_set(config, data)
    options = {"seed": config.seed, "num_folds": config.folds}
    return Shift(folder, data, is_changed=config.shift, second=second, **options)


def second_set(config, data: Dataset) -> Second:
    """The labelled examples of ``--shift-data``: of its test part if it has one of its own.

    Examples that the target has as well are left out, since a candidate may have learned them.

    Raises:
        UserError: If they are of other classes, of another form, or too few.
    """
    like = Like(data.input_shape, str(data.x.dtype), schema=data.schema)
    given = session.load_data(config, config.shift_data, flag="--shift-data", like=like)
    with settings_named(data="shift_data"):
        given = given.with_classes(data.class_names, data.spec)
        if given.input_shape != data.input_shape:
            raise UserError(
                setting="data",
                given=given.spec,
                when=f"with examples of shape {given.input_shape}",
                expected=f"examples like those of {data.spec}, of shape {data.input_shape}",
                remedy="give such data",
            )
    if told := adaptation_to(data.spec, summarize(data), str(data.x.dtype), given):
        session.say(config)(told)
    x, y = _drawn(given, derived_seed(config.seed, 0, 7))
    known = shared_rows(x, (data.x, data.x_test))
    if known.any():
        session.say(config)(
            f"{given.spec}: {known.sum():,} of {len(known):,} examples are among those of "
            f"{data.spec}, and are left out"
        )
    second = Second(x[~known].astype(data.x.dtype, copy=False), y[~known], given.spec)
    _require_enough(config, second)
    return second


def _drawn(given: Dataset, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Some of the labelled examples, of its own test part or else of all, and their labels."""
    has_test = given.has_own_test and (given.y_test >= 0).any()
    parts = given.parts("test" if has_test else "all")
    y = np.concatenate([part.y for part in parts])
    labelled = np.flatnonzero(y >= 0)
    rng = np.random.default_rng(seed)
    rows = np.sort(labelled[stratified_order(y[labelled], rng)[:MOST_EXAMPLES]])
    ends = np.cumsum([0, *(len(part.y) for part in parts)])
    own = [
        rows[(rows >= begin) & (rows < end)] - begin
        for begin, end in zip(ends, ends[1:], strict=False)
    ]
    x = [take_rows(part.x, taken)[:] for part, taken in zip(parts, own, strict=True)]
    return np.concatenate(x), y[rows]


def _require_enough(config, second: Second) -> None:
    """Each fold is judged on examples of its own, by some metrics on several classes."""
    counts = np.bincount(second.y, minlength=1)
    wanted = f"at least {config.folds} labelled examples that the target has not"
    if config.metric in ("accuracy", "log_loss"):
        is_enough = len(second.y) >= config.folds
    else:
        wanted += ", of each of two classes"
        is_enough = (counts >= config.folds).sum() >= 2
    if not is_enough:
        raise UserError(
            setting="shift_data",
            given=second.spec,
            when=f"with {named('folds', config.folds)}",
            expected=wanted,
            but=f"it has {len(second.y)} of {(counts > 0).sum()} classes",
            remedy="give another set, one with labels",
        )
