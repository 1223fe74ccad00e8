"""The commands as a user runs them: what they print, write and refuse."""

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import warnings

import keras
import numpy as np
import pandas as pd
import pytest

from kt_transfer import load_data
from kt_transfer.runs.folder import Run
from kt_transfer.shell.main import COMMANDS

TUNED = ["tune pretrain", "tune finetune", "tune distill"]
QUICK = ("--epochs", 2, "--strategy", "one_device", "--jit-compile", "no")


def listing(*folders):
    """Every file with its content, every folder."""
    return {
        str(path): path.read_bytes() if path.is_file() else None
        for folder in folders
        for path in sorted(folder.rglob("*"))
    }


def accuracy(labels, logits):
    return (logits.argmax(axis=1) == labels).mean()


def logits_of(run, x):
    preprocessing, model = (
        keras.saving.load_model(run / name) for name in ("preprocessing.keras", "model.keras")
    )
    return model.predict(preprocessing.predict(x, verbose=0), verbose=0)


# --help


@pytest.mark.parametrize("words", [[], *([name] for name in COMMANDS), *map(str.split, TUNED)])
def test_help_answers(tmp_path, words):
    form = ["kt_transfer"] if not words else [f"kt_transfer.{words[0]}", *words[1:]]
    done = subprocess.run(
        [sys.executable, "-m", *form, "--help"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "usage" in done.stdout
    assert done.stderr == ""


HELP = """
import sys
from kt_transfer.__main__ import main
for words in {words}:
    try:
        main([*words, "--help"])
    except SystemExit as leaving:
        assert leaving.code == 0, words
heavy = {{"tensorflow", "keras", "keras_tuner", "sklearn", "pandas"}} & set(sys.modules)
sys.exit(f"imported: {{heavy}}" if heavy else 0)
"""


def test_help_imports_nothing_heavy(tmp_path):
    words = [[name] for name in COMMANDS] + [name.split() for name in TUNED]
    script = HELP.format(words=words)
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


# The chain: run folders


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
        assert (history["seconds"] > 0).all()


def test_a_run_says_where_it_comes_from(chain):
    fingerprint = load_data("digits").fingerprint
    for name in ("source", "teacher", "student"):
        description = json.loads((getattr(chain, name) / "run.json").read_text())
        assert description["status"] == "complete"
        assert description["data"] == {"spec": "digits", "fingerprint": fingerprint, "notes": []}
        assert (description["seed"], description["num_replicas"]) == (0, 1)
        assert description["strategy"] == "OneDeviceStrategy"
        assert description["versions"]["keras"] == keras.__version__
        assert description["wall_seconds"] > 0
        assert "git_commit" in description


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


LOAD = """
import sys
sys.modules["kt_transfer"] = None
import keras
for path in sys.argv[1:]:
    print(keras.saving.load_model(path).name)
"""


def test_saved_models_load_where_the_package_is_not(chain):
    models = sorted(chain.folder.glob("*/*.keras"))
    assert len(models) == 8
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *models], capture_output=True, text=True, cwd=chain.folder
    )
    assert done.returncode == 0, done.stderr[-500:]


# Transfer


def encoder_weights(run, name="model.keras"):
    encoder = keras.saving.load_model(run / name, compile=False).get_layer("encoder")
    return {layer.name: layer.get_weights() for layer in encoder.layers if layer.weights}


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_frozen_layer_is_bit_identical_and_the_others_learnt(chain):
    before, after = encoder_weights(chain.source), encoder_weights(chain.teacher)
    assert list(before) == list(after) == ["hidden_1", "hidden_2", "bottleneck"]
    assert [same(before[name], after[name]) for name in before] == [True, False, False]


