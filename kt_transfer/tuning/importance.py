"""Which settings matter: the share of the differences between scores that each accounts for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

# Of fewer trials nothing can be said.
LEAST_TRIALS = 8


def importance(trials: Sequence[Mapping]) -> dict[str, float] | None:
    """How much a random forest's prediction of a score suffers when a setting is shuffled.

    Breiman (2001, https://doi.org/10.1023/A:1010933404324), on scores and settings of the trials;
    with few of them a hint, no more.

    Args:
        trials: With ``score`` and ``settings``; those that failed are left out.

    Returns:
        Share by setting, which sum to 1; ``None`` for fewer than eight trials, or where all scores
        are equal or no setting tells anything of them.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> settings = [{"rate": rng.uniform(), "size": int(rng.integers(3))} for _ in range(40)]
        >>> trials = [{"score": 2 * own["rate"], "settings": own} for own in settings]
        >>> importance(trials)["rate"] > 0.9
        True
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    done = [trial for trial in trials if trial["score"] is not None]
    if len(done) < LEAST_TRIALS:
        return None
    scores = np.array([trial["score"] for trial in done])
    names = list(done[0]["settings"])
    inputs = np.column_stack([_as_numbers([t["settings"].get(n) for t in done]) for n in names])
    forest = RandomForestRegressor(100, random_state=0).fit(inputs, scores)
    found = permutation_importance(forest, inputs, scores, n_repeats=5, random_state=0)
    lost = np.maximum(found.importances_mean, 0.0)
    if not lost.sum() > 0:
        return None
    return dict(zip(names, (lost / lost.sum()).tolist(), strict=True))


def _as_numbers(values: Sequence) -> np.ndarray:
    if all(isinstance(value, int | float) for value in values):
        return np.array(values, float)
    words = sorted({str(value) for value in values})
    return np.array([words.index(str(value)) for value in values], float)
