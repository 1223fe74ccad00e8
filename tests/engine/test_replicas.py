"""Two replicas are one device: the same weights and numbers at the same global batch.

Whether their shares of it have the same size (batches of 16) or not (of 15, and a last one of 3).
"""

import dataclasses
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.losses import loss as keras_loss

from kt_transfer import (
    Distiller,
    FusedModel,
    ReconstructionLoss,
    UserError,
    classifier,
    conv_autoencoder,
    dense_autoencoder,
    freeze_layers,
    sparse_autoencoder,
)
from kt_transfer.engine import replicas
from kt_transfer.engine.strategy import choose_strategy
from kt_transfer.models.classifiers import dense_encoder

SLOW = pytest.mark.slow
RTOL = 1e-4
RNG = np.random.default_rng(0)
X = np.tanh(RNG.normal(size=(423, 3)) @ RNG.normal(size=(3, 12))).astype(np.float32)
LABELS = np.digitize(X[:, 0], [-0.5, 0.5])
MIXED = np.where(np.arange(423) % 5 < 2, LABELS, -1)


def autoencoder(model):
    model.compile(keras.optimizers.Adam(1e-3), loss=ReconstructionLoss(), metrics=["mse"])
    return model, model, X


def sparse(sparsity):
    return lambda: autoencoder(
        sparse_autoencoder(12, (8, 6), 4, sparsity=sparsity, sparsity_weight=0.5)
    )


def convolutional():
    x = keras.Input((12,))
    images = keras.layers.Reshape((3, 2, 2))(x)
    flat = keras.layers.Reshape((12,))(conv_autoencoder((3, 2, 2), (8,), 4)(images))
    return autoencoder(keras.Model(x, flat))


def normalized():
    """Without biases, whose true gradient before a normalization is zero: Adam is left noise."""
    x = keras.Input((12,))
    hidden = keras.layers.Dense(8, use_bias=False)(x)
    hidden = keras.layers.ReLU()(keras.layers.BatchNormalization()(hidden))
    return autoencoder(keras.Model(x, keras.layers.Dense(12)(hidden)))


