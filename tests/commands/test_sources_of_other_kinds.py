"""Sources that were made for other images, Keras files and applications."""

import re
import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pytest
from run_folders import ALONE, LOAD, QUICK, encoder_weights, logits_of, same

from kt_transfer import load_data
from kt_transfer.runs.folder import Run


@pytest.fixture
def enlarged(tmp_path):
    """The digits, each pixel four: shrunk by averaging they are what they were."""
    data = load_data("digits")
    x, x_test = (
        np.kron(part, np.ones((2, 2))).astype(np.float32) for part in (data.x, data.x_test)
    )
    np.savez(tmp_path / "large.npz", x=x, y=data.y, x_test=x_test, y_test=data.y_test)
    return "npz:large.npz"


@pytest.mark.slow
def test_a_source_of_smaller_images(chain, invoke, enlarged, tmp_path, unchecked_exports):
    words = ("--method", "features", "--labels", 60, *ALONE)
    assert invoke("finetune", "--source", chain.source, *words, "--out", "same").code == 0
    done = invoke("finetune", "--source", chain.source, "--data", enlarged, *words, "--out", "t")
    assert (done.code, done.err) == (0, "")
    line = (
        "source expects 64 values of images 8x8 in [-1, 1]: examples 16x16 in [0, 16] are resized, "
        "scaled"
    )
    assert line in done.out.splitlines()
    assert Run(tmp_path / "t").read_json("run.json")["adaptation"] == line
    # The same images in the end, so the same features and the same head.
    same, other = (Run(tmp_path / name).read_json("metrics.json")["test"] for name in ("same", "t"))
    assert other == pytest.approx(same, rel=1e-3)
    # What serves it has the autoencoder too; a student for the large images has none that fits.
    assert invoke("export", "--run", "t", "--name", "large").code == 0
    assert (tmp_path / "t" / "autoencoder.keras").exists()
    done = invoke("distill", "--teacher", "t", "--student-units", 4, "--out", "s", *ALONE, *QUICK)
    assert (done.code, done.err) == (0, "")
    assert not (tmp_path / "s" / "autoencoder.keras").exists()
    # A run that adapts is a source like any other.
    words = ("--source", "t", "--data", "digits", "--labels", 50, "--out", "again", *ALONE, *QUICK)
    assert "64 values of images 8x8" in invoke("finetune", *words).out


@pytest.fixture
def conv_file(tmp_path):
    """A classifier of small colour images as Keras' guide to transfer learning builds it."""
    layers = keras.layers
    base = keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            layers.Conv2D(6, 3, activation="relu", name="conv"),
            layers.BatchNormalization(name="statistics"),
            layers.Conv2D(8, 3, strides=2, activation="relu", name="last"),
        ]
    )
    x = keras.Input((12, 12, 3))
    logits = layers.Dense(5, name="predictions")(layers.GlobalAveragePooling2D()(base(x)))
    model = keras.Model(x, logits)
    model.compile("adam", loss="sparse_categorical_crossentropy")
    model.save(tmp_path / "conv.keras")
    return base


@pytest.mark.slow
def test_a_keras_file_as_source_and_all_that_follows(conv_file, invoke, tmp_path):
    words = ("--source", "conv.keras", "--labels", 60, "--freeze", 2, "--out", "t")
    done = invoke("finetune", *words, *QUICK)
    assert (done.code, done.err) == (0, "")
    assert (
        "source expects 12x12x3 in [-1, 1]: examples 8x8 in [0, 16] are resized, repeated to 3 "
        "channels, scaled" in done.out.splitlines()
    )
    # The statistics of a locked batch normalization are weights that must not move.
    before = {layer.name: layer.get_weights() for layer in conv_file.layers}
    after = encoder_weights(tmp_path / "t")
    assert list(after) == ["conv", "statistics", "last"]
    assert [same(before[name], after[name]) for name in after] == [True, True, False]
    metrics = Run(tmp_path / "t").read_json("metrics.json")
    assert metrics["locked_layers"] == ["conv", "statistics"]
    run = Run(tmp_path / "t")
    assert run.load_model().get_layer("encoder").output_shape == (None, 8)

    assert invoke("evaluate", "--run", "t", "--quiet").code == 0
    results = run.read_json("evaluation.json")
    assert results["accuracy"] == pytest.approx(metrics["test"]["accuracy"])
    models = sorted((tmp_path / "t").glob("*.keras"))
    assert [path.name for path in models] == ["model.keras", "preprocessing.keras"]
    subprocess.run([sys.executable, "-c", LOAD, *models], check=True, cwd=tmp_path)
    assert invoke("export", "--run", "t", "--name", "conv").code == 0
    for flag, path in (("run", "t"), ("model", "saved_models/conv/1")):
        done = invoke("predict", f"--{flag}", path, "--split", "test", "--out", f"{flag}.csv")
        assert (done.code, done.err) == (0, "")
    by_run, by_model = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("run", "model"))
    np.testing.assert_allclose(by_run.iloc[:, 4:], by_model.iloc[:, 4:], atol=1e-5)
    done = invoke("distill", "--teacher", "t", "--student-units", 4, "--out", "s", *ALONE, *QUICK)
    assert (done.code, done.err) == (0, "")
    # The result is a source too, and knows what it expects.
    words = ("--source", "t", "--method", "features", "--labels", 50, "--out", "again", *ALONE)
    assert "source expects 12x12x3 in [-1, 1]" in invoke("finetune", *words).out


