"""Two replicas are one device: the same weights and numbers at the same global batch."""

import dataclasses
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

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
from kt_transfer.engine.strategy import choose_strategy
from kt_transfer.models.classifiers import dense_encoder

RNG = np.random.default_rng(0)
# 26 steps of 16 and a last one of 6.
X = np.tanh(RNG.normal(size=(422, 3)) @ RNG.normal(size=(3, 12))).astype(np.float32)
LABELS = np.digitize(X[:, 0], [-0.5, 0.5])
MIXED = np.where(np.arange(422) % 5 < 2, LABELS, -1)


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
def trained(kind, replicas):
    strategy = choose_strategy("mirrored" if replicas > 1 else "one_device")
    assert strategy.num_replicas_in_sync == replicas
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model, network, y = KINDS[kind]()
    before = network.get_weights()
    fused = FusedModel(model)
    fused.fit(
        X, y, batch_size=16, epochs=2, shuffle=False, validation_data=(X[:100], y[:100]), verbose=0
    )
    results = fused.evaluate(X, y, batch_size=50, return_dict=True)
    return Trained(network, before, model.history.history, results, fused.execution)


# One of each: statistics of the batch, penalties, locked layers, a teacher beside the network.
QUICK = ("conv", "frozen classifier", "distiller, hint")


@pytest.mark.parametrize(
    "kind",
    [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS],
)
def test_two_replicas_equal_one_device(kind):
    one, two = trained(kind, 1), trained(kind, 2)
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
        np.testing.assert_allclose(values, two.history[name], rtol=0.01, err_msg=name)
    assert one.results.keys() == two.results.keys()
    for name, value in one.results.items():
        assert two.results[name] == pytest.approx(value, rel=0.01), name


@pytest.mark.parametrize("replicas", [1, 2])
def test_frozen_layers_stay_and_the_others_learn(replicas):
    done = trained("frozen classifier", replicas)
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
