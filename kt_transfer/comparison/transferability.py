"""Estimate, before any training, how well a source's features suit a target, in NumPy."""

from __future__ import annotations

import numpy as np

# As in the authors' reference implementation: keeps a perfect fit and a useless one finite.
_TINY = 1e-5
_MOST_ROUNDS = 100
_CLOSE = 1e-6


def logme(features: np.ndarray, labels: np.ndarray) -> float:
    """Logarithm of Maximum Evidence of the labels, given a linear model of the features.

    For each class k, y = 1[label = k] is a Gaussian linear model of the features, weights
    w ~ N(0, α⁻¹I), noise N(0, β⁻¹I); α and β maximize the evidence of the observed y
    (MacKay's fixed point α = γ / ‖m‖², β = (n − γ) / ‖y − Fm‖², with m the mean of w
    and γ the effective number of weights).

    Args:
        features: Shape ``(n, width)``.
        labels: Class numbers, shape ``(n,)``.

    Returns:
        ln p(y | F) / n, the mean over the classes; comparable between sources on the same
        examples, higher is better.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> labels = np.arange(100) % 2
        >>> informative = labels[:, None] + 0.1 * rng.normal(size=(100, 4))
        >>> logme(informative, labels) > logme(rng.normal(size=(100, 4)), labels)
        True

    Reference:
        You, Liu, Wang & Long (2021), https://arxiv.org/abs/2102.11005.
    """
    targets = (labels[:, None] == np.unique(labels)).astype(np.float64)
    alpha, beta = _most_probable(*_spectrum(features, targets), len(targets))
    return float(log_evidence(features, targets, alpha, beta).mean())


def log_evidence(features: np.ndarray, targets: np.ndarray, alpha, beta) -> np.ndarray:
    """ln N(y; 0, β⁻¹I + α⁻¹FFᵀ) / n of each column y of the targets.

    Args:
        features: F, shape ``(n, width)``.
        targets: Shape ``(n, columns)``.
        alpha: Precision of the weights, common or per column; more than 0.
        beta: Precision of the noise likewise.

    Returns:
        Shape ``(columns,)``.
    """
    num_rows = len(targets)
    values, along, beyond = _spectrum(features, targets)
    scale = 1 + beta * values / alpha
    determinant = np.log(scale).sum(axis=0) - num_rows * np.log(beta)
    misfit = beta * ((along / scale).sum(axis=0) + beyond)
    return -0.5 * (misfit + determinant + num_rows * np.log(2 * np.pi)) / num_rows


def linear_cka(first: np.ndarray, second: np.ndarray) -> float:
    """Similarity of two representations of the same examples, up to rotation and scale.

    Centred kernel alignment with linear kernels, ‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖) in Frobenius norms, the
    columns of X and Y centred.

    Args:
        first: X, shape ``(n, …)``, flattened.
        second: Y, for the same examples in the same order, of any width.

    Returns:
        From 0 (nothing in common) to 1 (equal up to rotation and scale); 0 if either is constant.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(50, 8))
        >>> round(linear_cka(x, -3 * x[:, ::-1]), 6)
        1.0

    Reference:
        Kornblith, Norouzi, Lee & Hinton (2019), https://arxiv.org/abs/1905.00414.
    """
    x, y = _centred(first), _centred(second)
    if len(x) < max(x.shape[1], y.shape[1]):  # equivalent, with smaller matrices
        x, y = x @ x.T, y @ y.T
        shared, own = np.vdot(x, y), np.linalg.norm(x) * np.linalg.norm(y)
    else:
        shared = np.linalg.norm(y.T @ x) ** 2
        own = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(shared / own) if own else 0.0


def _spectrum(features, targets) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """F's squared singular values, and each target's squared norm inside and outside F's span."""
    directions, values, _ = np.linalg.svd(features.astype(np.float64), full_matrices=False)
    kept = values > 1e-10 * max(values[0], 1e-300)
    along = (directions[:, kept].T @ targets) ** 2
    beyond = np.maximum((targets**2).sum(axis=0) - along.sum(axis=0), 0.0)
    return values[kept, None] ** 2, along, beyond


def _most_probable(values, along, beyond, num_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """α and β of each target, at the fixed point."""
    alpha = beta = np.ones(along.shape[1])
    for _ in range(_MOST_ROUNDS):
        ratio = alpha / beta
        effective = (values / (values + ratio)).sum(axis=0)
        weights = (values * along / (values + ratio) ** 2).sum(axis=0)
        residual = (along * (ratio / (values + ratio)) ** 2).sum(axis=0) + beyond
        alpha = effective / (weights + _TINY)
        beta = (num_rows - effective) / (residual + _TINY)
        if np.all(np.abs(alpha / beta - ratio) <= _CLOSE * ratio):
            break
    return alpha, beta


def _centred(examples: np.ndarray) -> np.ndarray:
    flat = examples.reshape(len(examples), -1).astype(np.float64)
    return flat - flat.mean(axis=0)