def frozen_classifier():
    encoder = dense_encoder(12, (8, 6))
    freeze_layers(encoder, 1)
    model = classifier(encoder, 3)
    model.compile(
        keras.optimizers.Adam(1e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model, model, LABELS


def distiller(loss, **settings):
    def build():
        teacher = classifier(dense_encoder(12, (16,)), 3, name="teacher")
        student = classifier(dense_encoder(12, (8,)), 3, name="student")
        model = Distiller(teacher=teacher, student=student, alpha=0.5, loss=loss, **settings)
        model.compile(keras.optimizers.Adam(1e-3), metrics=["accuracy"])
        return model, student, MIXED

    return build


KINDS = {
    "dense": lambda: autoencoder(dense_autoencoder(12, (8, 6), 4)),
    "conv": convolutional,
    "batch normalization": normalized,
    "squared_l1": sparse("squared_l1"),
    "k_sparse": sparse("k_sparse"),
    "kl": sparse("kl"),
    "frozen classifier": frozen_classifier,
    "distiller, kl": distiller("kl"),
    "distiller, cross-entropy": distiller("cross_entropy"),
    "distiller, decoupled": distiller("decoupled"),
    "distiller, hint": distiller("kl", hint="hidden_1", hint_loss="cosine"),
}


@dataclasses.dataclass
class Trained:
    network: keras.Model
    before: list
    history: dict
    results: dict
    execution: str


@functools.cache
def trained(kind, num_replicas, batch_size=15):
    strategy = choose_strategy("mirrored" if num_replicas > 1 else "one_device")
    assert strategy.num_replicas_in_sync == num_replicas
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model, network, y = KINDS[kind]()
    before = network.get_weights()
    fused = FusedModel(model)
    options = {"epochs": 3, "validation_data": (X[:101], y[:101]), "verbose": 0}
    fused.fit(X, y, batch_size=batch_size, **options)
    results = fused.evaluate(X, y, batch_size=51, return_dict=True)
    return Trained(network, before, model.history.history, results, fused.execution)


# One of each: penalties, statistics of the batch, locked layers, a teacher beside the network.
QUICK = ("dense", "batch normalization", "frozen classifier", "distiller, hint")
CASES = [(kind, 15) for kind in KINDS] + [(kind, 16) for kind in QUICK]


@pytest.mark.parametrize(
    ("kind", "batch_size"),
    [
        case if case[0] in QUICK[1:] and case[1] == 15 else pytest.param(*case, marks=SLOW)
        for case in CASES
    ],
)
def test_two_replicas_equal_one_device(kind, batch_size):
    one, two = trained(kind, 1, batch_size), trained(kind, 2, batch_size)
    assert "1 replica" in one.execution
    assert "2 replicas" in two.execution
    weights = one.network.get_weights(), two.network.get_weights()
    for old, twin_old, a, b in zip(one.before, two.before, *weights, strict=True):
        assert np.array_equal(old, twin_old)
        np.testing.assert_allclose(a, b, atol=1e-5)
    moved = [np.abs(old - a).max() for old, a in zip(one.before, weights[0], strict=True)]
    assert max(moved) > 0.01
    assert one.history.keys() == two.history.keys()
    for name, values in one.history.items():
        np.testing.assert_allclose(values, two.history[name], rtol=RTOL, err_msg=name)
    assert one.results.keys() == two.results.keys()
    for name, value in one.results.items():
        assert two.results[name] == pytest.approx(value, rel=RTOL), name


@pytest.mark.parametrize("num_replicas", [1, 2])
def test_frozen_layers_stay_and_the_others_learn(num_replicas):
    done = trained("frozen classifier", num_replicas)
    locked = done.network.get_layer("encoder").get_layer("hidden_1").weights
    frozen = {weight.path for weight in locked}
    for weight, old in zip(done.network.weights, done.before, strict=True):
        assert np.array_equal(weight.numpy(), old) == (weight.path in frozen), weight.path


def test_a_process_has_one_strategy_of_each_kind():
    assert choose_strategy("auto") is choose_strategy("mirrored")
    assert isinstance(choose_strategy("one_device"), tf.distribute.OneDeviceStrategy)


def test_another_number_of_devices_than_the_process_has_is_refused():
    tf.config.list_logical_devices()
    with pytest.raises(UserError, match="num_devices=3 .* already runs with 2"):
        choose_strategy("auto", num_devices=3)
    assert choose_strategy("auto", num_devices=2).num_replicas_in_sync == 2


def test_keras_scales_losses_by_the_functions_that_are_replaced(monkeypatch):
    """If this fails, Keras has moved them, and shares of unequal size weigh examples unequally."""
    called = []

    def noting(name):
        stock = getattr(replicas, name)
        return lambda value: (called.append(name), stock(value))[1]

    for name in ("_scale", "_unscale"):
        monkeypatch.setattr(replicas, name, noting(name))
    before = keras_loss.scale_loss_for_distribution, keras_loss.unscale_loss_for_distribution
    with choose_strategy("mirrored").scope():
        model, _, y = KINDS["dense"]()
    FusedModel(model).fit(X[:5], y[:5], batch_size=5, verbose=0)
    assert set(called) == {"_scale", "_unscale"}
    after = keras_loss.scale_loss_for_distribution, keras_loss.unscale_loss_for_distribution
    assert before == after


def test_batch_normalization_is_synchronized_only_while_training():
    with choose_strategy("mirrored").scope():
        model, _, y = normalized()
    layer = model.layers[2]
    seen = []
    note = keras.callbacks.LambdaCallback(on_epoch_begin=lambda *_: seen.append(layer.synchronized))
    FusedModel(model).fit(X[:16], y[:16], verbose=0, callbacks=[note])
    assert seen == [True]
    assert not layer.synchronized


@pytest.mark.parametrize("rows", [1, 7, 300])
def test_a_prediction_on_two_replicas_is_that_on_one(rows):
    one, two = (trained("frozen classifier", count).network for count in (1, 2))
    two.set_weights(one.get_weights())
    x = np.tile(X, (3, 1))[: 4 * rows]
    options = {"batch_size": rows, "verbose": 0}
    with choose_strategy("mirrored").scope():
        answers = FusedModel(two).predict(x, **options)
    np.testing.assert_allclose(answers, FusedModel(one).predict(x, **options), atol=1e-6)


@pytest.mark.parametrize(
    "argument",
    [
        {"clipnorm": 0.1},
        {"clipvalue": 0.01},
        {"global_clipnorm": 0.1},
        {"gradient_accumulation_steps": 2},
        {"use_ema": True, "ema_overwrite_frequency": 5},
    ],
    ids=lambda argument: list(argument)[-1],
)
def test_optimizers_that_differ_on_replicas_are_refused(argument):
    with choose_strategy("mirrored", 2).scope():
        model = keras.Sequential([keras.Input((12,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.05, **argument), "mse")
    with pytest.raises(ValueError, match=f"{list(argument)[-1]}=.* with 2 replicas, but"):
        FusedModel(model).fit(X, LABELS, verbose=0)


def test_moving_averages_of_weights_on_replicas_are_those_on_one():
    averages = []
    for name in ("mirrored", "one_device"):
        keras.utils.set_random_seed(0)
        with choose_strategy(name, 2).scope():
            model = keras.Sequential([keras.Input((12,)), keras.layers.Dense(1)])
            model.compile(keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.9), "mse")
        FusedModel(model).fit(X, LABELS, epochs=2, verbose=0)
        averages.append(model.get_weights())
    for two, one in zip(*averages, strict=True):
        np.testing.assert_allclose(two, one, atol=1e-5)
