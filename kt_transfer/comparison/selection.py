"""How much better the best of several looks than it is, since it is the best of several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kt_transfer.comparison.evidence import Scores, interval_of

_DRAWS = 2000


def selection_bias(candidates: Sequence[Scores], sign: float = 1.0) -> float:
    """The expected excess of the best mean over the true mean of the candidate that has it.

    A parametric bootstrap of the choice: means are drawn about the ones found, with the variances
    of their differences, and the best of each draw is compared with the mean that it was drawn
    about. The means found lie further apart than the true ones, by just these variances; they are
    drawn together accordingly (James & Stein), or else ties would go unnoticed.

    Args:
        candidates: Scores on the same folds.
        sign: 1 if higher is better, -1 if lower is.

    Returns:
        The bias, at least 0, in units of the metric.

    Example:
        >>> folds = [(repeat, fold) for repeat in range(3) for fold in range(5)]
        >>> scores = np.random.default_rng(0).normal(0.8, 0.03, (4, 15))
        >>> alike = [Scores(own, folds, 80, 20, 100, 100, None) for own in scores]
        >>> 0.005 < selection_bias(alike) < 0.03
        True
    """
    if len(candidates) < 2:
        return 0.0
    means = sign * np.array([own.values.mean() for own in candidates])
    variances = np.array(
        [
            [interval_of(own, other).standard_error ** 2 if own is not other else 0.0]
            for own in candidates
            for other in candidates
        ]
    ).reshape(len(means), len(means))
    # Covariances of the means less their common mean, from the variances of differences.
    centring = np.eye(len(means)) - 1 / len(means)
    sizes, directions = np.linalg.eigh(-centring @ variances @ centring / 2)
    sizes = np.maximum(sizes, 0.0)
    apart = means - means.mean()
    squares = float(apart @ apart)
    remain = max(0.0, 1.0 - float(sizes.sum()) / squares) if squares else 0.0
    centres = means.mean() + remain * apart
    noise = np.random.default_rng(0).normal(size=(_DRAWS, len(means)))
    drawn = centres + noise * np.sqrt(sizes) @ directions.T
    best = drawn.argmax(axis=1)
    return max(float((drawn.max(axis=1) - centres[best]).mean()), 0.0)
