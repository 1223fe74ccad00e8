import keras
import numpy as np
from sklearn.metrics import log_loss

from kt_transfer.methods import Features, Linear
from kt_transfer.methods.learning import Examples, Problem, Start, start_fresh
from kt_transfer.models.classifiers import dense_encoder, fit_logistic_regression
from kt_transfer.models.preprocessing import preprocessing_model
from kt_transfer.reporting.classification import softmax
from kt_transfer.training.augmentation import augmentation


def test_features_are_those_of_the_frozen_encoder(data, scaled):
    encoder = dense_encoder(64, (24,), 12)
    x, y = data.x[:100], data.y[:100]
    learner = Features().prepare(Problem(10, 100, dense_encoder(64, (24,), 12), scaled))
    learned = learner.learn(Examples(x, y), seed=3, start=Start(encoder.get_weights()))
    features = encoder(scaled(x)).numpy()
    kernel, bias, _ = fit_logistic_regression(features, y, 10, seed=3)
    expected = encoder(scaled(data.x_test[:20])).numpy() @ kernel + bias
    np.testing.assert_allclose(learned.logits(data.x_test[:20]), expected, rtol=1e-4, atol=1e-4)
    own = learned.network.get_layer("encoder").get_weights()
    for weights, transferred in zip(own, encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(weights, transferred)


def test_a_dense_head_is_learned_again_to_the_same(data, scaled):
    encoder = dense_encoder(64, (24,), 12)
    settings = {"head": "dense", "epochs": 3, "dropout": 0.5, "features_from": "all"}
    learner = Features(**settings).prepare(Problem(10, 100, encoder, scaled))
    examples, start = Examples(data.x[:100], data.y[:100]), Start(encoder.get_weights())

    def answers(seed):
        return learner.learn(examples, seed=seed, start=start).logits(data.x_test[:20])

    first = answers(1)
    assert np.abs(answers(2) - first).max() > 0.01
    np.testing.assert_array_equal(answers(1), first)


def test_linear_is_logistic_regression_on_the_inputs(tmp_path, data, scaled):
    x, y = data.x[:100], data.y[:100]
    learned = Linear().prepare(Problem(10, 100, flat=scaled)).learn(Examples(x, y), seed=3)
    inputs = scaled(x).numpy()
    kernel, bias, _ = fit_logistic_regression(inputs, y, 10, seed=3)
    expected = scaled(data.x_test[:20]).numpy() @ kernel + bias
    np.testing.assert_allclose(learned.logits(data.x_test[:20]), expected, rtol=1e-4, atol=1e-4)
    assert learned.network.count_params() == 64 * 10 + 10
    learned.network.save(tmp_path / "linear.keras")
    again = keras.saving.load_model(tmp_path / "linear.keras")
    np.testing.assert_allclose(again(scaled(x)), learned.network(scaled(x)), rtol=1e-6)


def test_a_dense_head_sees_views_through_the_frozen_encoder(data, scaled):
    encoder = dense_encoder(64, (64,))
    start_fresh(encoder, 0)
    problem = Problem(10, 100, encoder, scaled)
    method = Features(head="dense", epochs=100, learning_rate=0.05)
    views = augmentation("affine", 1.0, data.scaling_range)
    learner = method.prepare(problem._replace(augment=views))
    examples, start = Examples(data.x[:100], data.y[:100]), Start(encoder.get_weights())

    def learned(learner, seed):
        return learner.learn(examples, seed=seed, start=start)

    def loss_on_views(learned):
        """What the head that sees views has learned to make small."""
        seeds = [(7, number) for number in range(5)]
        logits = np.concatenate([learned.logits(views(data.x[:100], s).numpy()) for s in seeds])
        return log_loss(np.tile(data.y[:100], 5), softmax(logits.astype(np.float64)))

    first = learned(learner, 1)
    answers, with_views = first.logits(data.x_test[:20]), loss_on_views(first)
    for own, given in zip(
        first.network.get_layer("encoder").get_weights(), encoder.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(own, given)
    learned(learner, 2)
    np.testing.assert_array_equal(learned(learner, 1).logits(data.x_test[:20]), answers)
    assert with_views < 0.9 * loss_on_views(learned(method.prepare(problem), 1))


def test_folds_that_choose_the_regularization_keep_groups_together():
    """Where a column tells the group, and so by heart its label, but nothing of other groups."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(24), 10)
    y = np.repeat(rng.permutation(24) % 2, 10)
    x = (np.eye(24)[groups] + 0.05 * rng.normal(size=(240, 24))).astype(np.float32)
    flat = preprocessing_model((24,), (-1.0, 1.0), "float32")
    strengths = {}
    for name, together in (("rows", None), ("groups", groups)):
        learner = Linear().prepare(Problem(2, 240, flat=flat))
        learned = learner.learn(Examples(x, y, together=together), seed=0)
        strengths[name] = learned.strength
    assert strengths["groups"] < 0.1 * strengths["rows"]
