import keras
import numpy as np
import pytest
import tensorflow as tf

from kt_transfer.data.ranges import column_ranges, range_of, scaled_rows
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


TABLE = np.random.default_rng(1).standard_t(2, (60, 5)) * [1, 1e3, 1e-6, 1, 1] + [0, 1e5, 0, 1e9, 0]


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "uint8"])
def test_columns_are_scaled_as_numpy_does(dtype):
    raw = np.abs(TABLE[:, [0, 1, 4]]).clip(0, 255).astype(dtype) if dtype == "uint8" else TABLE
    raw = raw.astype(dtype)
    ranges = column_ranges(raw)
    model = preprocessing_model(raw.shape[1:], ranges, dtype)
    assert model.input.dtype == dtype
    np.testing.assert_allclose(model(raw), scaled_rows(raw, ranges), atol=1e-6)


def test_raw_values_undo_columns():
    ranges = column_ranges(TABLE)
    scaled = preprocessing_model((5,), ranges, "float64")(TABLE)
    back = raw_values(scaled, (5,), ranges)
    low, high = ranges
    np.testing.assert_allclose((back - TABLE) / (high - low), 0, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float64", "int64", "uint32"])
@pytest.mark.parametrize("shape", [(320, 1), (320, 1, 1)])
def test_a_small_span_on_a_large_offset_stays_told_apart(dtype, shape):
    raw = (10**9 + np.arange(320)).reshape(shape).astype(dtype)
    scaled = preprocessing_model(shape[1:], range_of(raw), dtype)(raw).numpy()
    assert len(np.unique(scaled)) == 320
    assert 1.6 < np.ptp(scaled) <= 2
    assert abs(scaled.mean()) < 0.01


def test_images_of_the_largest_numbers_keep_their_differences():
    raw = (np.finfo(np.float32).max * np.linspace(-1, 1, 9)).astype(np.float32).reshape(9, 1, 1)
    scaled = preprocessing_model((1, 1), range_of(raw), "float32")(raw).numpy()
    np.testing.assert_allclose(scaled.ravel(), np.linspace(-1, 1, 9), atol=1e-6)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_what_scales_columns_is_stock_loads_and_compiles(tmp_path, dtype):
    table = TABLE.astype(dtype)
    ranges = column_ranges(table)
    made = preprocessing_model((5,), ranges, dtype)
    assert all(type(layer).__module__.startswith("keras.") for layer in made.layers)
    made.save(tmp_path / "preprocessing.keras")
    loaded = keras.saving.load_model(tmp_path / "preprocessing.keras", safe_mode=True)
    answer = tf.function(loaded, jit_compile=True)(tf.constant(table))
    np.testing.assert_allclose(answer, scaled_rows(table, ranges), atol=1e-6)
