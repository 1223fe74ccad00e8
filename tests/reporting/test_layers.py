import keras
import numpy as np
import pytest

from kt_transfer import freeze_layers
from kt_transfer.reporting.layers import format_layers, layer_rows, layer_weights


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    names = ("first", "second", "head")
    layers = [keras.layers.Dense(2, bias_initializer="ones", name=name) for name in names]
    return keras.Sequential([keras.Input((3,)), *layers])


def layers_of(model):
    return {layer.name: layer for layer in model.layers}


def test_what_was_locked_and_how_far_the_rest_moved(model):
    before = layer_weights(layers_of(model))
    freeze_layers(model, 1)
    model.layers[2].set_weights([w * 1.5 for w in model.layers[2].get_weights()])
    rows = layer_rows(layers_of(model), before, 0.01, {"second": 0.5})
    assert [row["layer"] for row in rows] == ["first", "second", "head"]
    assert [row["parameters"] for row in rows] == [8, 6, 6]
    assert [row["trained"] for row in rows] == [False, True, True]
    assert [row["learning_rate"] for row in rows] == [0.0, 0.005, 0.01]
    assert [row["moved"] for row in rows] == [0.0, 0.0, pytest.approx(0.5)]


def test_weights_that_were_zero_have_no_share_to_move_by():
    layer = keras.layers.Dense(1, kernel_initializer="zeros")
    layer.build((None, 2))
    before = layer_weights({"zero": layer})
    layer.set_weights([np.ones((2, 1)), np.ones(1)])
    assert layer_rows({"zero": layer}, before, 0.1, {})[0]["moved"] is None


def test_the_table(model):
    freeze_layers(model, 1)
    text = format_layers(layer_rows(layers_of(model), layer_weights(layers_of(model)), 0.01, {}))
    assert "first" in text
    assert "frozen" in text
    assert text.count("trained") == 2


def test_a_deep_network_is_told_in_a_few_lines():
    rows = [
        {"layer": f"l{n}", "parameters": 10, "trained": n > 29, "learning_rate": 0.1 * (n > 29)}
        | {"moved": 0.2}
        for n in range(40)
    ]
    text = format_layers(rows)
    assert "l0 … l29 (30 layers)" in text
    assert "300" in text
    assert len(text.splitlines()) == 3
