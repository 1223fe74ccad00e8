import numpy as np
import pytest

from kt_transfer.comparison.evidence import Scores, interval_of
from kt_transfer.comparison.forecast import (
    describe_next,
    labels_for_verdict,
    more_labels,
    repeats_for_verdict,
)
from kt_transfer.comparison.held_out import Points

FOLDS = [(0, fold) for fold in range(5)]


def curve(error, budgets=(50, 100, 200), spread=0.0, metric="accuracy"):
    rng, found = np.random.default_rng(0), {}
    for n in budgets:
        errors = error(n) * np.exp(spread * rng.normal(size=5))
        values = errors if metric == "log_loss" else 1 - errors
        found["scratch", "", n] = Scores(values, FOLDS, n, 100, 500, n, None)
    return found


def test_errors_that_fall_as_a_power_go_on_so():
    found = {entry["more"]: entry for entry in more_labels(curve(lambda n: 3 / n), "accuracy", 500)}
    assert found[50]["labels"] == 250
    assert found[50]["score"] == pytest.approx(1 - 3 / 250)
    assert found[200]["gain"] == pytest.approx(3 / 200 - 3 / 400)
    assert found[50]["at_hand"]
    low, high = found[200]["interval"]
    assert low == pytest.approx(high)  # no fold differs from another


def test_a_loss_that_falls_is_a_negative_gain():
    found = more_labels(curve(lambda n: 2 / n**0.5, metric="log_loss"), "log_loss", 300)
    assert [entry["gain"] < 0 for entry in found] == [True, True]
    assert [entry["at_hand"] for entry in found] == [True, False]


def test_folds_that_vary_make_it_uncertain():
    steady, varied = (
        more_labels(curve(lambda n: 3 / n**0.7, spread=spread), "accuracy", 500)[1]
        for spread in (0.02, 0.5)
    )
    assert np.diff(varied["interval"]) > 3 * np.diff(steady["interval"])


def test_a_curve_that_rises_is_not_continued_upwards():
    found = more_labels(curve(lambda n: 0.1 + n / 1000), "accuracy", 500)
    assert all(entry["gain"] == 0 for entry in found)


def test_one_budget_foretells_nothing():
    assert more_labels(curve(lambda n: 3 / n, budgets=(50,)), "accuracy", 500) == []


def two(difference, repeats=1, seed=0):
    """Two candidates on 500 examples, the first better by about so much."""
    rng, pair = np.random.default_rng(seed), ([], [])
    folds = [(repeat, fold) for repeat in range(repeats) for fold in range(5)]
    for _, fold in folds:
        rows = np.arange(100) + 100 * fold
        right = rng.random(100) < 0.7
        helped = rng.random(100) < difference + 0.1
        hurt = rng.random(100) < 0.05 + 0.03 * rng.normal()
        for points, answers in zip(pair, ((right | helped) & ~hurt, right), strict=True):
            points.append(Points(rows, answers.astype(float)))
    return [
        Scores(np.array([p.values.mean() for p in points]), folds, 50, 100, 500, 50, points)
        for points in pair
    ]


def test_as_many_repeats_as_it_says_do_decide():
    found = [
        (pair, repeats_for_verdict(*pair, repeats=1, num_verdicts=4))
        for pair in (two(0.2, seed=seed) for seed in range(8))
    ]
    told = [count for _, count in found if count]
    assert len(told) >= 4
    decided = {
        repeats: np.mean(
            [interval_of(*two(0.2, repeats, seed)).p_value < 0.05 / 4 for seed in range(20, 50)]
        )
        for repeats in (1, round(np.median(told)))
    }
    once, often = decided.values()
    assert once < 0.3
    assert often > 0.5


def test_what_no_repeats_would_show_is_left_open():
    assert repeats_for_verdict(*two(0.0005, repeats=3), repeats=3, num_verdicts=4) is None


def test_in_plain_words():
    own = {"method": "features", "source": "a", "labels": 250, "more": 50, "gain": 0.01}
    found = {
        "metric": "accuracy",
        "winner": {"method": "features", "source": "a", "labels": 200},
        "forecast": {
            "more_labels": [own | {"interval": [0.005, 0.02]}],
            "verdicts": [
                {"method": "linear", "labels": 200, "repeats": 7, "at_labels": 20},
                {"method": "linear", "labels": 50, "repeats": None, "at_labels": None},
            ],
        },
    }
    assert describe_next(found) == [
        "what more labels would bring features beyond 200, by its curve, accuracy with 80 % "
        "confidence: 50 more +0.0100 (+0.0050 to +0.0200)",
        "with about 7 repeats linear at 200 labels would probably be told from scratch, if the "
        "difference is what was found",
        "linear would probably be told from scratch at about 20 labels, by both curves",
    ]


def test_curves_that_part_say_where_a_difference_would_be_detected():
    budgets, found = (50, 200), {}
    for name, power in (("scratch", 1.0), ("features", 0.5)):
        for n in budgets:
            values = np.full(5, 1 - 0.2 * (n / 200) ** -power)
            found[name, "", n] = Scores(values, FOLDS, n, 100, 500, n, None)
    # At 200 labels both err by 0.2; with n labels by 0.2 (200 / n) and 0.2 (200 / n)^½.
    verdicts = [
        {"method": "features", "source": "", "labels": n, "detectable": 0.1} for n in budgets
    ]
    told = labels_for_verdict(found, verdicts, verdicts[1], "accuracy", ("scratch", ""))
    expected = next(n for n in range(200, 0, -1) if 0.2 * (200 / n - (200 / n) ** 0.5) >= 0.1)
    assert told == pytest.approx(expected, rel=0.05)
    for verdict in verdicts:
        verdict["detectable"] = 5.0
    given = found, verdicts, verdicts[1], "accuracy", ("scratch", "")
    assert labels_for_verdict(*given) is None