@pytest.mark.slow
def test_a_run_from_a_file_is_resumed(conv_file, invoke, tmp_path):
    words = ("--source", "conv.keras", "--source-range", 0, 1, "--labels", 50, "--out", "t", *ALONE)
    assert invoke("finetune", *words, *QUICK).code == 0
    run = Run(tmp_path / "t")
    assert run.read_json("run.json")["expects"]["values"] == [0.0, 1.0]
    logits = logits_of(tmp_path / "t", load_data("digits").x_test)
    run.update_json("run.json", status="interrupted")
    (tmp_path / "t" / "history.csv").unlink()
    done = invoke("finetune", "--resume", "--out", "t")
    assert (done.code, done.err) == (0, "")
    np.testing.assert_array_equal(logits_of(tmp_path / "t", load_data("digits").x_test), logits)


@pytest.mark.parametrize(("which", "width"), [("statistics", 6), ("all", 6 + 6 + 8)])
def test_features_from_other_layers(conv_file, invoke, tmp_path, which, width):
    words = ("--source", "conv.keras", "--method", "features", "--features-from", which)
    done = invoke("finetune", *words, "--labels", 60, "--out", "t", *ALONE)
    assert (done.code, done.err) == (0, "")
    network = Run(tmp_path / "t").load_model()
    x = np.random.default_rng(0).normal(size=(4, 12, 12, 3)).astype(np.float32)
    maps, outputs = x, {}
    for layer in conv_file.layers:
        outputs[layer.name] = maps = layer(maps)
    features = [np.mean(maps, axis=(1, 2)) for maps in outputs.values()]
    features = np.concatenate(features, axis=1) if which == "all" else features[1]
    assert features.shape == (4, width)
    np.testing.assert_allclose(network.get_layer("encoder")(x), features, atol=1e-5)
    kernel, bias = network.get_layer("head").get_weights()
    np.testing.assert_allclose(network(x), features @ kernel + bias, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_tune_a_file_as_source(conv_file, invoke, tmp_path):
    words = ("--source", "conv.keras", "--labels", 60, "--validation-split", 0.3)
    done = invoke("tune", "finetune", *words, "--max-trials", 1, "--out", "search", *QUICK)
    assert (done.code, done.err) == (0, "")
    assert (tmp_path / "search" / "best" / "model.keras").is_file()


def application_data(path):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (60, 28, 28, 1), dtype=np.uint8)
    np.savez(path, x=x, y=np.arange(60) % 3)


def test_an_application_without_a_network_says_where_its_weights_belong(command, tmp_path):
    application_data(tmp_path / "d.npz")
    home = tmp_path / "keras"
    done = command(
        *("finetune", "--source", "keras_applications:mobilenet", "--data", "npz:d.npz"),
        check=False,
        KERAS_HOME=str(home),
        https_proxy="http://127.0.0.1:9",
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"error: --source keras_applications:MobileNet was given.*\n", done.stderr)
    assert f"{home}/models/mobilenet_1_0_224_tf_no_top.h5" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_an_application_with_its_weights_at_hand(command, tmp_path):
    application_data(tmp_path / "d.npz")
    home = tmp_path / "keras"
    (home / "models").mkdir(parents=True)
    application = keras.applications.MobileNet(
        weights=None, include_top=False, input_shape=(32, 32, 3)
    )
    # Where Keras puts what it fetches, in the format that it fetches.
    application.save(home / "models" / "mobilenet_1_0_224_tf_no_top.h5")
    words = ("finetune", "--source", "keras_applications:MobileNet", "--data", "npz:d.npz")
    done = command(*words, "--method", "features", "--out", "t", KERAS_HOME=str(home))
    assert done.stderr == ""
    assert (
        "source expects 32x32x3 in [-1, 1]: examples 28x28x1 in [0, 255] are resized, repeated to "
        "3 channels, scaled" in done.stdout.splitlines()
    )
    saved = {layer.name: layer.get_weights() for layer in application.layers if layer.weights}
    given = encoder_weights(tmp_path / "t")
    assert list(given) == list(saved)
    assert all(same(given[name], saved[name]) for name in given)
    done = command("export", "--run", "t", "--name", "m", KERAS_HOME=str(home))
    assert done.stderr == ""
