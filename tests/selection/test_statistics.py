import numpy as np
import pytest
from scipy import stats

from kt_transfer.selection.statistics import (
    corrected_interval,
    detectable_difference,
    holm,
    labels_for_score,
    verdict,
)


def test_the_interval_by_hand():
    # Mean 0.04, S² = (0.02² + 0.02² + 0.03² + 0.01² + 0.02²) / 4 = 0.00055.
    interval = corrected_interval([0.02, 0.06, 0.01, 0.05, 0.06], 80, 20)
    error = np.sqrt(0.00055 * (1 / 5 + 1 / 4))
    assert interval.mean == pytest.approx(0.04)
    assert interval.standard_error == pytest.approx(error)
    # 2.776 is the quantile of tables for four degrees of freedom.
    assert (interval.low, interval.high) == pytest.approx(
        (0.04 - 2.776 * error, 0.04 + 2.776 * error), abs=1e-5
    )
    assert interval.p_value == pytest.approx(2 * stats.t(4).sf(0.04 / error))


def test_without_held_out_examples_to_speak_of_it_is_the_paired_t_test():
    values = np.random.default_rng(0).normal(0.3, 1, 12)
    interval = corrected_interval(values, 1e12, 1e3)
    assert interval.p_value == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=1e-6)
    assert (interval.low, interval.high) == pytest.approx(
        stats.ttest_1samp(values, 0).confidence_interval(), rel=1e-5
    )


def test_equal_differences_on_few_examples_are_no_proof():
    # One of 25 held-out examples more, in two folds: chance does that.
    assert corrected_interval([0.04, 0.04], 25, 25).p_value > 0.05
    assert corrected_interval([0.0] * 15, 40, 10).p_value == 1.0
    # Half of ten, in every one of 15: it does not.
    assert corrected_interval([0.5] * 15, 40, 10).p_value < 1e-6


def test_one_difference_is_refused():
    with pytest.raises(ValueError, match="1 differences"):
        corrected_interval([0.1], 80, 20)


def test_holm_by_hand():
    # 4 · 0.005; 3 · 0.01; 2 · 0.03; and 0.04, raised to the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("difference", "p", "words"),
    [(0.1, 0.05, "better"), (-0.1, 0.01, "worse"), (0.1, 0.051, "no difference")],
)
def test_verdicts(difference, p, words):
    assert verdict(difference, p) == words


def scores_of_folds(rng, true_difference, num_folds=5, repeats=3, spread=0.05):
    """Differences with the correlation that folds have by sharing their training examples."""
    correlation = 1 / num_folds
    shared = rng.normal()
    own = rng.normal(size=num_folds * repeats)
    mixed = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own
    return true_difference + spread * mixed


def simulated(true_differences, num_folds=5, labels=1000):
    """Intervals of one run: a comparison for each true difference."""
    rng = np.random.default_rng(0)
    held_out = labels / num_folds
    return [
        [
            corrected_interval(
                scores_of_folds(rng, difference, num_folds), labels - held_out, held_out
            )
            for difference in true_differences
        ]
        for _ in range(200)
    ]


def verdicts_of(intervals):
    adjusted = holm([interval.p_value for interval in intervals])
    pairs = zip(intervals, adjusted, strict=True)
    return [verdict(interval.mean, p) for interval, p in pairs]


@pytest.mark.parametrize("num_folds", [2, 5, 10])
def test_false_findings_are_rare_and_intervals_cover(num_folds):
    runs = simulated([0.0] * 12, num_folds)
    false = [any(words != "no difference" for words in verdicts_of(run)) for run in runs]
    better = [any(words == "better" for words in verdicts_of(run)) for run in runs]
    assert np.mean(better) <= 0.05
    assert np.mean(false) <= 0.05 + 0.03  # two-sided: 5 %, with the noise of 200 runs
    covered = [interval.low <= 0 <= interval.high for run in runs for interval in run]
    assert 0.93 <= np.mean(covered) <= 0.97


def test_the_uncorrected_interval_would_not_cover():
    # Else the test above could not fail.
    rng = np.random.default_rng(0)
    plain = [stats.ttest_1samp(scores_of_folds(rng, 0.0), 0).pvalue < 0.05 for _ in range(400)]
    assert np.mean(plain) > 0.2


def test_what_is_called_detectable_is_found_in_four_of_five_runs():
    runs = simulated([0.0])
    error = np.mean([interval.standard_error for (interval,) in runs])
    size = detectable_difference(error, 15)
    found = [verdicts_of(run) == ["better"] for run in simulated([size])]
    assert 0.7 <= np.mean(found) <= 0.9
    # A larger family of verdicts asks for more.
    assert detectable_difference(error, 15, num_verdicts=12) > size


def test_labels_are_read_off_the_curve():
    budgets, curve = [50, 100, 200], [0.6, 0.7, 0.8]
    assert labels_for_score(budgets, curve, 0.7) == pytest.approx(100)
    # Half way up between 100 and 200, in the logarithm: their geometric mean.
    assert labels_for_score(budgets, curve, 0.75) == pytest.approx(np.sqrt(100 * 200))
    assert labels_for_score(budgets, curve, 0.81) == float("inf")
    assert labels_for_score(budgets, curve, 0.59) is None
    assert labels_for_score(budgets, curve, 0.6) == 50


def test_a_curve_that_dips_is_made_to_rise():
    assert labels_for_score([50, 100, 200], [0.7, 0.6, 0.8], 0.7) == 50
    assert 100 < labels_for_score([50, 100, 200], [0.7, 0.6, 0.8], 0.75) < 200
