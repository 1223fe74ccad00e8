"""Spaces of settings: their defaults are the settings given, and all values are taken."""

import dataclasses
import json
from pathlib import Path

import keras_tuner
import pytest

from kt_transfer import UserError, methods, tune
from kt_transfer.settings import DistillConfig, FinetuneConfig, PretrainConfig
from kt_transfer.tuning import spaces

SPACES = {
    "pretrain": spaces.pretrain,
    "finetune": lambda hp, base: spaces.space_of(base.method)(hp, base),
    "distill": spaces.distilled,
}


@pytest.mark.parametrize(
    ("command", "base"),
    [
        ("pretrain", PretrainConfig(hidden_units=(7, 5), batch_size=48, noise=0.1)),
        ("pretrain", PretrainConfig(hidden_units=(256, 128), learning_rate=0.005)),
        ("pretrain", PretrainConfig(hidden_units=())),
        ("finetune", FinetuneConfig(source="run", freeze=2, batch_size=8, lr_decay="plateau")),
        ("finetune", FinetuneConfig(source="run", freeze="all")),
        ("finetune", FinetuneConfig(source="scratch")),
        (
            "finetune",
            FinetuneConfig(source="run", method="features", head="dense", dropout=0.4),
        ),
        ("distill", DistillConfig(teacher=(Path("run"),), alpha=0.3, temperature=3.0)),
        ("distill", DistillConfig(teacher=(Path("run"),), loss="cross_entropy")),
    ],
)
def test_the_defaults_of_a_space_are_the_settings_given(command, base):
    space = keras_tuner.HyperParameters()
    suggest = SPACES[command]
    assert suggest(space, base) == base
    # Everything else in the space is a setting that the command takes.
    for hp in space.space:
        values = getattr(hp, "values", None) or [hp.min_value, hp.max_value]
        for value in values:
            chosen = space.copy()
            chosen.values[hp.name] = value
            assert dataclasses.is_dataclass(suggest(chosen, base))


@pytest.mark.parametrize("rate", [0.05, 1e-5])
def test_a_learning_rate_beyond_the_usual_is_searched_around_too(rate):
    space = keras_tuner.HyperParameters()
    assert spaces.pretrain(space, PretrainConfig(learning_rate=rate)).learning_rate == rate
    (hp,) = (hp for hp in space.space if hp.name == "learning_rate")
    assert hp.min_value <= rate <= hp.max_value


@pytest.mark.parametrize("name", sorted(spaces.BY_METHOD))
def test_a_method_and_its_command_have_the_same_space(name):
    """The function takes both dataclasses, and proposes the same settings for both."""
    method = methods.BY_NAME[name]()
    space = keras_tuner.HyperParameters()
    assert spaces.space_of(name)(space, method) == method
    names = {hp.name for hp in space.space}
    if name in ("distilled", "scratch"):
        return
    config = FinetuneConfig(source="run", method=name)
    beside = keras_tuner.HyperParameters()
    assert spaces.space_of(name)(beside, config) == config
    assert {hp.name for hp in beside.space} == names


def test_what_has_nothing_to_search_is_refused():
    with pytest.raises(UserError, match="linear.*regularization"):
        spaces.space_of("linear")


DESCRIBED = {
    "batch_size": [8, 32],
    "learning_rate": {"min": 1e-3, "max": 1e-1, "sampling": "log"},
    "warmup_epochs": {"min": 0, "max": 5},
    "hidden_units": [[16], [32, 16]],
}


def test_a_described_space_has_what_it_says_and_the_settings_as_defaults():
    base = FinetuneConfig(source="scratch")
    suggest = spaces.from_description(DESCRIBED, set(DESCRIBED), base)
    space = keras_tuner.HyperParameters()
    assert suggest(space, base) == base
    assert {hp.name for hp in space.space} == set(DESCRIBED)
    chosen = space.copy()
    chosen.values |= {"hidden_units": "32-16", "warmup_epochs": 3, "batch_size": 8}
    tried = suggest(chosen, base)
    assert (tried.hidden_units, tried.warmup_epochs, tried.batch_size) == ((32, 16), 3, 8)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "cannot be read"),
        ("[]", "not an object"),
        ('{"learning_rates": [1]}', "did you mean learning_rate"),
        ('{"data": ["digits"]}', "none of this name"),
        ('{"dropout": 0.5}', "neither a list of values nor a range"),
        ('{"dropout": {"min": 0.5, "max": 0.1}}', "min is not below max"),
        ('{"dropout": {"min": 0, "max": 0.5, "sampling": "cubic"}}', "sampling"),
        ('{"learning_rate": {"min": 0, "max": 0.5, "sampling": "log"}}', "above 0"),
        ('{"learning_rate": {"min": "a", "max": "b"}}', "not both numbers"),
        ('{"head_start": {"min": 1, "max": 2}}', "give"),
        ('{"dropout": [0.1, 2.0]}', "dropout"),
        ('{"dropout": {"min": 0.1, "max": 2.0}}', "dropout"),
        ('{"batch_size": ["a", 32]}', "batch_size"),
        ('{"lr_decay": ["none", "bogus"]}', "lr_decay"),
    ],
)
def test_a_space_that_says_something_else_is_refused_before_anything_is_trained(
    tmp_path, content, told
):
    file = tmp_path / "space.json"
    file.write_text(content)
    with pytest.raises(UserError, match=told):
        tune.run("finetune", source="scratch", space=file, out=tmp_path / "search", quiet=True)
    assert not (tmp_path / "search").exists()


def test_numbers_and_words_may_be_values_of_one_setting():
    base = FinetuneConfig(source="run", batch_size=32, patience=None)
    described = {"freeze": [0, "all"], "patience": [3]}
    suggest = spaces.from_description(described, set(described), base)
    space = keras_tuner.HyperParameters()
    assert suggest(space, base) == base
    chosen = space.copy()
    chosen.values |= {"freeze": "all", "patience": "3"}
    tried = suggest(chosen, base)
    assert (tried.freeze, tried.patience) == ("all", 3)


def test_a_space_in_python_is_what_such_a_file_holds(tmp_path):
    settings = {"source": "scratch", "labels": 40, "epochs": 2, "max_trials": 4, "quiet": True}
    settings |= {"search": "grid", "hidden_units": (8,), "strategy": "one_device"}
    described = {"batch_size": [8, 16], "dropout": [0.0, 0.5]}
    run = tune.run("finetune", space=described, **settings, out=tmp_path / "search")
    trials = json.loads((run.path / "trials.json").read_text())["trials"]
    assert len({tuple(trial["settings"].items()) for trial in trials}) == 4
    assert trials[0]["settings"] == {"batch_size": 32, "dropout": 0.0}
