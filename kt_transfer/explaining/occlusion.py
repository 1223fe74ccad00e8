"""Occlusion: which parts of a picture carry an answer, of any function of pictures.

Nothing but answers is asked for, so that it explains what is served: a SavedModel takes whole
numbers, of which there is no gradient, and other formats have none at all.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# Covered pictures that are asked about at once.
_AT_ONCE = 256
# A probability of 0 has no logarithm; that of 8 bits is soon 0.
_LEAST = 1e-30
# The side of a picture over that of a square: the best of those that were measured
# (benchmarks/results/explanations.md), one pixel of digits and two of MNIST.
_SQUARES_PER_SIDE = 14


def occlusion(
    probabilities_of: Callable, picture: np.ndarray, label: int, ground: np.ndarray, size: int
) -> np.ndarray:
    """How much of the log-odds of a class is lost where a square of the picture is covered.

    Zeiler & Fergus (2014), https://arxiv.org/abs/1311.2901. Squares overlap by half; a pixel is
    worth the mean of what is lost by the squares over it.

    Args:
        probabilities_of: From raw pictures ``(n, height, width[, channels])`` to probabilities
            ``(n, classes)``.
        picture: Shape ``(height, width[, channels])``.
        label: Number of the class.
        ground: What covers, a picture of the same shape and type.
        size: Side of a square in pixels.

    Returns:
        Shape ``(height, width)``, above 0 where a pixel speaks for the class.

    Example:
        >>> def probabilities_of(x):
        ...     first = 0.5 + 0.4 * x[:, 0, 0]
        ...     return np.stack([first, 1 - first], axis=1)
        >>> picture = np.array([[1.0, 1.0], [0.0, 1.0]])
        >>> occlusion(probabilities_of, picture, 0, np.zeros((2, 2)), size=1).round(2)
        array([[2.2, 0. ],
               [0. , 0. ]])
    """
    covers = squares(*picture.shape[:2], size)
    whole = _log_odds(probabilities_of(picture[None]), label)
    lost = []
    for start in range(0, len(covers), _AT_ONCE):
        some = covers[start : start + _AT_ONCE]
        # A last axis of channels is covered together.
        masks = some.reshape(*some.shape, *(1,) * (picture.ndim - 2))
        covered = np.where(masks, ground, picture)
        lost.append(whole - _log_odds(probabilities_of(covered), label))
    return np.tensordot(np.concatenate(lost), covers, 1) / covers.sum(axis=0)


def squares(height: int, width: int, size: int) -> np.ndarray:
    """All squares that are covered one after the other, which overlap by half.

    Returns:
        Booleans of shape ``(n, height, width)``; every pixel is in one at least.

    Example:
        >>> squares(2, 4, 2).astype(int)[1]
        array([[0, 1, 1, 0],
               [0, 1, 1, 0]])
    """
    tops, lefts = (_begins(side, size) for side in (height, width))
    covers = np.zeros((len(tops) * len(lefts), height, width), bool)
    for number, (top, left) in enumerate((top, left) for top in tops for left in lefts):
        covers[number, top : top + size, left : left + size] = True
    return covers


def square_size(height: int, width: int, most: int) -> int:
    """The side of squares that tell most, or larger ones, so that there are no more than ``most``.

    Example:
        >>> square_size(8, 8, 1000), square_size(28, 28, 1000), square_size(28, 28, 200)
        (1, 2, 4)
    """
    size = max(max(height, width) // _SQUARES_PER_SIDE, 1)
    while len(_begins(height, size)) * len(_begins(width, size)) > most and size < max(
        height, width
    ):
        size *= 2
    return size


def _begins(side: int, size: int) -> list[int]:
    last = max(side - size, 0)
    return sorted({*range(0, last, max(size // 2, 1)), last})


def _log_odds(probabilities: np.ndarray, label: int) -> np.ndarray:
    """The logit of the probability of a class, from those of all classes.

    The others are summed, since 1 minus a probability near 1 has few digits left.
    """
    given = np.asarray(probabilities, np.float64)
    own, others = given[:, label], np.delete(given, label, axis=1).sum(axis=1)
    return np.log(np.maximum(own, _LEAST)) - np.log(np.maximum(others, _LEAST))
