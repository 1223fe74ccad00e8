"""Run folders that do not fit themselves: each ends in one sentence, and nothing is written."""

import json
import os
import shutil

import keras
import numpy as np
import pytest

from kt_transfer import UserError
from kt_transfer.comparison.held_out import HeldOut
from kt_transfer.comparison.table import Cell, Table
from kt_transfer.engine.fused_model import FusedModel
from kt_transfer.runs import folder as runs
from kt_transfer.runs import recording
from kt_transfer.runs.folder import Run
from kt_transfer.training.callbacks import EpochLog
from kt_transfer.training.fitting import fit as fit_to_the_end

ALL = ("evaluate --run run --out out", "predict --run run --out out.csv", "export --run run")


@pytest.fixture
def run(chain, tmp_path):
    """A copy of the classifier, in the folder where commands are run."""
    shutil.copytree(chain.teacher, tmp_path / "run")
    return Run(tmp_path / "run")


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def refused(invoke, tmp_path, words, *said):
    before = listing(tmp_path)
    done = invoke(*words.split())
    assert done.code == 2, done.err
    for word in said:
        assert word in done.err
    assert done.err.count("\n") == 1
    assert listing(tmp_path) == before


@pytest.mark.parametrize("words", [*ALL, "distill --teacher run --out out"])
def test_too_few_names_are_refused(run, invoke, tmp_path, words):
    run.write_json("labels.json", {"labels": ["0", "1", "2"]})
    refused(invoke, tmp_path, words, "labels.json", "3 classes", "(10,)")


@pytest.mark.parametrize("labels", [None, "0123456789", [0] * 10, {"0": "1"}])
def test_names_that_are_none_are_refused(run, invoke, tmp_path, labels):
    run.write_json("labels.json", {"labels": labels})
    refused(invoke, tmp_path, ALL[1], "labels.json", "list of names")


@pytest.mark.parametrize("words", [*ALL, "finetune --source run --labels 60 --out out"])
def test_a_model_of_another_shape_is_refused(run, invoke, tmp_path, words):
    encoder = keras.Sequential([keras.Input((32,)), keras.layers.Dense(4)], name="encoder")
    x = keras.Input((32,))
    run.save_model("model.keras", keras.Model(x, keras.layers.Dense(10)(encoder(x))))
    refused(invoke, tmp_path, words, "model.keras", "(32,)", "(64,)")


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": np.zeros((3, 8, 9), "uint8"), "y": np.zeros(3)}, "(8, 9)"),
        ({"x": np.zeros((3, 8, 8), "float64"), "y": np.zeros(3)}, "float64"),
        ({"x": np.zeros((3, 8, 8), "uint8"), "y": np.zeros(2)}, "a label 'y' for each"),
        ({"x": np.zeros((3, 8, 8), "uint8")}, "a label 'y' for each"),
    ],
)
def test_kept_examples_that_the_model_does_not_take_are_refused(
    run, invoke, tmp_path, arrays, said
):
    run.write_arrays("examples.npz", **arrays)
    refused(invoke, tmp_path, ALL[2], "examples.npz", said)


@pytest.mark.parametrize("note", [3, {}, {"quantiles": {"0.5": 1.0}}, {"quantiles": {"0.99": "x"}}])
def test_usual_errors_that_are_none_are_refused(run, invoke, tmp_path, note):
    run.update_json("run.json", reconstruction_error=note)
    refused(invoke, tmp_path, ALL[2], "run.json", "no quantile 0.99")


