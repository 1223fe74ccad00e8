import numpy as np

from kt_transfer.comparison.evidence import Scores
from kt_transfer.comparison.racing import FIRST_LOOK, raced_out

BOTH = {("scratch", ""), ("features", "a")}


def scores(mean, count=5, spread=0.01, seed=0):
    values = mean + spread * np.random.default_rng(seed).normal(size=count)
    return Scores(values, [(0, fold) for fold in range(count)], 40, 10, 100_000, 50, None)


def found(worse, better, **more):
    return {
        ("scratch", "", 50): scores(worse, seed=1, **more),
        ("features", "a", 50): scores(better, seed=2, **more),
    }


def test_what_is_clearly_worse_leaves():
    assert raced_out(found(0.5, 0.9), "accuracy", BOTH) == {("scratch", "")}
    assert raced_out(found(0.5, 0.9), "log_loss", BOTH) == {("features", "a")}


def test_what_may_still_win_stays():
    assert raced_out(found(0.85, 0.86, spread=0.05), "accuracy", BOTH) == set()


def test_nobody_leaves_before_the_first_look():
    assert raced_out(found(0.1, 0.9, count=FIRST_LOOK - 1), "accuracy", BOTH) == set()


def test_the_largest_budget_decides():
    small = {(m, s, 20): own for (m, s, _), own in found(0.9, 0.5).items()}
    assert raced_out(small | found(0.5, 0.9), "accuracy", BOTH) == {("scratch", "")}


def test_who_has_left_is_not_looked_at_again():
    assert raced_out(found(0.5, 0.9), "accuracy", {("features", "a")}) == set()
