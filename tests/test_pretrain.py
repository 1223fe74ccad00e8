"""What pretraining can do beside reconstructing: labels, noise, penalties, its warnings."""

import json

import keras
import numpy as np
import pandas as pd
import pytest

from kt_transfer import UserError, finetune, load_data, pretrain
from kt_transfer.runs.folder import Run
from kt_transfer.training.callbacks import read_history

PLAIN = {"quiet": True, "strategy": "one_device", "jit_compile": "no"}
QUICK = PLAIN | {"epochs": 2, "hidden_units": (16,)}


def read(run, name="metrics.json"):
    return json.loads((run.path / name).read_text())


def test_labels_add_a_classification_loss(tmp_path):
    run = pretrain.run(out=tmp_path / "run", labels=100, **QUICK | {"epochs": 15})
    metrics = read(run)
    assert set(metrics["test"]) == {"loss", "mse", "sparsity"}
    assert metrics["head"]["accuracy"] > 0.5
    model = run.load_model()
    assert [layer.name for layer in model.layers][-2:] == ["encoder", "decoder"]
    header = (run.path / "history.csv").read_text().splitlines()[0].split(",")
    assert {"decoder_mse", "head_accuracy", "val_decoder_mse"} <= set(header)


@pytest.mark.parametrize(
    "settings",
    [
        {"labels": 200},
        pytest.param({"labels": 50, "validation_split": 0.1}, marks=pytest.mark.slow),
    ],
)
def test_its_labels_are_those_that_finetune_trains_on(tmp_path, settings):
    source = pretrain.run(out=tmp_path / "source", labels=settings["labels"], seed=3, **QUICK)
    target = finetune.run(
        source=str(source.path), out=tmp_path / "target", seed=3, epochs=1, quiet=True, **settings
    )
    ours, theirs = source.read_arrays("splits.npz"), target.read_arrays("splits.npz")
    np.testing.assert_array_equal(np.sort(ours["labelled"]), np.sort(theirs["labelled"]))
    assert not set(ours["labelled"]) & set(theirs["validation"])
    assert not set(ours["train"]) & set(ours["validation"])


@pytest.mark.slow
def test_a_classifier_is_a_source_and_a_teacher_too(tmp_path, invoke):
    run = pretrain.run(
        out=tmp_path / "run", objective="classification", **QUICK | {"epochs": 10}, latent_dim=12
    )
    assert read(run)["test"]["accuracy"] > 0.8
    assert run.load_model().get_layer("encoder").output_shape == (None, 12)
    assert not run.has("autoencoder.keras")
    done = invoke("finetune", "--source", run.path, "--labels", 60, "--epochs", 2, "--freeze", 1)
    assert done.code == 0, done.err
    for words in (
        ("distill", "--teacher", run.path, "--epochs", 1),
        ("evaluate", "--run", run.path),
        ("predict", "--run", run.path),
        ("export", "--run", run.path, "--name", "x"),
    ):
        done = invoke(*words)
        assert done.code == 0, done.err
    served = json.loads((tmp_path / "saved_models/x/1/metadata.json").read_text())
    assert served["labels"] == [str(n) for n in range(10)]


def test_classification_uses_no_more_labels_than_given(tmp_path):
    run = pretrain.run(out=tmp_path / "run", objective="classification", labels=40, **QUICK)
    splits = run.read_arrays("splits.npz")
    assert len(splits["train"]) + len(splits["validation"]) == 40


def test_data_without_labels_cannot_teach_classes(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).random((30, 4)))
    for wrong in ({"objective": "classification"}, {"labels": 10}):
        with pytest.raises(UserError, match="label"):
            pretrain.run(data=f"npz:{tmp_path / 'x.npz'}", out=tmp_path / "run", **QUICK, **wrong)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "layer"),
    [
        ({"noise": 0.3}, keras.layers.Dropout),
        ({"noise": 1.0, "noise_kind": "gaussian"}, keras.layers.GaussianNoise),
    ],
)
def test_the_kind_of_noise(tmp_path, settings, layer):
    run = pretrain.run(out=tmp_path / "run", **QUICK, **settings)
    assert isinstance(run.load_model().get_layer("noise"), layer)


