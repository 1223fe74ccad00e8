import keras
import numpy as np
import pytest
from keras import layers

from kt_transfer import UserError, dense_autoencoder, freeze_layers, sparse_autoencoder
from kt_transfer.models.scaling import scales_itself
from kt_transfer.sources.bodies import body, features_from

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(5, 8, 8, 3)).astype(np.float32)
ROWS = RNG.normal(size=(5, 6)).astype(np.float32)


def conv_base(name="base"):
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3, activation="relu", name="first"),
            layers.BatchNormalization(),
            layers.Conv2D(5, 3, name="second"),
        ],
        name=name,
    )


def nested(base, **call):
    """As Keras' guide to transfer learning puts a head on a base."""
    x = keras.Input((8, 8, 3))
    pooled = layers.GlobalAveragePooling2D()(base(x, **call))
    return keras.Model(x, layers.Dense(3, name="second")(layers.Dropout(0.2)(pooled)))


def moved(model):
    """A model whose batch statistics are not those of a fresh one."""
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([RNG.uniform(0.5, 2.0, w.shape) for w in layer.get_weights()])
    return model


def inner(encoder):
    return [layer.name for layer in encoder.layers if layer.weights]


def test_the_layers_of_a_nested_model_stand_in_line():
    base = moved(conv_base())
    features = base(IMAGES).numpy().mean(axis=(1, 2))
    encoder = body(nested(base))
    assert encoder.name == "encoder"
    assert len(inner(encoder)) == 3
    assert not any(isinstance(layer, keras.Model) for layer in encoder.layers)
    np.testing.assert_allclose(encoder(IMAGES), features, atol=1e-6)
    assert freeze_layers(encoder, 2) == inner(encoder)[:2]


def test_models_nested_twice_keep_their_names_apart():
    outer = keras.Sequential(
        [keras.Input((8, 8, 3)), conv_base("a"), layers.ZeroPadding2D(4), layers.Conv2D(3, 5)]
    )
    outer.add(conv_base("b"))
    model = nested(outer)
    expected = outer(IMAGES).numpy().mean(axis=(1, 2))
    encoder = body(model)
    np.testing.assert_allclose(encoder(IMAGES), expected, atol=1e-5)
    names = [layer.name for layer in encoder.layers]
    assert len(inner(encoder)) == 7
    assert len(set(names)) == len(names)


def test_a_base_called_in_inference_mode_is_unpacked_too():
    base = moved(conv_base())
    features = base(IMAGES).numpy().mean(axis=(1, 2))
    np.testing.assert_allclose(body(nested(base, training=False))(IMAGES), features, atol=1e-6)


def test_several_paths_are_transferred_together():
    x = keras.Input((6,))
    left = layers.Dense(4, activation="relu")(x)
    right = layers.Dense(3, activation="tanh")(layers.Dense(5)(x))
    joined = layers.Concatenate()([left, right + 1.0])
    model = keras.Model(x, layers.Softmax()(layers.Dense(2)(joined)))
    expected = keras.Model(x, joined)(ROWS).numpy()
    np.testing.assert_allclose(body(model)(ROWS), expected, atol=1e-6)


def test_a_model_without_a_head_is_transferred_whole():
    x = keras.Input((8, 8, 3))
    maps = layers.Conv2D(4, 3)(x)
    # Ends in a Dense layer, but what it says weighs the maps: another path leads around it.
    gate = layers.Dense(4, activation="sigmoid")(layers.GlobalAveragePooling2D()(maps))
    gated = layers.Multiply()([maps, layers.Reshape((1, 1, 4))(gate)])
    model = keras.Model(x, gated)
    expected = model(IMAGES).numpy().mean(axis=(1, 2))
    encoder = body(model)
    assert len(inner(encoder)) == 2
    np.testing.assert_allclose(encoder(IMAGES), expected, atol=1e-6)


def test_a_dense_layer_that_others_learn_from_is_no_head():
    stack = layers.Dense(4), layers.BatchNormalization(), layers.ReLU()
    encoder = body(keras.Sequential([keras.Input((6,)), *stack]))
    assert encoder.output_shape == (None, 4)
    assert len(inner(encoder)) == 2


def test_sequences_are_averaged_too():
    model = keras.Sequential([keras.Input((6, 2)), layers.Conv1D(3, 2)])
    x = RNG.normal(size=(4, 6, 2)).astype(np.float32)
    np.testing.assert_allclose(body(model)(x), model(x).numpy().mean(axis=1), atol=1e-6)


def test_an_encoder_is_taken_as_it_is_without_its_penalty():
    model = sparse_autoencoder(6, (5,), 3)
    encoder = body(model)
    assert [layer.name for layer in encoder.layers] == ["features", "hidden_1", "bottleneck"]
    np.testing.assert_allclose(encoder(ROWS), model.get_layer("encoder")(ROWS), atol=1e-6)
    assert encoder.losses == []


