"""What a comparison has found so far: a row a cell, on disk as soon as it is there."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import NamedTuple

from kt_transfer.selection.scoring import METRICS

# What stands in the column "source" of a method that transfers nothing.
NO_SOURCE = ""


class Cell(NamedTuple):
    """One training: a method and what it transfers from, on one fold of a draw."""

    method: str
    source: str
    labels: int
    repeat: int
    fold: int


_NUMBERS = ("steps", "num_parameters", "num_train", "num_held_out", "num_labelled")
# Seconds: all that the method takes, and of these pretraining, and the cell's own fit; of this, the
# regression that a head starts from.
_SECONDS = ("seconds", "pretrain_seconds", "fit_seconds", "head_seconds")
COLUMNS = (*Cell._fields, *METRICS, *_SECONDS, *_NUMBERS)
_WHOLE = ("labels", "repeat", "fold", *_NUMBERS)


class Table:
    """The rows of ``comparison.csv``, and the learning curves beside them.

    Args:
        folder: Holds ``comparison.csv`` and ``curves.csv``; what lies there is read.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.rows: dict[Cell, dict] = {}
        self.curves: dict[Cell, dict[int, float]] = {}
        for row in _read(self.folder / "comparison.csv"):
            row = {name: _typed(name, value) for name, value in row.items()}
            self.rows[_cell(row)] = row
        for row in _read(self.folder / "curves.csv"):
            row = {name: _typed(name, value) for name, value in row.items()}
            if (cell := _cell(row)) in self.rows:
                self.curves.setdefault(cell, {})[int(row["epoch"])] = row["accuracy"]

    def __contains__(self, cell: Cell) -> bool:
        return cell in self.rows

    def add(self, cell: Cell, curve: dict[int, float], **numbers) -> None:
        """Add the row of a cell, and write both files."""
        if curve:
            self.curves[cell] = curve
        looks = (
            {**other._asdict(), "epoch": epoch, "accuracy": value}
            for other, points in self.curves.items()
            for epoch, value in points.items()
        )
        _write(self.folder / "curves.csv", (*Cell._fields, "epoch", "accuracy"), looks)
        # Last: a cell is done when its row is here.
        self.rows[cell] = {**cell._asdict(), **numbers}
        _write(self.folder / "comparison.csv", COLUMNS, self.rows.values())

    def forget(self) -> None:
        """Leave out everything."""
        self.rows.clear()
        self.curves.clear()

    def frame(self):
        """The rows as a pandas data frame, in the order of method, source, labels and fold."""
        import pandas as pd

        frame = pd.DataFrame(list(self.rows.values()), columns=list(COLUMNS))
        return frame.sort_values(["labels", "repeat", "fold"], kind="stable", ignore_index=True)


def _cell(row: dict) -> Cell:
    return Cell(*(row[name] for name in Cell._fields))


def _typed(name: str, text: str):
    if name in ("method", "source"):
        return text
    return int(text) if name in _WHOLE else float(text)


def _read(path: Path) -> list[dict]:
    if not path.is_file():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def _write(path: Path, names, rows) -> None:
    temporary = path.with_name(f".{path.name}")
    with open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(temporary, path)
