import numpy as np
import pytest

from kt_transfer.comparison.evidence import Scores
from kt_transfer.comparison.selection import selection_bias

FOLDS = [(repeat, fold) for repeat in range(3) for fold in range(5)]


def candidates(means, spread, seed=0):
    values = np.random.default_rng(seed).normal(means, spread, (15, len(means))).T
    return [Scores(own, FOLDS, 40, 10, 100_000, 50, None) for own in values]


def test_the_best_of_equals_is_too_good_by_what_a_maximum_is():
    # The mean of the largest of 8 standard normal numbers is 1.42; a mean of 15 has a deviation
    # of 0.05 / sqrt(15), and folds of the same few examples a little more.
    expected = 1.42 * 0.05 / np.sqrt(15)
    found = [selection_bias(candidates([0.8] * 8, 0.05, seed)) for seed in range(40)]
    assert np.mean(found) == pytest.approx(expected, rel=0.35)


def test_a_clear_winner_owes_nothing_to_being_chosen():
    assert selection_bias(candidates([0.9, 0.5, 0.5], 0.01)) < 1e-4
    assert selection_bias(candidates([0.9], 0.01)) == 0.0


def test_for_a_loss_the_lowest_is_the_best():
    own = candidates([0.5, 0.9, 0.9], 0.01)
    assert selection_bias(own, sign=-1.0) < 1e-4
    assert selection_bias(own, sign=1.0) > 5e-4
