import keras
import numpy as np
import pytest

from kt_transfer.models.classifiers import classifier, dense_encoder
from kt_transfer.models.temperature import with_temperature

X = np.random.default_rng(0).normal(size=(500, 8)).astype(np.float32)


@pytest.mark.parametrize("temperature", [0.3, 2.5])
def test_logits_are_divided_and_answers_stay(temperature, tmp_path):
    network = classifier(dense_encoder(8, [16], 4), 3, dropout=0.2)
    before = network.predict(X, verbose=0)
    cooler = with_temperature(network, temperature)
    cooler.save(tmp_path / "model.keras")
    after = keras.saving.load_model(tmp_path / "model.keras").predict(X, verbose=0)
    np.testing.assert_allclose(after, before / temperature, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(after.argmax(axis=1), before.argmax(axis=1))
    np.testing.assert_array_equal(network.predict(X, verbose=0), before)
    assert cooler.get_config() == network.get_config()


def test_what_emits_no_logits_is_refused():
    x = keras.Input((8,))
    network = keras.Model(x, keras.layers.Dense(3, "softmax", name="head")(x))
    with pytest.raises(ValueError, match="ends in 'head' was given, expected linear units"):
        with_temperature(network, 2.0)
