"""Candidates that cannot win any more leave a comparison early."""

from __future__ import annotations

from collections.abc import Mapping

from scipy import stats

from kt_transfer.comparison.evidence import Key, Scores, interval_of
from kt_transfer.reporting.wording import improvement

# Looked at from so many folds on, with this one-sided level at each look for all candidates
# together. Simulated in benchmarks/verdict_simulations.py.
FIRST_LOOK, LEVEL = 4, 0.01


def raced_out(found: Mapping[Key, Scores], metric: str, remaining: set) -> set[tuple[str, str]]:
    """The candidates that are shown to be worse than the best at the largest budget.

    Args:
        found: Scores by candidate so far, as from :func:`~.evidence.by_candidate`.
        metric: One of :data:`~.scoring.METRICS`.
        remaining: Method and source of those that have not left yet.

    Returns:
        Method and source of those that leave now.

    Example:
        >>> import numpy as np
        >>> folds = [(0, fold) for fold in range(5)]
        >>> def scores(mean):
        ...     spread = np.array([0.0, 0.01, -0.01, 0.02, -0.02])
        ...     return Scores(mean + spread * mean, folds, 80, 20, 100, 100, None)
        >>> found = {("scratch", "", 100): scores(0.5), ("features", "a", 100): scores(0.9)}
        >>> raced_out(found, "accuracy", {("scratch", ""), ("features", "a")})
        {('scratch', '')}
    """
    largest = max(labels for _, _, labels in found)
    own = {key[:2]: s for key, s in found.items() if key[2] == largest and key[:2] in remaining}
    if len(own) < 2 or max(len(scores.folds) for scores in own.values()) < FIRST_LOOK:
        return set()
    best = max(own, key=lambda key: improvement(metric, own[key].values.mean()))
    level = LEVEL / (len(own) - 1)
    leaving = set()
    for key, scores in own.items():
        if key == best:
            continue
        interval = interval_of(scores, own[best])
        lost = -improvement(metric, interval.mean) / interval.standard_error
        if stats.t.sf(lost, interval.degrees) < level:
            leaving.add(key)
    return leaving
