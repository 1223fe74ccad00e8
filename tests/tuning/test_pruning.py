"""Trials that cannot win end early, and only these."""

import numpy as np
import pytest
from scipy import stats

from kt_transfer.tuning.pruning import FIRST_LOOK, LEVEL, cannot_win, estimate

BEST = [0.90, 0.91, 0.90, 0.92, 0.91]


def test_the_test_is_the_corrected_one_of_scipy_on_paired_folds():
    """Of count folds of k, SciPy's paired t statistic shrinks by the correction for shared rows."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        best, own = rng.normal(0.8, 0.05, 10), rng.normal(0.77, 0.05, 10)
        count = int(rng.integers(FIRST_LOOK, 10))
        t = stats.ttest_rel(best[:count], own[:count]).statistic
        t /= np.sqrt(1 + count / 9)
        expected = t > 0 and stats.t.sf(t, count - 1) < LEVEL
        assert cannot_win(own[:count], best, 10) == expected


def test_too_few_folds_say_nothing_and_neither_do_all():
    assert not cannot_win([0.1, 0.1], BEST, 5)
    assert cannot_win([0.1, 0.12, 0.1], BEST, 5)
    assert not cannot_win([0.1] * 5, BEST, 5)


def test_what_is_better_or_as_good_goes_on():
    assert not cannot_win([0.95, 0.96, 0.95], BEST, 5)
    assert not cannot_win(BEST[:4], BEST, 5)


@pytest.mark.parametrize("lost", [0.0, 0.05])
def test_the_estimate_of_what_ended_early_allows_for_the_folds_it_lacks(lost):
    hard_first = [0.5, 0.6, 0.9, 0.9, 0.9]
    own = [score - lost for score in hard_first]
    assert estimate(own[:3], hard_first) == pytest.approx(np.mean(own))
    assert estimate(own, hard_first) == pytest.approx(np.mean(own))
    assert estimate(own[:3], None) == pytest.approx(np.mean(own[:3]))
