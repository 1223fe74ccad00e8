import keras
import numpy as np
import pytest

from kt_transfer.methods import Parameters, Scratch
from kt_transfer.methods.learning import Examples, Problem, Start
from kt_transfer.models.classifiers import dense_encoder, fit_logistic_regression
from kt_transfer.training.augmentation import augmentation

STEPS = {"epochs": 4, "batch_size": 16, "learning_rate": 3e-3}


def prepared(scaled, method=None, num_examples=80):
    problem = Problem(10, num_examples, dense_encoder(64, (24,), 12), scaled)
    return (method or Scratch(**STEPS)).prepare(problem)


@pytest.fixture
def network(scaled):
    return prepared(scaled)


def some(data, rows=slice(80), **more):
    return Examples(data.x[rows], data.y[rows], **more)


def test_a_network_learns_a_pure_function_of_examples_and_seed(data, network):
    def answers(seed, rows=slice(80)):
        return network.learn(some(data, rows), seed=seed).logits(data.x_test[:20])

    first, other = answers(1), answers(2)
    answers(3, slice(100, 190))  # whatever was learned in between, and of another size
    np.testing.assert_array_equal(answers(1), first)
    assert np.abs(first - other).max() > 0.01


@pytest.mark.parametrize(
    "settings",
    [
        {"dropout": 0.5},
        {"freeze": 1},
        pytest.param({"unfreeze_every": 1}, marks=pytest.mark.slow),
        {"layer_decay": 0.5, "lr_decay": "cosine"},
        {"patience": 1},
    ],
    ids=str,
)
def test_every_setting_is_learned_again_to_the_same(data, scaled, settings):
    learner = prepared(scaled, Scratch(**STEPS | settings))
    held_out = data.x[100:150], data.y[100:150]

    def answers(seed):
        examples = some(data, validation=held_out)
        return learner.learn(examples, seed=seed).logits(data.x_test[:20])

    first = answers(1)
    answers(2)
    np.testing.assert_array_equal(answers(1), first)
    fresh = prepared(scaled, Scratch(**STEPS | settings))
    examples = some(data, validation=held_out)
    np.testing.assert_array_equal(fresh.learn(examples, seed=1).logits(data.x_test[:20]), first)


def test_it_starts_from_the_weights_that_are_given(data, scaled):
    still = {"epochs": 1, "batch_size": 16, "learning_rate": 1e-9, "head_start": "random"}
    learner = prepared(scaled, Parameters(**still))
    weights = dense_encoder(64, (24,), 12).get_weights()
    learned = learner.learn(some(data), seed=0, start=Start(weights))
    for own, given in zip(learned.network.get_layer("encoder").get_weights(), weights, strict=True):
        np.testing.assert_allclose(own, given, atol=1e-6)


def test_the_head_starts_from_logistic_regression_on_the_features(data, scaled):
    learner = prepared(scaled, Parameters(epochs=1, learning_rate=1e-9))
    encoder = dense_encoder(64, (24,), 12)
    learned = learner.learn(some(data), seed=3, start=Start(encoder.get_weights()))
    features = encoder(scaled(data.x[:80])).numpy()
    kernel, bias, strength = fit_logistic_regression(features, data.y[:80], 10, seed=3)
    for own, expected in zip(
        learned.network.get_layer("head").get_weights(), (kernel, bias), strict=True
    ):
        np.testing.assert_allclose(own, expected, rtol=1e-3, atol=1e-3)
    assert learned.strength == strength
    assert learned.seconds > learned.head_seconds > 0


def test_locked_layers_keep_what_was_transferred(data, scaled):
    learner = prepared(scaled, Parameters(epochs=4, learning_rate=0.1, freeze=1))
    weights = dense_encoder(64, (24,), 12).get_weights()
    learned = learner.learn(some(data), seed=0, start=Start(weights))
    own = learned.network.get_layer("encoder").get_weights()
    np.testing.assert_array_equal(own[0], weights[0])
    assert np.abs(own[2] - weights[2]).max() > 0.01


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
        network.learn(some(data, rows), seed=fold)

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
        learner = prepared(scaled, num_examples=100)
        return learner.learn(some(data, slice(rows)), seed=0).execution

    assert execution(80) == execution(81)


def test_a_learning_curve_is_drawn_of_examples_that_teach_nothing(data, network):
    watched = data.x[100:150], data.y[100:150]
    learned = network.learn(some(data, validation=watched), seed=1)
    assert list(learned.curve) == [1, 2, 3, 4]
    right = learned.logits(watched[0]).argmax(axis=1) == watched[1]
    assert learned.curve[4] == pytest.approx(right.mean())
    answers = learned.logits(data.x_test[:20])
    alone = network.learn(some(data), seed=1)
    np.testing.assert_array_equal(alone.logits(data.x_test[:20]), answers)
    assert alone.curve == {}


def test_steps_and_seconds_are_told(data, network):
    learned = network.learn(some(data, slice(81)), seed=0)
    assert learned.steps == 4 * 6
    assert learned.seconds > 0
    assert learned.head_seconds == 0


def views_of_digits(data, scaled, method, strength=2.0):
    problem = Problem(10, 80, dense_encoder(64, (24,), 12), scaled)
    views = augmentation("affine", strength, data.scaling_range)
    return method.prepare(problem._replace(augment=views))


@pytest.mark.parametrize("settings", [{}, {"freeze": 1}, {"freeze": "all"}, {"unfreeze_every": 2}])
def test_views_are_learned_again_to_the_same(data, scaled, settings):
    method = Scratch(**STEPS | settings)
    learner = views_of_digits(data, scaled, method)

    def answers(learner, seed):
        return learner.learn(some(data), seed=seed).logits(data.x_test[:20])

    first = answers(learner, 1)
    answers(learner, 2)
    np.testing.assert_array_equal(answers(learner, 1), first)
    assert np.abs(answers(prepared(scaled, method), 1) - first).max() > 0.01


def test_locked_layers_see_views_and_stay(data, scaled):
    """What they give is not computed once: views that differ are told apart better."""
    keras.utils.set_random_seed(0)
    weights = dense_encoder(64, (24,), 12).get_weights()
    method = Parameters(epochs=100, freeze=1, learning_rate=3e-3)
    views = augmentation("affine", 1.0, data.scaling_range)
    seen = np.concatenate([views(data.x[:80], (7, seed)).numpy() for seed in range(5)])

    def accuracy(learner):
        learned = learner.learn(some(data), seed=0, start=Start(weights))
        locked = learned.network.get_layer("encoder").get_weights()[0]
        np.testing.assert_array_equal(locked, weights[0])
        return (learned.logits(seen).argmax(axis=1) == np.tile(data.y[:80], 5)).mean()

    with_views = accuracy(views_of_digits(data, scaled, method, strength=1.0))
    assert with_views > accuracy(prepared(scaled, method)) + 0.03
