import keras
import numpy as np
import pytest

from kt_transfer import classifier
from kt_transfer.models.classifiers import dense_encoder
from kt_transfer.training.hints import find_layer, last_hidden, with_layer_output

X = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)


@pytest.fixture
def nested():
    inner = classifier(dense_encoder(6, (8, 7)), 3)
    x = keras.Input((6,))
    return keras.Model(x, inner(keras.layers.Rescaling(2.0)(x)), name="outer")


def test_a_layer_of_a_nested_model_is_emitted_beside_the_output(nested):
    both = with_layer_output(nested, find_layer(nested, "hidden_1"))
    output, features = both(X)
    np.testing.assert_allclose(output, nested(X), rtol=1e-6)
    kernel, bias = find_layer(nested, "hidden_1").get_weights()
    np.testing.assert_allclose(features, np.maximum(2 * X @ kernel + bias, 0), rtol=1e-5)
    # The same layers: what is trained through one is trained in the other.
    find_layer(nested, "hidden_1").set_weights([kernel * 2, bias])
    np.testing.assert_allclose(both(X)[0], nested(X), rtol=1e-6)


def test_the_last_hidden_layer_feeds_the_head(nested):
    assert last_hidden(nested).name == "encoder"
    output, features = with_layer_output(nested, last_hidden(nested))(X)
    kernel, bias = find_layer(nested, "head").get_weights()
    np.testing.assert_allclose(features.numpy() @ kernel + bias, output, rtol=1e-4)
    layers = keras.layers
    stack = [layers.Dense(4), layers.ReLU(), layers.Dense(3), layers.Softmax()]
    model = keras.Sequential([keras.Input((6,)), *stack])
    assert last_hidden(model) is stack[1]


def test_feature_maps_are_averaged():
    layers = keras.layers
    stack = [layers.Conv2D(4, 3, name="maps"), layers.Flatten(), layers.Dense(2)]
    model = keras.Sequential([keras.Input((6, 5, 1)), *stack])
    x = np.random.default_rng(1).normal(size=(3, 6, 5, 1))
    _, features = with_layer_output(model, find_layer(model, "maps"))(x)
    np.testing.assert_allclose(features, stack[0](x).numpy().mean(axis=(1, 2)), rtol=1e-4)


def test_the_model_saves_as_before(nested, tmp_path):
    with_layer_output(nested, find_layer(nested, "hidden_2"))
    nested.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(loaded(X), nested(X), rtol=1e-6)
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in nested.layers]


def test_batch_normalization_keeps_its_mode():
    layers = keras.layers
    model = keras.Sequential([keras.Input((6,)), layers.BatchNormalization(), layers.Dense(2)])
    before = model.get_weights()
    both = with_layer_output(model, model.layers[0])
    both(X + 5, training=False)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    both(X + 5, training=True)
    assert not np.array_equal(before[2], model.get_weights()[2])


class Subclassed(keras.Model):
    def call(self, x):
        return x


def test_what_has_no_layers_to_name_is_refused(nested):
    with pytest.raises(ValueError, match="conv9 .* expected one of outer's .*encoder, .*hidden_1"):
        find_layer(nested, "conv9")
    with pytest.raises(ValueError, match="Subclassed.* does not say how"):
        find_layer(Subclassed(name="mine"), "any")
    flat = keras.Sequential([keras.Input((6,)), keras.layers.Dense(2)], name="flat")
    with pytest.raises(ValueError, match="flat has no hidden layer"):
        last_hidden(flat)
