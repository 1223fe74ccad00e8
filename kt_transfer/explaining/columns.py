"""Which columns carry the answers: of a whole set by permuting them, of one example by replacing.

Columns are raw: a word, a gap and a number are replaced as they stand in the table, so that all
inputs which a network makes of a column are changed together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

# Rows that are asked about at once.
_ROWS_AT_ONCE = 2**14


class Importance(NamedTuple):
    """What permuting each column costs.

    Attributes:
        means: Fall of the score, mean over repeats, shape ``(columns,)``.
        deviations: Its standard deviation over repeats.
        score: The score with nothing permuted.
    """

    means: np.ndarray
    deviations: np.ndarray
    score: float


def importance_of_columns(
    logits_of: Callable, x: np.ndarray, y: np.ndarray, score: Callable, *, repeats: int, seed: int
) -> Importance:
    """How far a score falls when the values of a column are dealt to other examples.

    Breiman (2001), https://doi.org/10.1023/A:1010933404324. Of columns that say the same, each
    seems to be worth less than it is: the others still say it.

    Args:
        logits_of: From raw examples ``(n, columns)`` to logits ``(n, classes)``.
        x: Raw examples; NaN where a value is missing.
        y: Their labels, shape ``(n,)``.
        score: Of labels and logits, higher is better.
        repeats: Permutations of each column.
        seed: Of the permutations.

    Example:
        >>> x = np.array([[1.0, 5.0], [0.0, 5.0], [1.0, 5.0], [0.0, 5.0]])
        >>> def accuracy(y, logits):
        ...     return (logits.argmax(axis=1) == y).mean()
        >>> def logits_of(x):
        ...     return np.stack([1 - x[:, 0], x[:, 0]], axis=1)
        >>> y = np.array([1, 0, 1, 0])
        >>> found = importance_of_columns(logits_of, x, y, accuracy, repeats=20, seed=0)
        >>> bool(found.means[0] > 0.3), float(found.means[1]), found.score
        (True, 0.0, 1.0)
    """
    from sklearn.inspection import permutation_importance

    def scored(_, x, y):
        return score(y, logits_of(x))

    found = permutation_importance(
        _Fitted(), x, y, scoring=scored, n_repeats=repeats, random_state=seed
    )
    return Importance(found.importances_mean, found.importances_std, float(scored(None, x, y)))


class _Fitted:
    """Stands for an estimator, of which scikit-learn asks nothing but that it could be fitted."""

    def fit(self):
        """Nothing is left to fit."""


def changes_by_column(
    probabilities_of: Callable, x: np.ndarray, classes: np.ndarray, others: np.ndarray
) -> np.ndarray:
    """How much less probable a class would be if a value were that of another example.

    Args:
        probabilities_of: From raw examples ``(n, columns)`` to probabilities ``(n, classes)``.
        x: The examples that are explained.
        classes: Number of the class of each, shape ``(n,)``.
        others: Raw examples whose values take the place of theirs, ``(m, columns)``.

    Returns:
        Shape ``(n, columns)``: the probability as it is minus the mean over the others, from -1 to
        1; above 0 where a value speaks for the class.

    Example:
        >>> def probabilities_of(x):
        ...     return np.stack([1 - x[:, 0], x[:, 0]], axis=1)
        >>> others = np.array([[0.0, 3.0], [0.5, 4.0]])
        >>> changes_by_column(probabilities_of, np.array([[1.0, 5.0]]), np.array([1]), others)
        array([[0.75, 0.  ]])
    """
    before = probabilities_of(x)[np.arange(len(x)), classes]
    found = np.zeros(x.shape)
    for columns in _blocks(x.shape[1], len(x) * len(others)):
        asked = np.broadcast_to(x[:, None], (len(columns), len(x), len(others), x.shape[1])).copy()
        for place, column in enumerate(columns):
            asked[place, :, :, column] = others[:, column]
        probabilities = probabilities_of(asked.reshape(-1, x.shape[1]))
        probabilities = probabilities.reshape(*asked.shape[:3], -1).mean(axis=2)
        found[:, columns] = before[:, None] - probabilities[:, np.arange(len(x)), classes].T
    return found


def _blocks(num_columns: int, rows_of_each: int) -> list[np.ndarray]:
    """The columns, as many together as give about as many rows as are asked about at once."""
    together = max(_ROWS_AT_ONCE // rows_of_each, 1)
    return [
        np.arange(start, min(start + together, num_columns))
        for start in range(0, num_columns, together)
    ]
