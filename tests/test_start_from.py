import warnings

import keras
import numpy as np
import pytest
from keras import layers

from kt_transfer import UserError, load_data
from kt_transfer.sources.adapting import Expected
from kt_transfer.sources.loading import load_source

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


@pytest.fixture
def saved(tmp_path):
    """Saves a model; its path, as a user gives it."""

    def save(*stack, shape=(8, 8, 1), dtype=None):
        model = keras.Sequential([keras.Input(shape, dtype=dtype), *stack])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras warns of lambdas
            model.save(tmp_path / "model.keras")
        return str(tmp_path / "model.keras")

    return save


def table(tmp_path, *shape):
    np.savez(tmp_path / "d.npz", x=RNG.normal(size=(20, *shape)), y=np.arange(20) % 2)
    return load_data(f"npz:{tmp_path / 'd.npz'}")


def conv(*more):
    return layers.Conv2D(4, 3), *more, layers.Flatten(), layers.Dense(10)


def test_a_file_gives_its_body_and_what_it_expects(saved, digits):
    encoder, expected = load_source(saved(*conv()), None, digits)
    assert (encoder.name, encoder.output_shape) == ("encoder", (None, 6 * 6 * 4))
    assert expected == Expected((8, 8, 1), values=(-1.0, 1.0))


def test_a_file_may_scale_by_itself(saved, digits):
    for scale in (layers.Rescaling(1 / 16), layers.Normalization(mean=3.0, variance=2.0)):
        path = saved(scale, *conv())
        assert load_source(path, None, digits)[1].values is None
        assert load_source(path, None, digits, (0.0, 255.0))[1].values == (0.0, 255.0)
    # One further in is not a beginning.
    assert load_source(saved(*conv(layers.Rescaling(2.0))), None, digits)[1].values == (-1.0, 1.0)


def test_a_file_for_any_size_takes_the_targets(saved, digits):
    path = saved(layers.Conv2D(4, 3), shape=(None, None, 3))
    encoder, expected = load_source(path, None, digits)
    assert expected.shape == (8, 8, 3)
    assert encoder.input_shape == (None, 8, 8, 3)


def test_a_file_of_bytes_takes_scaled_values_too(saved, digits):
    path = saved(layers.Rescaling(1 / 16), layers.Flatten(), *conv()[-1:], dtype="uint8")
    with pytest.raises(UserError, match="no layers with weights"):
        load_source(path, None, digits)
    path = saved(layers.Rescaling(1 / 16), *conv(), dtype="uint8")
    encoder, _ = load_source(path, None, digits)
    assert encoder.input.dtype == "float32"


@keras.saving.register_keras_serializable("kt_transfer_tests")
class Halved(layers.Layer):
    def call(self, x):
        return 0.5 * x


@pytest.mark.parametrize(
    ("stack", "options", "reason"),
    [
        ((layers.Lambda(lambda x: 2 * x), *conv()), {}, "Python lambda"),
        ((Halved(), *conv()), {}, r"layer that Keras does not know, .*\(Halved\)"),
        ((layers.Flatten(), layers.Dense(10)), {}, "no layers with weights before"),
        (
            (layers.Embedding(10, 4), layers.LSTM(3)),
            {"shape": (8,), "dtype": "int32"},
            "takes int32",
        ),
        ((layers.Dense(4), layers.Dense(3)), {"shape": (30,)}, "8x8 cannot become 30 values"),
        ((layers.Conv2D(4, 9),), {"shape": (None, None, 1)}, "(?i)negative|output size"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(saved, digits, stack, options, reason):
    path = saved(*stack, **options)
    with pytest.raises(UserError, match=reason) as refused:
        load_source(path, None, digits)
    assert str(refused.value).startswith(f"source={path} was given")
    assert "\n" not in str(refused.value)


def test_a_class_that_is_nowhere_is_refused(saved, digits, monkeypatch):
    path = saved(Halved(), *conv())
    monkeypatch.delitem(keras.saving.get_custom_objects(), "kt_transfer_tests>Halved")
    with pytest.raises(UserError, match="does not load .*Halved"):
        load_source(path, None, digits)


@pytest.mark.parametrize("content", [b"", b"no zip", None])
def test_a_damaged_file_is_refused(saved, digits, tmp_path, content):
    path = tmp_path / "model.keras"
    saved(*conv())
    path.write_bytes(path.read_bytes()[:2000] if content is None else content)
    with pytest.raises(UserError, match="does not load"):
        load_source(str(path), None, digits)


def test_a_table_is_no_image(saved, tmp_path):
    data = table(tmp_path, 64)
    with pytest.raises(UserError, match="a row of 64 values cannot become 8x8x1"):
        load_source(saved(*conv()), None, data)
    with pytest.raises(UserError, match="a row of 64 values cannot become an image"):
        load_source("keras_applications:MobileNet", None, data)


def test_an_application_is_refused_before_anything_is_fetched(digits, tmp_path):
    with pytest.raises(UserError, match="images of 8x8 would be .*32x32.* at least"):
        load_source("keras_applications:MobileNet", None, digits)
    with pytest.raises(UserError, match="4 channels cannot become 3"):
        load_source("keras_applications:MobileNet", None, table(tmp_path, 32, 32, 4))
    with pytest.raises(UserError, match="keras_applications:Nothing was given"):
        load_source("keras_applications:Nothing", None, digits)
