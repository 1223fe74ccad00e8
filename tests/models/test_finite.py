import keras
import numpy as np
import pytest
import tensorflow as tf

from kt_transfer.models.finite import why_not_finite


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_first_variable_that_is_not_finite_is_named(value, dtype):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="head", dtype=dtype)])
    assert why_not_finite(model.variables) is None
    model.layers[0].bias.assign([0, value, 0])
    reason = why_not_finite(model.variables)
    assert reason.startswith("has weights that are not finite (")
    assert reason.endswith("/head/bias)")


def test_statistics_count_as_weights_and_random_states_do_not():
    norm = keras.layers.BatchNormalization(name="norm")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dropout(0.5, seed=1), norm])
    assert why_not_finite(model.variables) is None
    norm.moving_variance.assign([np.inf, 1])
    assert "norm/moving_variance" in why_not_finite(model.variables)


def test_variables_of_tensorflow_of_any_type_are_looked_at():
    words, count = tf.Variable(["a"]), tf.Variable([1], name="count")
    assert why_not_finite([words, count]) is None
    assert "spoilt" in why_not_finite([words, tf.Variable([np.nan], name="spoilt")])
