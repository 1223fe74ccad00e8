"""Ways of transferring parameters: what is locked when, how fast each layer learns."""

import json

import numpy as np
import pytest

from kt_transfer import UserError, finetune, pretrain
from kt_transfer.models.freezing import layers_with_weights
from kt_transfer.reporting.layers import layer_weights

PLAIN = {"strategy": "one_device", "jit_compile": "no", "quiet": True}
QUICK = PLAIN | {"labels": 100, "epochs": 6, "compare_scratch": "no"}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    out = tmp_path_factory.mktemp("finetune") / "source"
    return pretrain.run(out=out, epochs=3, hidden_units=(24, 16), latent_dim=12, **PLAIN)


def transfer(source, out, **settings):
    run = finetune.run(source=str(source.path), out=out, **QUICK | settings)
    return run, json.loads((run.path / "metrics.json").read_text())


def moved(source, run):
    """Which layers of the encoder are no longer the source's."""
    before, after = (
        layer_weights(layers_with_weights(run.load_model().get_layer("encoder")))
        for run in (source, run)
    )
    return {name: not all(map(np.array_equal, before[name], after[name])) for name in before}


@pytest.mark.parametrize(
    "strategy", ["one_device", pytest.param("mirrored", marks=pytest.mark.slow)]
)
def test_stages_lock_what_they_say(source, tmp_path, strategy):
    stages = {"epochs": 4, "unfreeze_every": 2, "freeze": 1, "strategy": strategy}
    run, metrics = transfer(source, tmp_path / "run", **stages)
    assert moved(source, run) == {"hidden_1": False, "hidden_2": False, "bottleneck": True}
    run, metrics = transfer(source, tmp_path / "all", **stages | {"epochs": 6})
    assert moved(source, run) == {"hidden_1": False, "hidden_2": True, "bottleneck": True}
    rows = {row["layer"]: row for row in metrics["layers"]}
    assert rows["hidden_1"] == {
        "layer": "hidden_1",
        "parameters": 64 * 24 + 24,
        "trained": False,
        "learning_rate": 0.0,
        "moved": 0.0,
    }
    assert rows["head"]["trained"]
    assert rows["bottleneck"]["moved"] > 0


def test_the_head_alone_at_first(source, tmp_path):
    run, _ = transfer(source, tmp_path / "run", epochs=4, head_epochs=3)
    header, *rows = (run.path / "history.csv").read_text().splitlines()
    assert len(rows) == 4
    assert all(moved(source, run).values())


@pytest.mark.slow
def test_early_stopping_waits_for_the_last_stage(source, tmp_path):
    run, _ = transfer(source, tmp_path / "run", epochs=8, head_epochs=5, patience=1)
    rows = (run.path / "history.csv").read_text().splitlines()[1:]
    assert len(rows) >= 6


def test_layers_further_down_learn_more_slowly(source, tmp_path):
    settings = {"epochs": 1, "head_start": "random"}
    _, even = transfer(source, tmp_path / "even", **settings)
    _, decayed = transfer(source, tmp_path / "decayed", **settings, layer_decay=0.1)
    rates = {row["layer"]: row["learning_rate"] for row in decayed["layers"]}
    expected = {"hidden_1": 1e-6, "hidden_2": 1e-5, "bottleneck": 1e-4, "head": 1e-3}
    assert rates == pytest.approx(expected)
    shares = [
        slow["moved"] / fast["moved"]
        for slow, fast in zip(decayed["layers"], even["layers"], strict=True)
    ]
    assert shares == pytest.approx([1e-3, 1e-2, 1e-1, 1.0], rel=0.2)


def test_what_the_transfer_saved(source, tmp_path, invoke):
    flags = ["--labels", "200", "--epochs", "5", "--out", "run"]
    done = invoke("finetune", "--source", source.path, *flags)
    assert done.code == 0, done.err
    assert "that scratch ends with" in done.out
    saved = json.loads((tmp_path / "run" / "metrics.json").read_text())["saved_by_transfer"]
    assert 1 <= saved["scratch"]["epochs"] <= 5
    rows = (tmp_path / "run" / "scratch_history.csv").read_text().splitlines()
    assert len(rows) == 6
    assert float(rows[-1].split(",")[rows[0].split(",").index("val_accuracy")]) == pytest.approx(
        saved["accuracy"]
    )


@pytest.mark.parametrize(
    ("settings", "num_held_out"),
    [
        ({}, 0),
        ({"labels": 200}, 20),
        ({"patience": 3}, 10),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                ({"labels": 199}, 0),
                ({"validation_split": 0.2}, 20),
                ({"lr_decay": "plateau"}, 10),
                ({"compare_scratch": "yes"}, 10),
                ({"labels": 200, "validation_split": 0.0}, 0),
            ]
        ),
    ],
    ids=str,
)
def test_few_labels_are_all_learned_from(source, tmp_path, capsys, settings, num_held_out):
    given = {"labels": 100, "compare_scratch": "no"} | settings
    run = finetune.run(source=str(source.path), epochs=1, out=tmp_path / "run", **given)
    splits = np.load(run.path / "splits.npz")
    assert len(splits["validation"]) == num_held_out
    assert len(splits["labelled"]) == given["labels"] - num_held_out
    watched = f"all {given['labels']} labels are learned from, and the training loss alone"
    # Who holds out none of them on purpose knows.
    expected = not num_held_out and "validation_split" not in settings
    assert (watched in capsys.readouterr().out) == expected
    history = (run.path / "history.csv").read_text().splitlines()
    assert "val_loss" in history[0].split(",")
    assert ("val_accuracy" in history[0]) == bool(num_held_out)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, True),
        ({"freeze": 1}, False),
        ({"freeze": "all"}, False),
        pytest.param({"unfreeze_every": 1, "epochs": 5}, False, marks=pytest.mark.slow),
        ({"augment": "none"}, False),
        ({"augment": "affine"}, False),  # it was asked for
        ({"method": "features"}, False),
    ],
    ids=str,
)
def test_views_that_nobody_asked_for_are_said(source, tmp_path, capsys, settings, expected):
    given = {"labels": 50, "epochs": 1, "compare_scratch": "no"} | settings
    finetune.run(source=str(source.path), out=tmp_path / "run", **given)
    said = "networks see each picture turned, stretched, slanted and shifted a little"
    assert (said in capsys.readouterr().out) == expected


