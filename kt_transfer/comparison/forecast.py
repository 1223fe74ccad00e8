"""What more labels, or more repeats, would bring: learning curves and the power of a comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from scipy import stats

from kt_transfer.comparison.evidence import Key, Scores, interval_of
from kt_transfer.comparison.held_out import differences
from kt_transfer.comparison.statistics import CONFIDENCE, POWER, variance_parts
from kt_transfer.reporting.wording import LOWER_IS_BETTER, improvement

# So many more labels are foreseen, and no more repeats are thought of.
MORE_LABELS, MOST_REPEATS = (50, 200), 50
_RESAMPLES = 1000
_MOST_TOLD = 2


def more_labels(found: Mapping[Key, Scores], metric: str, num_labelled: int) -> list[dict]:
    """What 50 and 200 labels more than the largest budget would bring to each candidate.

    Errors fall as a power of the number of labels (Hestness et al., 2017,
    https://arxiv.org/abs/1712.00409); the power is fitted to the mean errors at the budgets, and
    continued from the last. Its uncertainty comes from drawing folds with replacement.

    Args:
        found: Scores by candidate, as from :func:`~.evidence.by_candidate`.
        metric: One of :data:`~.scoring.METRICS`.
        num_labelled: Labels that there are.

    Returns:
        One dictionary per candidate and number: ``method``, ``source``, ``labels`` (in all),
        ``more``, ``gain`` (of the metric; negative for a loss that falls) with its 80 %
        ``interval``, ``score``, and ``at_hand`` (whether there are so many labels). Nothing for
        fewer than two budgets.

    Example:
        >>> folds = [(0, fold) for fold in range(5)]
        >>> found = {
        ...     ("scratch", "", n): Scores(
        ...         np.full(5, 1 - 2 / n), folds, n, 50, 250, n, None
        ...     )
        ...     for n in (50, 100)
        ... }
        >>> first = more_labels(found, "accuracy", 250)[0]
        >>> first["labels"], round(first["score"], 4)
        (150, 0.9867)
    """
    entries = []
    candidates = dict.fromkeys(key[:2] for key in found)
    for method, source in candidates:
        curve = {n: own for (m, s, n), own in found.items() if (m, s) == (method, source)}
        if len(curve) < 2:
            continue
        budgets = sorted(curve)
        shared = [f for f in curve[budgets[-1]].folds if all(f in curve[n].folds for n in budgets)]
        errors = np.stack([_errors(curve[n].at(shared).values, metric) for n in budgets])
        last = budgets[-1]
        chosen = np.random.default_rng(0).integers(len(shared), size=(_RESAMPLES, len(shared)))
        drawn = errors[:, chosen].mean(axis=2)
        for more in MORE_LABELS:
            gain = _fall(budgets, errors.mean(axis=1)[:, None], more)[0]
            low, high = np.quantile(_fall(budgets, drawn, more), [0.1, 0.9])
            sign = improvement(metric, 1)
            entries.append(
                {
                    "method": method,
                    "source": source,
                    "labels": last + more,
                    "more": more,
                    "gain": sign * float(gain),
                    "interval": sorted([sign * float(low), sign * float(high)]),
                    "score": float(curve[last].values.mean() + sign * gain),
                    "at_hand": last + more <= num_labelled,
                }
            )
    return entries


def _errors(values: np.ndarray, metric: str) -> np.ndarray:
    return values if metric in LOWER_IS_BETTER else 1.0 - values


def _fall(budgets: list[int], errors: np.ndarray, more: int) -> np.ndarray:
    """By how much errors, ``(budgets, draws)``, fall with so many labels more than the last."""
    last = budgets[-1]
    x = np.log(budgets) - np.mean(np.log(budgets))
    # An error of zero has no logarithm; half an error in a thousand is near enough.
    y = np.log(np.maximum(errors, 5e-4))
    power = np.minimum(x @ y / (x @ x), 0.0)
    return errors[-1] * (1.0 - ((last + more) / last) ** power)


def repeats_for_verdict(own: Scores, other: Scores, repeats: int, num_verdicts: int) -> int | None:
    """How many repeats would probably tell two candidates apart, if they differ as was found.

    Args:
        own: Scores of one, with the contributions of the examples.
        other: Those of the other.
        repeats: Repeats that were made.
        num_verdicts: Number of simultaneous verdicts, of which the strictest level is taken.

    Returns:
        The fewest with a power of 80 %; ``None`` where even 50 would not do, since the labelled
        examples that judge are too few.
    """
    if not own.points or own.splits_budget:
        return None
    per_repeat = len(own.folds) / repeats
    found = variance_parts(differences(own.points, other.points), own.num_train, own.num_labelled)
    difference = abs(interval_of(own, other).mean)
    # Of what examples that judge have in common with themselves: none in one repeat.
    judging = found.between_examples / own.num_labelled
    teaching = max(found.shared - judging * _again(len(own.folds), per_repeat), 0.0)
    for count in range(repeats + 1, MOST_REPEATS + 1):
        cells = count * per_repeat
        variance = found.own / cells + teaching + judging * _again(cells, per_repeat)
        level = 1.0 - (1.0 - CONFIDENCE) / num_verdicts / 2.0
        needed = stats.t.ppf([level, POWER], cells - 1).sum() * math.sqrt(variance)
        if needed <= difference:
            return count
    return None


def labels_for_verdict(
    found: Mapping[Key, Scores], verdicts: list[dict], entry: dict, metric: str, baseline: tuple
) -> int | None:
    """With how many labels a candidate would probably be told from scratch, by both curves.

    Errors are powers of the number of labels, and so is the smallest difference that is detected;
    both are looked at from half the smallest budget to twice the largest.

    Args:
        found: As for :func:`more_labels`.
        verdicts: All verdicts, for what is detectable.
        entry: The verdict of the candidate that is open.
        metric: One of :data:`~.scoring.METRICS`.
        baseline: Method and source of scratch.

    Returns:
        The number of labels, of several that nearest to the budget of the verdict; ``None`` where
        none would do, or there are fewer than two budgets.
    """
    pair = entry["method"], entry["source"]
    budgets = sorted(n for method, source, n in found if (method, source) == pair)
    if len(budgets) < 2:
        return None
    numbers = np.unique(np.geomspace(budgets[0] / 2, 2 * budgets[-1], 60).round().astype(int))
    lines = []
    for candidate in (pair, baseline):
        errors = [_errors(found[(*candidate, n)].values, metric).mean() for n in budgets]
        lines.append(_power_law(budgets, errors, numbers))
    own = [v for v in verdicts if (v["method"], v["source"]) == pair]
    detectable = [v["detectable"] for v in sorted(own, key=lambda v: v["labels"])]
    shown = np.abs(lines[1] - lines[0]) >= _power_law(budgets, detectable, numbers)
    if not shown.any():
        return None
    apart = np.abs(np.log(numbers / entry["labels"]))
    return int(numbers[np.argmin(np.where(shown, apart, np.inf))])


def _power_law(budgets: list[int], values, numbers: np.ndarray) -> np.ndarray:
    power, level = np.polyfit(np.log(budgets), np.log(np.maximum(values, 5e-4)), 1)
    return np.exp(level + power * np.log(numbers))


def _again(cells: float, per_repeat: float) -> float:
    """The share of pairs of cells that are of different repeats."""
    return (cells - per_repeat) / (cells - 1)


def describe_next(found: dict) -> list[str]:
    """What more labels and more repeats would bring, in sentences.

    Args:
        found: Content of ``comparison.json``, with ``forecast``, ``verdicts`` and ``winner``.
    """
    told = []
    metric, winner = found["metric"], found["winner"]
    own = [
        entry
        for entry in found["forecast"]["more_labels"]
        if (entry["method"], entry["source"]) == (winner["method"], winner["source"])
    ]
    if own:
        each = ", ".join(
            f"{entry['more']} more {entry['gain']:+.4f} ({entry['interval'][0]:+.4f} to "
            f"{entry['interval'][1]:+.4f})"
            for entry in own
        )
        told.append(
            f"what more labels would bring {winner['method']} beyond {winner['labels']}, by its "
            f"curve, {metric} with 80 % confidence: {each}"
        )
    # Those that are nearest to a verdict.
    near = [entry for entry in found["forecast"]["verdicts"] if entry["repeats"]]
    for entry in sorted(near, key=lambda entry: entry["repeats"])[:_MOST_TOLD]:
        told.append(
            f"with about {entry['repeats']} repeats {entry['method']} at {entry['labels']} labels "
            "would probably be told from scratch, if the difference is what was found"
        )
    far = [entry for entry in found["forecast"]["verdicts"] if entry["at_labels"]]
    for entry in far[:_MOST_TOLD]:
        told.append(
            f"{entry['method']} would probably be told from scratch at about {entry['at_labels']} "
            "labels, by both curves"
        )
    return told