def test_a_model_that_is_no_autoencoder_is_refused(chain, invoke, tmp_path):
    shutil.copytree(chain.source, tmp_path / "run")
    x = keras.Input((64,))
    Run(tmp_path / "run").save_model("model.keras", keras.Model(x, keras.layers.Dense(64)(x)))
    refused(invoke, tmp_path, ALL[2], "model.keras", "'encoder' and 'decoder'")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([0, 99999], "row 99999 of 14"),
        ([-1], "splits.npz"),
        ([0.5], "no row numbers"),
        ([[1]], "no row numbers"),
        (None, "no rows 'labelled'"),
    ],
)
def test_rows_beyond_the_data_are_refused(run, invoke, tmp_path, rows, said):
    splits = run.read_arrays("splits.npz")
    del splits["labelled"]
    more = {} if rows is None else {"labelled": np.array(rows)}
    run.write_arrays("splits.npz", **splits, **more)
    refused(invoke, tmp_path, "distill --teacher run --out out", "splits.npz", said)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("run.json", "command", 3),
        ("run.json", "data", "digits"),
        ("run.json", "data", {"spec": 3}),
        ("run.json", "expects", [1]),
        ("run.json", "wall_seconds", "long"),
        ("config.json", "data", 7),
        ("config.json", "epochs", "many"),
    ],
)
def test_entries_of_another_type_are_refused(run, invoke, tmp_path, name, key, value):
    run.update_json(name, **{key: value})
    refused(invoke, tmp_path, ALL[0], name, key)


def test_objects_in_an_array_are_refused_without_advice_to_load_them(run, invoke, tmp_path):
    np.savez(run.path / "splits.npz", train=np.array([{}], dtype=object))
    done = invoke("distill", "--teacher", "run", "--out", "out")
    assert done.code == 2
    assert "splits.npz cannot be read (it holds Python objects" in done.err
    assert "pickle" not in done.err


