"""Training that goes wrong, and what is left of it, through the commands."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from kt_transfer import finetune
from kt_transfer.errors import TrainingFailed
from kt_transfer.runs import folder as runs

QUICK = {"data": "digits", "strategy": "one_device", "jit_compile": "no", "quiet": True}
DIVERGES = ("--learning-rate", "1e30", "--epochs", "2", "--jit-compile", "no", "--out", "out")
ONE_DEVICE = ("--strategy", "one_device")


@pytest.fixture(scope="module")
def spoilt(chain, tmp_path_factory):
    """What the chain made, with one weight of each that is not a number."""
    folder = tmp_path_factory.mktemp("spoilt")
    for name in ("source", "teacher"):
        shutil.copytree(chain.folder / name, folder / name)
        run = runs.Run(folder / name)
        run.save_model("model.keras", spoil(run.load_model()))
    shutil.copy(folder / "teacher" / "model.keras", folder / "teacher.keras")
    served = tf.saved_model.load(str(chain.exported))
    served.weights[0].assign(served.weights[0] * np.nan)
    tf.saved_model.save(served, str(folder / "served"), signatures=served.signatures)
    shutil.copy(chain.exported / "metadata.json", folder / "served")
    return folder


def spoil(model):
    kernel = next(v for v in model.trainable_variables if v.path.endswith("kernel"))
    values = kernel.numpy()
    values[0, 0] = np.nan
    kernel.assign(values)
    return model


@pytest.mark.parametrize(
    "words",
    [
        "pretrain --hidden-units 8",
        "pretrain --hidden-units 8 --labels 50",
        pytest.param(
            "pretrain --hidden-units 8 --objective classification --labels 50",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "pretrain --model conv --filters 4 --latent-dim 4",
            marks=pytest.mark.slow,
        ),
        "finetune --source {chain}/source --labels 60",
        pytest.param(
            "finetune --source {chain}/source --labels 60 --method features --head dense",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "distill --teacher {chain}/teacher --student-units 8",
            marks=pytest.mark.slow,
        ),
        "compare --labels 30 --folds 2 --repeats 1 --methods scratch parameters --hidden-units 8",
    ],
)
def test_a_training_that_diverges_fails_and_says_how_to_start_again(chain, invoke, tmp_path, words):
    command, *flags = words.format(chain=chain.folder).split()
    # One of them on all the devices that there are.
    device = () if "--labels" not in flags else ONE_DEVICE
    done = invoke(command, *flags, *DIVERGES, *device)
    assert done.code == 2, done.err
    assert "training diverged in epoch " in done.err
    assert "with a learning rate of 1e+30: " in done.err
    again = f"python -m kt_transfer.{command} --from-run out --out out --overwrite"
    assert f"(start again with: {again} --learning-rate 0.001)" in done.err
    assert done.err.count("\n") == 1
    assert runs.Run(tmp_path / "out").read_json("run.json")["status"] == "failed"


def test_the_command_that_it_says_works(invoke, tmp_path):
    flags = ("--data", "digits", "--hidden-units", "8")
    err = invoke("pretrain", *flags, *DIVERGES, *ONE_DEVICE).err
    words = err.split("python -m kt_transfer.")[1].rstrip(")\n").split()
    done = invoke(*words)
    assert (done.code, done.err) == (0, "")
    settings = runs.open_run(tmp_path / "out").settings
    assert (settings["learning_rate"], settings["hidden_units"]) == (0.001, [8])


def test_what_is_overwritten_comes_back(chain, invoke, tmp_path):
    shutil.copytree(chain.source, tmp_path / "out")
    done = invoke("pretrain", "--hidden-units", "8", *DIVERGES, *ONE_DEVICE, "--overwrite")
    assert done.code == 2
    assert "diverged" in done.err
    assert "start again" not in done.err  # from what came back
    assert runs.open_run(tmp_path / "out").settings["epochs"] == 10


def test_finished_cells_of_a_comparison_stay(invoke, tmp_path, monkeypatch):
    def diverge(*_, **__):
        raise TrainingFailed("training diverged in epoch 7")

    monkeypatch.setattr("kt_transfer.methods.frozen.FeaturesLearner.learn", diverge)
    words = "--labels 30 --folds 2 --repeats 1 --methods linear scratch --hidden-units 8"
    flags = (*words.split(), "--epochs", 1, *ONE_DEVICE, "--out", "out")
    done = invoke("compare", *flags)
    assert done.code == 2
    assert "error: linear with 30 labels: training diverged in epoch 7" in done.err
    rows = (tmp_path / "out" / "comparison.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["method", "scratch"]


def test_a_chain_that_diverges_names_its_own_command(invoke, tmp_path):
    done = invoke("quickstart", "--labels", "50", *DIVERGES, *ONE_DEVICE)
    assert done.code == 2
    assert "training diverged in epoch 1" in done.err
    assert done.err.count("python -m") == 1
    assert "python -m kt_transfer.quickstart --from-run out --out out --overwrite" in done.err
    for run in (tmp_path / "out", tmp_path / "out" / "pretrain"):
        assert runs.Run(run).read_json("run.json")["status"] == "failed"


def test_a_transfer_outlives_a_diverged_training_from_scratch(chain, tmp_path, capsys):
    # Logistic regression takes no steps; the same network from scratch takes them all.
    run = finetune.run(
        **QUICK | {"quiet": False},
        source=str(chain.source),
        labels=60,
        method="features",
        learning_rate=1e30,
        validation_split=0.3,
        epochs=1,
        out=tmp_path / "run",
    )
    assert "from scratch there is nothing to compare with: training diverged" in (
        capsys.readouterr().out
    )
    assert "saved_by_transfer" not in run.read_json("metrics.json")


@pytest.mark.parametrize(
    "words",
    [
        "finetune --source {spoilt}/source --labels 60 --out out",
        "compare --source {spoilt}/source --labels 30 --out out",
        "distill --teacher {spoilt}/teacher --out out",
        "export --run {spoilt}/teacher --name served",
        "export --run {spoilt}/source --name served",
        "evaluate --run {spoilt}/teacher --out out",
        "predict --run {spoilt}/teacher --out out.csv",
        "finetune --source {spoilt}/teacher.keras --data digits --labels 60 --out out",
        "distill --teacher {spoilt}/teacher.keras --data digits --out out",
        "distill --teacher {chain}/teacher --student {spoilt}/teacher.keras --out out",
        "distill --teacher {spoilt}/served --data digits --out out",
        "predict --model {spoilt}/served --out out.csv",
    ],
)
def test_weights_that_are_not_finite_are_refused(chain, spoilt, invoke, tmp_path, words):
    done = invoke(*words.format(chain=chain.folder, spoilt=spoilt).split())
    assert done.code == 2, done.err
    assert "has weights that are not finite (" in done.err
    assert str(spoilt) in done.err
    assert done.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
