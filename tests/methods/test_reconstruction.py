import numpy as np
import pytest

from kt_transfer.methods.learning import start_fresh
from kt_transfer.methods.reconstruction import AutoencoderLearner
from kt_transfer.methods.steps import Steps
from kt_transfer.models.autoencoders import dense_autoencoder, sparse_autoencoder
from kt_transfer.training.k_sparse import FallingSparsity

STEPS = Steps(epochs=4, batch_size=16, learning_rate=3e-3)


@pytest.fixture
def autoencoder(scaled):
    model = dense_autoencoder(64, (24,), 12, noise=0.3)
    return AutoencoderLearner(model, scaled, STEPS, num_examples=80)


def test_a_k_sparse_autoencoder_is_trained_with_a_falling_k(data, scaled, monkeypatch):
    model = sparse_autoencoder(64, (), 12, sparsity="k_sparse", num_active=3)
    learner, numbers = AutoencoderLearner(model, scaled, STEPS, num_examples=80), []
    at = FallingSparsity.at
    monkeypatch.setattr(
        FallingSparsity, "at", lambda self, epoch: numbers.append(at(self, epoch)) or numbers[-1]
    )
    learner.learn(data.x[:80], seed=0)
    assert numbers == [12, 8, 3, 3]
    first = learner.encoder_weights
    learner.learn(data.x[:80], seed=0)
    for one, again in zip(first, learner.encoder_weights, strict=True):
        np.testing.assert_array_equal(one, again)


def test_an_autoencoder_learns_the_same_noise_with_the_same_seed(data, autoencoder):
    def weights(seed):
        autoencoder.learn(data.x[:80], seed=seed)
        return autoencoder.encoder_weights

    first, other = weights(1), weights(2)
    for one, again in zip(first, weights(1), strict=True):
        np.testing.assert_array_equal(one, again)
    assert np.abs(first[0] - other[0]).max() > 0.01


def test_the_penalty_of_pretraining_is_not_handed_on(data, scaled):
    model = sparse_autoencoder(64, (24,), 12)
    learner = AutoencoderLearner(model, scaled, STEPS, num_examples=80)
    learner.learn(data.x[:80], seed=0)
    shapes = [weights.shape for weights in learner.encoder_weights]
    assert shapes == [(64, 24), (24,), (24, 12), (12,)]


def test_fresh_weights_are_a_function_of_the_seed_and_leave_others_seeds_alone():
    import random

    network = dense_autoencoder(16, (8,), 4, noise=0.3)

    def fresh(seed):
        start_fresh(network, seed)
        return [variable.numpy() for variable in network.variables]

    random.seed(5)
    expected = random.random()
    random.seed(5)
    first = fresh(1)
    assert random.random() == expected
    for one, again in zip(first, fresh(1), strict=True):
        np.testing.assert_array_equal(one, again)
    # Every one but the biases, the random state of the noise among them.
    changed = [np.any(a != b) for a, b in zip(first, fresh(2), strict=True)]
    assert sum(changed) == 5
