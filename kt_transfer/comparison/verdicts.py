"""Conclusions from the rows of a comparison: verdicts, a winner, worth in labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from kt_transfer.comparison.evidence import Scores, by_candidate, grouped, interval_of
from kt_transfer.comparison.held_out import Points
from kt_transfer.comparison.selection import selection_bias
from kt_transfer.comparison.statistics import (
    detectable_difference,
    holm,
    labels_for_score,
    lower_bound,
    probabilities,
    verdict,
)
from kt_transfer.comparison.table import NO_SOURCE, Cell, cell_of
from kt_transfer.reporting.wording import LOWER_IS_BETTER, improvement

BASELINE = ("scratch", NO_SOURCE)
# How probable it must be that two candidates are practically equal, or that one is not worse.
SURE = 0.9


def judge(
    rows: Iterable[dict],
    metric: str,
    points: Mapping[Cell, Points] | None = None,
    margin: float = 0.0,
) -> list[dict]:
    """Compare every candidate with ``scratch`` on the same folds, at every budget.

    Args:
        rows: Rows of a :class:`~.table.Table`, including ``scratch``.
        metric: One of :data:`~.scoring.METRICS`.
        points: What each held-out example contributes, as from :meth:`.table.Table.points`; needed
            for the full use of more held-out examples than a budget has.
        margin: Differences up to this are of no importance, in units of the metric.

    Returns:
        One dictionary per candidate and budget: ``method``, ``source``, ``labels``, ``mean`` (of
        the metric), ``difference`` (to scratch), ``interval`` (95 %, for this difference alone),
        ``p_value``, ``adjusted_p_value`` and ``verdict`` (both simultaneous, by Holm's correction),
        ``detectable``, ``probabilities`` (of ``worse``, ``equal`` and ``better`` by more than the
        margin) and ``practically_equal`` (whether that is 90 % probable).
    """
    found, entries, intervals = by_candidate(rows, metric, points), [], []
    for (method, source, labels), own in found.items():
        if (method, source) == BASELINE:
            continue
        interval = interval_of(own, found[(*BASELINE, labels)])
        intervals.append(interval)
        likely = probabilities(interval, margin, lower_is_better=metric in LOWER_IS_BETTER)
        entries.append(
            {
                "method": method,
                "source": source,
                "labels": labels,
                "mean": float(own.values.mean()),
                "difference": interval.mean,
                "interval": [interval.low, interval.high],
                "p_value": interval.p_value,
                "probabilities": likely._asdict(),
                "practically_equal": likely.equal >= SURE,
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
    return {key: float(own.values.mean()) for key, own in by_candidate(rows, metric).items()}


def curve(
    rows: Iterable[dict], metric: str, points: Mapping[Cell, Points] | None = None
) -> list[dict]:
    """The mean score of every candidate at every budget, with its own 95 % interval.

    Returns:
        One dictionary per candidate and budget: ``method``, ``source``, ``labels``, ``mean``,
        ``low``, ``high``.
    """
    entries = []
    for (method, source, labels), own in by_candidate(rows, metric, points).items():
        interval = interval_of(own)
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
    points: Mapping[Cell, Points] | None = None,
    margin: float = 0.0,
) -> dict:
    """The winner at the largest budget, a network.

    Args:
        rows: As for :func:`judge`.
        metric: Likewise.
        prefer: ``"best"`` for the best mean; ``"smallest"`` for the network with the fewest
            parameters that is, with a probability of 90 %, not worse than the best by more than the
            margin.
        students: Method and source of each candidate that is no network, and of its student, which
            wins in its place.
        points: As for :func:`judge`.
        margin: Likewise.

    Returns:
        ``method``, ``source``, ``labels``, ``mean``, ``num_parameters``; ``expected`` (the mean
        less what is due to choosing the best of several) with the ``bound`` that the true mean is
        beyond, on the better side of it with a confidence of 95 %; and ``student_of`` where the
        best is no network: its ``method`` and ``mean``, the student's ``difference`` to it and the
        95 % ``interval`` of that.
    """
    students = students or {}
    rows = list(rows)
    found = by_candidate(rows, metric, points)
    largest = max(labels for _, _, labels in found)
    most = max(len(own.folds) for key, own in found.items() if key[2] == largest)
    # Those that were raced out are on record with fewer folds.
    found = {k: own for k, own in found.items() if k[2] == largest and len(own.folds) == most}
    sizes = {(r["method"], r["source"], r["labels"]): r["num_parameters"] for r in rows}
    best = max(found, key=lambda key: improvement(metric, found[key].values.mean()))
    chosen, taught_by = best, None
    if best[:2] in students:
        chosen, taught_by = (*students[best[:2]], largest), best
    if prefer == "smallest":
        networks = [key for key in found if key[:2] not in students]
        as_good = [k for k in networks if not _may_be_worse(found[k], found[best], metric, margin)]
        as_good, taught_by = as_good or [chosen], None if as_good else taught_by
        # Ties in size go to the better score.
        chosen = min(
            as_good,
            key=lambda key: (sizes[key], -improvement(metric, found[key].values.mean())),
        )
    method, source, labels = chosen
    own, sign = found[chosen], improvement(metric, 1.0)
    # Only the best of several is better by chance.
    bias = selection_bias(list(found.values()), sign) if chosen == best else 0.0
    expected = float(own.values.mean()) - sign * bias
    bound = expected - sign * lower_bound(interval_of(own))
    if metric not in LOWER_IS_BETTER:  # shares, of which few labels may leave nothing sure
        bound = max(bound, 0.0)
    winner = {
        "method": method,
        "source": source,
        "labels": labels,
        "mean": float(own.values.mean()),
        "expected": expected,
        "bound": bound,
        "num_parameters": sizes[chosen],
    }
    if taught_by is not None:
        interval = interval_of(own, found[taught_by])
        winner["student_of"] = {
            "method": taught_by[0],
            "mean": float(found[taught_by].values.mean()),
            "difference": interval.mean,
            "interval": [interval.low, interval.high],
        }
    return winner


def _may_be_worse(own: Scores, best: Scores, metric: str, margin: float) -> bool:
    """Whether it may well be worse than the best by more than the margin."""
    if own is best:
        return False
    interval = interval_of(own, best)
    likely = probabilities(interval, margin, lower_is_better=metric in LOWER_IS_BETTER)
    return likely.worse > 1 - SURE


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
    groups, entries = grouped(rows), []
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


def _mean_curve(curves: list[dict[int, float] | None]) -> dict[int, float]:
    if not all(curves):
        return {}
    return {epoch: float(np.mean([curve[epoch] for curve in curves])) for epoch in curves[0]}
