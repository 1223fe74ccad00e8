"""Plans that fit a time."""

import pytest

from kt_transfer.comparing import planned
from kt_transfer.config import CompareConfig


def plan(budget, elapsed, fold_seconds, **given):
    return planned(CompareConfig(time_budget=budget, **given), elapsed, fold_seconds)


def test_what_fits_is_left_as_it_is():
    found = plan("10m", elapsed=20, fold_seconds=5)
    assert (found["repeats"], found["epochs"], found["pretrain_epochs"]) == (3, 100, 50)


@pytest.mark.parametrize("fold_seconds", [5.0, 8.0, 12.0])
def test_repeats_are_cut_first(fold_seconds):
    found = plan("3m", elapsed=20, fold_seconds=fold_seconds)
    assert found["epochs"] == 100
    assert 1 <= found["repeats"] < 4
    taken = 20 + fold_seconds * (5 * found["repeats"] - 2)
    assert taken <= 180
    if found["repeats"] < 3:  # one more would not have fitted
        assert taken + 5 * fold_seconds * 1.2 > 180 * 0.9
    assert f"{found['repeats']} of 3 repeats" in found["told"]


def test_then_epochs():
    found = plan("1m", elapsed=14, fold_seconds=20)
    # 40 of the 54 seconds that are not for the winner, for five folds of 24 seconds.
    assert (found["repeats"], found["epochs"], found["pretrain_epochs"]) == (1, 33, 16)
    assert "33 of 100 epochs" in found["told"]
    assert "more than was given" not in found["told"]


def test_what_cannot_fit_is_said():
    found = plan("10s", elapsed=30, fold_seconds=60)
    assert (found["repeats"], found["epochs"]) == (1, 1)
    assert "more than was given: fewer --labels" in found["told"]
