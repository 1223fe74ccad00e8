"""The commands on images that stay images: from a convolutional autoencoder to what is served."""

import dataclasses
import json
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from kt_transfer import distill, export, finetune, load_data, pretrain, tune
from kt_transfer.data import Dataset
from kt_transfer.methods import networks
from kt_transfer.runs.folder import Run
from kt_transfer.serving import saved_model

QUICK = {"strategy": "one_device", "jit_compile": "no", "quiet": True}
ALONE = {"compare_scratch": "no"}
FLAGS = ("--epochs", 2, "--strategy", "one_device", "--jit-compile", "no")


@dataclasses.dataclass(frozen=True)
class Images:
    """A chain that began with a convolutional autoencoder, and its data as the network sees it."""

    data: Dataset
    source: Path
    teacher: Path
    student: Path
    shape: tuple[int, int, int]

    def scaled(self, x):
        low, high = self.data.value_range
        return (2.0 * (x - low) / (high - low) - 1.0).reshape(-1, *self.shape).astype(np.float32)


def colours(path):
    """Three kinds of small pictures, each with more of one colour in one half."""
    rng = np.random.default_rng(0)
    y = np.arange(240) % 3
    x = rng.integers(0, 60, (240, 9, 7, 3))
    x[np.arange(240), :5, :, y] += 120
    np.savez(path, x=x.astype(np.uint8), y=y)
    return f"npz:{path}"


@pytest.fixture(scope="module", params=["grey", "colour"])
def images(request, tmp_path_factory) -> Images:
    folder = tmp_path_factory.mktemp(request.param)
    spec = "digits" if request.param == "grey" else colours(folder / "colours.npz")
    conv = {"model": "conv", "filters": (8, 8), "latent_dim": 16, "noise": 0.05, "batch_size": 16}
    rate = {"learning_rate": 0.005}
    source = pretrain.run(**QUICK, **rate, data=spec, **conv, epochs=10, out=folder / "source")
    teacher = finetune.run(
        **QUICK,
        **rate,
        source=str(source.path),
        labels=120,
        freeze=1,
        epochs=15,
        out=folder / "teacher",
    )
    student = distill.run(
        **QUICK | ALONE,
        teacher=[teacher.path],
        student_units=(8,),
        epochs=4,
        out=folder / "student",
    )
    shape = (8, 8, 1) if request.param == "grey" else (9, 7, 3)
    return Images(load_data(spec), source.path, teacher.path, student.path, shape)


def load(run, name="model.keras"):
    return keras.saving.load_model(run / name, compile=False)


def metrics_of(run):
    return json.loads((run / "metrics.json").read_text())


def encoder_weights(run):
    encoder = load(run).get_layer("encoder")
    return {layer.name: layer.get_weights() for layer in encoder.layers if layer.weights}


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_the_image_stays_an_image_until_the_student(images):
    for run in (images.source, images.teacher):
        assert load(run, "preprocessing.keras").output_shape == (None, *images.shape)
        assert load(run).input_shape == (None, *images.shape)
    assert load(images.student).input_shape == (None, images.data.input_dim)
    assert "noise" in [layer.name for layer in load(images.source).layers]


def test_the_autoencoder_learned_and_says_what_it_measured(images):
    x = images.scaled(images.data.x_test)
    mse = np.square(load(images.source).predict(x, verbose=0) - x).mean()
    metrics = metrics_of(images.source)["test"]
    assert metrics["mse"] == pytest.approx(mse, rel=1e-4)
    assert metrics["loss"] == pytest.approx(images.data.input_dim * mse, rel=1e-4)
    assert metrics["mse"] < np.square(x - x.mean(axis=0)).mean()  # more than the mean image
    assert (images.source / "plots" / "reconstructions.png").is_file()


def test_parameters_are_transferred_and_locked_ones_stay(images):
    before, after = encoder_weights(images.source), encoder_weights(images.teacher)
    assert list(before) == list(after) == ["conv_1", "conv_2", "bottleneck"]
    assert [same(before[name], after[name]) for name in before] == [True, False, False]
    logits = load(images.teacher).predict(images.scaled(images.data.x_test), verbose=0)
    accuracy = (logits.argmax(axis=1) == images.data.y_test).mean()
    metrics = metrics_of(images.teacher)
    assert metrics["locked_layers"] == ["conv_1"]
    assert metrics["test"]["accuracy"] == pytest.approx(accuracy)
    assert accuracy > 2 / images.data.num_classes


