import numpy as np

from kt_transfer.reporting.collapse import describe_collapse, find_collapse

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 6))
CHANGE = "lower the learning rate"


def test_units_that_say_the_same_for_every_example_are_dead():
    codes = RNG.normal(size=(50, 4))
    codes[:, 1], codes[:, 3] = 0.0, 0.7
    found = find_collapse(codes, X, X)
    assert found == {"dead_code_units": 2, "constant_reconstruction": False}
    (sentence,) = describe_collapse(found, 4, CHANGE)
    assert sentence.startswith("warning: 2 of 4 code units")
    assert ": lower the learning rate, or try another seed" in sentence


def test_one_answer_for_all_is_a_constant_reconstruction():
    found = find_collapse(X, X, np.broadcast_to(X.mean(axis=0), X.shape))
    assert found == {"dead_code_units": 0, "constant_reconstruction": True}
    assert "reconstructions are the same" in describe_collapse(found, 6, CHANGE)[0]


def test_a_sound_autoencoder_is_not_warned_about():
    assert describe_collapse(find_collapse(X, X, 0.5 * X), 6, CHANGE) == []


def test_examples_that_are_all_alike_are_not_its_fault():
    same = np.ones((5, 3))
    assert not find_collapse(X, same, same)["constant_reconstruction"]
