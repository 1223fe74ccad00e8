import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from kt_transfer.models.preprocessing import preprocessing_model
from kt_transfer.sources.adapting import (
    Expected,
    adapting_model,
    as_image,
    describe,
    why_incompatible,
)

RNG = np.random.default_rng(0)


def images(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def resized(x, height, width):
    """Bilinear, between the centres of pixels."""
    for axis, size in ((1, height), (2, width)):
        have = x.shape[axis]
        at = np.clip((np.arange(size) + 0.5) * have / size - 0.5, 0, have - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, have - 1)
        share = (at - low).reshape([-1 if n == axis else 1 for n in range(x.ndim)])
        x = np.take(x, low, axis) * (1 - share) + np.take(x, high, axis) * share
    return x


def test_as_many_flat_values_are_only_scaled():
    x = RNG.integers(0, 17, (5, 8, 8), dtype=np.uint8)
    expected = preprocessing_model((8, 8), (0.0, 16.0))(x)
    for image in (None, (8, 8), (4, 16)):
        adapt = adapting_model((8, 8), (0.0, 16.0), "uint8", Expected((64,), image))
        np.testing.assert_array_equal(adapt(x), expected)


def test_grey_images_are_enlarged_and_repeated():
    x = images(4, 28, 28, 1)
    adapt = adapting_model((28, 28, 1), (0.0, 255.0), "uint8", Expected((32, 32, 3)))
    expected = np.repeat(resized(x / 127.5 - 1.0, 32, 32), 3, axis=-1)
    np.testing.assert_allclose(adapt(x), expected, atol=1e-5)


def test_colours_are_averaged():
    x = images(4, 6, 5, 3)
    adapt = adapting_model((6, 5, 3), (0.0, 255.0), "uint8", Expected((6, 5)))
    expected = x.astype(np.float64).mean(axis=-1) / 127.5 - 1.0
    np.testing.assert_allclose(adapt(x), expected, atol=1e-5)


def test_images_are_shrunk_by_averaging():
    x = images(4, 8, 12)
    adapt = adapting_model((8, 12), (0.0, 255.0), "uint8", Expected((16,), image=(4, 4)))
    blocks = (x / 127.5 - 1.0).reshape(4, 4, 2, 4, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(adapt(x), blocks.reshape(4, 16), atol=1e-5)


def test_what_averaging_leaves_over_is_resized():
    x = images(3, 28, 28)
    adapt = adapting_model((28, 28), (0.0, 255.0), "uint8", Expected((64,), image=(8, 8)))
    # Windows of three, the first and the last one cut to two.
    ends = [0, *range(2, 28, 3), 28]
    rows = [x[:, a:b].mean(axis=1) for a, b in zip(ends, ends[1:], strict=False)]
    rows = np.stack(rows, axis=1)
    blocks = [rows[:, :, a:b].mean(axis=2) for a, b in zip(ends, ends[1:], strict=False)]
    expected = resized(np.stack(blocks, axis=2) / 127.5 - 1.0, 8, 8)
    np.testing.assert_allclose(adapt(x), expected.reshape(3, 64), atol=1e-5)


@pytest.mark.parametrize(
    ("values", "expected"),
    [(None, lambda x: x), ((0.0, 1.0), lambda x: x / 16.0), ((-1.0, 3.0), lambda x: x / 4.0 - 1)],
)
def test_the_range_is_the_one_asked_for(values, expected):
    x = RNG.integers(0, 17, (5, 8, 8), dtype=np.uint8)
    adapt = adapting_model((8, 8), (0.0, 16.0), "uint8", Expected((8, 8, 1), values=values))
    given = adapt(x).numpy()
    assert given.dtype == np.float32
    np.testing.assert_allclose(given[..., 0], expected(x.astype(np.float64)), atol=1e-6)


BY_CHANNEL = Expected(
    (40, 40, 3),
    values=((-103.9, -116.8, -123.7), (151.1, 138.2, 131.3)),
    reversed_channels=True,
)


def test_channels_have_their_own_scale_and_order():
    x = images(2, 40, 40, 3)
    given = adapting_model((40, 40, 3), (0.0, 255.0), "uint8", BY_CHANNEL)(x)
    expected = x[..., ::-1].astype(np.float64) - [103.9, 116.8, 123.7]
    np.testing.assert_allclose(given, expected, atol=1e-3)


def test_it_is_saved_and_compiled_as_it_is(tmp_path):
    x = images(2, 28, 28)
    adapt = adapting_model((28, 28), (0.0, 255.0), "uint8", BY_CHANNEL)
    adapt.save(tmp_path / "adapt.keras")
    loaded = keras.saving.load_model(tmp_path / "adapt.keras")
    np.testing.assert_array_equal(loaded(x), adapt(x))
    # Training runs it inside a program that XLA compiles.
    compiled = tf.function(lambda x: adapt(x), jit_compile=True)
    np.testing.assert_allclose(compiled(tf.constant(x)), adapt(x), atol=1e-3)
    shrink = adapting_model((28, 28), (0.0, 255.0), "uint8", Expected((64,), image=(8, 8)))
    compiled = tf.function(lambda x: shrink(x), jit_compile=True)
    np.testing.assert_allclose(compiled(tf.constant(x)), shrink(x), atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "image"),
    [((8, 8), (8, 8, 1)), ((8, 9, 3), (8, 9, 3)), ((30,), None), ((2, 3, 4, 5), None)],
)
def test_what_is_an_image(shape, image):
    assert as_image(shape) == image


@pytest.mark.parametrize(
    ("shape", "expected", "reason"),
    [
        ((28, 28), Expected((784,)), None),
        ((784,), Expected((784,), image=(28, 28)), None),
        ((16, 16, 3), Expected((64,), image=(8, 8)), None),
        ((2, 3, 4, 5), Expected((2, 3, 4, 5)), None),
        ((30,), Expected((64,)), "a row of 30 values cannot become 64 values"),
        ((28, 28), Expected((64,)), "an example of 28x28 cannot become 64 values"),
        ((64,), Expected((32, 32, 3)), "a row of 64 values cannot become 32x32x3"),
        ((30,), Expected((64,), image=(8, 8)), "cannot become 64 values of images 8x8"),
        ((8, 8, 4), Expected((8, 8, 3)), "4 channels cannot become 3"),
        ((2, 3, 4, 5), Expected((8, 8, 3)), "an example of 2x3x4x5 cannot become 8x8x3"),
    ],
)
def test_what_cannot_fit_is_said(shape, expected, reason):
    given = why_incompatible(shape, expected)
    assert (given is None) if reason is None else (reason in given)


@pytest.mark.parametrize(
    ("shape", "expected", "line"),
    [
        (
            (28, 28, 1),
            Expected((32, 32, 3)),
            "source expects 32x32x3 in [-1, 1]: examples 28x28x1 in [0, 255] are resized, "
            "repeated to 3 channels, scaled",
        ),
        (
            (8, 8),
            Expected((64,), image=(8, 8)),
            "source expects 64 values of images 8x8 in [-1, 1]: examples 8x8 in [0, 255] are "
            "scaled",
        ),
        (
            (28, 28, 3),
            Expected((28, 28, 1), values=None),
            "source expects 28x28x1 in raw values: examples 28x28x3 in [0, 255] are averaged to 1 "
            "channel, not scaled",
        ),
        (
            (40, 40, 3),
            BY_CHANNEL,
            "source expects 40x40x3 in [-123.7, 151.1]: examples 40x40x3 in [0, 255] are reversed "
            "in their channels, scaled",
        ),
    ],
)
def test_what_is_done_is_one_line(shape, expected, line):
    assert describe(shape, (0.0, 255.0), expected) == line


@pytest.mark.parametrize("expected", [Expected((64,), (8, 8)), Expected((3,)), BY_CHANNEL])
def test_a_note_says_all_of_it(expected):
    note = json.loads(json.dumps(expected.to_note()))
    assert Expected.from_note(note) == expected
