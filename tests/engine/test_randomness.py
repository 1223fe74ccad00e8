"""What a compiled program draws."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kt_transfer.engine.randomness import graph_random_numbers

SHAPE = (7, 9)  # an odd number, which normal numbers do not come in
DRAWS = {
    "dropout": lambda seed: keras.random.dropout(tf.ones(SHAPE), 0.5, seed=seed),
    "dropout of whole rows": lambda seed: keras.random.dropout(
        tf.ones(SHAPE), 0.5, noise_shape=(7, 1), seed=seed
    ),
    "normal": lambda seed: keras.random.normal(SHAPE, mean=1.0, stddev=3.0, seed=seed),
    "uniform": lambda seed: keras.random.uniform(SHAPE, -2.0, 5.0, seed=seed),
    "whole numbers": lambda seed: keras.random.randint(SHAPE, 0, 9, seed=seed),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_a_compiled_program_draws_what_keras_draws(draw):
    here, there = keras.random.SeedGenerator(3), keras.random.SeedGenerator(3)

    @tf.function(jit_compile=True)
    def compiled():
        with graph_random_numbers():
            return draw(here)

    for _ in range(3):
        np.testing.assert_allclose(compiled(), draw(there), atol=1e-5)


def test_tensorflow_is_as_it_was_afterwards():
    before = (tf.random.stateless_uniform, tf.nn.experimental.stateless_dropout)
    with pytest.raises(ZeroDivisionError), graph_random_numbers():
        assert tf.random.stateless_uniform is not before[0]
        raise ZeroDivisionError
    assert (tf.random.stateless_uniform, tf.nn.experimental.stateless_dropout) == before
