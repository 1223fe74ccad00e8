"""Conclusions from the rows of a comparison: verdicts, a winner, worth in labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from kt_transfer.comparison.statistics import (
    corrected_interval,
    detectable_difference,
    holm,
    labels_for_score,
    verdict,
)
from kt_transfer.comparison.table import NO_SOURCE, Cell, cell_of
from kt_transfer.reporting.wording import improvement

BASELINE = ("scratch", NO_SOURCE)


class _Scores(NamedTuple):
    """A candidate's scores at one budget, ordered by repeat and fold."""

    values: np.ndarray
    num_train: float
    num_held_out: float
    num_folds: int
    overlap: float


def judge(rows: Iterable[dict], metric: str) -> list[dict]:
    """Compare every candidate with ``scratch`` on the same folds, at every budget.

    Args:
        rows: Rows of a :class:`~.table.Table`, including ``scratch``.
        metric: One of :data:`~.scoring.METRICS`.

    Returns:
        One dictionary per candidate and budget: ``method``, ``source``, ``labels``, ``mean`` (of
        the metric), ``difference`` (to scratch), ``interval`` (95 %, for this difference alone),
        ``p_value``, ``adjusted_p_value`` and ``verdict`` (both simultaneous, by Holm's correction),
        ``detectable``.
    """
    found, entries, intervals = _by_candidate(rows, metric), [], []
    for (method, source, labels), own in found.items():
        if (method, source) == BASELINE:
            continue
        interval = _interval(own, found[(*BASELINE, labels)])
        intervals.append(interval)
        entries.append(
            {
                "method": method,
                "source": source,
                "labels": labels,
                "mean": float(own.values.mean()),
                "difference": interval.mean,
                "interval": [interval.low, interval.high],
                "p_value": interval.p_value,
            }
        )
    adjusted = holm([interval.p_value for interval in intervals])
    for entry, p_value, interval in zip(entries, adjusted, intervals, strict=True):
        entry["adjusted_p_value"] = float(p_value)
        entry["detectable"] = detectable_difference(interval, len(entries))
        entry["verdict"] = verdict(improvement(metric, interval.mean), p_value)
    return entries


def means(rows: Iterable[dict], metric: str) -> dict[tuple[str, str, int], float]:
    """The mean score of every ``(method, source, labels)``."""
    return {key: float(own.values.mean()) for key, own in _by_candidate(rows, metric).items()}


def curve(rows: Iterable[dict], metric: str) -> list[dict]:
    """The mean score of every candidate at every budget, with its own 95 % interval.

    Returns:
        One dictionary per candidate and budget: ``method``, ``source``, ``labels``, ``mean``,
        ``low``, ``high``.
    """
    entries = []
    for (method, source, labels), own in _by_candidate(rows, metric).items():
        interval = _interval(own)
        entries.append(
            {
                "method": method,
                "source": source,
                "labels": labels,
                "mean": interval.mean,
                "low": interval.low,
                "high": interval.high,
            }
        )
    return entries


def choose(
    rows: Iterable[dict],
    metric: str,
    prefer: str = "best",
    students: Mapping[tuple[str, str], tuple[str, str]] | None = None,
) -> dict:
    """The winner at the largest budget, a network.

    Args:
        rows: As for :func:`judge`.
        metric: Likewise.
        prefer: ``"best"`` for the best mean; ``"smallest"`` for the network with the fewest
            parameters that is not significantly worse than the best, by its 95 % interval.
        students: Method and source of each candidate that is no network, and of its student, which
            wins in its place.

    Returns:
        ``method``, ``source``, ``labels``, ``mean``, ``num_parameters``; and ``student_of`` where
        the best is no network: its ``method`` and ``mean``, the student's ``difference`` to it and
        the 95 % ``interval`` of that.
    """
    students = students or {}
    rows = list(rows)
    found = _by_candidate(rows, metric)
    largest = max(labels for _, _, labels in found)
    found = {key: own for key, own in found.items() if key[2] == largest}
    sizes = {(r["method"], r["source"], r["labels"]): r["num_parameters"] for r in rows}
    best = max(found, key=lambda key: improvement(metric, found[key].values.mean()))
    chosen, taught_by = best, None
    if best[:2] in students:
        chosen, taught_by = (*students[best[:2]], largest), best
    if prefer == "smallest":
        networks = [key for key in found if key[:2] not in students]
        as_good = [key for key in networks if not _is_worse(found[key], found[best], metric)]
        as_good, taught_by = as_good or [chosen], None if as_good else taught_by
        # Ties in size go to the better score.
        chosen = min(
            as_good,
            key=lambda key: (sizes[key], -improvement(metric, found[key].values.mean())),
        )
    method, source, labels = chosen
    winner = {
        "method": method,
        "source": source,
        "labels": labels,
        "mean": float(found[chosen].values.mean()),
        "num_parameters": sizes[chosen],
    }
    if taught_by is not None:
        interval = _interval(found[chosen], found[taught_by])
        winner["student_of"] = {
            "method": taught_by[0],
            "mean": float(found[taught_by].values.mean()),
            "difference": interval.mean,
            "interval": [interval.low, interval.high],
        }
    return winner


