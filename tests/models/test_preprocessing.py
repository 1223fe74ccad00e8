import keras
import numpy as np
import pytest

from kt_transfer.models.preprocessing import (
    can_take,
    preprocessing_model,
    raw_values,
    takes_images,
)

RNG = np.random.default_rng(0)


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


@pytest.mark.parametrize(
    ("shape", "image"), [((5, 4), (5, 4, 1)), ((5, 4, 1), (5, 4, 1)), ((2, 5, 3), (2, 5, 3))]
)
def test_an_image_may_keep_its_shape(shape, image):
    raw = RNG.integers(0, 256, (6, *shape), dtype=np.uint8)
    scale = preprocessing_model(shape, (0.0, 255.0), flatten=False)
    assert scale.output_shape == (None, *image)
    scaled = scale(raw).numpy()
    np.testing.assert_allclose(scaled, raw.reshape(6, *image) / 127.5 - 1.0, atol=1e-6)
    # The same numbers as flat ones, in the same order; and back.
    flat = preprocessing_model(shape, (0.0, 255.0))(raw)
    np.testing.assert_array_equal(scaled.reshape(6, -1), flat)
    back = raw_values(scaled, shape, (0.0, 255.0))
    assert back.shape == raw.shape
    np.testing.assert_allclose(back, raw, atol=1e-4)


@pytest.mark.parametrize("shape", [(7,), (2, 3, 4, 5)])
def test_what_is_no_image_cannot_stay_one(shape):
    with pytest.raises(ValueError, match=r"expected \(height, width"):
        preprocessing_model(shape, (0.0, 1.0), flatten=False)


@pytest.mark.parametrize(
    ("taken", "shapes"),
    [
        ((12,), {(12,): True, (3, 4): True, (3, 4, 1): True, (13,): False, (3, 5): False}),
        ((3, 4, 1), {(3, 4): True, (3, 4, 1): True, (4, 3): False, (12,): False, (3, 4, 3): False}),
    ],
)
def test_which_examples_a_model_can_take(taken, shapes):
    x = keras.Input(taken)
    model = keras.Model(x, x)
    assert takes_images(model) == (len(taken) == 3)
    assert {shape: can_take(model, shape) for shape in shapes} == shapes
