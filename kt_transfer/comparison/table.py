"""The results of a comparison so far, one row per cell, written as soon as it is finished."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from kt_transfer.comparison.held_out import HeldOut, HeldOutFolder, Points
from kt_transfer.comparison.scoring import METRICS, contributions
from kt_transfer.errors import UserError
from kt_transfer.files.reading import read_json
from kt_transfer.files.writing import replacing

# The source of a method that transfers nothing.
NO_SOURCE = ""


class Cell(NamedTuple):
    """One fit: a method with a source, on one fold of a draw."""

    method: str
    source: str
    labels: int
    repeat: int
    fold: int


_NUMBERS = ("steps", "num_parameters", "num_train", "num_held_out", "num_labelled")
# Seconds in total, for pretraining, for the cell's own fit and, as part of it, for the regression
# that initializes a head.
_SECONDS = ("seconds", "pretrain_seconds", "fit_seconds", "head_seconds")
COLUMNS = (*Cell._fields, *METRICS, *_SECONDS, *_NUMBERS)
_CURVE_COLUMNS = (*Cell._fields, "epoch", "accuracy")
_WORDS = ("method", "source", "change")
_WHOLE = ("labels", "repeat", "fold", "num_examples", *_NUMBERS)


class Table:
    """The rows of ``comparison.csv``, with the learning curves and the answers beside them.

    Args:
        folder: Folder of ``comparison.csv`` and ``curves.csv``, which are read if they exist; what
            candidates answer to held-out examples is kept in its ``checkpoint/``.

    Raises:
        UserError: If one of them is damaged.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.rows: dict[Cell, dict] = {}
        self.curves: dict[Cell, dict[int, float]] = {}
        # What methods that search their settings have chosen.
        self.choices: dict[Cell, dict] = {}
        self.held_out = HeldOutFolder(self.folder / "checkpoint" / "held_out")
        self._points: dict[tuple[Cell, str], Points] = {}
        for row in read_rows(self.folder / "comparison.csv", COLUMNS):
            # Without its answers a cell is not finished.
            if cell_of(row) in self.held_out:
                self.rows[cell_of(row)] = row
        for row in read_rows(self.folder / "curves.csv", _CURVE_COLUMNS):
            if (cell := cell_of(row)) in self.rows:
                self.curves.setdefault(cell, {})[int(row["epoch"])] = row["accuracy"]
        if (self.folder / "choices.json").is_file():
            for *cell, choice in read_json(self.folder / "choices.json"):
                self.choices[Cell(*cell)] = choice

    def __contains__(self, cell: Cell) -> bool:
        return cell in self.rows

    def add(
        self,
        cell: Cell,
        curve: dict[int, float],
        answers: HeldOut,
        choice: dict | None = None,
        **numbers,
    ) -> None:
        """Add a cell, and write all that is known of it."""
        self.held_out.write(cell, answers)
        self._points = {key: points for key, points in self._points.items() if key[0] != cell}
        if curve:
            self.curves[cell] = curve
        if choice:
            self.choices[cell] = choice
        self.rows[cell] = {**cell._asdict(), **numbers}
        self._write()

    def take(self, other: Table) -> None:
        """Add the cells of another table that this one does not hold."""
        for cell, row in other.rows.items():
            if cell not in self:
                numbers = {name: value for name, value in row.items() if name not in Cell._fields}
                answers = other.held_out.read(cell)
                self.add(cell, other.curves.get(cell), answers, other.choices.get(cell), **numbers)

    def order(self, cells: Iterable[Cell]) -> None:
        """Put the cells in this order; others, if there are any, follow."""
        order = dict.fromkeys([*cells, *self.rows])
        self.rows, self.curves, self.choices = (
            {cell: own[cell] for cell in order if cell in own}
            for own in (self.rows, self.curves, self.choices)
        )
        self._write()

    def _write(self) -> None:
        points = (
            {**other._asdict(), "epoch": epoch, "accuracy": value}
            for other, curve in self.curves.items()
            for epoch, value in curve.items()
        )
        write_rows(self.folder / "curves.csv", _CURVE_COLUMNS, points)
        if self.choices:
            with replacing(self.folder / "choices.json") as temporary:
                temporary.write_text(json.dumps([[*c, own] for c, own in self.choices.items()]))
        # Last, since its row marks a cell as finished.
        write_rows(self.folder / "comparison.csv", COLUMNS, self.rows.values())

    def forget(self, repeat: int, fold: int) -> None:
        """Remove the cells of one fold."""
        for cell in [cell for cell in self.rows if (cell.repeat, cell.fold) == (repeat, fold)]:
            del self.rows[cell]
            self.curves.pop(cell, None)
        self._write()

    def points(self, metric: str) -> dict[Cell, Points]:
        """What each held-out example contributes to the score of each cell.

        Nothing for a metric that is no mean over examples.
        """
        found = {}
        for cell in self.rows:
            # Candidates are judged after every fold: each cell is read once.
            if (cell, metric) not in self._points:
                answers = self.held_out.read(cell)
                values = answers and contributions(
                    metric, answers.labels, answers.logits, answers.shares
                )
                if values is None:
                    return {}
                self._points[cell, metric] = Points(answers.rows, values)
            found[cell] = self._points[cell, metric]
        return found

    def answers(self, candidate: tuple[str, str], labels: int) -> list[HeldOut | None]:
        """What a candidate answered in each of its cells at a budget, in their order."""
        return [self.held_out.read(cell) for cell in self._cells(candidate, labels)]

    def paired_answers(
        self, candidate: tuple[str, str], other: tuple[str, str], labels: int
    ) -> tuple[list[HeldOut], list[HeldOut]]:
        """What two candidates answered on the folds of the first."""
        cells = self._cells(candidate, labels)
        own, theirs = (
            [self.held_out.read(cell._replace(method=method, source=source)) for cell in cells]
            for method, source in (candidate, other)
        )
        return own, theirs

    def _cells(self, candidate: tuple[str, str], labels: int) -> list[Cell]:
        return [cell for cell in self.rows if cell[:3] == (*candidate, labels)]

    def frame(self):
        """The rows as a pandas data frame, ordered by labels, repeat and fold."""
        import pandas as pd

        frame = pd.DataFrame(list(self.rows.values()), columns=list(COLUMNS))
        return frame.sort_values(["labels", "repeat", "fold"], kind="stable", ignore_index=True)


def cell_of(row: dict) -> Cell:
    """The cell of a row."""
    return Cell(*(row[name] for name in Cell._fields))


def _typed(name: str, text: str):
    if name in _WORDS:
        return text
    return int(text) if name in _WHOLE else float(text)


def read_rows(path: Path, columns: tuple[str, ...]) -> list[dict]:
    """The rows of a table as :func:`write_rows` wrote them, with numbers as numbers; none without a
    file.

    Raises:
        UserError: If it is damaged.
    """
    if not path.is_file():
        return []
    try:
        with open(path, newline="") as file:
            return [
                {name: _typed(name, row[name]) for name in columns} for row in csv.DictReader(file)
            ]
    except (ValueError, TypeError, KeyError, csv.Error) as error:
        raise UserError(
            setting="resume",
            given=True,
            expected=f"the finished cells in {path}",
            but=f"it is damaged ({type(error).__name__}: {error})",
            remedy="remove its last rows or the file, and what they hold is trained again",
        ) from error


def write_rows(path: Path, names, rows) -> None:
    """Write rows of a table atomically."""
    with replacing(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