def worth(rows: Iterable[dict], metric: str) -> list[dict]:
    """Number of labels that scratch needs for the score of each candidate.

    Returns:
        One dictionary per candidate and budget: ``method``, ``source``, ``labels``,
        ``scratch_labels`` (``None`` outside the range of budgets) and ``beyond`` (whether scratch
        needs more than the largest budget; without a number, it otherwise needs fewer than the
        smallest).
    """
    found = means(rows, metric)
    budgets = sorted({labels for _, _, labels in found})
    curve = [improvement(metric, found[(*BASELINE, labels)]) for labels in budgets]
    entries = []
    for (method, source, labels), mean in found.items():
        if (method, source) == BASELINE or len(budgets) < 2:
            continue
        labels_needed = labels_for_score(budgets, curve, improvement(metric, mean))
        beyond = labels_needed == float("inf")
        entries.append(
            {
                "method": method,
                "source": source,
                "labels": labels,
                "scratch_labels": None if beyond else labels_needed,
                "beyond": beyond,
            }
        )
    return entries


def until_scratch(rows: Iterable[dict], curves: dict[Cell, dict[int, float]]) -> list[dict]:
    """Epochs and seconds until the final accuracy of scratch, from the learning curves.

    Accuracies are means over the folds, at the evaluated epochs.

    Args:
        rows: As for :func:`judge`.
        curves: Accuracy by epoch for each cell, as in a :class:`~.table.Table`.

    Returns:
        One dictionary per candidate with curves and budget, including ``scratch``: ``method``,
        ``source``, ``labels``, ``accuracy`` (final accuracy of scratch), ``epochs`` and
        ``seconds`` (without pretraining), ``None`` if it is never reached.
    """
    groups, entries = _groups(rows), []
    means_of = {
        key: _mean_curve([curves.get(cell_of(row)) for row in own]) for key, own in groups.items()
    }
    for (method, source, labels), curve in means_of.items():
        if not curve:
            continue
        goal = list(means_of[(*BASELINE, labels)].values())[-1]
        epochs = next((epoch for epoch, value in curve.items() if value >= goal), None)
        own = groups[method, source, labels]
        before = float(np.median([row["head_seconds"] for row in own]))
        each = (float(np.median([row["fit_seconds"] for row in own])) - before) / max(curve)
        entries.append(
            {
                "method": method,
                "source": source,
                "labels": labels,
                "accuracy": goal,
                "epochs": epochs,
                "seconds": epochs and round(before + each * epochs, 4),
            }
        )
    return entries


def _groups(rows: Iterable[dict]) -> dict[tuple[str, str, int], list[dict]]:
    """Rows by candidate and budget, ordered by repeat and fold."""
    groups: dict[tuple, list[dict]] = {}
    for row in sorted(rows, key=lambda row: (row["labels"], row["repeat"], row["fold"])):
        groups.setdefault((row["method"], row["source"], row["labels"]), []).append(row)
    return groups


def _by_candidate(rows: Iterable[dict], metric: str) -> dict[tuple[str, str, int], _Scores]:
    def mean(own, name: str) -> float:
        return float(np.mean([row[name] for row in own]))

    return {
        key: _Scores(
            np.array([row[metric] for row in own], float),
            mean(own, "num_train"),
            mean(own, "num_held_out"),
            len({row["fold"] for row in own}),
            # Two draws of N from M examples share N / M of them on average.
            own[0]["labels"] / own[0]["num_labelled"],
        )
        for key, own in _groups(rows).items()
    }


def _interval(own: _Scores, other: _Scores | None = None):
    """The interval of the scores, or of their differences to another candidate's."""
    return corrected_interval(
        own.values if other is None else own.values - other.values,
        own.num_train,
        own.num_held_out,
        num_folds=own.num_folds,
        overlap=own.overlap,
    )


def _is_worse(own: _Scores, best: _Scores, metric: str) -> bool:
    """Whether the whole interval of the difference is worse."""
    if own is best:
        return False
    interval = _interval(own, best)
    ends = improvement(metric, interval.low), improvement(metric, interval.high)
    return max(ends) < 0


def _mean_curve(curves: list[dict[int, float] | None]) -> dict[int, float]:
    if not all(curves):
        return {}
    return {epoch: float(np.mean([curve[epoch] for curve in curves])) for epoch in curves[0]}
