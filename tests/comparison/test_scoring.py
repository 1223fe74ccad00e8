import numpy as np
import pytest
from sklearn import metrics

from kt_transfer.comparison.scoring import (
    METRICS,
    constant_answer,
    contributions,
    metric_beside,
    scores,
)


@pytest.fixture(scope="module")
def answers():
    rng = np.random.default_rng(0)
    labels = rng.choice(4, 60, p=[0.5, 0.3, 0.15, 0.05])
    logits = rng.normal(size=(60, 4)) + 1.5 * np.eye(4)[labels]
    return labels, logits


def test_every_measure_is_that_of_scikit_learn(answers):
    labels, logits = answers
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    predicted = logits.argmax(axis=1)
    expected = {
        "accuracy": metrics.accuracy_score(labels, predicted),
        "balanced_accuracy": metrics.balanced_accuracy_score(labels, predicted),
        "macro_f1": metrics.f1_score(labels, predicted, average="macro"),
        "auc": metrics.roc_auc_score(labels, probabilities, multi_class="ovr"),
        "log_loss": metrics.log_loss(labels, probabilities),
    }
    assert tuple(expected) == METRICS
    assert scores(labels, logits) == pytest.approx(expected)


def test_of_two_classes_the_area_is_the_usual_one(answers):
    labels, logits = answers[0] % 2, answers[1][:, :2]
    assert scores(labels, logits)["auc"] == pytest.approx(
        metrics.roc_auc_score(labels, logits[:, 1] - logits[:, 0])
    )


def test_classes_without_an_example_do_not_count(answers):
    labels, logits = answers
    known = scores(labels[labels < 2], logits[labels < 2])
    assert all(0 <= known[name] <= 1 for name in METRICS[:4])
    own = [(logits[labels == k].argmax(axis=1) == k).mean() for k in (0, 1)]
    assert known["balanced_accuracy"] == pytest.approx(np.mean(own))


def test_of_one_class_there_is_neither_an_area_nor_a_mean_over_classes():
    found = scores(np.zeros(3, int), np.tile([1.0, 0.0], (3, 1)))
    assert found["accuracy"] == 1.0
    assert np.isnan([found["auc"], found["balanced_accuracy"], found["macro_f1"]]).all()


def test_an_answer_that_never_occurs_counts_in_the_f1_of_scikit_learn(answers):
    labels, logits = answers
    labels, logits = labels[labels < 3], logits[labels < 3]
    logits[0] = [0, 0, 0, 9]
    predicted = logits.argmax(axis=1)
    found = scores(labels, logits)
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(labels, predicted, average="macro"))
    recall = metrics.recall_score(labels, predicted, average=None, labels=[0, 1, 2]).mean()
    assert found["balanced_accuracy"] == pytest.approx(recall)


def test_in_a_fold_classes_count_their_shares():
    found = scores(np.array([0, 0, 2]), np.eye(3)[[0, 1, 2]], shares=np.array([0.2, 0.5, 0.6]))
    assert found["balanced_accuracy"] == pytest.approx(0.2 * 0.5 + 0.6)
    assert found["macro_f1"] == pytest.approx(0.2 * 2 / 3 + 0.6)


def test_the_impossible_that_happens_costs_much_and_not_without_end():
    loss = scores(np.array([0]), np.array([[0.0, 1000.0]]))["log_loss"]
    assert loss == pytest.approx(-np.log(1e-15))


@pytest.mark.parametrize(
    ("counts", "beside"), [([72, 28], True), ([55, 45], False), ([40, 30, 30], False)]
)
def test_balanced_accuracy_stands_beside_accuracy_where_classes_are_unequal(counts, beside):
    labels = np.repeat(np.arange(len(counts)), counts)
    assert metric_beside("accuracy", labels) == ("balanced_accuracy" if beside else None)
    assert metric_beside("balanced_accuracy", labels) == ("accuracy" if beside else None)
    assert metric_beside("auc", labels) is None


def test_a_constant_answer_is_that_of_the_most_frequent_class():
    labels = np.repeat([0, 1, 2], [20, 50, 30])
    told = constant_answer(labels, ["a", "b", "c"])
    assert told["label"] == "b"
    constant = np.tile([0.0, 1.0, 0.0], (100, 1))
    expected = scores(labels, constant)
    assert told["accuracy"] == expected["accuracy"]
    assert told["balanced_accuracy"] == pytest.approx(expected["balanced_accuracy"])


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "log_loss"])
def test_contributions_have_the_score_as_their_mean(metric):
    rng = np.random.default_rng(0)
    labels, logits = np.arange(60) % 3, rng.normal(size=(60, 3))
    shares = np.array([0.2, 0.3, 0.5])
    found = contributions(metric, labels, logits, shares).mean()
    assert found == pytest.approx(scores(labels, logits, shares)[metric])


def test_what_is_no_mean_over_examples_has_no_contributions():
    labels, logits = np.array([0, 1]), np.eye(2)
    assert contributions("auc", labels, logits, np.full(2, 0.5)) is None
    assert contributions("macro_f1", labels, logits, np.full(2, 0.5)) is None
