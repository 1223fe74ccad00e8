import keras
import numpy as np
import pytest
from keras import layers

from kt_transfer.models.outputs import (
    infer_output_kind,
    output_kind_of_last_layer,
    with_mapped_classes,
)

LOGITS, PROBABILITIES = np.array([[3.0, -1.0], [0.0, 9.0]]), np.array([[0.2, 0.8], [1.0, 0.0]])
BETWEEN = np.array([[0.2, 0.2], [0.9, 0.8]])


@pytest.mark.parametrize(
    ("said", "rows", "expected"),
    [
        (None, LOGITS, "logits"),
        (None, PROBABILITIES, "probabilities"),
        (None, BETWEEN, None),
        ("logits", LOGITS, "logits"),
        ("logits", BETWEEN, "logits"),
        ("logits", PROBABILITIES, None),
        ("probabilities", PROBABILITIES, "probabilities"),
        ("probabilities", BETWEEN, None),
        ("probabilities", LOGITS, None),
    ],
)
def test_logits_and_probabilities_are_told_apart(said, rows, expected):
    assert infer_output_kind(said, rows) == expected


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        ((layers.Dense(3),), "logits"),
        ((layers.Dense(3, "softmax"),), "probabilities"),
        ((layers.Dense(3), layers.Softmax()), "probabilities"),
        ((layers.Dense(3), layers.Activation("softmax")), "probabilities"),
        ((layers.Dense(3, "sigmoid"),), None),
        ((layers.Dense(3), layers.BatchNormalization()), None),
    ],
)
def test_a_last_layer_says_what_it_emits(ending, expected):
    model = keras.Sequential([keras.Input((4,)), *ending])
    assert output_kind_of_last_layer(model) == expected
    x = keras.Input((4,))
    assert output_kind_of_last_layer(keras.Model(x, model(x))) == expected


def test_classes_add_up_in_probability_at_any_temperature():
    x = keras.Input((4,))
    model = with_mapped_classes(keras.Model(x, layers.Identity()(x)), [(0, 1), (3, 1), (2, 0)], 3)
    logits = np.random.default_rng(0).normal(size=(5, 4)) * 3
    found = model(logits).numpy()
    p = np.exp(logits)
    np.testing.assert_allclose(
        found[:, 1] - found[:, 0], np.log((p[:, 0] + p[:, 3]) / p[:, 2]), rtol=1e-4
    )
    hot = np.exp((found - found.max(axis=1, keepdims=True)) / 20)
    assert (hot[:, 2] == 0).all()  # no class becomes the third