def test_freeze_all_leaves_the_encoder_bit_identical(chain, invoke, tmp_path):
    words = ("--source", chain.source, "--labels", 50, "--freeze", "all", "--out", "t", "--quiet")
    done = invoke("finetune", *words, *QUICK)
    assert (done.code, done.out, done.err) == (0, "", "")
    before, after = encoder_weights(chain.source), encoder_weights(tmp_path / "t")
    assert all(same(before[name], after[name]) for name in before)
    metrics = json.loads((tmp_path / "t" / "metrics.json").read_text())
    assert metrics["num_trained_parameters"] == 12 * 10 + 10
    # The autoencoder that the chain began with is handed on as it was.
    source = keras.saving.load_model(chain.source / "model.keras", compile=False)
    handed = keras.saving.load_model(tmp_path / "t" / "autoencoder.keras", compile=False)
    assert same(source.get_weights(), handed.get_weights())


def test_reinitialize_keeps_the_network_and_not_its_knowledge(chain, invoke, tmp_path):
    words = ("--source", chain.source, "--reinitialize", "--freeze", "all", "--labels", 50)
    assert invoke("finetune", *words, "--out", "t", *QUICK).code == 0
    before, after = encoder_weights(chain.source), encoder_weights(tmp_path / "t")
    for name in before:
        assert [w.shape for w in before[name]] == [w.shape for w in after[name]]
        assert not same(before[name], after[name])


def test_features_with_logistic_regression_are_scikit_learns(chain, invoke, tmp_path):
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    words = ("--source", chain.source, "--method", "features", "--labels", 60, "--out", "t")
    done = invoke("finetune", *words)
    assert (done.code, done.err) == (0, "")
    data = load_data("digits")
    x, x_test = (part.reshape(-1, 64) / 8.0 - 1.0 for part in (data.x, data.x_test))
    encoder = keras.saving.load_model(chain.source / "model.keras", compile=False)
    encoder = encoder.get_layer("encoder")
    rows = np.load(tmp_path / "t" / "splits.npz")["labelled"]
    strength = json.loads((tmp_path / "t" / "run.json").read_text())["logistic_regression_c"]
    codes, test_codes = (encoder.predict(part, verbose=0) for part in (x[rows], x_test))
    smallest = np.bincount(data.y[rows]).min()
    regression = GridSearchCV(
        Pipeline([("scaler", None), ("lr", LogisticRegression(C=strength, max_iter=1000))]),
        {"scaler": [StandardScaler(), StandardScaler(with_std=False)]},
        cv=StratifiedKFold(min(5, smallest), shuffle=True, random_state=0),
        scoring="neg_log_loss",
    ).fit(codes / codes.std(), data.y[rows])
    expected = regression.predict_proba(test_codes / codes.std())
    logits = logits_of(tmp_path / "t", data.x_test).astype(np.float64)
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    given = exp / exp.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(given, expected, atol=1e-3)
    before, after = encoder_weights(chain.source), encoder_weights(tmp_path / "t")
    assert all(same(before[name], after[name]) for name in before)


def test_one_label_a_class_is_enough_for_features(chain, invoke, tmp_path):
    words = ("--source", chain.source, "--method", "features", "--labels", 10, "--out", "t")
    done = invoke("finetune", *words)
    assert (done.code, done.err) == (0, "")
    splits = np.load(tmp_path / "t" / "splits.npz")
    assert len(np.concatenate([splits["labelled"], splits["validation"]])) == 10


def test_features_with_a_dense_head(chain, invoke, tmp_path):
    words = ("--source", chain.source, "--method", "features", "--head", "dense", "--labels", 50)
    assert invoke("finetune", *words, "--out", "t", *QUICK).code == 0
    before, after = encoder_weights(chain.source), encoder_weights(tmp_path / "t")
    assert all(same(before[name], after[name]) for name in before)
    assert len(pd.read_csv(tmp_path / "t" / "history.csv")) == 2


def test_from_scratch_there_is_no_autoencoder_to_hand_on(invoke, tmp_path):
    words = ("--source", "scratch", "--hidden-units", 8, 4, "--latent-dim", 3, "--labels", 50)
    assert invoke("finetune", *words, "--out", "t", *QUICK).code == 0
    assert list(encoder_weights(tmp_path / "t")) == ["hidden_1", "hidden_2", "bottleneck"]
    assert not (tmp_path / "t" / "autoencoder.keras").exists()


