import keras
import numpy as np
import pytest

from kt_transfer import (
    UserError,
    classifier,
    conv_autoencoder,
    dense_autoencoder,
    freeze_layers,
)
from kt_transfer.models.freezing import split_frozen


@pytest.fixture
def encoder():
    return dense_autoencoder(12, (8, 6), 4).get_layer("encoder")


@pytest.mark.parametrize(
    ("count", "locked"),
    [
        (0, []),
        (2, ["hidden_1", "hidden_2"]),
        (3, ["hidden_1", "hidden_2", "bottleneck"]),
        ("all", ["hidden_1", "hidden_2", "bottleneck"]),
    ],
)
def test_the_first_layers_are_locked(encoder, count, locked):
    assert freeze_layers(encoder, count) == locked
    for layer in encoder.layers:
        if layer.weights:
            assert layer.trainable == (layer.name not in locked)


def test_fewer_locked_layers_unlock_the_others(encoder):
    freeze_layers(encoder, "all")
    freeze_layers(encoder, 1)
    assert [layer.trainable for layer in encoder.layers[1:]] == [False, True, True]


@pytest.mark.parametrize("count", [4, -1])
def test_beyond_the_depth_is_an_error(encoder, count):
    with pytest.raises(UserError, match=f"count={count} .*3 layers .*hidden_1.*0 to 3"):
        freeze_layers(encoder, count)


def test_locked_weights_stay_and_the_others_learn(encoder):
    freeze_layers(encoder, 1)
    before = {layer.name: layer.get_weights() for layer in encoder.layers}
    encoder.compile(keras.optimizers.SGD(0.1), loss="mse", jit_compile=False)
    x = np.random.default_rng(0).normal(size=(16, 12))
    encoder.fit(x, np.ones((16, 4)), epochs=2, verbose=0)
    for layer in encoder.layers:
        for old, new in zip(before[layer.name], layer.get_weights(), strict=True):
            assert np.array_equal(old, new) == (layer.name == "hidden_1")


def test_a_locked_batch_normalization_keeps_its_statistics():
    x = keras.Input((3,))
    model = keras.Model(x, keras.layers.Dense(1)(keras.layers.BatchNormalization()(x)))
    freeze_layers(model, 1)
    statistics = model.layers[1].get_weights()
    model.compile("sgd", loss="mse", jit_compile=False)
    model.fit(np.full((8, 3), 5.0), np.ones(8), verbose=0)
    for old, new in zip(statistics, model.layers[1].get_weights(), strict=True):
        assert np.array_equal(old, new)


def with_batch_normalization(nested=False):
    inner = [keras.layers.Dense(4), keras.layers.BatchNormalization(), keras.layers.Dense(3)]
    if nested:
        base = keras.Sequential([keras.Input((6,)), *inner[:2]], name="base")
        inner = [base, inner[2]]
    return keras.Sequential([keras.Input((6,)), *inner])


def test_layers_of_a_nested_model_count_one_by_one():
    model = with_batch_normalization(nested=True)
    base = model.get_layer("base")
    assert freeze_layers(model, 1) == [base.layers[0].name]
    assert [layer.trainable for layer in (*base.layers, model.layers[1])] == [False, True, True]
    assert len(freeze_layers(model, "all")) == 3
    base.trainable = False
    freeze_layers(model, 1)
    assert len(model.trainable_weights) == 2 + 2
    with pytest.raises(UserError, match="count=4 .*3 layers"):
        freeze_layers(model, 4)


def branching():
    x = keras.Input((6,))
    left, right = keras.layers.Dense(4)(x), keras.layers.Dense(3, activation="relu")(x)
    return keras.Model(x, keras.layers.Concatenate()([left, right]), name="encoder")


def augmented():
    x = keras.Input((8, 8, 1))
    y = keras.layers.Flatten()(keras.layers.Conv2D(2, 3)(keras.layers.RandomFlip()(x)))
    return keras.Model(x, y, name="encoder")


def chain(*more):
    stack = (keras.layers.Dense(4), keras.layers.BatchNormalization(), *more)
    x = y = keras.Input((6,))
    for layer in (*stack, keras.layers.Dense(3)):
        y = layer(y)
    return keras.Model(x, y, name="encoder")


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize(
    ("encoder", "count", "width"),
    [(chain(), 1, 4), (chain(), 2, 4), (chain(), "all", 3), (branching(), "all", 7)],
)
def test_a_frozen_beginning_and_the_rest_are_the_whole(encoder, count, width, dropout):
    model = classifier(encoder, 2, dropout=dropout)
    freeze_layers(encoder, count)
    frozen, rest = split_frozen(model)
    assert frozen.output_shape == (None, width)
    assert not frozen.trainable_weights
    assert len(rest.trainable_weights) == len(model.trainable_weights)
    x = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    np.testing.assert_allclose(rest(frozen(x)), model(x), atol=1e-6)
    assert ("dropout" in [layer.name for layer in rest.layers]) == (dropout > 0)


@pytest.mark.parametrize(
    ("encoder", "count"),
    [
        (chain(), 0),
        (branching(), 1),  # what is locked is not a beginning
        (chain(keras.layers.Dropout(0.5)), "all"),
        (chain(keras.layers.GaussianNoise(0.5)), "all"),
        (augmented(), "all"),
    ],
)
def test_what_cannot_be_computed_once_is_not(encoder, count):
    model = classifier(encoder, 2)
    freeze_layers(encoder, count)
    assert split_frozen(model) is None


def test_locked_statistics_stay_while_the_rest_learns():
    encoder = chain()
    model = classifier(encoder, 2)
    freeze_layers(encoder, 2)
    before = [layer.get_weights() for layer in encoder.layers[1:]]
    _, rest = split_frozen(model)
    for trained, x in ((model, np.full((16, 6), 5.0)), (rest, np.full((16, 4), 5.0))):
        trained.compile("sgd", loss="mse", jit_compile=False)
        trained.fit(x, np.ones((16, 2)), epochs=2, verbose=0)
    for number, layer in enumerate(encoder.layers[1:]):
        for old, new in zip(before[number], layer.get_weights(), strict=True):
            assert np.array_equal(old, new) == (number < 2)


@pytest.mark.parametrize("count", [1, 2, "all"])
def test_the_locked_beginning_of_a_convolutional_encoder_and_the_rest_are_the_whole(count):
    encoder = conv_autoencoder((9, 7, 3), (4, 6), 5).get_layer("encoder")
    network = classifier(encoder, 3)
    names = ["conv_1", "conv_2", "bottleneck"]
    assert freeze_layers(encoder, count) == names[: 3 if count == "all" else count]
    frozen, rest = split_frozen(network)
    assert frozen.output_shape == {1: (None, 5, 4, 4), 2: (None, 3, 2, 6), "all": (None, 5)}[count]
    x = np.random.default_rng(0).normal(size=(4, 9, 7, 3)).astype(np.float32)
    np.testing.assert_allclose(rest(frozen(x)), network(x), atol=1e-5)
    assert not frozen.trainable_weights
