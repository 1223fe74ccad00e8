"""Penalties on a code against NumPy; test_autoencoders.py has how they are counted and saved."""

import numpy as np
import pytest
import tensorflow as tf

from kt_transfer.models.penalties import PENALTIES

CODES = np.random.default_rng(0).uniform(0.05, 0.95, (32, 6)).astype(np.float32)
TARGET = 0.2


def kl_divergence(z):
    mean = z.mean(axis=0)
    ratios = np.log(TARGET / mean), np.log((1 - TARGET) / (1 - mean))
    return np.sum(TARGET * ratios[0] + (1 - TARGET) * ratios[1])


# By name: the default weight, the activation of the code, and the penalty by hand.
EXPECTED = {
    "squared_l1": (1e-3, "relu", lambda z: np.square(np.abs(z).sum(axis=1)).mean()),
    "l1": (1e-2, "relu", lambda z: np.abs(z).sum(axis=1).mean()),
    "kl": (1.0, "sigmoid", kl_divergence),
}


@pytest.mark.parametrize("name", PENALTIES)
def test_a_penalty_is_its_formula(name):
    weight, activation, formula = EXPECTED[name]
    penalty = PENALTIES[name]
    assert (penalty.weight, penalty.activation) == (weight, activation)
    value = penalty.of(tf.constant(CODES), TARGET)
    assert value.shape == ()
    assert float(value) == pytest.approx(formula(CODES.astype(np.float64)), rel=1e-5)


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("code", [0.0, 1.0])
def test_a_code_at_its_bounds_has_a_penalty_and_a_gradient(name, code):
    z = tf.constant(np.full((4, 6), code, np.float32))
    with tf.GradientTape() as tape:
        tape.watch(z)
        value = PENALTIES[name].of(z, TARGET)
    assert float(value) >= 0
    assert np.isfinite(tape.gradient(value, z)).all()