def test_a_student_learns_what_the_teacher_says_of_images(images):
    metrics = metrics_of(images.student)
    teacher = metrics_of(images.teacher)["test"]
    assert metrics["teacher"]["accuracy"] == pytest.approx(teacher["accuracy"])
    flat = images.scaled(images.data.x_test).reshape(len(images.data.x_test), -1)
    agreement = load(images.student).predict(flat, verbose=0).argmax(axis=1) == load(
        images.teacher
    ).predict(images.scaled(images.data.x_test), verbose=0).argmax(axis=1)
    assert metrics["agreement_with_teacher"] == pytest.approx(agreement.mean())
    assert same(
        load(images.source).get_weights(), load(images.student, "autoencoder.keras").get_weights()
    )


def test_evaluate_sums_over_every_value_of_an_image(images, invoke, tmp_path):
    assert invoke("evaluate", "--run", images.source, "--out", "e", "--quiet").code == 0
    results = json.loads((tmp_path / "e" / "evaluation.json").read_text())
    mse = metrics_of(images.source)["test"]["mse"]
    assert results["mse"] == pytest.approx(mse, rel=1e-4)
    assert results["squared_error"] == pytest.approx(images.data.input_dim * mse, rel=1e-4)
    assert results["num_examples"] == len(images.data.x_test)
    assert (tmp_path / "e" / "plots" / "reconstructions.png").is_file()


def ask(path, signature, x):
    function = tf.saved_model.load(str(path)).signatures[signature]
    (name,) = function.structured_input_signature[1]
    return {key: value.numpy() for key, value in function(**{name: tf.constant(x)}).items()}


def softmax(logits):
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("name", ["source", "teacher", "student"])
def test_what_is_served_is_what_keras_says(images, tmp_path, monkeypatch, name):
    if name != "student" or images.shape[2] == 1:  # a check in a process of its own takes seconds
        monkeypatch.setattr(saved_model, "check_saved_model", lambda *_: 0.0)
    run, raw = getattr(images, name), images.data.x_test[:20]
    version = export.run(run=run, name="m", export_dir=tmp_path, quiet=True)
    x = images.scaled(raw)
    output = load(images.source).predict(x, verbose=0)
    answers = ask(version, "reconstruct", raw)
    assert answers["reconstruction"].shape == x.shape
    np.testing.assert_allclose(answers["reconstruction"], output, atol=1e-5)
    errors = np.square(x - output).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(answers["reconstruction_error"], errors, rtol=1e-4)
    features = x.reshape(len(x), -1) if name == "student" else x
    code = load(run).get_layer("encoder").predict(features, verbose=0)
    np.testing.assert_allclose(ask(version, "encode", raw)["features"], code, atol=1e-5)
    served = ask(version, "serving_default", raw)
    if name == "source":
        np.testing.assert_allclose(served["reconstruction"], output, atol=1e-5)
        assert served["reconstruction_error"].shape == (20,)
    else:
        probabilities = softmax(load(run).predict(features, verbose=0))
        np.testing.assert_allclose(served["probabilities"], probabilities, atol=1e-5)
    assert ask(version, "reconstruct", raw[:0])["reconstruction"].shape == (0, *images.shape)


def test_predictions_are_the_teachers(images, invoke, tmp_path):
    words = ("predict", "--run", images.teacher, "--split", "test", "--out", "p.csv")
    done = invoke(*words)
    assert (done.code, done.err) == (0, "")
    table = pd.read_csv(tmp_path / "p.csv").set_index("row").loc[images.data.rows_test]
    logits = load(images.teacher).predict(images.scaled(images.data.x_test), verbose=0)
    assert (table["class_id"] == logits.argmax(axis=1)).all()


