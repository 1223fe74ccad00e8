"""Occlusion against what it has to be for functions whose answers are known."""

import numpy as np
import pytest

from kt_transfer.explaining.occlusion import occlusion, square_size, squares

RNG = np.random.default_rng(0)


def linear(weights):
    """Two classes, whose log-odds are a weighted sum of the pixels."""

    def probabilities_of(x):
        odds = (x.reshape(len(x), -1).astype(float) * weights.ravel()).sum(axis=1)
        own = 1 / (1 + np.exp(-odds))
        return np.stack([own, 1 - own], axis=1)

    return probabilities_of


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3)])
def test_a_pixel_is_worth_its_weight_times_what_it_is_above_the_ground(shape):
    weights, picture, ground = RNG.normal(size=(3, *shape))
    found = occlusion(linear(weights), picture, 0, ground, size=1)
    expected = weights * (picture - ground)
    np.testing.assert_allclose(found, expected.reshape(4, 6, -1).sum(axis=2), atol=1e-9)


def test_what_speaks_for_one_of_two_classes_speaks_against_the_other():
    weights, picture, ground = RNG.normal(size=(3, 5, 5))
    for size in (1, 2, 3):
        own, other = (occlusion(linear(weights), picture, c, ground, size) for c in (0, 1))
        np.testing.assert_allclose(own, -other, atol=1e-9)


def test_of_squares_a_pixel_has_the_mean_of_those_over_it():
    weights, picture = np.zeros((4, 4)), np.ones((4, 4))
    weights[0, 0] = 3.0
    found = occlusion(linear(weights), picture, 0, np.zeros((4, 4)), size=2)
    # The corner is in one square, its neighbours in two, of which one costs 3.
    np.testing.assert_allclose(found[:2, :2], [[3.0, 1.5], [1.5, 0.75]])
    assert found[2:].max() == 0.0


def test_certain_answers_have_an_explanation_too():
    def certain(x):
        on = (x[:, 0, 0] > 0).astype(float)
        return np.stack([on, 1 - on], axis=1)

    found = occlusion(certain, np.ones((2, 2)), 0, np.zeros((2, 2)), size=1)
    assert np.isfinite(found).all()
    assert found[0, 0] > 0
    assert (found.ravel()[1:] == 0).all()


@pytest.mark.parametrize("side, size", [((8, 8), 1), ((28, 28), 2), ((7, 30), 4), ((1, 5), 3)])
def test_squares_cover_every_pixel(side, size):
    covers = squares(*side, size)
    assert covers.any(axis=0).all()
    assert covers.reshape(len(covers), -1).sum(axis=1).max() <= size**2


def test_there_are_no_more_squares_than_may_be_asked_about():
    for most in (1, 10, 100, 1000):
        for side in ((8, 8), (28, 28), (32, 48), (224, 224)):
            assert len(squares(*side, square_size(*side, most))) <= most
