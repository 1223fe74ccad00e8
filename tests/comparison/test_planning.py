"""Plans that fit a time: fewer repeats, folds and methods before too few steps."""

import dataclasses

import pytest

from kt_transfer import UserError
from kt_transfer.comparison.pacing import Pace
from kt_transfer.comparison.planning import planned
from kt_transfer.methods import BY_NAME
from kt_transfer.methods.candidates import chosen_methods
from kt_transfer.settings import CompareConfig


def methods_of(names=tuple(BY_NAME), epochs=100):
    return chosen_methods(names, epochs=epochs)


METHODS = ("scratch", "parameters", "features", "distilled", "linear")
TEACHER = methods_of()["distilled"].teacher


def pace(scale=1.0, least_epochs=50, least_pretrain_epochs=25, end=0.0):
    """A fold takes 10 s: 5 pretraining, 1 a network, 1 a regression, 1 a student."""
    return Pace(
        pretraining={"X": 0.1 * scale},
        epoch={
            ("scratch", "", 50): 0.01 * scale,
            ("parameters", "X", 50): 0.01 * scale,
            (str(TEACHER), "X", 50): 0.01 * scale,
            ("distilled", "X", 50): 0.01 * scale,
        },
        regression={"": scale, "X": scale},
        least_epochs=least_epochs,
        least_pretrain_epochs=least_pretrain_epochs,
        export=end,
    )


def plan(budget, elapsed=0.0, scale=1.0, end=0.0, **given):
    usual = {"labels": (50,), "repeats": 3, "methods": METHODS}
    config = CompareConfig(time_budget=budget, **usual | given)
    methods = methods_of(config.methods, config.epochs)
    return planned(config, methods, elapsed, pace(scale, end=end))


def test_a_fold_is_the_sum_of_its_parts():
    own = pace()
    assert own.fold(methods_of(), 50) == pytest.approx(10)
    assert own.fold(methods_of(("scratch", "linear")), 50) == pytest.approx(2)
    assert own.fold(methods_of(("scratch", "features")), 50) == pytest.approx(7)
    # A student has a teacher, and this one the regression that its head starts from.
    assert own.fold(methods_of(("scratch", "distilled")), 50) == pytest.approx(9)


def test_what_fits_is_left_as_it_is():
    found = plan("10m")
    assert (found["repeats"], found["folds"]) == (3, 15)
    assert (set(found["epochs"].values()), found["pretrain_epochs"]) == ({100}, 50)
    assert len(found["methods"]) == 5


@pytest.mark.parametrize(
    ("budget", "repeats", "folds"), [("160s", 2, 10), ("110s", 1, 5), ("85s", 1, 5), ("62s", 1, 3)]
)
def test_repeats_are_cut_first_and_then_folds(budget, repeats, folds):
    found = plan(budget)
    assert (found["repeats"], found["folds"]) == (repeats, folds)
    assert set(found["epochs"].values()) == {100}
    assert f"{repeats} of 3 repeats" in found["told"]
    assert f"{min(folds, 5)} of 5 folds" in found["told"]


def test_then_epochs_as_far_as_networks_learn():
    found = plan("50s")
    assert found["folds"] == 3
    assert 50 <= min(found["epochs"].values()) < 100
    assert 25 <= found["pretrain_epochs"] < 50
    assert len(found["methods"]) == 5


def test_then_folds_down_to_two_and_then_the_slowest_methods():
    found = plan("30s")
    assert found["folds"] == 2
    assert min(found["epochs"].values()) >= 50
    assert "without" not in found["told"]
    fewer = plan("24s")
    assert fewer["methods"][0] == "scratch"
    assert {"parameters", "features", "distilled"} & set(fewer["methods"])
    assert "without" in fewer["told"]


@pytest.mark.parametrize("seconds", range(20, 300, 7))
@pytest.mark.parametrize("end", [0.0, 8.0])
def test_every_plan_fits_and_none_has_too_few_steps(seconds, end):
    try:
        found = plan(f"{seconds}s", elapsed=3.0, end=end)
    except UserError as refusal:
        assert "more time" in str(refusal)
        assert seconds < 50
        return
    methods = methods_of(found["methods"])
    methods = {
        name: dataclasses.replace(own, epochs=found["epochs"][name])
        if name in found["epochs"]
        else own
        for name, own in methods.items()
    }
    given = (methods, found["pretrain_epochs"])
    own = pace(end=end)
    assert 3.0 + own.fold(*given) * found["folds"] + own.end(*given) <= seconds
    assert min(found["epochs"].values()) >= 50
    assert found["pretrain_epochs"] >= 25
    assert found["folds"] >= 2


def test_settings_below_the_least_are_not_raised():
    found = plan("10m", epochs=2, pretrain_epochs=1)
    assert (set(found["epochs"].values()), found["pretrain_epochs"]) == ({2}, 1)


def test_what_cannot_fit_is_refused():
    with pytest.raises(UserError, match="time_budget=10s .*two folds of scratch and .* 5 min"):
        plan("10s", scale=20)
