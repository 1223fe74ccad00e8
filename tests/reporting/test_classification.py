import numpy as np
import pytest
from sklearn import metrics

from kt_transfer.reporting.classification import (
    classification_metrics,
    confusion_matrix,
    expected_calibration_error,
    per_class_metrics,
    softmax,
)

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(scale=2, size=(200, 4))
LABELS = np.where(RNG.random(200) < 0.6, LOGITS.argmax(axis=1), RNG.integers(0, 4, 200))
PREDICTED = LOGITS.argmax(axis=1)


def test_softmax_of_any_size():
    expected = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(softmax(LOGITS), expected, rtol=1e-12)
    np.testing.assert_allclose(softmax(LOGITS + 1e5), expected, rtol=1e-6)


def test_calibration_error_by_hand():
    # Two bins of ten: confidence 0.6 with 1 of 2 right, confidence 0.95 with 1 of 1 right.
    probabilities = np.array([[0.6, 0.4], [0.4, 0.6], [0.95, 0.05]])
    expected = (2 * abs(0.5 - 0.6) + abs(1.0 - 0.95)) / 3
    given = expected_calibration_error(np.array([0, 0, 0]), probabilities, num_bins=10)
    assert given == pytest.approx(expected)


def test_calibration_error_over_bins():
    probabilities = softmax(LOGITS)
    confidence, correct = probabilities.max(axis=1), LABELS == PREDICTED
    expected = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence >= low) & (confidence < low + 1 / 15)
        if inside.any():
            gap = correct[inside].mean() - confidence[inside].mean()
            expected += inside.mean() * abs(gap)
    assert expected_calibration_error(LABELS, probabilities) == pytest.approx(expected)


def test_certainty_is_calibrated_if_it_is_right():
    sure = np.eye(3)
    assert expected_calibration_error(np.arange(3), sure) == 0.0
    assert expected_calibration_error(np.array([1, 2, 0]), sure) == 1.0


def test_metrics_leave_out_examples_without_a_label():
    labels = np.where(np.arange(200) < 120, LABELS, -1)
    given = classification_metrics(labels, LOGITS)
    known, logits = labels[:120], LOGITS[:120]
    assert given["num_examples"] == 120
    assert given["accuracy"] == pytest.approx(metrics.accuracy_score(known, PREDICTED[:120]))
    loss = metrics.log_loss(known, softmax(logits), labels=range(4))
    assert given["loss"] == pytest.approx(loss)
    ece = expected_calibration_error(known, softmax(logits))
    assert given["calibration_error"] == pytest.approx(ece)


def test_a_certain_mistake_has_a_finite_loss():
    given = classification_metrics(np.array([1]), np.array([[2000.0, 0.0]], np.float32))
    assert np.isfinite(given["loss"])
    assert given["loss"] > 600


def test_confusion_has_true_classes_as_rows():
    given = confusion_matrix(np.array([0, 0, 1]), np.array([1, 1, 1]), 3)
    assert given.tolist() == [[0, 2, 0], [0, 1, 0], [0, 0, 0]]
    expected = metrics.confusion_matrix(LABELS, PREDICTED)
    assert np.array_equal(confusion_matrix(LABELS, PREDICTED, 4), expected)


def test_per_class_metrics():
    table = per_class_metrics(LABELS, PREDICTED, ["a", "b", "c", "d", "never"])
    counts = confusion_matrix(LABELS, PREDICTED, 4)
    for number, row in enumerate(table[:4]):
        hits = counts[number, number]
        precision, recall = hits / counts[:, number].sum(), hits / counts[number].sum()
        assert row["class"] == "abcd"[number]
        assert row["precision"] == pytest.approx(precision)
        assert row["recall"] == pytest.approx(recall)
        assert row["f1"] == pytest.approx(2 * precision * recall / (precision + recall))
        assert row["num_examples"] == counts[number].sum()
    assert table[4] == {
        "class": "never",
        "precision": 0.0,
        "recall": 0.0,
        "f1": 0.0,
        "num_examples": 0,
    }
