"""What the commands of a chain print and leave in their run folders."""

import json
import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pytest
from run_folders import LOAD, accuracy, logits_of

from kt_transfer import load_data
from kt_transfer.runs.folder import Run


def test_the_chain_prints_what_comes_next_and_nothing_on_stderr(chain):
    for command, following in (
        ("pretrain", "python -m kt_transfer.finetune --source source"),
        ("finetune", "python -m kt_transfer.distill --teacher teacher"),
        ("distill", "python -m kt_transfer.export --run student --name NAME"),
        ("export", "python -m kt_transfer.predict --model saved_models/digits/1"),
    ):
        assert chain.output[command].stderr == ""
        last = chain.output[command].stdout.splitlines()[-1]
        assert last.startswith(f"next: {following}")


@pytest.mark.parametrize("name", ["source", "teacher", "student"])
def test_a_run_folder_holds_what_the_contract_names(chain, name):
    folder = getattr(chain, name)
    expected = {
        "config.json",
        "model.keras",
        "preprocessing.keras",
        "labels.json",
        "splits.npz",
        "examples.npz",
        "history.csv",
        "metrics.json",
        "run.json",
        "plots",
        "logs",
    }
    if name != "source":
        expected.add("autoencoder.keras")
    if name == "teacher":
        expected.add("scratch_history.csv")
    assert {path.name for path in folder.iterdir()} == expected
    assert list(folder.glob("plots/*.png"))
    assert list(folder.glob("logs/train/events*"))
    assert list(folder.glob("logs/validation/events*"))
    assert json.loads((folder / "labels.json").read_text())["labels"] == list("0123456789")


@pytest.mark.parametrize("name", ["source", "teacher", "student"])
def test_a_run_keeps_some_of_its_training_examples(chain, name):
    run, data = Run(getattr(chain, name)), load_data("digits")
    x, y = run.read_examples(run.load_model("preprocessing.keras"))
    rows = np.random.default_rng(0).permutation(run.read_arrays("splits.npz")["train"])[:256]
    assert len(x) == min(256, len(run.read_arrays("splits.npz")["train"]))
    assert x.dtype == np.uint8
    assert np.array_equal(x, data.x[rows])
    assert np.array_equal(y, data.y[rows])


def test_settings_are_resolved(chain):
    source, teacher, student = (
        json.loads((run / "config.json").read_text())
        for run in (chain.source, chain.teacher, chain.student)
    )
    assert source["hidden_units"] == [32, 16]
    assert source["data"] == teacher["data"] == student["data"] == "digits"
    assert (teacher["freeze"], teacher["labels"], teacher["epochs"]) == (1, 200, 15)
    assert (student["temperature"], student["alpha"], student["teacher"]) == (4.0, 0.1, ["teacher"])


def test_a_history_has_a_row_an_epoch(chain):
    for run, epochs, metric in (
        (chain.source, 10, "mse"),
        (chain.teacher, 15, "accuracy"),
        (chain.student, 10, "accuracy"),
    ):
        history = pd.read_csv(run / "history.csv")
        assert history["epoch"].tolist() == list(range(epochs))
        assert {"seconds", "loss", "val_loss", metric, f"val_{metric}"} <= set(history)
        assert history["loss"].iloc[-1] < history["loss"].iloc[0]
        took = json.loads((run / "run.json").read_text())["wall_seconds"]
        assert 0 < history["seconds"].min() <= history["seconds"].sum() < took


def test_a_run_says_where_it_comes_from(chain):
    fingerprint = load_data("digits").fingerprint
    words = ["git", "rev-parse", "HEAD"]
    head = subprocess.run(words, cwd=chain.folder, capture_output=True, text=True)
    commit = head.stdout.strip() if head.returncode == 0 else None
    for name in ("source", "teacher", "student"):
        description = json.loads((getattr(chain, name) / "run.json").read_text())
        assert description["status"] == "complete"
        about = {"spec": "digits", "fingerprint": fingerprint, "notes": [], "labelled": 1438}
        assert description["data"] == about
        assert (description["seed"], description["num_replicas"]) == (0, 1)
        assert description["strategy"] == "OneDeviceStrategy"
        assert description["versions"]["keras"] == keras.__version__
        assert description["git_commit"] == commit


def test_test_rows_are_the_same_along_the_chain_and_labels_count(chain):
    source, teacher, student = (
        dict(np.load(run / "splits.npz")) for run in (chain.source, chain.teacher, chain.student)
    )
    assert np.array_equal(source["test"], teacher["test"])
    assert np.array_equal(source["test"], student["test"])
    used = np.concatenate([teacher["labelled"], teacher["validation"]])
    assert len(np.unique(used)) == 200
    # The student sees no other label, and every other example without one.
    assert np.array_equal(student["labelled"], teacher["labelled"])
    assert np.array_equal(student["validation"], teacher["validation"])
    assert len(student["train"]) == len(load_data("digits").x) - len(teacher["validation"])


def test_metrics_of_a_classifier_are_those_of_its_model(chain):
    data = load_data("digits")
    for run in (chain.teacher, chain.student):
        logits = logits_of(run, data.x_test).astype(np.float64)
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        metrics = json.loads((run / "metrics.json").read_text())
        assert metrics["test"]["accuracy"] == pytest.approx(accuracy(data.y_test, logits))
        loss = -log_p[np.arange(len(log_p)), data.y_test].mean()
        assert metrics["test"]["loss"] == pytest.approx(loss, rel=1e-5)
        held = np.load(run / "splits.npz")["validation"]
        validation = accuracy(data.y[held], logits_of(run, data.x[held]))
        assert metrics["validation"]["accuracy"] == pytest.approx(validation)
    teacher, student = (
        json.loads((run / "metrics.json").read_text()) for run in (chain.teacher, chain.student)
    )
    assert teacher["locked_layers"] == ["hidden_1"]
    assert student["teacher"]["accuracy"] == pytest.approx(teacher["test"]["accuracy"])
    assert student["num_parameters"] == 64 * 16 + 16 + 16 * 10 + 10
    agreement = logits_of(chain.student, data.x_test).argmax(1) == logits_of(
        chain.teacher, data.x_test
    ).argmax(1)
    assert student["agreement_with_teacher"] == pytest.approx(agreement.mean())


def test_metrics_of_an_autoencoder_are_those_of_its_model(chain):
    data = load_data("digits")
    x = data.x_test.reshape(-1, 64) / 8.0 - 1.0
    model = keras.saving.load_model(chain.source / "model.keras", compile=False)
    mse = np.square(model.predict(x, verbose=0) - x).mean()
    code = model.get_layer("encoder").predict(x, verbose=0)
    metrics = json.loads((chain.source / "metrics.json").read_text())
    assert metrics["test"]["mse"] == pytest.approx(mse, rel=1e-4)
    assert metrics["test"]["sparsity"] == pytest.approx((np.abs(code) < 1e-3).mean())
    penalty = 1e-3 * np.square(np.abs(code).sum(axis=1)).mean()
    assert metrics["test"]["loss"] == pytest.approx(64 * mse + penalty, rel=1e-4)


def test_saved_models_load_where_the_package_is_not(chain):
    models = sorted(chain.folder.glob("*/*.keras"))
    assert len(models) == 8
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *models], capture_output=True, text=True, cwd=chain.folder
    )
    assert done.returncode == 0, done.stderr[-500:]
