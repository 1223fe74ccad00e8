"""A method that searches its settings: nested, so that what judges it has chosen nothing."""

import json

import numpy as np
import pytest

from kt_transfer import load_data, tune
from kt_transfer.comparison.folds import derived_seed
from kt_transfer.methods import Propagated, Scratch
from kt_transfer.methods.learning import Examples, Problem
from kt_transfer.models.classifiers import dense_encoder
from kt_transfer.models.preprocessing import preprocessing_model
from kt_transfer.tuning.nested import searches_of
from kt_transfer.tuning.tuned import Tuned


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


def prepared(data, method, **options):
    scaled = preprocessing_model(data.input_shape, data.scaling_range, data.x.dtype)
    problem = Problem(10, 60, dense_encoder(64, [16]), scaled, flat=scaled)
    return Tuned(method=method, **({"folds": 3, "max_trials": 4} | options)).prepare(problem)


def rate(hp, base):
    import dataclasses

    default = base.learning_rate
    return dataclasses.replace(
        base, learning_rate=hp.Choice("learning_rate", [1e-5, 1e-2], default=default)
    )


def test_it_learns_what_the_method_does_with_the_settings_that_it_chose(digits):
    method = Scratch(epochs=20, learning_rate=1e-5, batch_size=16)
    learner = prepared(digits, method, space=rate, search="grid", max_trials=2)
    examples = Examples(digits.x[:60], digits.y[:60])
    learned = learner.learn(examples, seed=4)
    assert learned.choice["settings"] == {"learning_rate": 1e-2}
    assert learned.choice["score"] > learned.choice["as_given"]
    weights = learned.network.get_weights()
    chosen = Scratch(epochs=20, learning_rate=1e-2, batch_size=16)
    alone = chosen.prepare(learner.problem).learn(examples, seed=4)
    assert all(map(np.array_equal, weights, alone.network.get_weights()))


@pytest.mark.parametrize("method", [Scratch(epochs=1), Propagated(epochs=1, max_steps=3)])
def test_a_fold_of_the_search_never_sees_the_labels_that_judge_it(digits, method):
    learner = prepared(digits, method)
    labels = np.where(np.arange(100) < 60, digits.y[:100], -1)
    if not method.sees_unlabelled:
        labels = digits.y[:100]
    examples, judged = Examples(digits.x[:100], labels), []
    for own, judging, _ in learner._folds(examples, 0, None):
        seen = {row.tobytes() for row in np.asarray(own.x)[own.y >= 0]}
        assert not seen & {digits.x[row].tobytes() for row in judging}
        judged.extend(judging)
    assert sorted(judged) == list(np.flatnonzero(labels >= 0))


@pytest.fixture(scope="module")
def nested(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nested")
    settings = {"labels": 40, "folds": 3, "inner_folds": 2, "max_trials": 2, "epochs": 3}
    settings |= {"methods": ("scratch", "linear"), "quiet": True, "pretrain_epochs": 1}
    settings |= {"space": {"scratch": {"learning_rate": [1e-5, 1e-2]}}, "hidden_units": (16,)}
    return tune.run("compare", **settings, out=folder / "run", export_dir=folder / "models")


def test_each_fold_of_a_comparison_has_a_search_of_its_own(nested):
    choices = json.loads((nested.path / "choices.json").read_text())
    cells = [(cell[0], cell[4]) for *cell, _ in choices]
    assert cells == [("scratch tuned", fold) for fold in range(3)]
    # 1e-3, the settings as given, stands beside the two that are described.
    tried = {choice["settings"]["learning_rate"] for *_, choice in choices}
    assert tried <= {1e-5, 1e-3, 1e-2}


def test_it_is_said_what_searching_was_worth_and_what_the_search_promised(nested):
    (search,) = searches_of(nested.path, "accuracy")
    rows = {
        (row["method"], row["fold"]): row["accuracy"]
        for row in _rows(nested.path / "comparison.csv")
    }
    gains = [rows["scratch tuned", fold] - rows["scratch", fold] for fold in range(3)]
    assert search["gain"] == pytest.approx(np.mean(gains))
    assert search["reached"] == pytest.approx(np.mean([rows["scratch tuned", f] for f in range(3)]))
    assert search["optimism"] == pytest.approx(search["chosen_by"] - search["reached"])
    assert json.loads((nested.path / "searches.json").read_text())["searches"] == [search]


def _rows(path):
    import csv

    with open(path) as file:
        for row in csv.DictReader(file):
            yield {**row, "fold": int(row["fold"]), "accuracy": float(row["accuracy"])}


def test_a_comparison_goes_on_as_the_search_that_it_was(nested):
    """Its folder has all settings, and names the command that takes them."""
    kept = json.loads((nested.path / "config.json").read_text())
    assert (kept["max_trials"], kept["inner_folds"], kept["search"]) == (2, 2, "random")
    assert json.loads((nested.path / "run.json").read_text())["command"] == "tune-compare"


def test_the_report_has_both(nested):
    page = (nested.path / "report.html").read_text()
    assert "scratch tuned" in page
    assert "its settings searched in 2 folds" in page


def test_a_seed_gives_the_same_search(digits):
    examples = Examples(digits.x[:60], digits.y[:60])
    first, again = (
        prepared(digits, Scratch(epochs=2)).learn(examples, seed=derived_seed(1)).choice
        for _ in range(2)
    )
    assert first == again
