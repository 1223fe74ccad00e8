import keras
import numpy as np
import pytest

from kt_transfer.data import load_data
from kt_transfer.methods import learners
from kt_transfer.methods.learners import (
    AutoencoderLearner,
    NetworkLearner,
    Schedule,
    StudentLearner,
    learn_features,
    start_fresh,
)
from kt_transfer.models.autoencoders import dense_autoencoder, sparse_autoencoder
from kt_transfer.models.classifiers import classifier, dense_encoder, fit_logistic_regression
from kt_transfer.models.preprocessing import preprocessing_model
from kt_transfer.training.k_sparse import FallingSparsity

SCHEDULE = Schedule(epochs=4, batch_size=16, learning_rate=3e-3)


@pytest.fixture(scope="module")
def data():
    return load_data("digits")


@pytest.fixture(scope="module")
def scaled(data):
    return preprocessing_model(data.input_shape, data.value_range, data.x.dtype)


@pytest.fixture
def network(scaled):
    return NetworkLearner(dense_encoder(64, (24,), 12), scaled, 10, SCHEDULE, num_examples=80)


@pytest.fixture
def autoencoder(scaled):
    model = dense_autoencoder(64, (24,), 12, noise=0.3)
    return AutoencoderLearner(model, scaled, SCHEDULE, num_examples=80)


def test_a_k_sparse_autoencoder_is_trained_with_a_falling_k(data, scaled, monkeypatch):
    model = sparse_autoencoder(64, (), 12, sparsity="k_sparse", num_active=3)
    learner, numbers = AutoencoderLearner(model, scaled, SCHEDULE, num_examples=80), []
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


def test_a_network_learns_a_pure_function_of_examples_and_seed(data, network):
    def answers(seed, rows=slice(80)):
        return network.learn(data.x[rows], data.y[rows], seed=seed).logits(data.x_test[:20])

    first, other = answers(1), answers(2)
    answers(3, slice(100, 190))  # whatever was learned in between, and of another size
    np.testing.assert_array_equal(answers(1), first)
    assert np.abs(first - other).max() > 0.01


def test_an_autoencoder_learns_the_same_noise_with_the_same_seed(data, autoencoder):
    def weights(seed):
        autoencoder.learn(data.x[:80], seed=seed)
        return autoencoder.encoder_weights

    first, other = weights(1), weights(2)
    for one, again in zip(first, weights(1), strict=True):
        np.testing.assert_array_equal(one, again)
    assert np.abs(first[0] - other[0]).max() > 0.01


def test_it_starts_from_the_weights_that_are_given(data, scaled, autoencoder):
    still = Schedule(epochs=1, batch_size=16, learning_rate=1e-9)
    learner = NetworkLearner(dense_encoder(64, (24,), 12), scaled, 10, still, num_examples=80)
    autoencoder.learn(data.x[:80], seed=0)
    weights = autoencoder.encoder_weights

    def encoder_after(given):
        learned = learner.learn(data.x[:80], data.y[:80], seed=0, encoder_weights=given)
        return learned.network.get_layer("encoder").get_weights()

    for own, given in zip(encoder_after(weights), weights, strict=True):
        np.testing.assert_allclose(own, given, atol=1e-6)
    assert np.abs(encoder_after(None)[0] - weights[0]).max() > 0.01


def test_the_penalty_of_pretraining_is_not_handed_on(data, scaled):
    model = sparse_autoencoder(64, (24,), 12)
    learner = AutoencoderLearner(model, scaled, SCHEDULE, num_examples=80)
    learner.learn(data.x[:80], seed=0)
    shapes = [weights.shape for weights in learner.encoder_weights]
    assert shapes == [(64, 24), (24,), (24, 12), (12,)]


@pytest.mark.parametrize("jit_at", [1, 10**9])
def test_folds_share_one_program(monkeypatch, data, network, jit_at):
    monkeypatch.setattr("kt_transfer.engine.fused_model.MIN_STEPS_FOR_XLA", jit_at)
    traced = []
    step = network.network.train_step
    monkeypatch.setattr(
        network.network, "train_step", lambda batch: traced.append(1) or step(batch)
    )

    def learn(fold):
        rows = slice(fold, fold + 79 + fold % 2)  # folds of nearly one size
        network.learn(data.x[rows], data.y[rows], seed=fold)

    for fold in range(3):
        learn(fold)
    after_three = len(traced)
    for fold in range(3, 12):
        learn(fold)
    assert after_three <= 4
    assert len(traced) == after_three


