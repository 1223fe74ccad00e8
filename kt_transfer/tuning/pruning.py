"""Trials that cannot win any more end early."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

# Looked at from so many folds on, with this one-sided level at each look. How often that ends what
# would have won, and what it saves, is simulated in benchmarks/search_pruning.py.
FIRST_LOOK, LEVEL = 3, 0.1


def cannot_win(scores: Sequence[float], best: Sequence[float], num_folds: int) -> bool:
    """Whether a trial is shown to be worse than the best one so far, on the folds of both.

    Where the remaining folds cannot close the gap however they turn out, within what is known of
    both, more folds are a waste. The test is a paired t test over folds with the variance of
    Nadeau & Bengio (2003, https://doi.org/10.1023/A:1024068626366), since folds share examples;
    the signed-rank test of Optuna's ``WilcoxonPruner`` cannot fall below 1/16 with four folds.

    Args:
        scores: Of the folds so far, larger is better.
        best: Of the best trial, in all its folds, in the same order.
        num_folds: Folds that a trial has in the end.

    Example:
        >>> cannot_win([0.70, 0.72, 0.69], [0.90, 0.91, 0.90, 0.92, 0.91], 5)
        True
        >>> cannot_win([0.89, 0.92, 0.90], [0.90, 0.91, 0.90, 0.92, 0.91], 5)
        False
    """
    count = min(len(scores), len(best))
    if not FIRST_LOOK <= count < num_folds:
        return False
    lost = np.asarray(best[:count], float) - np.asarray(scores[:count], float)
    if lost.mean() <= 0:
        return False
    variance = lost.var(ddof=1) * (1 / count + 1 / (num_folds - 1))
    # Folds that differ by the same amount are no proof: as little as a thousandth may be chance.
    error = max(float(np.sqrt(variance)), 1e-3)
    return bool(stats.t.sf(lost.mean() / error, count - 1) < LEVEL)


def estimate(scores: Sequence[float], best: Sequence[float] | None) -> float:
    """The mean of a trial that ended early, as far as it is known: what the best one has in all of
    its folds, less what it lost to it in those that it has.

    Of unequal folds the mean of the first few would say as much of the folds as of the trial.

    Example:
        >>> round(estimate([0.5, 0.4], [0.6, 0.5, 0.7]), 3)
        0.5
    """
    if best is None or len(scores) >= len(best):
        return float(np.mean(scores))
    return float(np.mean(best) + np.mean(scores) - np.mean(best[: len(scores)]))
