"""What is known of each candidate of a comparison, and of the difference of two."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from kt_transfer.comparison.held_out import Points, differences
from kt_transfer.comparison.statistics import Interval, corrected_interval, crossed_interval
from kt_transfer.comparison.table import Cell, cell_of

# Method, source and label budget.
Key = tuple[str, str, int]


class Scores(NamedTuple):
    """A candidate's scores at one budget, ordered by repeat and fold.

    Attributes:
        values: The score of each cell.
        folds: Repeat and fold of each.
        num_train: Mean number of labelled examples that a cell learns from.
        num_held_out: Mean number that it is judged by.
        num_labelled: Number of all labelled examples.
        labels: The budget.
        points: What each example contributes to the score of each cell; ``None`` if unknown.
    """

    values: np.ndarray
    folds: list[tuple[int, int]]
    num_train: float
    num_held_out: float
    num_labelled: int
    labels: int
    points: list[Points] | None

    @property
    def splits_budget(self) -> bool:
        """Whether the folds split the examples of the budget, and judge by these alone."""
        return round(self.num_train + self.num_held_out) == self.labels

    def at(self, folds: Iterable[tuple[int, int]]) -> Scores:
        """The scores of some folds."""
        chosen = [self.folds.index(fold) for fold in folds]
        points = self.points and [self.points[number] for number in chosen]
        return self._replace(
            values=self.values[chosen],
            folds=[self.folds[number] for number in chosen],
            points=points,
        )


def by_candidate(
    rows: Iterable[dict], metric: str, points: Mapping[Cell, Points] | None = None
) -> dict[Key, Scores]:
    """The scores of every candidate and budget.

    Args:
        rows: Rows of a :class:`~.table.Table`.
        metric: One of :data:`~.scoring.METRICS`.
        points: What :meth:`.table.Table.points` gives for this metric.
    """

    def mean(own, name: str) -> float:
        return float(np.mean([row[name] for row in own]))

    return {
        key: Scores(
            np.array([row[metric] for row in own], float),
            [(row["repeat"], row["fold"]) for row in own],
            mean(own, "num_train"),
            mean(own, "num_held_out"),
            own[0]["num_labelled"],
            own[0]["labels"],
            [points[cell_of(row)] for row in own] if points else None,
        )
        for key, own in grouped(rows).items()
    }


def grouped(rows: Iterable[dict]) -> dict[Key, list[dict]]:
    """Rows by candidate and budget, ordered by repeat and fold."""
    groups: dict[Key, list[dict]] = {}
    for row in sorted(rows, key=lambda row: (row["labels"], row["repeat"], row["fold"])):
        groups.setdefault((row["method"], row["source"], row["labels"]), []).append(row)
    return groups


def interval_of(own: Scores, other: Scores | None = None) -> Interval:
    """The interval of a candidate's mean, or of its difference to another on the same folds."""
    values, points = own.values, own.points
    if other is not None:
        theirs = set(other.folds)
        shared = [fold for fold in own.folds if fold in theirs]
        own, other = own.at(shared), other.at(shared)
        values = own.values - other.values
        points = own.points and differences(own.points, other.points)
    if points and not own.splits_budget:
        return crossed_interval(points, own.num_train, own.num_labelled)
    num_folds = len({fold for _, fold in own.folds})
    if own.splits_budget:
        # Two draws of N from M examples share N / M of them on average.
        overlap = own.labels / own.num_labelled
        sizes = own.num_train, own.num_held_out
        return corrected_interval(values, *sizes, num_folds=num_folds, overlap=overlap)
    # All folds are of one set, whatever they learn from.
    return corrected_interval(values, own.num_labelled - own.num_held_out, own.num_held_out)
