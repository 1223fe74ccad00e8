"""Learning rates by layer, against Adam by hand."""

import keras
import numpy as np
import pytest

from kt_transfer import FusedModel
from kt_transfer.models.freezing import layers_with_weights
from kt_transfer.training.layerwise import LayerwiseAdam, decayed_rates, factors_of_variables

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 5)).astype(np.float32)
Y = RNG.normal(size=(64, 2)).astype(np.float32)


def network():
    keras.utils.set_random_seed(0)
    names = [(4, "first"), (3, "second"), (2, "head")]
    layers = [keras.layers.Dense(width, name=name) for width, name in names]
    return keras.Sequential([keras.Input((5,)), *layers])


def steps_of(optimizer, model, count):
    """What each layer's weights change by."""
    before = [layer.get_weights() for layer in model.layers]
    model.compile(optimizer, loss="mse")
    FusedModel(model).fit(X, Y, batch_size=64, epochs=count, shuffle=False, verbose=0)
    return [
        [new - old for old, new in zip(start, layer.get_weights(), strict=True)]
        for start, layer in zip(before, model.layers, strict=True)
    ]


def test_keras_still_finds_a_variables_place():
    assert hasattr(keras.optimizers.Adam, "_get_variable_index"), (
        "Keras moved Optimizer._get_variable_index, on which training/layerwise.py stands"
    )


def test_the_rates_fall_from_the_last_layer_to_the_first():
    assert decayed_rates(layers_with_weights(network()), 0.5) == {
        "first": 0.25,
        "second": 0.5,
        "head": 1.0,
    }


def test_the_first_step_of_adam_is_scaled_itself():
    model = network()
    layers = layers_with_weights(model)
    rates = decayed_rates(layers, 0.1)
    factors = factors_of_variables(layers, rates)
    moved = steps_of(LayerwiseAdam(factors, learning_rate=0.01), model, 1)
    plain = steps_of(keras.optimizers.Adam(0.01), network(), 1)
    for layer, ours, stock in zip(model.layers, moved, plain, strict=True):
        for step, whole in zip(ours, stock, strict=True):
            np.testing.assert_allclose(step, rates[layer.name] * whole, rtol=2e-3, atol=1e-7)


def test_a_rate_of_one_is_adam():
    model = network()
    optimizer = LayerwiseAdam([], learning_rate=0.01)
    for ours, stock in zip(
        steps_of(optimizer, model, 20),
        steps_of(keras.optimizers.Adam(0.01), network(), 20),
        strict=True,
    ):
        for step, whole in zip(ours, stock, strict=True):
            np.testing.assert_array_equal(step, whole)


def test_a_scaled_gradient_would_change_nothing():
    """Why the step is scaled: Adam divides by the size of the gradient."""
    scaled = network()
    scaled.compile(keras.optimizers.Adam(0.01, epsilon=1e-12), loss=lambda y, p: 0.1 * (y - p) ** 2)
    plain = network()
    plain.compile(keras.optimizers.Adam(0.01, epsilon=1e-12), loss=lambda y, p: (y - p) ** 2)
    for model in (scaled, plain):
        FusedModel(model).fit(X, Y, batch_size=64, epochs=5, shuffle=False, verbose=0)
    for one, other in zip(scaled.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("factor", [0.0, 0.3])
def test_nested_layers_have_their_own_rate(factor):
    inner = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4, name="inside")], name="body")
    model = keras.Sequential([keras.Input((5,)), inner, keras.layers.Dense(2, name="head")])
    layers = layers_with_weights(model)
    assert list(layers) == ["inside", "head"]
    factors = factors_of_variables(layers, {"inside": factor, "head": 1.0})
    before = [layer.get_weights() for layer in layers.values()]
    model.compile(LayerwiseAdam(factors, learning_rate=0.01), loss="mse")
    FusedModel(model).fit(X, Y, batch_size=64, epochs=1, shuffle=False, verbose=0)
    inside, head = (
        np.abs(layer.get_weights()[0] - start[0]).max()
        for layer, start in zip(layers.values(), before, strict=True)
    )
    # Adam's first step is the learning rate, whatever the gradient.
    assert head == pytest.approx(0.01, rel=1e-3)
    assert inside == pytest.approx(0.01 * factor, rel=1e-3)
