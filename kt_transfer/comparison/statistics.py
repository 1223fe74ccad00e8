"""What differences over folds show: corrected intervals, simultaneous verdicts, worth in labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
POWER = 0.8


class Interval(NamedTuple):
    """A mean of paired differences, and what is known of the true one."""

    mean: float
    low: float
    high: float
    p_value: float
    standard_error: float
    degrees: float


def corrected_interval(
    differences: Sequence[float],
    num_train: float,
    num_held_out: float,
    confidence: float = CONFIDENCE,
    *,
    num_folds: int | None = None,
    overlap: float = 1.0,
) -> Interval:
    """The corrected resampled t interval and test of a mean of differences over folds.

    Folds share training examples, so their differences are correlated and their plain variance
    is too small. Nadeau & Bengio (2003, https://doi.org/10.1023/A:1024068626366) take the
    correlation to be ρ = n₂ / (n₁ + n₂), n₁ the examples of a training part and n₂ those held
    out, and estimate the variance of the mean of J differences by S² (1/J + ρ / (1 − ρ)), which
    is S² (1/J + n₂/n₁); for repeated folds: Bouckaert & Frank (2004,
    https://doi.org/10.1007/978-3-540-24775-3_3).

    That is for splits of one set of examples. Where each repeat draws its own from a larger one,
    folds of different draws are correlated by ρ times the share of examples that two draws have
    in common; ρ above becomes the mean correlation of two differences, and the degrees of
    freedom Satterthwaite's. With nothing but one set, that is Nadeau & Bengio's.

    S² is taken to be at least what one held-out example in one fold would make of it: a handful
    of equal differences on few examples is no proof.

    Args:
        differences: One a fold, those of one draw next to one another; at least two.
        num_train: n₁, the mean if it varies.
        num_held_out: n₂, likewise.
        confidence: Of the interval, between 0 and 1.
        num_folds: Folds of each draw (default: all are of one set).
        overlap: Share of its examples that a draw has in common with another, 0 to 1.

    Returns:
        Mean, interval, two-sided p-value of a true difference of 0, standard error, and degrees
        of freedom.

    Example:
        >>> interval = corrected_interval([0.02, 0.06, 0.01, 0.05, 0.06], 80, 20)
        >>> round(interval.low, 4), round(interval.high, 4)
        (-0.0037, 0.0837)
    """
    values = np.asarray(differences, float)
    count = len(values)
    if count < 2:
        raise ValueError(f"{count} differences were given, expected at least 2")
    within = num_held_out / (num_train + num_held_out)
    shared, degrees = _correlation(count, num_folds or count, within, overlap * within)
    least = 1.0 / (count * num_held_out**2)
    variance = max(float(values.var(ddof=1)), least)
    error = float(np.sqrt(variance * (1.0 / count + shared / (1.0 - shared))))
    mean = float(values.mean())
    reach = error * float(stats.t.ppf((1.0 + confidence) / 2.0, degrees))
    p_value = 2.0 * float(stats.t.sf(abs(mean) / error, degrees))
    return Interval(mean, mean - reach, mean + reach, p_value, error, degrees)


def _correlation(count: int, num_folds: int, within: float, between: float) -> tuple[float, float]:
    """The mean correlation of two differences, and the degrees of freedom of their variance."""
    draws = count // num_folds
    mean = ((num_folds - 1) * within + (count - num_folds) * between) / (count - 1)
    # The variance is a sum of squares: inside the draws, and of the draws' means.
    inside = 1.0 - within
    among = 1.0 + (num_folds - 1) * within - num_folds * between
    parts = draws * (num_folds - 1) * inside, (draws - 1) * among
    return mean, sum(parts) ** 2 / (parts[0] * inside + parts[1] * among)


def detectable_difference(
    interval: Interval, num_verdicts: int = 1, confidence: float = CONFIDENCE
) -> float:
    """The smallest true difference that is found in four of five such comparisons.

    With the strictest threshold that Holm's correction may ask for, the one for the smallest of
    all p-values.

    Args:
        interval: Of the comparison; its standard error and degrees of freedom count.
        num_verdicts: Verdicts that are to hold together.
        confidence: Of all verdicts together.
    """
    strictest = (1.0 - confidence) / num_verdicts
    quantiles = stats.t.ppf([1.0 - strictest / 2.0, POWER], interval.degrees)
    return interval.standard_error * float(quantiles.sum())


def holm(p_values: Sequence[float]) -> np.ndarray:
    """P-values adjusted so that all verdicts by them hold together.

    Holm (1979, https://www.jstor.org/stable/4615733): the chance of even one false finding is at
    most the threshold that the adjusted values are held against.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        array([0.03, 0.06, 0.06])
    """
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def verdict(difference: float, adjusted_p: float, confidence: float = CONFIDENCE) -> str:
    """``"better"``, ``"no difference"`` or ``"worse"``; a positive difference is an improvement."""
    if adjusted_p > 1.0 - confidence:
        return "no difference"
    return "better" if difference > 0 else "worse"


def labels_for_score(budgets: Sequence[int], scores: Sequence[float], score: float) -> float | None:
    """How many labels reach a score, read off a curve of scores over label budgets.

    The curve is made to rise (a running maximum) and followed in the logarithm of the labels.

    Args:
        budgets: Ascending.
        scores: The score at each; the higher the better.
        score: The one to reach.

    Returns:
        The labels; ``inf`` if no budget reaches it, ``None`` if even the smallest exceeds it.

    Example:
        >>> round(labels_for_score([50, 100, 200], [0.6, 0.7, 0.8], 0.75))
        141
    """
    curve = np.maximum.accumulate(np.asarray(scores, float))
    if score > curve[-1]:
        return float("inf")
    if score < curve[0]:
        return None
    reached = int(np.argmax(curve >= score))
    if reached == 0:
        return float(budgets[0])
    below, above = curve[reached - 1], curve[reached]
    share = (score - below) / (above - below)
    low, high = np.log(budgets[reached - 1]), np.log(budgets[reached])
    return float(np.exp(low + share * (high - low)))
