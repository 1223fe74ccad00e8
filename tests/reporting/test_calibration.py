import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from scipy.stats import binomtest

from kt_transfer.reporting.calibration import (
    LEAST_TEMPERATURE,
    MOST_TEMPERATURE,
    FoldAnswers,
    calibrate,
    cross_fitted,
    describe_calibration,
    error_interval,
    reliability,
    temperature_of,
)
from kt_transfer.reporting.classification import (
    cross_entropies,
    expected_calibration_error,
    softmax,
)

CLASSES = 4


def answers_of(num, temperature=1.0, seed=0):
    """Labels drawn by the probabilities of logits, which are then too large by the factor."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (num, CLASSES))
    labels = (softmax(logits).cumsum(axis=1) < rng.random((num, 1))).sum(axis=1)
    return np.minimum(labels, CLASSES - 1), temperature * logits


def held_out(num, temperature, folds=5, seed=0):
    labels, logits = answers_of(num, temperature, seed)
    return FoldAnswers(labels, logits, np.arange(num) % folds, np.arange(num))


def test_bins_hold_confidence_accuracy_and_wilsons_interval():
    labels, logits = answers_of(3000, 2.0)
    probabilities = softmax(logits)
    bins = reliability(labels, probabilities, 10)
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    assert sum(each["num_examples"] for each in bins) == 3000
    for each in bins:
        own = (confidence >= each["low"]) & (confidence < each["high"])
        if each["high"] == 1.0:
            own |= confidence == 1.0
        assert each["num_examples"] == own.sum()
        assert each["confidence"] == pytest.approx(confidence[own].mean())
        assert each["accuracy"] == pytest.approx(correct[own].mean())
        wilson = binomtest(int(correct[own].sum()), int(own.sum())).proportion_ci(method="wilson")
        assert each["interval"] == pytest.approx([wilson.low, wilson.high])
    error = sum(each["num_examples"] * abs(each["accuracy"] - each["confidence"]) for each in bins)
    assert error / 3000 == pytest.approx(expected_calibration_error(labels, probabilities, 10))


def test_an_example_of_certainty_falls_into_the_last_bin():
    bins = reliability(np.array([0]), np.array([[1.0, 0.0]]))
    assert [each["high"] for each in bins] == [1.0]


@pytest.mark.parametrize("right", [True, False])
def test_an_interval_holds_its_accuracy_whatever_the_rounding(right):
    for count in range(1, 200):
        (found,) = reliability(np.full(count, 1 - right), np.tile([0.1, 0.9], (count, 1))[:, ::-1])
        low, high = found["interval"]
        assert 0 <= low <= found["accuracy"] <= high <= 1


def test_the_interval_holds_the_error_of_very_many_examples():
    labels, logits = answers_of(400_000, 2.0, seed=99)
    truth = expected_calibration_error(labels, softmax(logits))
    within = 0
    for seed in range(40):
        labels, logits = answers_of(500, 2.0, seed)
        low, high = error_interval(labels, softmax(logits), seed=seed)
        within += low <= truth <= high
    assert within >= 34  # 38 are expected


def test_of_a_calibrated_classifier_it_holds_nearly_nothing():
    lows = []
    for seed in range(40):
        labels, logits = answers_of(300, 1.0, seed)
        probabilities = softmax(logits)
        lows.append(error_interval(labels, probabilities, seed=seed)[0])
        assert expected_calibration_error(labels, probabilities) > 0.015  # by chance alone
    assert sum(low == 0 for low in lows) >= 35  # 38 are expected


def test_repeated_answers_to_an_example_are_no_further_evidence():
    labels, logits = answers_of(300, 2.0)
    once = error_interval(labels, softmax(logits))
    often = np.tile(labels, 9), softmax(np.tile(logits, (9, 1)))
    names = np.tile(np.arange(300), 9)
    assert error_interval(*often, examples=names) == pytest.approx(once, abs=1e-9)
    low, high = error_interval(*often)
    assert high - low < 0.5 * (once[1] - once[0])


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_a_planted_temperature_is_found(temperature):
    labels, logits = answers_of(20_000, temperature)
    found = temperature_of(labels, logits)
    assert found == pytest.approx(temperature, rel=0.05)
    by_scipy = minimize_scalar(
        lambda t: -log_softmax(logits / t, axis=1)[np.arange(len(labels)), labels].mean(),
        bounds=(0.1, 10),
    )
    assert found == pytest.approx(by_scipy.x, rel=1e-3)


def test_it_stays_within_its_bounds():
    logits = np.array([[3.0, 0.0], [0.0, 3.0]])
    # All correct: as certain as floats tell.
    assert LEAST_TEMPERATURE <= temperature_of(np.array([0, 1]), logits) < 0.1
    assert temperature_of(np.array([1, 0]), logits) == pytest.approx(MOST_TEMPERATURE, rel=1e-3)
    # A class that is never predicted, as a logistic regression marks it.
    assert np.isfinite(temperature_of(np.array([0, 1]), np.array([[1.0, -1000.0], [0.0, -1000.0]])))


def test_each_fold_is_judged_by_the_temperature_of_the_others():
    answers = held_out(600, 3.0, folds=3)
    scaled = cross_fitted(answers)
    for fold in range(3):
        own = answers.folds == fold
        t = temperature_of(answers.labels[~own], answers.logits[~own])
        np.testing.assert_allclose(scaled[own], answers.logits[own] / t)
    changed = answers._replace(labels=np.where(answers.folds == 1, 0, answers.labels))
    same = answers.folds == 1
    np.testing.assert_array_equal(cross_fitted(changed)[same], scaled[same])
    assert not np.array_equal(cross_fitted(changed)[~same], scaled[~same])


def test_answers_to_the_same_example_in_another_repeat_have_no_say():
    labels, logits = answers_of(300, 3.0)
    folds, names = np.arange(600) // 100, np.tile(np.arange(300), 2)
    answers = FoldAnswers(np.tile(labels, 2), np.tile(logits, (2, 1)), folds, names)
    t = temperature_of(labels[100:], logits[100:])
    np.testing.assert_allclose(cross_fitted(answers)[:100], logits[:100] / t)


def test_calibration_improves_what_is_too_confident_and_keeps_the_answers():
    answers = held_out(1500, 4.0)
    found = calibrate(answers)
    assert found["temperature"] == pytest.approx(4.0, rel=0.15)
    before, after = found["before"], found["after"]
    assert before["calibration_error"] > 0.1
    assert after["calibration_error"] < 0.5 * before["calibration_error"]
    assert after["loss"] < before["loss"]
    assert before["loss"] == pytest.approx(cross_entropies(answers.labels, answers.logits).mean())
    assert before["interval"][0] <= before["calibration_error"]
    scaled = cross_fitted(answers)
    np.testing.assert_array_equal(scaled.argmax(axis=1), answers.logits.argmax(axis=1))
    assert sum(each["num_examples"] for each in after["bins"]) == 1500


def test_of_what_is_calibrated_nothing_much_is_changed():
    found = calibrate(held_out(3000, 1.0))
    assert found["temperature"] == pytest.approx(1.0, abs=0.06)
    assert found["after"]["loss"] == pytest.approx(found["before"]["loss"], abs=0.002)


@pytest.mark.parametrize(
    ("temperature", "kind"),
    [(3.0, "is too confident"), (0.4, "is too cautious"), (1.0, "is not shown to be too")],
)
def test_what_was_found_is_said(temperature, kind):
    found = calibrate(held_out(1500, temperature)) | {"is_applied": True}
    told = describe_calibration(found)
    assert kind in told
    assert f"its loss {found['before']['loss']:.3f}" in told
    assert told.endswith(f"the exported model has one of {found['temperature']:.2f}")
    told = describe_calibration(found | {"is_applied": False})
    assert told.endswith(f"--calibrate exports it with one of {found['temperature']:.2f}")
