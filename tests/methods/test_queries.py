import numpy as np
import pytest

from kt_transfer.methods.queries import margins, most_informative

RNG = np.random.default_rng(0)


def two_classes(first):
    return np.stack([first, 1 - first], axis=1)


def test_a_margin_is_that_of_the_first_over_the_second():
    logits = RNG.normal(size=(50, 5))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    ordered = np.sort(probabilities, axis=1)
    assert margins(probabilities) == pytest.approx(ordered[:, -1] - ordered[:, -2])


def test_each_group_of_uncertain_examples_is_asked_about_once():
    centres = np.array([[0, 0], [10, 0], [0, 10], [10, 10]])
    group = np.repeat(np.arange(4), 10)
    features = centres[group] + 0.1 * RNG.normal(size=(40, 2))
    certain = RNG.normal(size=(200, 2)) + 50
    probabilities = two_classes(np.r_[0.5 + 0.01 * RNG.random(40), np.full(200, 0.99)])
    chosen = most_informative(probabilities, np.r_[features, certain], 4)
    assert sorted(group[chosen]) == [0, 1, 2, 3]
    margin = margins(probabilities)[chosen]
    assert (np.diff(margin) >= 0).all()


def test_one_group_of_many_is_not_the_whole_answer():
    """Uncertainty alone takes all five from the largest group."""
    features = np.r_[np.zeros((40, 1)), np.arange(1, 5)[:, None] * 10.0]
    probabilities = two_classes(np.r_[np.full(40, 0.5), np.full(4, 0.55)])
    chosen = most_informative(probabilities, features, 5)
    assert set(chosen) >= {40, 41, 42, 43} and len(set(chosen)) == 5


@pytest.mark.parametrize("count", [1, 3, 7, 8, 100])
def test_there_are_as_many_as_were_asked_for_if_there_are_so_many(count):
    features = np.zeros((8, 2))  # all alike: one cluster
    chosen = most_informative(two_classes(RNG.random(8)), features, count)
    assert len(chosen) == len(set(chosen)) == min(count, 8)


def test_the_same_seed_gives_the_same_rows():
    probabilities, features = two_classes(RNG.random(500)), RNG.normal(size=(500, 6))
    first, again = (most_informative(probabilities, features, 20, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first, again)