def test_two_devices_give_what_one_gives(invoke, tmp_path):
    words = ("--hidden-units", 8, "--latent-dim", 4, "--epochs", 3, "--jit-compile", "no")
    for strategy in ("one_device", "mirrored"):
        done = invoke("pretrain", *words, "--strategy", strategy, "--out", strategy)
        assert (done.code, done.err) == (0, "")
    one, two = Run(tmp_path / "one_device"), Run(tmp_path / "mirrored")
    assert two.read_json("run.json")["num_replicas"] == 2
    for part in ("test", "validation"):
        for name, value in one.read_json("metrics.json")[part].items():
            given = two.read_json("metrics.json")[part][name]
            assert given == pytest.approx(value, rel=0.01), name


def test_from_run_starts_from_its_settings(chain, invoke, tmp_path, monkeypatch):
    given = ("--from-run", chain.teacher, "--source", chain.source, "--seed", 1, "--out", "t")
    assert invoke("finetune", *given, *QUICK).code == 0
    new = json.loads((tmp_path / "t" / "config.json").read_text())
    old = json.loads((chain.teacher / "config.json").read_text())
    changed = {name for name in old if new[name] != old[name]}
    named = {"from_run", "source", "seed", "out", "epochs", "strategy", "jit_compile"}
    assert changed == named


def test_a_run_repeats_itself(invoke, tmp_path):
    words = ("--source", "scratch", "--hidden-units", 4, "--labels", 30, *QUICK)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert invoke("finetune", *words, "--seed", seed, "--out", name).code == 0
    a, b, c = (keras.saving.load_model(tmp_path / n / "model.keras").get_weights() for n in "abc")
    assert same(a, b)
    assert not same(a, c)


def test_two_teachers_are_averaged_in_probability(chain, invoke, tmp_path):
    words = ("--teacher", chain.teacher, chain.student, "--student-units", 4, "--out", "s", *QUICK)
    assert invoke("distill", *words).code == 0
    data = load_data("digits")
    mean = np.mean(
        [
            np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            for logits in (logits_of(run, data.x_test) for run in (chain.teacher, chain.student))
        ],
        axis=0,
    )
    metrics = json.loads((tmp_path / "s" / "metrics.json").read_text())
    assert metrics["teacher"]["accuracy"] == pytest.approx(accuracy(data.y_test, mean))
    own = mean[np.arange(len(mean)), data.y_test]
    assert metrics["teacher"]["loss"] == pytest.approx(-np.log(own).mean(), rel=1e-4)


def test_a_student_sees_as_many_labels_as_asked(chain, invoke, tmp_path):
    words = ("--teacher", chain.teacher, "--student-units", 4, "--labels", 40, "--out", "s")
    assert invoke("distill", *words, *QUICK).code == 0
    splits = np.load(tmp_path / "s" / "splits.npz")
    assert (len(splits["labelled"]), len(splits["validation"])) == (36, 4)
    assert not set(splits["train"]) & set(splits["validation"])


# Sources of other kinds


@pytest.fixture
def enlarged(tmp_path):
    """The digits, each pixel four: shrunk by averaging they are what they were."""
    data = load_data("digits")
    x, x_test = (
        np.kron(part, np.ones((2, 2))).astype(np.float32) for part in (data.x, data.x_test)
    )
    np.savez(tmp_path / "large.npz", x=x, y=data.y, x_test=x_test, y_test=data.y_test)
    return "npz:large.npz"