@pytest.mark.slow
def test_consistency_starts_from_the_source_that_is_given(source, tmp_path):
    settings = {"method": "consistency", "epochs": 1, "labels": 50, "learning_rate": 1e-9}
    runs = {
        name: finetune.run(source=str(source.path), out=tmp_path / name, **settings, **more)
        for name, more in (("given", {}), ("fresh", {"initial_weights": "fresh"}))
    }
    pretrained = source.load_model().get_layer("encoder").get_weights()[0]
    for name, expected in (("given", "source"), ("fresh", "fresh")):
        assert runs[name].read_json("config.json")["initial_weights"] == expected
        own = runs[name].load_model().get_layer("encoder").get_weights()[0]
        assert np.allclose(own, pretrained, atol=1e-4) == (name == "given")


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "consistency", "initial_weights": "source"},
        {"method": "propagated", "graph_features": "encoder"},
    ],
    ids=str,
)
def test_what_needs_a_source_is_refused_without_one(settings):
    name, value = list(settings.items())[1]
    with pytest.raises(
        UserError, match=f"{name}={value} was given .* expected a pretrained source"
    ):
        finetune.run(source="scratch", **settings)


@pytest.mark.parametrize("settings", [{}, {"compare_scratch": "auto", "reinitialize": True}])
def test_no_comparison_where_there_is_nothing_to_compare(source, tmp_path, settings):
    run, metrics = transfer(source, tmp_path / "run", epochs=1, **settings)
    assert "saved_by_transfer" not in metrics
    assert not run.has("scratch_history.csv")


def test_features_are_compared_too(source, tmp_path):
    _, metrics = transfer(
        source, tmp_path / "run", method="features", epochs=5, compare_scratch="yes"
    )
    assert metrics["saved_by_transfer"]["scratch"]["epochs"] >= 1
    assert [row["trained"] for row in metrics["layers"]] == [False, False, False, True]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"freeze": 1},
        {"method": "features", "head": "dense"},
        pytest.param({"strategy": "mirrored"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_dropout_changes_what_is_learned_and_is_saved_with_it(source, tmp_path, settings):
    dropped, plain = (
        transfer(source, tmp_path / name, dropout=rate, **settings)[0].load_model()
        for name, rate in (("dropped", 0.5), ("plain", 0.0))
    )
    assert dropped.get_layer("dropout").rate == 0.5
    heads = [model.get_layer("head").kernel.numpy() for model in (dropped, plain)]
    assert np.abs(heads[0] - heads[1]).max() > 1e-4


def test_dropout_with_logistic_regression_is_refused():
    with pytest.raises(UserError, match="dropout=0.5"):
        finetune.run(source="source", method="features", dropout=0.5)


@pytest.mark.parametrize("setting", [{"head_epochs": 2}, {"unfreeze_every": 1}])
def test_features_have_no_stages(setting):
    with pytest.raises(UserError, match="method=features.*leave it out"):
        finetune.run(source="runs/source", method="features", **setting)


def test_on_few_labels_the_head_starts_from_logistic_regression(source, tmp_path):
    _, features = transfer(source, tmp_path / "features", method="features")
    run, started = transfer(source, tmp_path / "started", epochs=1, learning_rate=1e-9)
    assert started["test"] == pytest.approx(features["test"], rel=1e-4)
    noted = run.read_json("run.json")
    assert (
        noted["logistic_regression_c"]
        == json.loads((tmp_path / "features" / "run.json").read_text())["logistic_regression_c"]
    )
    _, random = transfer(
        source, tmp_path / "random", epochs=1, learning_rate=1e-9, head_start="random"
    )
    assert random["test"]["accuracy"] < features["test"]["accuracy"] - 0.2


def test_what_transfers_nothing_starts_from_a_random_head(source, tmp_path):
    run, _ = transfer(source, tmp_path / "run", epochs=1, reinitialize=True)
    assert "logistic_regression_c" not in run.read_json("run.json")


@pytest.mark.parametrize(
    "given", [{"reinitialize": True}, {"method": "features"}, {"source": "scratch"}]
)
def test_a_head_that_cannot_start_from_regression_is_refused(source, tmp_path, given):
    settings = {"source": str(source.path), "out": tmp_path / "run"} | given
    with pytest.raises(UserError, match="head_start=logistic_regression .*no pretrained"):
        finetune.run(head_start="logistic_regression", **settings)
