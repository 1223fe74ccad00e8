"""Labels propagated along a graph of nearest neighbours: pure functions of arrays."""

from __future__ import annotations

import numpy as np
import scipy.sparse
from scipy.sparse.linalg import LinearOperator, cg

# Relative residual at which the equations of a propagation count as solved.
TOLERANCE = 1e-4
_MOST_ITERATIONS = 1000


def neighbour_graph(
    rows: np.ndarray, squared_distances: np.ndarray, *, sharpness: float = 4.0
) -> scipy.sparse.csr_array:
    """The normalized affinities of examples to their nearest neighbours.

    With dᵢⱼ the distance from example i to its neighbour j, and dᵢ that to the farthest of its
    neighbours, W holds exp(−s · dᵢⱼ² / dᵢ²), so that each example has its own scale (Zelnik-Manor
    & Perona, 2004, "Self-tuning spectral clustering"), or the same from j to i where that is
    larger. The result is D^−½ W D^−½, where D holds the sums of the rows of W.

    Args:
        rows: The neighbours of each example, ``(n, k)``; itself is none of them.
        squared_distances: Distances to them, squared, ``(n, k)``.
        sharpness: s, more than 0: the farthest neighbour has the affinity e^−s.

    Returns:
        ``float32`` of shape ``(n, n)``, symmetric.

    Example:
        >>> graph = neighbour_graph(np.array([[1], [0], [1]]), np.ones((3, 1)))
        >>> graph.toarray().round(2)
        array([[0.  , 0.71, 0.  ],
               [0.71, 0.  , 0.71],
               [0.  , 0.71, 0.  ]], dtype=float32)
    """
    num, degree = rows.shape
    squared = np.maximum(squared_distances, 0.0)
    # Of copies of one example all distances are 0, and all affinities 1.
    scale = np.maximum(squared.max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    weights = np.exp(-sharpness * squared / scale).astype(np.float32)
    starts = np.arange(0, rows.size + 1, degree)
    indices = (array.ravel().astype(np.int32) for array in (rows, starts))
    affinity = scipy.sparse.csr_array((weights.ravel(), *indices), (num, num))
    affinity = affinity.maximum(affinity.T)
    scaling = scipy.sparse.diags_array((1 / np.sqrt(affinity.sum(axis=1))).astype(np.float32))
    return (scaling @ affinity @ scaling).tocsr()


def propagate(graph, targets: np.ndarray, *, alpha: float) -> np.ndarray:
    """What spreads from labelled examples along a graph.

    The limit F = (1 − α) (I − α S)⁻¹ Y of F ← α S F + (1 − α) Y (Zhou et al., 2004, "Learning with
    local and global consistency"), by conjugate gradients, which need a third of the steps.

    Args:
        graph: S, as from :func:`neighbour_graph`, ``(n, n)``.
        targets: Y, ``(n, columns)``: for the labelled examples of a class, 1 in its column, else 0.
        alpha: α, from 0 to below 1: how far labels spread.

    Returns:
        F, ``float32`` of shape ``(n, columns)``; exactly 0 where no labelled example can be
        reached.

    Example:
        >>> graph = neighbour_graph(np.array([[1], [0], [1]]), np.ones((3, 1)))
        >>> propagate(graph, np.array([[1.0], [0.0], [0.0]]), alpha=0.5).round(2).ravel()
        array([0.58, 0.24, 0.08], dtype=float32)
    """
    shape = targets.shape
    start = ((1 - alpha) * targets).astype(np.float32).ravel()

    def spread(flat):
        values = flat.reshape(shape)
        return (values - np.float32(alpha) * (graph @ values)).ravel()

    # All columns at once: each reads the graph, which is what takes the time.
    system = LinearOperator((start.size, start.size), matvec=spread, dtype=np.float32)
    flat, _ = cg(system, start, rtol=TOLERANCE, maxiter=_MOST_ITERATIONS)
    return np.maximum(flat.reshape(shape), 0.0)


def with_class_masses(scores: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Scale the scores of each class so that their sums are as the shares of the classes.

    Class mass normalization (Zhu, Ghahramani & Lafferty, 2003, "Semi-supervised learning using
    Gaussian fields and harmonic functions").

    Args:
        scores: As from :func:`propagate`, ``(n, classes)``.
        shares: The share of each class, ``(classes,)``.

    Example:
        >>> with_class_masses(np.array([[1.0, 1.0], [2.0, 0.0]]), np.array([0.5, 0.5])).round(2)
        array([[0.17, 0.5 ],
               [0.33, 0.  ]])
    """
    masses = scores.sum(axis=0)
    return scores * (shares / np.where(masses > 0, masses, 1.0)).astype(scores.dtype)
