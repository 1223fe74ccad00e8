"""Inference from differences over folds: corrected intervals and simultaneous tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from kt_transfer.comparison.held_out import Points

CONFIDENCE = 0.95
POWER = 0.8


class Interval(NamedTuple):
    """A mean of paired differences, with confidence interval and test."""

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

    Folds share training examples, so their differences are correlated and the naive variance of
    their mean is too small. Nadeau & Bengio (2003, https://doi.org/10.1023/A:1024068626366) take
    the correlation to be ρ = n₂ / (n₁ + n₂), with n₁ training and n₂ held-out examples, and
    estimate the variance of the mean of J differences by S² (1/J + ρ / (1 − ρ)), which is
    S² (1/J + n₂/n₁); for repeated folds: Bouckaert & Frank (2004,
    https://doi.org/10.1007/978-3-540-24775-3_3).

    This holds for splits of one set of examples. If each repeat draws its own examples from a
    larger set, the correlation between folds of different draws is ρ times the share of examples
    that two draws have in common. ρ above then becomes the mean correlation of two differences,
    and the degrees of freedom are Satterthwaite's. For a single set this is Nadeau & Bengio's test.

    S² is at least the variance that a single held-out example in one fold would cause, since a few
    equal differences on few examples are no evidence.

    Args:
        differences: One per fold, grouped by draw; at least two.
        num_train: n₁, or its mean if it varies.
        num_held_out: n₂, or its mean.
        confidence: Confidence level, between 0 and 1.
        num_folds: Number of folds per draw (default: all folds are of one set).
        overlap: Share of examples that two draws have in common, 0 to 1.

    Returns:
        Mean, interval, two-sided p-value for a difference of 0, standard error, and degrees of
        freedom.

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
    return _interval(float(values.mean()), error, degrees, confidence)


def crossed_interval(
    cells: Sequence[Points],
    num_train: float,
    num_labelled: int,
    confidence: float = CONFIDENCE,
) -> Interval:
    """The interval and test of a mean over cells that each draw few labels and are judged by many.

    Every repeat deals all M labelled examples to folds; each cell learns from N of those that its
    fold leaves, and is judged by all that the fold holds out. Two cells then have in common what
    the examples do that judge both, and what the examples do that teach both. Of J cells with
    sample variance S², the variance of the mean is S²/J + c, with c their mean covariance:

    - Judging: the mean product of what one example contributes to two cells, each less its cell's
      mean, is an unbiased estimate of the variance between examples, from which this part of c
      follows; zero for a single repeat, whose folds share no example.
    - Teaching: two draws share N / M of their examples on average. Of a statistic that is a sum
      over examples the covariance is that share of the variance between draws, which is S² less
      what the choice of the judging examples explains.
    - An example that teaches some cells and judges others adds at most the geometric mean of both,
      twice (Cauchy & Schwarz).

    Their sum is never more than Nadeau & Bengio's (2003) c = S² n₂ / n₁ for folds of one set, with
    n₂ examples to judge by and n₁ = M − n₂, which is taken where a cell learns from all n₁.

    Args:
        cells: The contributions of the examples to the score, or to the difference of two
            candidates' scores, of each cell; at least two.
        num_train: N, or its mean.
        num_labelled: M.
        confidence: Confidence level, between 0 and 1.

    Returns:
        As :func:`corrected_interval`.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> rows = np.arange(100).reshape(5, 20)
        >>> cells = [Points(fold, rng.normal(0.1, 0.2, 20)) for fold in rows]
        >>> interval = crossed_interval(cells, num_train=10, num_labelled=100)
        >>> interval.low < 0.1 < interval.high
        True
    """
    found = variance_parts(cells, num_train, num_labelled)
    return _interval(
        float(np.mean([cell.values.mean() for cell in cells])),
        float(np.sqrt(found.own / len(cells) + found.shared)),
        len(cells) - 1,
        confidence,
    )


class VarianceParts(NamedTuple):
    """Where the variance of a mean over cells comes from, as :func:`crossed_interval` has it.

    Attributes:
        own: S², the variance between cells.
        shared: c, their mean covariance.
        between_examples: Variance between examples of what each contributes in all repeats.
    """

    own: float
    shared: float
    between_examples: float


def variance_parts(cells: Sequence[Points], num_train: float, num_labelled: int) -> VarianceParts:
    """Estimate the parts; the arguments are those of :func:`crossed_interval`."""
    count = len(cells)
    if count < 2:
        raise ValueError(f"{count} cells were given, expected at least 2")
    num_held_out = float(np.mean([len(cell.rows) for cell in cells]))
    means = np.array([cell.values.mean() for cell in cells])
    own = max(float(means.var(ddof=1)), 1.0 / (count * num_held_out**2))
    one_set = own * num_held_out / (num_labelled - num_held_out)
    between, pairs = _between_examples(cells)
    if num_train >= num_labelled - num_held_out - 0.5:
        return VarianceParts(own, one_set, between)
    judging = between * pairs / (num_held_out**2 * count * (count - 1))
    by_choice = float(np.mean([cell.values.var() for cell in cells])) / num_held_out
    share = num_train / num_labelled
    teaching = max(own - by_choice, 0.0) * share / (1.0 - share)
    return VarianceParts(own, min((judging**0.5 + teaching**0.5) ** 2, one_set), between)


def _between_examples(cells: Sequence[Points]) -> tuple[float, int]:
    """The variance between examples, and the ordered pairs of cells that an example judges."""
    rows = np.unique(np.concatenate([cell.rows for cell in cells]), return_inverse=True)[1]
    centred = np.concatenate([cell.values - cell.values.mean() for cell in cells])
    times = np.bincount(rows)
    products = np.bincount(rows, centred) ** 2 - np.bincount(rows, centred**2)
    pairs = int((times * (times - 1)).sum())
    return (max(float(products.sum()) / pairs, 0.0) if pairs else 0.0), pairs


def _interval(mean: float, error: float, degrees: float, confidence: float) -> Interval:
    reach = error * float(stats.t.ppf((1.0 + confidence) / 2.0, degrees))
    p_value = 2.0 * float(stats.t.sf(abs(mean) / error, degrees))
    return Interval(mean, mean - reach, mean + reach, p_value, error, degrees)


class Probabilities(NamedTuple):
    """How probable it is that a difference is worse, practically equal, and better."""

    worse: float
    equal: float
    better: float


def probabilities(interval: Interval, margin: float, *, lower_is_better=False) -> Probabilities:
    """The probabilities that a true difference is beyond a margin, on either side, or within.

    The correlated t test of Corani & Benavoli (2015,
    https://doi.org/10.1007/s10994-015-5486-z): with a flat prior the true difference has a t
    distribution about the mean found, with its standard error.

    Args:
        interval: Of the difference.
        margin: Differences up to this are of no importance, in units of the metric, at least 0.
        lower_is_better: Whether a positive difference is worse.

    Example:
        >>> interval = corrected_interval([0.02, 0.06, 0.01, 0.05, 0.06], 80, 20)
        >>> [round(value, 2) for value in probabilities(interval, 0.01)]
        [0.02, 0.05, 0.94]
    """
    own = stats.t(interval.degrees, interval.mean, interval.standard_error)
    below, above = float(own.cdf(-margin)), float(own.sf(margin))
    worse, better = (above, below) if lower_is_better else (below, above)
    return Probabilities(worse, max(1.0 - below - above, 0.0), better)


def _correlation(count: int, num_folds: int, within: float, between: float) -> tuple[float, float]:
    """The mean correlation of two differences, and the degrees of freedom of their variance."""
    draws = count // num_folds
    mean = ((num_folds - 1) * within + (count - num_folds) * between) / (count - 1)
    # The variance is a sum of squares within the draws and between their means.
    inside = 1.0 - within
    among = 1.0 + (num_folds - 1) * within - num_folds * between
    parts = draws * (num_folds - 1) * inside, (draws - 1) * among
    return mean, sum(parts) ** 2 / (parts[0] * inside + parts[1] * among)


def detectable_difference(
    interval: Interval, num_verdicts: int = 1, confidence: float = CONFIDENCE
) -> float:
    """The smallest true difference that is detected with a power of 80 %.

    It assumes the strictest threshold of Holm's correction, that for the smallest p-value.

    Args:
        interval: The comparison, for its standard error and degrees of freedom.
        num_verdicts: Number of simultaneous tests.
        confidence: Simultaneous confidence level.
    """
    strictest = (1.0 - confidence) / num_verdicts
    quantiles = stats.t.ppf([1.0 - strictest / 2.0, POWER], interval.degrees)
    return interval.standard_error * float(quantiles.sum())


def lower_bound(interval: Interval, confidence: float = CONFIDENCE) -> float:
    """How far below a mean its one-sided lower bound lies."""
    return interval.standard_error * float(stats.t.ppf(confidence, interval.degrees))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's adjustment of p-values for simultaneous tests.

    Holm (1979, https://www.jstor.org/stable/4615733): the probability of any false rejection is at
    most the threshold that the adjusted values are compared with.

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
    """Number of labels needed for a score, interpolated on a curve of scores by label budget.

    The curve is made monotone by a running maximum, and interpolated in the logarithm of labels.

    Args:
        budgets: Label budgets, ascending.
        scores: The score at each budget; higher is better.
        score: The score to reach.

    Returns:
        The number of labels; ``inf`` if no budget reaches the score, ``None`` if even the smallest
        exceeds it.

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
