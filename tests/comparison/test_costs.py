import keras
import numpy as np

from kt_transfer.comparison.costs import costs
from kt_transfer.models.classifiers import classifier, dense_encoder
from kt_transfer.models.preprocessing import preprocessing_model


def test_costs_are_those_of_the_network(tmp_path):
    network = classifier(dense_encoder(16, (8,)), 3)
    scaled = preprocessing_model((4, 4), (0.0, 255.0))
    found = costs(network, scaled, np.zeros((1, 4, 4), np.uint8))
    assert found["num_parameters"] == 16 * 8 + 8 + 8 * 3 + 3
    keras.saving.save_model(network, tmp_path / "model.keras")
    assert abs(found["bytes"] - (tmp_path / "model.keras").stat().st_size) < 100


def test_the_network_keeps_its_weights():
    network = classifier(dense_encoder(16, (8,)), 3)
    before = [weights.copy() for weights in network.get_weights()]
    costs(network, preprocessing_model((16,), (0.0, 1.0), "float32"), np.zeros((1, 16), "float32"))
    for weights, own in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(weights, own)


def test_more_work_takes_longer():
    def latency(*widths):
        network = classifier(dense_encoder(16, widths), 3)
        scaled = preprocessing_model((16,), (0.0, 1.0), "float32")
        return costs(network, scaled, np.zeros((1, 16), np.float32))["latency_ms"]

    assert 0 < latency(8) < latency(3000, 3000)
