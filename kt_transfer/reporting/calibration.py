"""Whether confidence is accuracy: reliability, its error with an interval, temperature scaling."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.optimize import minimize_scalar

from kt_transfer.reporting.classification import (
    confidence_bins,
    cross_entropies,
    expected_calibration_error,
    softmax,
)

NUM_BINS = 15
CONFIDENCE = 0.95
# Answers that are all correct would be made ever more certain, and those no better than chance ever
# less: a temperature stays within these.
LEAST_TEMPERATURE, MOST_TEMPERATURE = 0.05, 20.0
_DRAWS = 1000


class FoldAnswers(NamedTuple):
    """Answers to held-out examples, of all folds and repeats.

    Attributes:
        labels: Shape ``(n,)``.
        logits: Shape ``(n, classes)``.
        folds: A number for the fold of a repeat that each is from, shape ``(n,)``.
        examples: A number for each example, shape ``(n,)``: in several repeats it may occur several
            times.
    """

    labels: np.ndarray
    logits: np.ndarray
    folds: np.ndarray
    examples: np.ndarray


def reliability(
    labels: np.ndarray, probabilities: np.ndarray, num_bins: int = NUM_BINS
) -> list[dict]:
    """Confidence and accuracy in equal-width bins of confidence.

    DeGroot & Fienberg (1983, https://doi.org/10.2307/2987588); intervals of Wilson (1927,
    https://doi.org/10.1080/01621459.1927.10502953).

    Args:
        labels: Shape ``(n,)``.
        probabilities: Shape ``(n, classes)``.
        num_bins: Bins between 0 and 1, at least 1.

    Returns:
        One dictionary for each bin that is not empty: ``low``, ``high`` (its ends),
        ``num_examples``, ``confidence`` and ``accuracy`` (means), ``interval`` (95 %, of the
        accuracy).

    Example:
        >>> bins = reliability(np.array([0, 1]), np.array([[0.9, 0.1], [0.9, 0.1]]), num_bins=2)
        >>> bins[0]["num_examples"], float(bins[0]["confidence"]), float(bins[0]["accuracy"])
        (2, 0.9, 0.5)
    """
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    number = confidence_bins(confidence, num_bins)
    return [
        {
            "low": place / num_bins,
            "high": (place + 1) / num_bins,
            "num_examples": int(own.sum()),
            "confidence": float(confidence[own].mean()),
            "accuracy": float(correct[own].mean()),
            "interval": wilson_interval(int(correct[own].sum()), int(own.sum())),
        }
        for place in range(num_bins)
        if (own := number == place).any()
    ]


def error_interval(
    labels: np.ndarray,
    probabilities: np.ndarray,
    *,
    examples: np.ndarray | None = None,
    num_bins: int = NUM_BINS,
    seed: int = 0,
) -> tuple[float, float]:
    """A 95 % bootstrap interval of the expected calibration error.

    The error of few examples is too large, since gaps by chance add up instead of cancelling out,
    and that of a bootstrap sample is larger still, by about as much. So the interval is the basic
    one, 2 e − the quantiles of the bootstrap, not those quantiles (Davison & Hinkley, 1997,
    Bootstrap Methods and their Application, section 5.2): it may lie below the error that was
    measured. It begins at 0 if a calibrated classifier with the same confidences would often have
    an error as large (consistency resampling; Bröcker & Smith, 2007,
    https://doi.org/10.1175/WAF993.1).

    Args:
        labels: Shape ``(n,)``, n at least 1.
        probabilities: Shape ``(n, classes)``.
        examples: A number for each example, shared by answers to the same one, which are drawn
            together; ``None`` if all are different.
        num_bins: As for :func:`~.classification.expected_calibration_error`.
        seed: Of the bootstrap.

    Returns:
        Both ends, from 0 to 1.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> p = np.stack([np.full(1000, 0.8), np.full(1000, 0.2)], axis=1)
        >>> low, high = error_interval((rng.random(1000) > 0.7).astype(int), p)
        >>> low < 0.1 < high  # 80 % confident, 70 % correct
        True
    """
    error = expected_calibration_error(labels, probabilities, num_bins)
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    number = confidence_bins(confidence, num_bins)
    names = np.arange(len(labels)) if examples is None else examples
    _, cluster, sizes = np.unique(names, return_inverse=True, return_counts=True)
    rng = np.random.default_rng(seed)
    drawn, calibrated = np.empty((2, _DRAWS))
    shares = np.full(len(sizes), 1 / len(sizes))
    for draw in range(_DRAWS):
        times = rng.multinomial(len(sizes), shares)
        gaps = np.bincount(number, times[cluster] * (correct - confidence), num_bins)
        drawn[draw] = np.abs(gaps).sum() / (times @ sizes)
        lucky = rng.random(len(sizes))[cluster] < confidence
        gaps = np.bincount(number, lucky - confidence, num_bins)
        calibrated[draw] = np.abs(gaps).sum() / len(labels)
    ends = (1 + CONFIDENCE) / 2, (1 - CONFIDENCE) / 2
    low, high = 2 * error - np.quantile(drawn, ends)
    if error <= np.quantile(calibrated, CONFIDENCE):
        low = 0.0
    return float(np.clip(low, 0, 1)), float(np.clip(high, 0, 1))


def temperature_of(labels: np.ndarray, logits: np.ndarray) -> float:
    """The temperature that logits are divided by so that confidence is accuracy.

    It minimizes the cross-entropy (Guo, Pleiss, Sun & Weinberger, 2017,
    https://arxiv.org/abs/1706.04599), within ``LEAST_TEMPERATURE`` and ``MOST_TEMPERATURE``: above
    1 where the classifier is too confident, below where it is too cautious. Which class is most
    probable does not change.

    Args:
        labels: Shape ``(n,)``, n at least 1, of examples that the classifier has not learned from.
        logits: Shape ``(n, classes)``.

    Example:
        >>> logits = np.array([[4.0, 0.0]] * 4)
        >>> t = temperature_of(np.array([0, 0, 0, 1]), logits)
        >>> round(t, 3), softmax(logits / t)[0].round(3).tolist()
        (3.641, [0.75, 0.25])
    """
    logits = np.asarray(logits, np.float64)
    # The loss is convex in the inverse of the temperature, so it has no other minimum in its log.
    found = minimize_scalar(
        lambda exponent: cross_entropies(labels, logits / np.exp(exponent)).mean(),
        bounds=np.log([LEAST_TEMPERATURE, MOST_TEMPERATURE]),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))


def cross_fitted(answers: FoldAnswers) -> np.ndarray:
    """Logits divided by the temperature of the other folds, shape ``(n, classes)``.

    So no example has a say in the temperature that it is judged by: answers to it in other repeats
    are left out as well. Where no other answer is left, the temperature is 1.
    """
    scaled = np.array(answers.logits, np.float64)
    for fold in np.unique(answers.folds):
        own = answers.folds == fold
        others = ~np.isin(answers.examples, answers.examples[own])
        if others.any():
            scaled[own] /= temperature_of(answers.labels[others], answers.logits[others])
    return scaled


def calibrate(answers: FoldAnswers, seed: int = 0) -> dict:
    """The calibration of held-out answers, and what a temperature makes of it.

    Args:
        answers: Of at least two folds.
        seed: Of the bootstrap.

    Returns:
        ``temperature`` (of all answers, for a classifier that learns from all examples),
        ``num_examples``, and ``before`` and ``after`` (cross-fitted), each with
        ``calibration_error``, its 95 % ``interval``, ``loss`` (cross-entropy) and ``bins``, as from
        :func:`reliability`.
    """
    judged = {"before": np.asarray(answers.logits, np.float64), "after": cross_fitted(answers)}
    found = {
        "temperature": temperature_of(answers.labels, answers.logits),
        "num_examples": len(np.unique(answers.examples)),
    }
    for name, logits in judged.items():
        probabilities = softmax(logits)
        options = {"examples": answers.examples, "seed": seed}
        found[name] = {
            "calibration_error": expected_calibration_error(answers.labels, probabilities),
            "interval": list(error_interval(answers.labels, probabilities, **options)),
            "loss": float(cross_entropies(answers.labels, logits).mean()),
            "bins": reliability(answers.labels, probabilities),
        }
    return found


def describe_calibration(found: dict) -> str:
    """What :func:`calibrate` found, in a sentence.

    Args:
        found: Its result, with ``is_applied``: whether the exported model has the temperature.
    """
    before, after, temperature = found["before"], found["after"], found["temperature"]
    low, high = before["interval"]
    kind = "too confident" if temperature > 1 else "too cautious"
    told = (
        f"on held-out examples the winner is {'not shown to be ' * (low == 0)}{kind}: its "
        f"calibration error is {before['calibration_error']:.3f} ({low:.3f} to {high:.3f}), its "
        f"loss {before['loss']:.3f}; with its logits divided by a temperature they are "
        f"{after['calibration_error']:.3f} and {after['loss']:.3f}"
    )
    if found["is_applied"]:
        return f"{told}; the exported model has one of {temperature:.2f}"
    return f"{told}; --calibrate exports it with one of {temperature:.2f}"


def wilson_interval(successes: int, count: int) -> list[float]:
    """The 95 % interval of a share (Wilson, 1927).

    Args:
        successes: How many of them.
        count: Of how many, at least 1.

    Example:
        >>> [round(end, 3) for end in wilson_interval(8, 10)]
        [0.49, 0.943]
    """
    z = stats.norm.ppf((1 + CONFIDENCE) / 2)
    share, weight = successes / count, z**2 / count
    middle = (share + weight / 2) / (1 + weight)
    reach = z * np.sqrt(share * (1 - share) / count + weight / (4 * count)) / (1 + weight)
    # At 0 and at 1 it ends there, but for rounding.
    return [
        max(0.0, min(share, float(middle - reach))),
        min(1.0, max(share, float(middle + reach))),
    ]