def test_its_weights_are_copies():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4), layers.Dense(2)])
    before = model.get_weights()
    encoder = body(model)
    encoder.set_weights([weight + 1.0 for weight in encoder.get_weights()])
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_how_it_was_compiled_does_not_come_along(tmp_path):
    base = conv_base()
    base.compile("sgd", loss=lambda y, p: keras.ops.mean(y - p))
    model = nested(base)
    model.compile("adam", loss="mse")
    encoder = body(model)
    assert not encoder.compiled
    encoder.save(tmp_path / "e.keras")
    loaded = keras.saving.load_model(tmp_path / "e.keras")
    assert not loaded.compiled
    np.testing.assert_array_equal(loaded(IMAGES), encoder(IMAGES))


def test_a_normalization_keeps_what_it_learnt():
    scale = layers.Normalization()
    scale.adapt(ROWS * 3.0 + 7.0)
    model = keras.Sequential([keras.Input((6,)), scale, layers.Dense(4), layers.Dense(2)])
    expected = keras.Model(model.inputs[0], model.layers[-2].output)(ROWS)
    encoder = body(model)
    np.testing.assert_allclose(encoder(ROWS), expected, atol=1e-6)
    assert scales_itself(encoder)
    assert not scales_itself(body(nested(conv_base())))


def test_a_model_for_any_size_gets_one():
    x = keras.Input((None, None, 3))
    model = keras.Model(x, layers.Conv2D(4, 3)(x))
    encoder = body(model, (8, 8, 3))
    assert encoder.input_shape == (None, 8, 8, 3)
    np.testing.assert_allclose(encoder(IMAGES), model(IMAGES).numpy().mean((1, 2)), atol=1e-6)
    with pytest.raises(ValueError, match="[Nn]egative|Computed output size"):
        body(model, (2, 2, 3))


class Doubled(layers.Layer):
    def call(self, x):
        return 2.0 * x


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3)

    def call(self, x):
        return self.dense(x)


def subclassed():
    model = Subclassed()
    model(ROWS)
    return model


def two(what):
    x, y = keras.Input((6,)), keras.Input((6,))
    if what == "inputs":
        return keras.Model([x, y], layers.Dense(2)(layers.Concatenate()([x, y])))
    return keras.Model(x, [layers.Dense(2)(x), layers.Dense(3)(x)])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (subclassed, r"subclassed or unbuilt model, .*\(Subclassed\)"),
        (
            lambda: keras.Sequential([keras.Input((6,)), subclassed(), layers.Dense(2)]),
            r"subclassed or unbuilt model, .*\(Subclassed\)",
        ),
        (lambda: keras.Sequential([layers.Dense(3)]), r"unbuilt model, .*\(Sequential\)"),
        (lambda: two("inputs"), "has 2 inputs, expected one"),
        (lambda: two("outputs"), "has 2 outputs, expected one"),
        (
            lambda: keras.Sequential([keras.Input((6,)), Doubled(), layers.Dense(2)]),
            r"layer that Keras does not know, .*\(Doubled\)",
        ),
        (
            lambda: keras.Sequential([keras.Input((6,)), layers.Dense(2), layers.Softmax()]),
            "no layers with weights before its last Dense layer",
        ),
    ],
)
def test_what_cannot_be_transferred_says_why(make, reason):
    with pytest.raises(ValueError, match=reason):
        body(make())


def test_the_bottleneck_is_the_encoders_output():
    encoder = dense_autoencoder(6, (5, 4), 3).get_layer("encoder")
    assert features_from(encoder, "bottleneck") is encoder


def test_features_of_one_layer():
    encoder = dense_autoencoder(6, (5, 4), 3).get_layer("encoder")
    kernel, bias = encoder.get_layer("hidden_1").get_weights()
    chosen = features_from(encoder, "hidden_1")
    assert chosen.name == "encoder"
    np.testing.assert_allclose(chosen(ROWS), np.maximum(ROWS @ kernel + bias, 0), atol=1e-6)


def test_features_of_all_layers_one_after_the_other():
    encoder = body(nested(moved(conv_base())))
    first = keras.Model(encoder.input, encoder.get_layer(inner(encoder)[0]).output)(IMAGES)
    chosen = features_from(encoder, "all")
    assert chosen.output_shape == (None, 4 + 4 + 5)
    given = chosen(IMAGES).numpy()
    np.testing.assert_allclose(given[:, :4], first.numpy().mean(axis=(1, 2)), atol=1e-6)
    np.testing.assert_allclose(given[:, 8:], encoder(IMAGES), atol=1e-6)


def test_a_layer_that_is_not_there_is_refused_with_those_that_are():
    encoder = dense_autoencoder(6, (5, 4), 3).get_layer("encoder")
    with pytest.raises(UserError, match=r"features_from=conv9 .*hidden_1, hidden_2, bottleneck"):
        features_from(encoder, "conv9")