def test_a_source_of_smaller_images(chain, invoke, enlarged, tmp_path):
    words = ("--method", "features", "--labels", 60)
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
    done = invoke("distill", "--teacher", "t", "--student-units", 4, "--out", "s", *QUICK)
    assert (done.code, done.err) == (0, "")
    assert not (tmp_path / "s" / "autoencoder.keras").exists()
    # A run that adapts is a source like any other.
    words = ("--source", "t", "--data", "digits", "--labels", 50, "--out", "again", *QUICK)
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
    done = invoke("distill", "--teacher", "t", "--student-units", 4, "--out", "s", *QUICK)
    assert (done.code, done.err) == (0, "")
    # The result is a source too, and knows what it expects.
    words = ("--source", "t", "--method", "features", "--labels", 50, "--out", "again")
    assert "source expects 12x12x3 in [-1, 1]" in invoke("finetune", *words).out


def test_a_run_from_a_file_is_resumed(conv_file, invoke, tmp_path):
    words = ("--source", "conv.keras", "--source-range", 0, 1, "--labels", 50, "--out", "t")
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
    done = invoke("finetune", *words, "--labels", 60, "--out", "t")
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


# evaluate, predict


@pytest.fixture
def copied(chain, tmp_path):
    """Copies a run of the chain to where a test may change it."""
    return lambda name, to=None: shutil.copytree(getattr(chain, name), tmp_path / (to or name))


def test_evaluate_measures_what_metrics_say(copied, invoke, tmp_path):
    student = copied("student")
    done = invoke("evaluate", "--run", "student")
    assert (done.code, done.err) == (0, "")
    results = json.loads((student / "evaluation.json").read_text())
    metrics = json.loads((student / "metrics.json").read_text())["test"]
    for name in ("accuracy", "loss", "calibration_error", "num_examples"):
        assert results[name] == pytest.approx(metrics[name], rel=1e-5)
    confusion = np.array(results["confusion_matrix"])
    assert confusion.sum() == 359
    assert np.trace(confusion) / 359 == pytest.approx(results["accuracy"])
    recall = [row["recall"] for row in results["per_class"]]
    assert recall == pytest.approx(np.diag(confusion) / confusion.sum(axis=1))
    assert (student / "plots" / "confusion_matrix.png").is_file()
    assert f"accuracy {results['accuracy']:.4f}" in done.out
    # The same again is no contradiction, another measurement is.
    assert invoke("evaluate", "--run", "student", "--quiet").code == 0
    refused = invoke("evaluate", "--run", "student", "--split", "train")
    assert refused.code == 2
    assert "--split train" in refused.err
    assert json.loads((student / "evaluation.json").read_text()) == results
    assert invoke("evaluate", "--run", "student", "--split", "train", "--overwrite").code == 0


def test_evaluate_an_autoencoder(chain, invoke, tmp_path):
    assert invoke("evaluate", "--run", chain.source, "--out", "e", "--quiet").out == ""
    results = json.loads((tmp_path / "e" / "evaluation.json").read_text())
    metrics = json.loads((chain.source / "metrics.json").read_text())["test"]
    assert results["mse"] == pytest.approx(metrics["mse"], rel=1e-4)
    assert results["squared_error"] == pytest.approx(64 * metrics["mse"], rel=1e-4)
    assert (tmp_path / "e" / "plots" / "reconstructions.png").is_file()
    assert not (chain.source / "evaluation.json").exists()


def test_predictions_of_a_run_and_of_its_export_agree(chain, invoke, tmp_path):
    for flag, path in (("run", chain.student), ("model", chain.exported)):
        done = invoke("predict", f"--{flag}", path, "--data", "digits", "--out", f"{flag}.csv")
        assert (done.code, done.err) == (0, "")
    run, model = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("run", "model"))
    probabilities = [f"probability_{digit}" for digit in range(10)]
    assert list(run) == ["split", "row", "class_id", "label", *probabilities]
    np.testing.assert_allclose(run[probabilities], model[probabilities], atol=1e-5)
    assert run[["split", "row", "class_id", "label"]].equals(
        model[["split", "row", "class_id", "label"]]
    )
    np.testing.assert_allclose(run[probabilities].sum(axis=1), 1.0, atol=1e-4)
    assert (run["class_id"] == run[probabilities].to_numpy().argmax(axis=1)).all()
    assert (run["label"] == run["class_id"]).all()


