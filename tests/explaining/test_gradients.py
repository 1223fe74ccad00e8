import keras
import numpy as np
import pytest
import tensorflow as tf

from kt_transfer.engine.fused_model import predict_raw
from kt_transfer.explaining.gradients import integrated_gradients, log_odds, logit, on_floats
from kt_transfer.models.preprocessing import preprocessing_model
from kt_transfer.sources.adapting import Expected, adapting_model

RNG = np.random.default_rng(0)


def dense(shape, classes, *hidden, activation="relu"):
    layers = [keras.layers.Dense(units, activation) for units in hidden]
    flat = [keras.layers.Flatten()] * (len(shape) > 1)
    return keras.Sequential([keras.Input(shape), *flat, *layers, keras.layers.Dense(classes)])


def sums(found):
    return found.values.reshape(len(found.values), -1).sum(axis=1)


def test_log_odds_are_those_of_the_probability():
    logits, classes = RNG.normal(size=(7, 4)), RNG.integers(0, 4, 7)
    p = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))[np.arange(7), classes]
    found = log_odds(tf.constant(logits), tf.constant(classes)).numpy()
    assert found == pytest.approx(np.log(p / (1 - p)))
    raised = log_odds(tf.constant(logits + 100), tf.constant(classes)).numpy()
    assert raised == pytest.approx(found)


def test_log_odds_of_a_certain_answer_are_exact():
    found = log_odds(tf.constant([[500.0, 0.0, 0.0]]), tf.constant([0])).numpy()
    assert found == pytest.approx([500 - np.log(2)])


def test_a_linear_softmax_model_has_a_closed_form():
    model, baseline = dense((6,), 3), RNG.normal(size=6)
    x, classes = RNG.normal(size=(5, 6)), np.array([0, 1, 2, 1, 0])
    kernel, _ = model.get_weights()
    found = integrated_gradients(model, x, classes, baseline, of=logit)
    assert found.values == pytest.approx((x - baseline) * kernel[:, classes].T, abs=1e-5)
    assert found.differences == pytest.approx(sums(found), abs=1e-5)


def test_so_have_the_log_odds_of_two_classes():
    model, baseline = dense((6,), 2), RNG.normal(size=6)
    x, classes = RNG.normal(size=(4, 6)), np.array([0, 1, 1, 0])
    kernel, _ = model.get_weights()
    weights = (kernel[:, classes] - kernel[:, 1 - classes]).T
    found = integrated_gradients(model, x, classes, baseline)
    assert found.values == pytest.approx((x - baseline) * weights, abs=1e-5)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("of", [logit, log_odds])
def test_attributions_add_up(activation, of):
    model = dense((8, 8), 4, 64, 64, activation=activation)
    x, classes = 3 * RNG.normal(size=(12, 8, 8)), RNG.integers(0, 4, 12)
    found = integrated_gradients(model, x, classes, np.zeros((8, 8)), of=of)
    ends = [of(model(each), classes).numpy() for each in (x, np.zeros_like(x))]
    assert found.differences == pytest.approx(ends[0] - ends[1], rel=1e-5, abs=1e-5)
    assert sums(found) == pytest.approx(found.differences, rel=1e-3, abs=1e-4)


def test_so_do_those_of_a_convolutional_network_with_batch_statistics():
    layers = keras.layers
    model = keras.Sequential([keras.Input((9, 9, 3)), layers.Conv2D(8, 3, activation="relu")])
    for layer in (layers.BatchNormalization(), layers.MaxPooling2D(), layers.Dropout(0.5)):
        model.add(layer)
    model.add(layers.Flatten())
    model.add(layers.Dense(3))
    x, classes = 2 * RNG.normal(size=(6, 9, 9, 3)), RNG.integers(0, 3, 6)
    found = integrated_gradients(model, x, classes, np.zeros((9, 9, 3)))
    assert found.values.shape == x.shape
    assert sums(found) == pytest.approx(found.differences, rel=1e-3, abs=1e-4)
    again = integrated_gradients(model, x, classes, np.zeros((9, 9, 3)))
    assert (again.values == found.values).all()  # no dropout, no statistics of a batch


def test_an_example_that_is_the_baseline_contributes_nothing():
    baseline = RNG.normal(size=6)
    found = integrated_gradients(dense((6,), 3, 16), baseline[None], np.array([1]), baseline)
    assert found.values.tolist() == [[0.0] * 6]
    assert found.differences.tolist() == [0.0]


RAW = {
    "bytes": (preprocessing_model((8, 8), (0.0, 255.0), "uint8"), (64,), "uint8"),
    "wide floats": (preprocessing_model((8, 8), (-1e9, 1e9), "float64"), (64,), "float64"),
    "other size and colours": (
        adapting_model((8, 8), (0.0, 255.0), "uint8", Expected((6, 6, 3))),
        (6, 6, 3),
        "uint8",
    ),
}


@pytest.mark.parametrize("kind", RAW)
def test_a_model_of_floats_answers_as_that_of_the_raw_type(kind):
    preprocessing, shape, dtype = RAW[kind]
    network = dense(shape, 4, 16)
    x = RNG.integers(0, 256, (10, 8, 8)).astype(dtype)
    model = on_floats(network, preprocessing)
    assert model.input.dtype.startswith("float")
    expected = predict_raw(network, preprocessing, x)
    assert np.asarray(model(x)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("kind", RAW)
def test_attributions_of_raw_pixels_add_up(kind):
    preprocessing, shape, dtype = RAW[kind]
    scale = 1e7 if kind == "wide floats" else 1
    x = (scale * RNG.integers(0, 256, (5, 8, 8))).astype(dtype)
    model = on_floats(dense(shape, 4, 16), preprocessing)
    found = integrated_gradients(model, x, np.arange(5) % 4, x.mean(axis=0))
    assert found.values.shape == (5, 8, 8)
    assert sums(found) == pytest.approx(found.differences, rel=1e-3, abs=1e-4)


def test_most_of_it_falls_where_the_class_is_planted():
    labels = np.arange(400) % 2
    x = 0.5 * RNG.normal(size=(400, 8, 8))
    x[:, :4, 4:] += (2 * labels - 1)[:, None, None]
    model = dense((8, 8), 2, 32)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x[:300], labels[:300], epochs=15, verbose=0)
    found = integrated_gradients(model, x[300:], labels[300:], x[:300].mean(axis=0))
    share = np.abs(found.values[:, :4, 4:]).sum() / np.abs(found.values).sum()
    assert share > 0.6  # of a quarter of the pixels
    assert found.values[:, :4, 4:].sum() > 0.9 * found.values.sum() > 0
