"""What is recorded of a run beside its models."""

import numpy as np

from kt_transfer import load_data
from kt_transfer.models.autoencoders import dense_autoencoder
from kt_transfer.models.preprocessing import preprocessing_model
from kt_transfer.runs.recording import squared_errors


def test_squared_errors_are_those_of_scaled_examples():
    x = np.resize(load_data("digits").x, (2500, 8, 8))
    scale, autoencoder = preprocessing_model((8, 8), (0.0, 16.0)), dense_autoencoder(64)
    errors = squared_errors(autoencoder, scale, x)
    scaled = x.reshape(2500, 64) / 8.0 - 1.0
    expected = np.square(scaled - autoencoder.predict(scaled, verbose=0)).sum(axis=1)
    np.testing.assert_allclose(errors, expected, rtol=1e-4)
