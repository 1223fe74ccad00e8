"""Examples and preprocessing that the tests of all methods share."""

import pytest

from kt_transfer.data import load_data
from kt_transfer.models.preprocessing import preprocessing_model


@pytest.fixture(scope="session")
def data():
    return load_data("digits")


@pytest.fixture(scope="session")
def scaled(data):
    return preprocessing_model(data.input_shape, data.value_range, data.x.dtype)
