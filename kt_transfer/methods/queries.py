"""Active learning: which unlabelled examples to label next."""

from __future__ import annotations

import numpy as np
from sklearn.cluster import KMeans

# Candidates for each example that is wanted: among so many there are different ones.
CANDIDATES_EACH = 10


def margins(probabilities: np.ndarray) -> np.ndarray:
    """How much more probable the first class is than the second, from 0 to 1.

    Example:
        >>> margins(np.array([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]]))
        array([0.25, 1.  ])
    """
    second, first = np.sort(probabilities, axis=1)[:, -2:].T
    return first - second


def most_informative(
    probabilities: np.ndarray, features: np.ndarray, count: int, *, seed: int = 0
) -> np.ndarray:
    """Uncertain examples that differ from one another.

    Of the ``10 * count`` examples with the smallest margin, one for each of ``count`` clusters of
    their features, weighted by uncertainty (Zhdanov, 2019, https://arxiv.org/abs/1901.05954).
    Uncertainty alone would ask for the same difficult example many times over.

    Args:
        probabilities: Of the classes, shape ``(n, classes)``.
        features: What the network knows of the examples, shape ``(n, width)``.
        count: How many are wanted, at least 1.
        seed: Seed of the clustering.

    Returns:
        Rows, the most uncertain first; all of them if there are no more than ``count``.

    Example:
        >>> probabilities = np.array([[0.5, 0.5], [0.51, 0.49], [0.9, 0.1], [0.6, 0.4]])
        >>> features = np.array([[0.0], [0.1], [5.0], [9.0]])
        >>> most_informative(probabilities, features, 2)
        array([0, 3])
    """
    margin = margins(probabilities)
    candidates = np.argsort(margin, kind="stable")[: CANDIDATES_EACH * count]
    if len(candidates) <= count:
        return candidates
    points, weights = features[candidates], 1.0 - margin[candidates]
    clusters = min(count, len(np.unique(points, axis=0)))
    found = KMeans(clusters, n_init=1, random_state=seed).fit(
        points, sample_weight=np.maximum(weights, 1e-6)
    )
    distances = found.transform(points)
    chosen = {
        members[distances[members, cluster].argmin()]
        for cluster in range(clusters)
        if len(members := np.flatnonzero(found.labels_ == cluster))
    }
    # Equal examples are one cluster: the most uncertain of the rest make up the number.
    others = (row for row in range(len(candidates)) if row not in chosen)
    while len(chosen) < count:
        chosen.add(next(others))
    return candidates[sorted(chosen)]
