import numpy as np
import pytest
from sklearn import metrics

from kt_transfer.comparison.scoring import METRICS, scores


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