def test_how_a_fold_is_executed_does_not_depend_on_which_came_first(monkeypatch, data, scaled):
    # 5 steps an epoch for 80 examples, 6 for 81: on either side of the limit.
    monkeypatch.setattr("kt_transfer.engine.fused_model.MIN_STEPS_FOR_XLA", 21)

    def execution(rows):
        encoder = dense_encoder(64, (24,), 12)
        learner = NetworkLearner(encoder, scaled, 10, SCHEDULE, num_examples=100)
        learner.learn(data.x[:rows], data.y[:rows], seed=0)
        return learner._fits.fused.execution

    assert execution(80) == execution(81)


def test_a_learning_curve_is_drawn_of_examples_that_teach_nothing(data, network):
    watched = data.x[100:150], data.y[100:150]
    learned = network.learn(data.x[:80], data.y[:80], seed=1, watched=watched)
    assert list(learned.curve) == [1, 2, 3, 4]
    right = learned.logits(watched[0]).argmax(axis=1) == watched[1]
    assert learned.curve[4] == pytest.approx(right.mean())
    answers = learned.logits(data.x_test[:20])
    alone = network.learn(data.x[:80], data.y[:80], seed=1)
    np.testing.assert_array_equal(alone.logits(data.x_test[:20]), answers)
    assert alone.curve == {}


def test_steps_and_seconds_are_told(data, network):
    learned = network.learn(data.x[:81], data.y[:81], seed=0)
    assert learned.steps == 4 * 6
    assert learned.seconds > 0


@pytest.fixture
def student(scaled, network):
    model = classifier(dense_encoder(64, (8,)), 10, name="student")
    schedule = Schedule(epochs=40, batch_size=16, learning_rate=3e-3)
    return StudentLearner(model, network.network, scaled, schedule, num_examples=300)


def test_a_student_learns_from_soft_targets_alone(data, student):
    # The teacher knows: its answers are the truth of examples whose label is not given.
    soft_targets = 8.0 * np.eye(10, dtype=np.float32)[data.y[:300]]
    nothing = np.full(300, -1)
    learned = student.learn(data.x[:300], nothing, soft_targets, seed=0)
    right = learned.logits(data.x[:300]).argmax(axis=1) == data.y[:300]
    assert right.mean() > 0.8
    again = student.learn(data.x[:300], nothing, soft_targets, seed=0).logits(data.x[:50])
    other = student.learn(data.x[:300], nothing, soft_targets, seed=1).logits(data.x[:50])
    np.testing.assert_array_equal(
        student.learn(data.x[:300], nothing, soft_targets, seed=0).logits(data.x[:50]), again
    )
    assert np.abs(other - again).max() > 0.01


def test_a_student_of_many_examples_takes_fewer_epochs(monkeypatch, data, scaled, network):
    monkeypatch.setattr(learners, "MAX_STUDENT_STEPS", 50)
    model = classifier(dense_encoder(64, (8,)), 10, name="student")
    schedule = Schedule(epochs=40, batch_size=16, learning_rate=3e-3)
    student = StudentLearner(model, network.network, scaled, schedule, num_examples=300)
    soft_targets = np.zeros((300, 10), np.float32)
    learned = student.learn(data.x[:300], data.y[:300], soft_targets, seed=0)
    assert learned.steps == 2 * 19  # 19 steps an epoch; a third would be the 57th


def test_features_are_those_of_the_frozen_encoder(data, scaled):
    encoder = dense_encoder(64, (24,), 12)
    before = [weights.copy() for weights in encoder.get_weights()]
    x, y = data.x[:100], data.y[:100]
    learned = learn_features(encoder, scaled, x, y, 10, seed=3)
    features = encoder(scaled(x)).numpy()
    kernel, bias, _ = fit_logistic_regression(features, y, 10, seed=3)
    expected = encoder(scaled(data.x_test[:20])).numpy() @ kernel + bias
    np.testing.assert_allclose(learned.logits(data.x_test[:20]), expected, rtol=1e-4, atol=1e-4)
    for weights, own in zip(before, encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(weights, own)


def test_without_layers_it_is_logistic_regression_on_the_inputs(tmp_path, data, scaled):
    x, y = data.x[:100], data.y[:100]
    learned = learn_features(dense_encoder(64, ()), scaled, x, y, 10, seed=3)
    inputs = scaled(x).numpy()
    kernel, bias, _ = fit_logistic_regression(inputs, y, 10, seed=3)
    expected = scaled(data.x_test[:20]).numpy() @ kernel + bias
    np.testing.assert_allclose(learned.logits(data.x_test[:20]), expected, rtol=1e-4, atol=1e-4)
    assert learned.network.count_params() == 64 * 10 + 10
    learned.network.save(tmp_path / "linear.keras")
    again = keras.saving.load_model(tmp_path / "linear.keras")
    np.testing.assert_allclose(again(scaled(x)), learned.network(scaled(x)), rtol=1e-6)


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
