"""Semi-supervised pretraining: the objective by hand."""

import keras
import numpy as np
import pytest

from kt_transfer import FusedModel, dense_autoencoder
from kt_transfer.models.preprocessing import preprocessing_model
from kt_transfer.training.semi_supervised import (
    compile_joint,
    joint_model,
    joint_transform,
    only_reconstruct,
    repeat_labelled,
)

RNG = np.random.default_rng(0)
X = RNG.integers(0, 17, (40, 6)).astype(np.uint8)
LABELS = np.full(40, -1)
LABELS[[3, 10, 17, 30]] = [0, 1, 2, 1]


@pytest.fixture
def trained():
    keras.utils.set_random_seed(0)
    autoencoder = dense_autoencoder(6, (5,), 3)
    joint = joint_model(autoencoder, 3)
    compile_joint(joint, keras.optimizers.SGD(0.0), label_weight=7.0)
    transform = joint_transform(preprocessing_model((6,), (0.0, 16.0), "uint8"))
    return autoencoder, joint, FusedModel(joint, transform=transform)


def objective(autoencoder, joint, labels):
    """Mean reconstruction error of all, plus 7 times the mean cross-entropy of the labelled."""
    scaled = X / 8.0 - 1.0
    error = ((scaled - autoencoder.predict(scaled, verbose=0)) ** 2).sum(axis=1).mean()
    logits = joint.predict(scaled, verbose=0)[1]
    log = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    known = labels >= 0
    if not known.any():
        return error
    return error - 7.0 * log[known, labels[known]].mean()


def test_an_epoch_has_the_objective_whatever_is_repeated(trained):
    autoencoder, joint, model = trained
    rows, targets = repeat_labelled(LABELS)
    assert (LABELS[rows] >= 0).mean() == pytest.approx(0.25, abs=0.05)
    loss = model.evaluate(X[rows], targets, batch_size=len(rows), return_dict=True)["loss"]
    assert loss == pytest.approx(objective(autoencoder, joint, LABELS), rel=1e-5)


def test_without_labels_only_the_reconstruction_counts(trained):
    autoencoder, joint, model = trained
    loss = model.evaluate(X, only_reconstruct(len(X)), batch_size=40, return_dict=True)["loss"]
    assert loss == pytest.approx(objective(autoencoder, joint, np.full(40, -1)), rel=1e-5)


def test_many_labels_are_not_repeated():
    rows, targets = repeat_labelled(np.arange(10) % 3)
    np.testing.assert_array_equal(rows, np.arange(10))
    np.testing.assert_array_equal(targets.label_weight, np.ones(10))


@pytest.mark.parametrize(("label_weight", "least", "most"), [(10.0, 0.9, 1.0), (0.0, 0.2, 0.8)])
def test_labels_reach_the_head(label_weight, least, most):
    keras.utils.set_random_seed(0)
    y = np.arange(200) % 2
    x = RNG.normal(size=(200, 8)).astype(np.float32)
    x[:, 0] += 5.0 * y
    joint = joint_model(dense_autoencoder(8, (8,), 4), 2)
    compile_joint(joint, keras.optimizers.Adam(0.01), label_weight=label_weight)
    rows, targets = repeat_labelled(np.where(np.arange(200) < 40, y, -1))
    as_it_is = keras.Sequential([keras.Input((8,)), keras.layers.Identity()])
    model = FusedModel(joint, transform=joint_transform(as_it_is))
    model.fit(x[rows], targets, batch_size=32, epochs=30, verbose=0)
    guessed = joint.predict(x[40:], verbose=0)[1].argmax(axis=1)
    assert least <= (guessed == y[40:]).mean() <= most


def test_the_noise_is_before_the_head_too():
    joint = joint_model(dense_autoencoder(6, (5,), 3, noise=0.5), 3)
    assert "noise" in [layer.name for layer in joint.layers]
