"""What KerasTuner's oracles propose: the defaults first, the same for the same seed."""

import itertools
import json

import keras_tuner
import pytest

from kt_transfer.tuning.oracles import grid_values, oracle_of
from kt_transfer.tuning.trials import TrialTuner, row_of

KINDS = ("random", "bayesian", "hyperband", "grid")


def space():
    hp = keras_tuner.HyperParameters()
    hp.Float("rate", 1e-4, 1e-1, sampling="log", default=1e-2)
    hp.Int("units", 1, 4, default=2)
    hp.Choice("kind", ["a", "b"], default="b")
    return hp


def score(trial):
    values = trial.hyperparameters.values
    yield -abs(values["rate"] - 3e-3) - 0.01 * values["units"]


class Interrupted(BaseException):
    pass


def searched(folder, kind, seed=0, max_trials=12, stop_after=None):
    count = itertools.count()

    def scores(trial):
        if next(count) == stop_after:
            raise Interrupted
        yield from score(trial)

    tuner = TrialTuner(
        scores,
        num_folds=1,
        metric="gain",
        say=lambda line: None,
        oracle=oracle_of(
            kind,
            space(),
            metric="val_gain",
            direction="max",
            seed=seed,
            max_trials=max_trials,
            max_epochs=4,
        ),
        folder=folder / "tuner",
    )
    tuner.run_all()
    rows = [row_of(trial) for _, trial in sorted(tuner.oracle.trials.items())]
    return [{**row, "seconds": None} for row in rows]


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_trial_has_the_defaults_and_a_seed_gives_the_same_trials(tmp_path, kind):
    first = searched(tmp_path / "first", kind)
    assert first[0]["settings"] == {"rate": 1e-2, "units": 2, "kind": "b"}
    assert searched(tmp_path / "again", kind) == first
    assert json.dumps(first)  # no number that JSON does not know
    if kind != "hyperband":
        assert len(first) == 12
        tried = [tuple(row["settings"].values()) for row in first]
        assert len(set(tried)) == 12
    assert searched(tmp_path / "other", kind, seed=1) != first


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stop_after", [1, 7])
def test_an_interrupted_search_goes_on_to_the_same_table(tmp_path, kind, stop_after):
    whole = searched(tmp_path / "whole", kind)
    with pytest.raises(Interrupted):
        searched(tmp_path / "part", kind, stop_after=stop_after)
    assert searched(tmp_path / "part", kind) == whole


def test_a_grid_has_every_combination_and_then_ends(tmp_path):
    rows = searched(tmp_path, "grid", max_trials=1000)
    # 4 rates and the default, 4 numbers of units, 2 kinds.
    assert len(rows) == 5 * 4 * 2
    assert len({tuple(row["settings"].values()) for row in rows}) == 40


def test_the_values_of_a_grid_reach_both_ends():
    rate, units, kind = space().space
    assert grid_values(rate) == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1])
    assert list(grid_values(units)) == [1, 2, 3, 4]
    assert list(grid_values(kind)) == ["a", "b"]


@pytest.mark.parametrize("max_trials", [10, 20])
def test_a_bayesian_search_of_few_trials_is_not_a_random_one(tmp_path, max_trials):
    """KerasTuner starts with three random trials for each setting, which may be all there are."""
    bayesian = searched(tmp_path / "bayesian", "bayesian", max_trials=max_trials)
    random = searched(tmp_path / "random", "random", max_trials=max_trials)
    assert [row["settings"] for row in bayesian] != [row["settings"] for row in random]
    assert max(row["score"] for row in bayesian) >= max(row["score"] for row in random) - 0.005