@pytest.fixture(scope="module")
def colour(tmp_path_factory):
    """A source of colour images alone, for what need not be looked at twice."""
    folder = tmp_path_factory.mktemp("source")
    spec = colours(folder / "colours.npz")
    return pretrain.run(
        **QUICK, data=spec, model="conv", filters=(4, 8), epochs=2, out=folder / "source"
    ).path


def test_features_are_the_frozen_encoders(colour, invoke, tmp_path):
    words = ("finetune", "--source", colour, "--method", "features", "--labels", 60, "--out", "t")
    done = invoke(*words, "--compare-scratch", "no")
    assert (done.code, done.err) == (0, "")
    before, after = encoder_weights(colour), encoder_weights(tmp_path / "t")
    assert all(same(before[name], after[name]) for name in before)
    assert metrics_of(tmp_path / "t")["test"]["accuracy"] > 0.8


def test_reinitialize_keeps_the_network_and_not_its_knowledge(colour, invoke, tmp_path):
    words = ("--source", colour, "--reinitialize", "--freeze", "all", "--labels", 60, "--out", "t")
    assert invoke("finetune", *words, *FLAGS).code == 0
    before, after = encoder_weights(colour), encoder_weights(tmp_path / "t")
    for name in before:
        assert [w.shape for w in before[name]] == [w.shape for w in after[name]]
        assert not same(before[name], after[name])


@pytest.mark.slow
def test_features_too_large_to_keep_are_computed_in_every_step(colour, tmp_path, monkeypatch):
    settings = QUICK | ALONE | {"source": str(colour), "labels": 60, "freeze": 2, "epochs": 3}
    kept = finetune.run(**settings, out=tmp_path / "kept").path
    monkeypatch.setattr(networks, "quarter_of_memory", lambda: 0)
    again = finetune.run(**settings, out=tmp_path / "again").path
    for name, weights in encoder_weights(kept).items():
        for one, other in zip(weights, encoder_weights(again)[name], strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4)
    assert same(encoder_weights(colour)["conv_2"], encoder_weights(again)["conv_2"])


@pytest.mark.slow
def test_a_search_tries_filters(tmp_path):
    settings = QUICK | {"model": "conv", "filters": (2,), "latent_dim": 4, "epochs": 1}
    search = tune.run("pretrain", **settings, max_trials=2, out=tmp_path / "search")
    trials = search.read_json("trials.json")["trials"]
    assert [trial["status"] for trial in trials] == ["COMPLETED"] * 2
    assert trials[0]["settings"]["filters"] == "2"
    for trial in trials:
        used = Run(trial["run"]).settings["filters"]
        assert "-".join(map(str, used)) == trial["settings"]["filters"]
        assert "hidden_units" not in trial["settings"]


def test_flat_examples_do_not_get_an_autoencoder_of_images(images, tmp_path):
    assert (images.student / "autoencoder_preprocessing.keras").is_file()
    data = images.data
    x, x_test = (part.reshape(len(part), -1) for part in (data.x, data.x_test))
    np.savez(tmp_path / "flat.npz", x=x, y=data.y, x_test=x_test, y_test=data.y_test)
    flat = finetune.run(
        **QUICK | ALONE,
        source=str(images.student),
        data=f"npz:{tmp_path / 'flat.npz'}",
        labels=60,
        epochs=1,
        out=tmp_path / "flat",
    )
    assert load(flat.path).input_shape == (None, data.input_dim)
    assert not flat.has("autoencoder.keras")


MISTAKES = {
    "no images": (
        "pretrain --model conv --data npz:flat.npz",
        "--model conv was given with npz:flat.npz, whose examples have the shape (6,)",
    ),
    "no filters": ("pretrain --model conv --filters", "--filters was given"),
    "a filter of none": ("pretrain --model conv --filters 8 0", "--filters 8 0 was given"),
    "no images for a source": (
        "finetune --source {colour} --data npz:flat.npz",
        "a row of 6 values cannot become 9x7x3",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_sentence_and_leaves_nothing(colour, invoke, tmp_path, name):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "flat.npz", x=rng.normal(size=(40, 6)), y=np.arange(40) % 2)
    words, given = (text.format(colour=colour) for text in MISTAKES[name])
    done = invoke(*words.split())
    assert done.code == 2, done.err
    assert given in done.err
    assert done.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["flat.npz"]
