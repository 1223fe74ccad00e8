import numpy as np

from kt_transfer.explaining.choosing import choose_examples

RNG = np.random.default_rng(0)


def two(*first):
    """Probabilities of two classes, by that of the first."""
    return np.array([[p, 1 - p] for p in first])


def chosen(labels, probabilities, most):
    found = choose_examples(np.array(labels), probabilities, most)
    return {group: rows.tolist() for group, rows in found.items()}


def test_right_ones_are_of_different_classes():
    found = chosen([0, 0, 1, 0], two(0.99, 0.98, 0.2, 0.6), 3)
    assert found["right"] == [0, 2]


def test_wrong_ones_are_the_most_confident():
    found = chosen([1, 1, 0, 1, 0], two(0.7, 0.95, 0.99, 0.8, 0.9), 2)
    assert found["wrong"] == [1, 3]


def test_unsure_ones_have_the_smallest_margin_between_the_two_best():
    probabilities = np.array([[0.4, 0.35, 0.25], [0.5, 0.48, 0.02], [0.6, 0.3, 0.1]])
    assert chosen([0, 0, 0], probabilities, 1) == {"right": [2], "wrong": [], "unsure": [1]}


def test_none_is_chosen_twice():
    labels, probabilities = RNG.integers(0, 3, 40), RNG.dirichlet(np.ones(3), 40)
    for most in (1, 4, 40):
        rows = np.concatenate(list(choose_examples(labels, probabilities, most).values()))
        assert len(rows) == len(set(rows.tolist()))


def test_few_examples_are_all_chosen():
    assert chosen([0], two(0.9), 4) == {"right": [0], "wrong": [], "unsure": []}


def test_equally_good_ones_are_taken_in_order():
    assert chosen([1] * 6, two(*[0.9] * 6), 3)["wrong"] == [0, 1, 2]
