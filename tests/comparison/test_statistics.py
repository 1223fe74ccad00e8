import numpy as np
import pytest
from scipy import stats

from kt_transfer.comparison.held_out import Points
from kt_transfer.comparison.statistics import (
    corrected_interval,
    crossed_interval,
    detectable_difference,
    holm,
    labels_for_score,
    probabilities,
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


def differences_of_folds(rng, true, num_folds, draws, overlap, spread=0.05):
    """Differences with the correlation that folds have by sharing their training examples."""
    within = 1 / num_folds
    same_draw = np.kron(np.eye(draws), np.ones((num_folds, num_folds)))
    correlation = within * (same_draw + overlap * (1 - same_draw))
    np.fill_diagonal(correlation, 1)
    return true + spread * np.linalg.cholesky(correlation) @ rng.normal(size=num_folds * draws)


def simulated(trues, num_folds=5, draws=3, overlap=1.0, runs=200):
    """Intervals of many runs, each with a comparison for each true difference."""
    rng = np.random.default_rng(0)
    return [
        [
            corrected_interval(
                differences_of_folds(rng, true, num_folds, draws, overlap),
                1000 * (num_folds - 1),
                1000,
                num_folds=num_folds,
                overlap=overlap,
            )
            for true in trues
        ]
        for _ in range(runs)
    ]


def verdicts_of(intervals):
    adjusted = holm([interval.p_value for interval in intervals])
    pairs = zip(intervals, adjusted, strict=True)
    return [verdict(interval.mean, p) for interval, p in pairs]


@pytest.mark.parametrize("overlap", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("num_folds", "draws"), [(2, 5), (5, 3), (10, 1), (5, 10)])
def test_false_findings_are_rare_and_intervals_cover(num_folds, draws, overlap):
    runs = simulated([0.0] * 12, num_folds, draws, overlap)
    better = [any(words == "better" for words in verdicts_of(run)) for run in runs]
    assert np.mean(better) <= 0.05
    covered = [interval.low <= 0 <= interval.high for run in runs for interval in run]
    assert 0.93 <= np.mean(covered) <= 0.97


def test_the_uncorrected_interval_would_not_cover():
    # Else the test above could not fail.
    rng = np.random.default_rng(0)
    plain = [
        stats.ttest_1samp(differences_of_folds(rng, 0.0, 5, 3, 1.0), 0).pvalue < 0.05
        for _ in range(400)
    ]
    assert np.mean(plain) > 0.2


def test_of_one_set_it_is_nadeau_and_bengios():
    values = np.random.default_rng(0).normal(size=15)
    plain = corrected_interval(values, 80, 20)
    error = np.sqrt(values.var(ddof=1) * (1 / 15 + 20 / 80))
    assert plain.standard_error == pytest.approx(error)
    assert corrected_interval(values, 80, 20, num_folds=5) == pytest.approx(plain)
    assert plain.degrees == pytest.approx(14)


def test_draws_that_share_nothing_are_independent():
    values = np.random.default_rng(0).normal(size=15)
    own = corrected_interval(values, 80, 20, num_folds=5, overlap=0.0)
    # 4 of the 14 other differences are of the same draw, with a correlation of 0.2.
    mean = 0.2 * 4 / 14
    error = np.sqrt(values.var(ddof=1) * (1 / 15 + mean / (1 - mean)))
    assert own.standard_error == pytest.approx(error)
    # Satterthwaite: 12 parts of 0.8 inside the draws, 2 of 1.8 among them.
    assert own.degrees == pytest.approx((12 * 0.8 + 2 * 1.8) ** 2 / (12 * 0.8**2 + 2 * 1.8**2))


@pytest.mark.parametrize("overlap", [0.0, 1.0])
def test_what_is_called_detectable_is_found_in_four_of_five_runs(overlap):
    runs = simulated([0.0], overlap=overlap)
    sizes = [detectable_difference(interval) for (interval,) in runs]
    found = simulated([np.mean(sizes)], overlap=overlap)
    assert 0.7 <= np.mean([verdicts_of(run) == ["better"] for run in found]) <= 0.9
    # A larger family of verdicts asks for more.
    assert detectable_difference(runs[0][0], num_verdicts=12) > sizes[0]


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


def cells_of(values, repeats):
    """Contributions of 60 examples, dealt to 5 folds in each repeat."""
    rng = np.random.default_rng(3)
    for repeat in range(repeats):
        for rows in rng.permutation(60).reshape(5, 12):
            yield Points(rows, values[repeat, rows])


def test_the_crossed_interval_by_hand():
    rng = np.random.default_rng(0)
    values = rng.normal(size=60) + rng.normal(size=(2, 60))
    cells = list(cells_of(values, 2))
    means = np.array([cell.values.mean() for cell in cells])
    own = means.var(ddof=1)
    # Each example judges twice: the mean product of what it contributes, less its cell's mean.
    centred = np.zeros((2, 60))
    for number, cell in enumerate(cells):
        centred[number // 5, cell.rows] = cell.values - means[number]
    between = (centred[0] * centred[1]).mean()
    # Of 10 × 9 ordered pairs of cells those of other repeats share 120 examples in all.
    judging = between * 120 / (12**2 * 90)
    within = np.mean([cell.values.var() for cell in cells]) / 12
    teaching = max(own - within, 0) * (10 / 60) / (1 - 10 / 60)
    shared = min((judging**0.5 + teaching**0.5) ** 2, own * 12 / 48)
    interval = crossed_interval(cells, num_train=10, num_labelled=60)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.standard_error == pytest.approx(np.sqrt(own / 10 + shared))
    assert interval.degrees == 9


def test_where_all_that_a_fold_leaves_is_learned_from_it_is_nadeau_and_bengios():
    values = np.random.default_rng(0).normal(size=(3, 60))
    cells = list(cells_of(values, 3))
    plain = corrected_interval([cell.values.mean() for cell in cells], 48, 12)
    assert crossed_interval(cells, num_train=48, num_labelled=60) == pytest.approx(plain)


def test_what_is_alike_in_every_repeat_gains_nothing_by_repeating():
    alike = np.tile(np.random.default_rng(0).normal(size=60), (10, 1))
    once, often = (
        crossed_interval(list(cells_of(alike, repeats)), num_train=1, num_labelled=60)
        for repeats in (2, 10)
    )
    assert often.standard_error > 0.8 * once.standard_error
    fresh = np.random.default_rng(0).normal(size=(10, 60))
    once, often = (
        crossed_interval(list(cells_of(fresh, repeats)), num_train=1, num_labelled=60)
        for repeats in (1, 10)
    )
    assert often.standard_error < 0.7 * once.standard_error


def test_probabilities_are_those_of_the_t_distribution():
    interval = corrected_interval([0.02, 0.06, 0.01, 0.05, 0.06], 80, 20)
    worse, equal, better = probabilities(interval, 0.01)
    own = stats.t(4, 0.04, interval.standard_error)
    assert (worse, better) == pytest.approx((own.cdf(-0.01), own.sf(0.01)))
    assert worse + equal + better == pytest.approx(1)
    assert probabilities(interval, 0.01, lower_is_better=True).better == pytest.approx(worse)
    # Without a margin nothing is equal, and the smaller side is half the p-value.
    worse, equal, _ = probabilities(interval, 0.0)
    assert equal == pytest.approx(0, abs=1e-12)
    assert worse == pytest.approx(interval.p_value / 2)
