"""An autoencoder sees views, and is held to the originals."""

import keras
import numpy as np
import pytest

from kt_transfer import FusedModel
from kt_transfer.methods.reconstruction import reconstruct_itself
from kt_transfer.training.denoising import beside_the_original


@pytest.fixture
def identity():
    """A model that repeats what it sees, and learns nothing."""
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(3, kernel_initializer="identity")(inputs))
    model.compile(keras.optimizers.SGD(0.0), loss="mse")
    return model


def test_only_training_sees_views(identity):
    halved = keras.Sequential([keras.Input((3,)), keras.layers.Rescaling(0.5)])
    model = FusedModel(
        identity,
        transform=reconstruct_itself(halved),
        augment=beside_the_original(lambda x, seed: x + 4),
    )
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    log = model.fit(x, validation_data=(x,), verbose=0).history
    assert log["loss"] == pytest.approx([4.0])  # of 4 · 0.5, squared
    assert log["val_loss"] == pytest.approx([0.0])
    np.testing.assert_allclose(model.predict(x, verbose=0), x / 2, rtol=1e-6)
