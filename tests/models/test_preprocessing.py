import numpy as np
import pytest

from kt_transfer.models.preprocessing import preprocessing_model, raw_values


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [(0.0, 255.0, "uint8"), (0.0, 16.0, "uint8"), (-3.2, 7.1, "float32")],
)
def test_the_value_range_becomes_minus_one_to_one(low, high, dtype):
    raw = np.linspace(low, high, 12).astype(dtype).reshape(2, 3, 2)
    scaled = preprocessing_model((3, 2), (low, high), dtype)(raw).numpy()
    expected = 2.0 * (raw.reshape(2, 6) - low) / (high - low) - 1.0
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, expected, atol=1e-6)
    np.testing.assert_allclose([scaled.min(), scaled.max()], [-1.0, 1.0], atol=1e-6)


def test_one_feature_keeps_its_dimension():
    assert preprocessing_model((1,), (0.0, 1.0), "float32").output_shape == (None, 1)


def test_raw_values_undo_it():
    raw = np.arange(256, dtype=np.uint8).reshape(4, 8, 8, 1)
    scaled = preprocessing_model((8, 8, 1), (0.0, 255.0))(raw)
    np.testing.assert_allclose(raw_values(scaled, (8, 8, 1), (0.0, 255.0)), raw, atol=1e-4)