@pytest.mark.slow
def test_columns_are_resampled_while_training(tmp_path):
    rng = np.random.default_rng(0)
    size = rng.normal(size=300)
    colour = np.where(size > 0, "red", "blue")
    table = pd.DataFrame({"size": size, "double": 2 * size + 0.1, "colour": colour})
    table.to_csv(tmp_path / "rows.csv", index=False)
    settings = QUICK | {"data": f"csv:{tmp_path / 'rows.csv'}", "epochs": 40, "latent_dim": 4}
    losses = []
    for noise in (0.0, 0.3):
        run = pretrain.run(
            **settings, noise=noise, noise_kind="resample", out=tmp_path / f"noise-{noise}"
        )
        assert "noise" not in [layer.name for layer in run.load_model().layers]
        losses.append(read_history(run.path / "history.csv")[-1])
    plain, noisy = losses
    assert plain["loss"] == pytest.approx(plain["val_loss"], rel=0.5)
    # What was replaced is reconstructed from the other columns, and not known in validation.
    assert noisy["loss"] > 2 * noisy["val_loss"]


def test_pixels_are_not_resampled(invoke):
    done = invoke("pretrain", "--noise-kind", "resample")
    assert done.code == 2
    assert "expected rows of a table" in done.err


def test_every_penalty_has_its_flags(tmp_path):
    k_sparse = pretrain.run(
        out=tmp_path / "k", model="sparse", sparsity="k_sparse", num_active=3, latent_dim=9, **QUICK
    )
    data = load_data("digits")
    scaled = k_sparse.load_model("preprocessing.keras").predict(data.x_test, verbose=0)
    codes = k_sparse.load_model().get_layer("encoder").predict(scaled, verbose=0)
    assert (codes != 0).sum(axis=1).max() == 3
    active = {}
    for target in (0.02, 0.5):
        run = pretrain.run(
            **QUICK | {"epochs": 20},
            out=tmp_path / str(target),
            model="sparse",
            sparsity="kl",
            sparsity_weight=50.0,
            sparsity_target=target,
        )
        active[target] = run.load_model().get_layer("encoder").predict(scaled, verbose=0).mean()
    assert active[0.02] == pytest.approx(0.02, abs=0.03)
    assert active[0.5] == pytest.approx(0.5, abs=0.1)


def test_a_collapse_is_told_with_what_to_change(tmp_path, invoke):
    flags = [
        "--model",
        "sparse",
        "--sparsity-weight",
        "1000",
        "--epochs",
        "4",
        "--hidden-units",
        "16",
    ]
    done = invoke("pretrain", *flags, "--out", "run")
    assert done.code == 0, done.err
    assert "warning" in done.out
    assert "or the sparsity weight" in done.out
    metrics = read(Run(tmp_path / "run"))
    assert metrics["constant_reconstruction"] or metrics["dead_code_units"] > 0


@pytest.mark.parametrize(
    ("flags", "change"),
    [
        ("--hidden-units 16 --latent-dim 4", "lower the learning rate, or try"),
        pytest.param(
            "--model sparse --sparsity k_sparse --num-active 1",
            "the number of active units, or try",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_to_change_fits_the_kind_of_code(invoke, flags, change):
    # Steps so large that units are driven to silence.
    done = invoke("pretrain", *flags.split(), "--epochs", "1", "--learning-rate", "30")
    assert (done.code, done.err) == (0, "")
    assert change in done.out


def test_the_table_of_layers(tmp_path, invoke):
    done = invoke("pretrain", "--epochs", 1, "--hidden-units", 16, "--out", "run")
    assert "learning rate" in done.out
    rows = read(Run(tmp_path / "run"))["layers"]
    assert [row["layer"] for row in rows] == [
        *("encoder/hidden_1", "bottleneck"),
        *("decoder/hidden_1", "reconstruction"),
    ]
    assert all(row["trained"] for row in rows)
