import keras
import numpy as np
import pytest

from kt_transfer import UserError
from kt_transfer.data.splits import draw_labels
from kt_transfer.methods import Consistency, Scratch
from kt_transfer.methods.learning import Examples, Problem, Start, labels_of
from kt_transfer.methods.views import views_of
from kt_transfer.models.classifiers import dense_encoder
from kt_transfer.models.preprocessing import preprocessing_model

SHORT = {"epochs": 3, "batch_size": 32}


def prepared(data, scaled, encoder=None, **settings):
    views = views_of("affine", data.input_shape, data.scaling_range)
    encoder = encoder or dense_encoder(64, (48,))
    problem = Problem(10, len(data.x), encoder, scaled, augment=views)
    return Consistency(**SHORT | settings).prepare(problem)


def few(data, num=50, **more):
    return Examples(data.x, labels_of(data.y, draw_labels(data.y, num, 0)), **more)


def accuracy(learned, data):
    return np.mean(learned.logits(data.x_test).argmax(axis=1) == data.y_test)


def test_more_is_learned_than_from_views_of_the_labels_alone(data, scaled):
    examples = few(data)
    learner = prepared(data, scaled, epochs=120, max_steps=None)
    alone = Scratch(epochs=300, augment="affine").prepare(learner.problem)
    rows = np.flatnonzero(examples.y >= 0)
    without = accuracy(alone.learn(Examples(data.x[rows], data.y[rows]), seed=0), data)
    assert accuracy(learner.learn(examples, seed=0), data) > without + 0.02


def test_it_is_learned_again_to_the_same(data, scaled):
    examples, learner = few(data), prepared(data, scaled)

    def answers(learner, seed):
        return learner.learn(examples, seed=seed).logits(data.x_test[:50])

    first = answers(learner, 1)
    assert np.abs(answers(learner, 2) - first).max() > 0.01
    np.testing.assert_array_equal(answers(learner, 1), first)
    np.testing.assert_array_equal(answers(prepared(data, scaled), 1), first)


def test_unlabelled_examples_are_learned_from(data, scaled):
    examples, learner = few(data), prepared(data, scaled, epochs=1, threshold=0.0)
    first = learner.learn(examples, seed=0).logits(data.x_test[:20])
    x, unlabelled = data.x.copy(), np.flatnonzero(examples.y < 0)
    x[unlabelled] = x[unlabelled] // 2
    other = learner.learn(Examples(x, examples.y), seed=0).logits(data.x_test[:20])
    assert np.abs(other - first).max() > 1e-3


def test_a_source_is_where_it_starts(data, scaled):
    encoder, examples = dense_encoder(64, (48,)), few(data)
    weights = [1.5 * value for value in encoder.get_weights()]
    learner = prepared(data, scaled, encoder, initial_weights="source", learning_rate=1e-9)
    assert learner.method.needs_source and learner.method.regresses
    learned = learner.learn(examples, seed=0, start=Start(weights))
    for own, given in zip(learned.network.get_layer("encoder").get_weights(), weights, strict=True):
        np.testing.assert_allclose(own, given, atol=1e-5)
    # The head is logistic regression on its features, which knows the labels at once.
    rows = np.flatnonzero(examples.y >= 0)
    assert np.mean(learned.logits(data.x[rows]).argmax(axis=1) == data.y[rows]) > 0.95
    assert learned.strength is not None and learned.head_seconds > 0
    fresh = prepared(data, scaled, encoder, learning_rate=1e-9)
    kept = fresh.learn(examples, seed=0, start=Start(weights)).network.get_layer("encoder")
    assert np.abs(kept.get_weights()[0] - weights[0]).max() > 0.01


def test_those_in_doubt_are_counted(data, scaled):
    examples = few(data)
    learned = prepared(data, scaled, threshold=0.7, epochs=40).learn(examples, seed=0)
    logits = learned.logits(data.x[examples.y < 0]).astype(np.float64)
    likely = 1 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)
    doubted = int((likely < 0.7).sum())
    assert 0 < doubted < len(logits)
    assert f"of {len(logits):,} unlabelled examples, {doubted:,} were in doubt" in learned.note
    all_known = Examples(data.x[:100], data.y[:100])
    assert prepared(data, scaled, epochs=1).learn(all_known, seed=0).note is None


@pytest.mark.parametrize("alignment", ["labels", "uniform", "none"])
def test_answers_are_aligned_with_the_classes_of_the_labels(data, scaled, alignment):
    """Of labels that are nearly all zeros, aligned answers are nearly all zeros."""
    zeros = np.flatnonzero(data.y == 0)[:60]
    others = [np.flatnonzero(data.y == digit)[0] for digit in range(1, 10)]
    labels = labels_of(data.y, np.concatenate([zeros, others]))
    learner = prepared(data, scaled, alignment=alignment, epochs=40, threshold=0.0)
    answers = learner.learn(Examples(data.x, labels), seed=0).logits(data.x_test).argmax(axis=1)
    share = np.mean(answers == 0)
    assert share < 0.2 if alignment == "uniform" else share > 0.3


def test_rows_of_a_table_have_views_of_their_own():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 12)).astype(np.float32)
    y = (x[:, :6].sum(axis=1) > 0).astype(int)
    scaled = preprocessing_model((12,), (-4.0, 4.0), "float32")
    problem = Problem(2, 300, dense_encoder(12, (16,)), scaled)
    labels = labels_of(y, np.arange(40))
    learned = Consistency(epochs=400).prepare(problem).learn(Examples(x, labels), seed=0)
    assert np.mean(learned.logits(x[40:]).argmax(axis=1) == y[40:]) > 0.8


@pytest.mark.parametrize("views", [None, "none"])
def test_there_is_no_consistency_without_views(views):
    with pytest.raises(UserError, match="augment.*expected random views, such as auto"):
        Consistency(augment=views)


def test_saved_it_is_a_network_of_stock_layers(data, scaled, tmp_path):
    learned = prepared(data, scaled, epochs=1).learn(few(data), seed=0)
    learned.network.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(scaled(data.x[:9])), learned.logits(data.x[:9]), atol=1e-5)
