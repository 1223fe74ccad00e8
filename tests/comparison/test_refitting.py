import keras
import numpy as np
import pytest

from kt_transfer.comparison.refitting import fixed, refit, refittable
from kt_transfer.data.ranges import observed_range, range_of
from kt_transfer.engine.fused_model import predict_raw
from kt_transfer.models.preprocessing import preprocessing_model
from kt_transfer.sources.adapting import Expected, adapting_model

RNG = np.random.default_rng(0)
KINDS = {
    "table": RNG.normal(1e6, 3, (40, 4)),
    "bytes": RNG.integers(0, 200, (40, 4), dtype=np.uint8),
    "images": RNG.normal(size=(40, 3, 3)).astype(np.float32),
    "images of bytes": RNG.integers(0, 200, (40, 3, 3), dtype=np.uint8),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_refitted_model_is_one_made_for_those_examples(kind):
    x = KINDS[kind]
    part = x[:10]
    whole = refittable(preprocessing_model(x.shape[1:], range_of(x), x.dtype), observed_range(x))
    own = preprocessing_model(x.shape[1:], range_of(part), x.dtype)
    refit(whole, part)
    np.testing.assert_allclose(whole(x), own(x), atol=1e-5)
    stock = fixed(whole)
    np.testing.assert_allclose(stock(x), own(x), atol=1e-5)
    assert all(type(layer).__module__.startswith("keras.") for layer in stock.layers)


@pytest.mark.parametrize("kind", ["images", "images of bytes"])
@pytest.mark.parametrize("values", [(0.0, 255.0), ((0.0, 1.0, 2.0), (1.0, 2.0, 4.0)), None])
def test_so_is_one_that_adapts_to_a_source(kind, values):
    x = KINDS[kind]
    expected = Expected((6, 6, 3), values=values, reversed_channels=True)
    made = adapting_model(x.shape[1:], observed_range(x), x.dtype, expected)
    refitted = refittable(made, observed_range(x))
    refit(refitted, x[:10])
    own = adapting_model(x.shape[1:], observed_range(x[:10]), x.dtype, expected)
    np.testing.assert_allclose(refitted(x), own(x), rtol=1e-5, atol=1e-4)


def test_one_program_serves_every_fold():
    x = KINDS["table"]
    model = refittable(preprocessing_model((4,), range_of(x), x.dtype), observed_range(x))
    network = keras.Sequential([keras.Input((4,)), keras.layers.Identity()])
    before = predict_raw(network, model, x)
    refit(model, x[:5])
    assert not np.allclose(predict_raw(network, model, x), before)
    refit(model, x)
    np.testing.assert_array_equal(predict_raw(network, model, x), before)


def test_a_declared_range_stays():
    x = KINDS["images of bytes"]
    declared = preprocessing_model(x.shape[1:], (0.0, 255.0))
    refit(declared, x[:2])
    assert fixed(declared) is declared
    np.testing.assert_allclose(declared(x)[0, 0], x[0, 0, 0] / 127.5 - 1, atol=1e-6)