def test_a_prediction_names_its_example(chain, invoke, tmp_path):
    from sklearn.datasets import load_digits

    assert invoke("predict", "--run", chain.student, "--out", "p.csv", "--quiet").out == ""
    table = pd.read_csv(tmp_path / "p.csv")
    digits, data = load_digits(), load_data("digits")
    assert sorted(table["row"]) == list(range(1797))
    assert set(table.loc[table["split"] == "test", "row"]) == set(data.rows_test)
    logits = logits_of(chain.student, digits.images.astype(np.uint8))
    assert (logits.argmax(axis=1)[table["row"]] == table["class_id"]).all()


def test_predict_one_split(chain, invoke, tmp_path):
    assert invoke("predict", "--run", chain.student, "--split", "test", "--out", "p.csv").code == 0
    table = pd.read_csv(tmp_path / "p.csv")
    assert set(table["split"]) == {"test"}
    assert len(table) == 359


@pytest.mark.parametrize("labels", ["some classes", "none", "one row"])
def test_few_new_arrays_are_measured_and_predicted(chain, invoke, tmp_path, labels):
    digits = load_data("digits")
    rows = np.flatnonzero(digits.y_test < 3)[: 1 if labels == "one row" else 40]
    y = {} if labels == "none" else {"y": digits.y_test[rows]}
    np.savez(tmp_path / "new.npz", x=digits.x_test[rows], **y)
    done = invoke("predict", "--run", chain.student, "--data", "npz:new.npz", "--out", "p.csv")
    assert (done.code, done.err) == (0, "")
    table = pd.read_csv(tmp_path / "p.csv").sort_values("row")
    logits = logits_of(chain.student, digits.x_test[rows])
    assert table["class_id"].tolist() == logits.argmax(axis=1).tolist()
    flags = ("--run", chain.student, "--data", "npz:new.npz", "--split", "all", "--out", "e")
    done = invoke("evaluate", *flags)
    if labels == "none":
        assert done.code == 2
        assert "without labels" in done.err
    else:
        results = json.loads((tmp_path / "e" / "evaluation.json").read_text())
        right = (logits.argmax(axis=1) == digits.y_test[rows]).mean()
        assert results["accuracy"] == pytest.approx(right)


# Mistakes


def write_npz(path, classes=3, shape=(8, 8), rows=60):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 17, (rows, *shape), dtype=np.uint8)
    np.savez(path, x=x, y=np.arange(rows) % classes)