def interrupted(tmp_path):
    """Fits 2 of 4 epochs, with a checkpoint; the function that goes on."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.ones((8, 2), "float32")

    def fit(epochs):
        whole = {"batch_size": 8, "patience": 9}
        watching = recording.watching(Run(tmp_path), epochs, "training", quiet=True)
        fit_to_the_end(
            FusedModel(model), model, x, x[:, :1], epochs=epochs, callbacks=watching, **whole
        )
        return recording.history_of(Run(tmp_path))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("time.monotonic", iter(range(0, 10**6, 100)).__next__)
        fit(epochs=2)
    return lambda: fit(epochs=4)


def cut(path):
    path.write_bytes(path.read_bytes()[:100])


def garbled(path):
    path.write_bytes(path.read_bytes()[:-30] + bytes(30))


def objects(path):
    np.savez(path, **{f"v{n}": np.array([{}], dtype=object) for n in range(9)})


def another_shape(path):
    np.savez(path, **{f"v{n}": np.ones((3, 3)) for n in range(9)})


def too_few(path):
    np.savez(path, v0=np.ones((2, 1)))


def not_json(path):
    path.write_text("[{")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("variables.npz", cut),
        ("variables.npz", garbled),
        ("variables.npz", objects),
        ("variables.npz", another_shape),
        ("variables.npz", too_few),
        ("variables.npz", os.remove),
        ("callbacks.json", not_json),
        ("callbacks.json", lambda path: path.write_text('[{"wait": 1}]')),
        ("callbacks.json", os.remove),
    ],
)
def test_a_damaged_checkpoint_is_told_in_a_sentence(tmp_path, name, damage):
    go_on = interrupted(tmp_path)
    damage(tmp_path / "checkpoint" / "2" / name)
    with pytest.raises(UserError, match="checkpoint/2 is damaged .*: remove it, and") as refusal:
        go_on()
    assert "pickle" not in str(refusal.value)
    assert "\n" not in str(refusal.value)
    shutil.rmtree(tmp_path / "checkpoint" / "2")
    assert [row["epoch"] for row in go_on()] == [0, 1, 2, 3]  # what it says works


@pytest.mark.parametrize("content", ["epoch,loss\n0,low\n", "epoch,loss\n0,1,2,3\n", "\x00,\xff"])
def test_a_damaged_history_is_told_in_a_sentence(tmp_path, content):
    (tmp_path / "history.csv").write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match="history.csv was given.*is damaged"):
        EpochLog(tmp_path / "history.csv")


@pytest.mark.parametrize("name", ["comparison.csv", "curves.csv"])
@pytest.mark.parametrize("damage", ["cut", "words", "other"])
def test_a_damaged_comparison_is_told_in_a_sentence(tmp_path, name, damage):
    numbers = dict.fromkeys(Table.__init__.__globals__["COLUMNS"][5:], 1)
    answers = HeldOut(np.arange(2), np.arange(2), np.eye(2), np.full(2, 0.5))
    Table(tmp_path).add(Cell("scratch", "", 30, 0, 0), {1: 0.5}, answers, **numbers)
    Table(tmp_path)
    text = (tmp_path / name).read_text()
    damaged = {
        "cut": text.rstrip("\n").rsplit(",", 2)[0],
        "words": text.replace(",30,", ",many,"),
        "other": "a,b\n1,2\n",
    }
    (tmp_path / name).write_text(damaged[damage])
    with pytest.raises(UserError, match=f"{name}, but it is damaged"):
        Table(tmp_path)


@pytest.mark.parametrize("name", ["plots", "logs", "checkpoint"])
@pytest.mark.parametrize("kind", ["link", "file"])
def test_folders_that_lead_out_of_a_run_are_refused(tmp_path, name, kind):
    outside, path = tmp_path / "outside", tmp_path / "run"
    outside.mkdir()
    with pytest.raises(KeyboardInterrupt), runs.start("pretrain", {}, out=path):
        raise KeyboardInterrupt
    (path / name).symlink_to(outside) if kind == "link" else (path / name).write_text("mine")
    what = "symbolic link to .*outside" if kind == "link" else "is a file"
    with (
        pytest.raises(UserError, match=f"its {name} is .*{what}".replace("is .*is", "is")),
        runs.start("pretrain", {}, out=path, resume=True),
    ):
        pass
    with pytest.raises(UserError, match=f"its {name} is"):
        Run(path).folder(name)
    assert list(outside.iterdir()) == []


def test_pictures_are_not_written_through_links(run, invoke, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine.png").write_text("mine")
    plots = run.path / "plots"
    (plots / "confusion_matrix.png").symlink_to(outside / "mine.png")
    assert invoke("evaluate", "--run", "run").code == 0
    assert (outside / "mine.png").read_text() == "mine"
    assert not (plots / "confusion_matrix.png").is_symlink()
    shutil.rmtree(plots)
    plots.symlink_to(outside)
    done = invoke("evaluate", "--run", "run", "--overwrite")
    assert done.code == 2
    assert "its plots is a symbolic link" in done.err
    assert listing(outside) == ["mine.png"]


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "run").mkdir()
    with pytest.raises(KeyboardInterrupt), runs.start("pretrain", {}, out=tmp_path / "run"):
        raise KeyboardInterrupt
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError), runs.start("pretrain", {}, out=tmp_path / "run", resume=True):
        pass
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "metadata.json").write_text("[]"),
        lambda path: (path / "metadata.json").write_text("{"),
        lambda path: (path / "metadata.json").write_text("{}"),
        lambda path: relabel(path, ["0", "1"]),
        lambda path: relabel(path, "0123456789"),
        lambda path: cut(path / "saved_model.pb"),
        lambda path: cut(path / "variables" / "variables.data-00000-of-00001"),
        lambda path: os.remove(path / "variables" / "variables.index"),
    ],
)
def test_a_damaged_export_is_told_in_a_sentence(chain, invoke, tmp_path, damage):
    shutil.copytree(chain.exported, tmp_path / "served")
    damage(tmp_path / "served")
    refused(invoke, tmp_path, "predict --model served --out out.csv", "--model served")


def relabel(path, labels):
    metadata = json.loads((path / "metadata.json").read_text())
    (path / "metadata.json").write_text(json.dumps(metadata | {"labels": labels}))