def write_lambda(path):
    double = keras.layers.Lambda(lambda x: 2 * x)
    stack = [keras.Input((8, 8)), double, keras.layers.Flatten(), keras.layers.Dense(3)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras says that this is unsafe
        keras.Sequential(stack).save(path)


def write_table_classifier(path):
    dense = [keras.layers.Dense(4, "relu"), keras.layers.Dense(3)]
    keras.Sequential([keras.Input((5,)), *dense]).save(path)


def damage(path, content=None):
    path.write_bytes(path.read_bytes()[:1000] if content is None else content)


MISTAKES = {
    "unknown data": ("pretrain --data nonsense", "--data nonsense"),
    "data that is not there": ("pretrain --data npz:absent.npz", "npz:absent.npz"),
    "no source": ("finetune --source absent", "--source absent"),
    "no source file": ("finetune --source absent.keras", "--source absent.keras"),
    "a source that runs code": (
        "finetune --source lambda.keras --data npz:three.npz",
        "Python lambda",
    ),
    "an unknown application": (
        "finetune --source keras_applications:Mobile --data npz:three.npz",
        "MobileNet",
    ),
    "too small an image for an application": (
        "finetune --source keras_applications:MobileNet",
        "8x8",
    ),
    "a range for a run": (
        "finetune --source {source} --source-range 0 1",
        "--source-range 0 1",
    ),
    "features of a layer that is not there": (
        "finetune --source {source} --method features --features-from conv9 --labels 50",
        "--features-from conv9",
    ),
    "features for parameters": (
        "finetune --source {source} --features-from all",
        "--features-from all",
    ),
    "no teacher": ("distill --teacher absent", "--teacher absent"),
    "no teacher file": ("distill --teacher absent.keras", "--teacher absent.keras"),
    "a teacher that runs code": (
        "distill --teacher lambda.keras --data npz:three.npz",
        "--teacher lambda.keras",
    ),
    "a student that runs code": (
        "distill --teacher {teacher} --student lambda.keras",
        "--student lambda.keras",
    ),
    "no student file": ("distill --teacher {teacher} --student absent.keras", "absent.keras"),
    "no class map": ("distill --teacher {teacher} --class-map absent.json", "absent.json"),
    "a class map that is none": (
        "distill --teacher {teacher} --class-map three.npz",
        "--class-map three.npz",
    ),
    "a hint of a layer that is not there": (
        "distill --teacher {teacher} --hint conv9",
        "--hint conv9",
    ),
    "a hint to a layer that is not there": (
        "distill --teacher {teacher} --hint hidden_1 --hint-student conv9",
        "conv9",
    ),
    "a hint of what has no layers": ("distill --teacher {exported} --hint dense", "--hint dense"),
    "shifts of a table": (
        "distill --teacher table.keras --data npz:table.npz --augment shift:1",
        "--augment shift:1",
    ),
    "no run to evaluate": ("evaluate --run absent", "--run absent"),
    "no run to predict": ("predict --run absent", "--run absent"),
    "no export to predict": ("predict --model absent", "--model absent"),
    "no run to export": ("export --run absent", "--run absent"),
    "no run to take settings from": ("pretrain --from-run absent", "--from-run absent"),
    "no run to resume": ("pretrain --resume --out absent", "--out absent"),
    "truncated model, finetune": ("finetune --source truncated", "truncated"),
    "truncated model, evaluate": ("evaluate --run truncated --out e", "truncated"),
    "truncated model, predict": ("predict --run truncated_student", "truncated_student"),
    "truncated model, export": ("export --run truncated_student", "truncated_student"),
    "truncated model, distill": ("distill --teacher truncated_student", "truncated_student"),
    "broken config.json": ("finetune --source broken_config", "broken_config"),
    "broken run.json": ("distill --teacher broken_run", "broken_run"),
    "broken labels.json": ("distill --teacher broken_labels", "broken_labels"),
    "broken settings to start from": ("pretrain --from-run broken_config", "broken_config"),
    "more labels than there are": ("finetune --source {source} --labels 5000", "--labels 5000"),
    "fewer labels than classes": ("finetune --source {source} --labels 9", "--labels 9"),
    "more labels for a student": ("distill --teacher {teacher} --labels 5000", "--labels 5000"),
    "freeze beyond the depth": ("finetune --source {source} --labels 50 --freeze 4", "--freeze 4"),
    "other classes": ("distill --teacher {teacher} --data npz:three.npz", "npz:three.npz"),
    "evaluate on other classes": (
        "evaluate --run {student} --data npz:twelve.npz --out e",
        "npz:twelve.npz",
    ),
    "other shape for a source": (
        "finetune --source {source} --data npz:table.npz",
        "npz:table.npz",
    ),
    "other shape to predict": ("predict --run {student} --data npz:small.npz", "npz:small.npz"),
    "other shape to serve": ("predict --model {exported} --data npz:small.npz", "npz:small.npz"),
    "no labels to learn": ("finetune --source scratch --data npz:none.npz", "npz:none.npz"),
    "an autoencoder as teacher": ("distill --teacher {source}", "{source}"),
    "an autoencoder predicts nothing": ("predict --run {source}", "{source}"),
    "out exists": ("pretrain --out existing", "--out existing"),
    "out exists, finetune": ("finetune --source {source} --out existing", "--out existing"),
    "out exists, distill": ("distill --teacher {teacher} --out existing", "--out existing"),
    "out exists, predict": ("predict --run {student} --out existing/a.csv", "existing/a.csv"),
    "overwrite what is no run": ("pretrain --overwrite --out existing", "existing"),
    "evaluation exists": (
        "evaluate --run {student} --out evaluated --split train",
        "--split train",
    ),
    "no epochs": ("pretrain --epochs 0", "--epochs 0"),
    "temperature": ("distill --teacher {teacher} --temperature 0", "--temperature 0"),
    "alpha": ("distill --teacher {teacher} --alpha 2", "--alpha 2"),
    "features from scratch": ("finetune --source scratch --method features", "--method features"),
    "neither run nor model": ("predict", "neither --run nor --model"),
    "devices": ("pretrain --num-devices 7", "--num-devices 7"),
    "resume without out": ("pretrain --resume", "--resume"),
    "labels of a quickstart": ("quickstart --labels 5000 --epochs 2", "--labels 5000"),
    "unknown command to tune": ("tune export", "'export'"),
}


@pytest.fixture(scope="module")
def wrong(chain, tmp_path_factory):
    """A folder with what users get wrong; no mistake changes it, so that all can share it."""
    folder = tmp_path_factory.mktemp("wrong")

    def copied(name, to):
        run = getattr(chain, name)
        return shutil.copytree(run, folder / to, ignore=lambda *_: ["plots", "logs"])

    write_npz(folder / "three.npz")
    write_npz(folder / "twelve.npz", classes=12)
    write_npz(folder / "small.npz", classes=10, shape=(4, 4))
    write_npz(folder / "table.npz", shape=(5,))
    write_lambda(folder / "lambda.keras")
    write_table_classifier(folder / "table.keras")
    np.savez(folder / "none.npz", x=np.zeros((20, 8, 8), np.uint8))
    (folder / "existing").mkdir()
    (folder / "existing" / "a.csv").write_text("mine")
    evaluation = {"run": str(chain.student), "data": "digits", "split": "test"}
    (copied("student", "evaluated") / "evaluation.json").write_text(json.dumps(evaluation))
    damage(copied("source", "truncated") / "model.keras")
    damage(copied("student", "truncated_student") / "model.keras")
    damage(copied("source", "broken_config") / "config.json", b'{"data": "dig')
    damage(copied("teacher", "broken_run") / "run.json", b"{")
    damage(copied("teacher", "broken_labels") / "labels.json", b"")
    return folder


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_sentence_and_changes_nothing(wrong, invoke, chain, monkeypatch, name):
    monkeypatch.chdir(wrong)
    runs = {name: getattr(chain, name) for name in ("source", "teacher", "student", "exported")}
    words, given = (text.format(**runs) for text in MISTAKES[name])
    before = listing(wrong, chain.folder)
    done = invoke(*words.split())
    assert done.code == 2, done.err
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert given in done.err
    assert "Traceback" not in done.err
    assert done.out == ""
    assert listing(wrong, chain.folder) == before


def test_a_mistake_in_a_process_of_its_own(copied, command, tmp_path):
    damage(copied("source", "truncated") / "model.keras")
    before = listing(tmp_path)
    done = command("finetune", "--source", "truncated", "--out", "t", check=False)
    assert done.returncode == 2
    assert re.fullmatch(r"error: .*truncated was given.*model\.keras.*\n", done.stderr)
    assert listing(tmp_path) == before


def test_debug_shows_where(invoke):
    done = invoke("pretrain", "--data", "nonsense", "--debug")
    assert done.code == 2
    assert "Traceback" in done.err


def test_overwrite_replaces_a_run(copied, invoke, tmp_path):
    student = copied("student")
    (student / "mine.txt").write_text("")
    words = ("--source", "scratch", "--hidden-units", 4, "--labels", 50, "--out", "student")
    assert invoke("finetune", *words, "--overwrite", *QUICK).code == 0
    assert json.loads((student / "run.json").read_text())["command"] == "finetune"
    assert not (student / "mine.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["student"]


# Data with gaps


def test_a_target_without_test_labels(invoke, tmp_path):
    data = load_data("digits")
    np.savez(tmp_path / "d.npz", x=data.x, y=data.y, x_test=data.x_test)
    words = ("--source", "scratch", "--data", "npz:d.npz", "--labels", 50, "--out", "t", *QUICK)
    done = invoke("finetune", *words)
    assert (done.code, done.err) == (0, "")
    assert "accuracy" not in json.loads((tmp_path / "t" / "metrics.json").read_text())["test"]
    done = invoke("distill", "--teacher", "t", "--student-units", 4, "--out", "s", *QUICK)
    assert (done.code, done.err) == (0, "")
    refused = invoke("evaluate", "--run", "t", "--out", "e")
    assert refused.code == 2
    assert "without labels in its test split" in refused.err
    assert not (tmp_path / "e").exists()


def test_a_class_that_training_never_saw(chain, invoke, tmp_path):
    data = load_data("digits")
    kept = data.y != 3
    np.savez(
        tmp_path / "d.npz", x=data.x[kept], y=data.y[kept], x_test=data.x_test, y_test=data.y_test
    )
    words = ("--source", chain.source, "--data", "npz:d.npz", "--labels", 30, *QUICK)
    count = (data.y_test == 3).sum()
    for number, method in enumerate((["--freeze", 1], ["--method", "features"])):
        done = invoke("finetune", *words, *method, "--out", number)
        assert (done.code, done.err) == (0, "")
        assert f"class 3 only in the test part: it cannot be learned, so {count} test" in done.out
        assert logits_of(tmp_path / str(number), data.x_test).shape == (359, 10)


@pytest.mark.parametrize("rows", [5, 12])
def test_very_little_data(invoke, tmp_path, rows):
    write_npz(tmp_path / "d.npz", classes=2, rows=rows)
    done = invoke("pretrain", "--data", "npz:d.npz", "--hidden-units", 4, "--out", "s", *QUICK)
    assert (done.code, done.err) == (0, "")
    done = invoke("finetune", "--source", "s", "--out", "t", *QUICK)
    assert (done.code, done.err) == (0, "")


# Interruption


LONG = ("pretrain", "--hidden-units", 16, "--latent-dim", 4, "--jit-compile", "no", "--out")


def test_ctrl_c_names_the_command_that_goes_on(interrupt, tmp_path):
    history = tmp_path / "run" / "history.csv"
    done = interrupt(*LONG, "run", "--epochs", 100_000, until=history.is_file)
    assert done.returncode == 130
    assert done.stderr.splitlines() == [
        "interrupted",
        "continue with: python -m kt_transfer.pretrain --resume --out run",
    ]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "interrupted"


@pytest.mark.slow
def test_a_terminated_run_goes_on_to_exactly_the_same_weights(interrupt, tmp_path):
    done = interrupt(
        *(*LONG, "run", "--epochs", 600),
        pause_at=(tmp_path / "run" / "history.csv").is_file,
        until=lambda: list((tmp_path / "run").glob("checkpoint/[0-9]*")),
        by=signal.SIGTERM,
    )
    assert done.returncode == 143
    command = shlex.split(done.stderr.splitlines()[-1].removeprefix("continue with: "))
    assert 0 < int(next((tmp_path / "run").glob("checkpoint/[0-9]*")).name) < 600
    resumed = subprocess.run([sys.executable, *command[1:]], cwd=tmp_path, capture_output=True)
    assert (resumed.returncode, resumed.stderr) == (0, b"")

    subprocess.run(
        [sys.executable, "-m", "kt_transfer", *map(str, LONG), "whole", "--epochs", "600"],
        cwd=tmp_path,
        check=True,
    )
    run, whole = Run(tmp_path / "run"), Run(tmp_path / "whole")
    assert same(run.load_model().get_weights(), whole.load_model().get_weights())
    assert run.read_json("metrics.json") == whole.read_json("metrics.json")
    histories = [pd.read_csv(r.path / "history.csv").drop(columns="seconds") for r in (run, whole)]
    assert histories[0].equals(histories[1])
    assert not run.has("checkpoint")
