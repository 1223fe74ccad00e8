"""A saved model as the contract has it (design.md, "A saved model")."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from kt_transfer import UserError, classifier, export, load_data, predict
from kt_transfer.models.classifiers import dense_encoder
from kt_transfer.models.preprocessing import preprocessing_model
from kt_transfer.serving import saved_model
from kt_transfer.serving.saved_model import check_saved_model, export_saved_model, load_saved_model

SERVER_FILES = {"models.config", "monitoring.config", "batching_parameters.txt"}
RNG = np.random.default_rng(0)
DIGITS = list("0123456789")


def load(run, name="model.keras"):
    return keras.saving.load_model(run / name, compile=False)


def scaled(x):
    return x.reshape(len(x), -1) / 8.0 - 1.0


def softmax(logits):
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


def images(count):
    return RNG.integers(0, 17, (count, 8, 8), dtype=np.uint8)


def ask(model, signature, x):
    """The answers, whatever the input is called."""
    function = model.signatures[signature]
    (name,) = function.structured_input_signature[1]
    return {key: value.numpy() for key, value in function(**{name: tf.constant(x)}).items()}


@pytest.fixture(scope="module")
def served(chain):
    return tf.saved_model.load(str(chain.exported))


@pytest.fixture
def unchecked(monkeypatch):
    """Leaves out the check in a process of its own, which takes seconds."""
    monkeypatch.setattr(saved_model, "check_saved_model", lambda *_: 0.0)


def test_the_signatures(served):
    assert set(served.signatures) == {"serving_default", "encode", "reconstruct"}
    outputs = {name: set(f.structured_outputs) for name, f in served.signatures.items()}
    assert outputs == {
        "serving_default": {"probabilities", "class_id", "label"},
        "encode": {"features"},
        "reconstruct": {"reconstruction", "reconstruction_error", "unusual"},
    }
    for function in served.signatures.values():
        (spec,) = function.structured_input_signature[1].values()
        assert (spec.shape.as_list(), spec.dtype) == ([None, 8, 8], tf.uint8)


@pytest.mark.parametrize("count", [1, 7, 1000])
def test_answers_are_those_of_keras(chain, served, count):
    x = images(count)
    preprocessing, model = load(chain.student, "preprocessing.keras"), load(chain.student)
    features = preprocessing.predict(x, verbose=0)
    np.testing.assert_allclose(features, scaled(x), atol=1e-6)
    probabilities = softmax(model.predict(features, verbose=0))
    answers = ask(served, "serving_default", x)
    np.testing.assert_allclose(answers["probabilities"], probabilities, atol=1e-5)
    assert np.array_equal(answers["class_id"], answers["probabilities"].argmax(axis=1))
    assert [label.decode() for label in answers["label"]] == [
        DIGITS[number] for number in answers["class_id"]
    ]
    code = model.get_layer("encoder").predict(features, verbose=0)
    np.testing.assert_allclose(ask(served, "encode", x)["features"], code, atol=1e-5)
    autoencoder = load(chain.source)
    output = autoencoder.predict(features, verbose=0)
    answers = ask(served, "reconstruct", x)
    np.testing.assert_allclose(answers["reconstruction"], output, atol=1e-5)
    errors = np.square(features - output).sum(axis=1)
    np.testing.assert_allclose(answers["reconstruction_error"], errors, rtol=1e-5)


def test_an_example_is_unusual_if_few_training_examples_are_reconstructed_as_badly(chain, served):
    data = load_data("digits")
    held_out = np.load(chain.student / "splits.npz")["validation"]
    x = np.delete(data.x, held_out, axis=0)
    errors = np.square(scaled(x) - load(chain.source).predict(scaled(x), verbose=0)).sum(axis=1)
    metadata = json.loads((chain.exported / "metadata.json").read_text())["reconstruction_error"]
    for share in (0.5, 0.9, 0.95, 0.99, 0.999):
        found = metadata["quantiles"][str(share)]
        assert found == pytest.approx(np.quantile(errors, share), rel=1e-4)
    assert metadata["unusual_above"] == pytest.approx(np.quantile(errors, 0.99), rel=1e-3)
    found = ask(served, "reconstruct", x)["unusual"]
    assert np.array_equal(found, errors > metadata["unusual_above"])
    inverted = 16 - x[:100]
    assert ask(served, "reconstruct", inverted)["unusual"].mean() > 0.9


def test_predict_has_a_column_of_what_is_unusual(chain, served, tmp_path):
    path = predict.run(model=chain.exported, data="digits", out=tmp_path / "p.csv", quiet=True)
    table, data = pd.read_csv(path), load_data("digits")
    expected = ask(served, "reconstruct", data.x_test)["unusual"]
    of_test = table[table["split"] == "test"].sort_values("row")
    order = np.argsort(data.rows_test, kind="stable")
    assert np.array_equal(of_test["unusual"], expected[order])
    assert [*table.columns[:4]] == ["split", "row", "class_id", "label"]
    assert table.columns[-1] == "unusual"


def test_an_empty_batch(served):
    answers = ask(served, "serving_default", images(3)[:0])
    assert answers["probabilities"].shape == (0, 10)
    assert answers["label"].shape == (0,)


def test_what_lies_in_the_folder(chain):
    assert {path.name for path in chain.exported.parent.iterdir()} == {"1", *SERVER_FILES}
    assert {
        *("saved_model.pb", "variables", "metadata.json"),
        *("assets.extra", "request.json", "answer.json", "README.md"),
    } <= {path.name for path in chain.exported.iterdir()}
    metadata = json.loads((chain.exported / "metadata.json").read_text())
    description = json.loads((chain.student / "run.json").read_text())
    assert metadata["labels"] == DIGITS
    assert metadata["data"] == "digits"
    assert metadata["data_fingerprint"] == description["data"]["fingerprint"]
    assert metadata["run"] == "student"
    assert metadata["command"] == "distill"
    assert metadata["versions"]["tensorflow"] == tf.__version__
    metrics = json.loads((chain.student / "metrics.json").read_text())
    assert metadata["metrics"] == metrics["test"]
    assert 0 <= metadata["largest_difference"] <= 1e-5


def test_variables_are_stored_once(chain):
    models = load(chain.student), load(chain.source)
    size = 4 * sum(model.count_params() for model in models)
    stored = sum(p.stat().st_size for p in (chain.exported / "variables").iterdir())
    assert stored < 1.3 * size + 5000


def test_reconstruct_is_the_autoencoder_as_it_was(chain, tmp_path, unchecked):
    version = export.run(run=chain.teacher, name="teacher", export_dir=tmp_path, quiet=True)
    served, x = tf.saved_model.load(str(version)), images(20)
    # Fine-tuning moved the encoder that is served, not the one that reconstructs.
    code = load(chain.teacher).get_layer("encoder").predict(scaled(x), verbose=0)
    before = load(chain.source).get_layer("encoder").predict(scaled(x), verbose=0)
    assert np.abs(code - before).max() > 0.01
    np.testing.assert_allclose(ask(served, "encode", x)["features"], code, atol=1e-5)
    output = load(chain.source).predict(scaled(x), verbose=0)
    given = ask(served, "reconstruct", x)["reconstruction"]
    np.testing.assert_allclose(given, output, atol=1e-5)


def test_an_autoencoder_is_served_too(chain, tmp_path, unchecked):
    version = export.run(run=chain.source, name="source", export_dir=tmp_path, quiet=True)
    served, x = tf.saved_model.load(str(version)), images(5)
    both = ask(served, "serving_default", x)
    assert set(both) == {"features", "reconstruction", "reconstruction_error", "unusual"}
    for signature in ("encode", "reconstruct"):
        for name, value in ask(served, signature, x).items():
            np.testing.assert_allclose(both[name], value, atol=1e-6)
    assert json.loads((version / "metadata.json").read_text())["labels"] == []
    with pytest.raises(UserError, match=f"model={version} .*autoencoder"):
        predict.run(model=version, out=tmp_path / "p.csv")


def test_a_run_from_scratch_has_nothing_to_reconstruct(chain, tmp_path, unchecked):
    run = shutil.copytree(chain.student, tmp_path / "run")
    (run / "autoencoder.keras").unlink()
    version = export.run(run=run, export_dir=tmp_path / "served", quiet=True)
    assert version == tmp_path / "served" / "run" / "1"
    served = tf.saved_model.load(str(version))
    assert set(served.signatures) == {"serving_default", "encode"}
    assert "reconstruction_error" not in json.loads((version / "metadata.json").read_text())


def test_it_is_checked_on_real_examples_and_without_them_on_random_ones(
    chain, tmp_path, monkeypatch
):
    asked = []
    monkeypatch.setattr(
        saved_model, "check_saved_model", lambda *given: asked.append(given[2]) or 0.0
    )
    old = shutil.copytree(chain.student, tmp_path / "old")
    for run in (chain.student, old):
        export.run(run=run, name="digits", export_dir=tmp_path / "served", quiet=True)
        (old / "examples.npz").unlink(missing_ok=True)
    export.run(run=old, name="digits", export_dir=tmp_path / "served", quiet=True)
    with_real, _, random = asked
    kept = np.load(chain.student / "examples.npz")["x"]
    assert np.array_equal(with_real[: -len(random)], kept[: len(with_real) - len(random)])
    assert len(with_real) > len(random) > 0
    assert random.max() > 17 >= kept.max()


def test_versions_count_up(chain, tmp_path, unchecked):
    (tmp_path / "digits" / "9").mkdir(parents=True)
    versions = [
        export.run(run=chain.student, name="digits", export_dir=tmp_path, quiet=True).name
        for _ in range(2)
    ]
    assert versions == ["10", "11"]
    there = {path.name for path in (tmp_path / "digits").iterdir()}
    assert there == {"9", "10", "11", *SERVER_FILES}


def test_a_version_appears_only_when_it_is_complete(chain, tmp_path, monkeypatch):
    seen = []

    def look(unfinished, *_):
        seen.extend(path.name for path in (tmp_path / "digits").iterdir())
        assert (Path(unfinished) / "saved_model.pb").is_file()
        return 0.0

    monkeypatch.setattr(saved_model, "check_saved_model", look)
    export.run(run=chain.student, name="digits", export_dir=tmp_path, quiet=True)
    assert len(seen) == 1
    assert seen[0].startswith(".")


def test_a_failing_check_leaves_nothing(chain, tmp_path, invoke, monkeypatch):
    def differs(*_):
        raise RuntimeError("the SavedModel differs from Keras by 0.5")

    monkeypatch.setattr(saved_model, "check_saved_model", differs)
    done = invoke("export", "--run", chain.student, "--name", "digits")
    assert done.code == 1
    assert "differs from Keras by 0.5" in done.err
    assert done.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_failing_check_leaves_an_empty_folder_of_the_users(chain, tmp_path, monkeypatch):
    def differs(*_):
        raise RuntimeError("the SavedModel differs from Keras by 0.5")

    monkeypatch.setattr(saved_model, "check_saved_model", differs)
    folder = tmp_path / "served"
    folder.mkdir()
    with pytest.raises(RuntimeError, match="0.5"):
        export.run(run=chain.student, name="digits", export_dir=folder, quiet=True)
    assert folder.is_dir()
    assert list(folder.iterdir()) == []


def test_the_check_finds_a_model_that_answers_otherwise(chain):
    preprocessing, model = load(chain.student, "preprocessing.keras"), load(chain.student)
    encoder = model.get_layer("encoder")

    def otherwise(x):
        return {"features": encoder(preprocessing(x)) + 1e-3}

    x = images(4)
    with pytest.raises(RuntimeError, match="differs from Keras by 0.00"):
        check_saved_model(chain.exported, {"encode": otherwise}, x, {"image": x})


@pytest.mark.parametrize(
    "names", [("ä", "a b", "x,y"), ("T-shirt/top", "0", "")], ids=["unicode", "odd"]
)
def test_features_that_are_no_images(tmp_path, unchecked, names):
    preprocessing = preprocessing_model((6,), (-2.0, 2.0), "float32")
    model = classifier(dense_encoder(6, (5,)), 3)
    x = RNG.normal(size=(4, 6)).astype(np.float32)
    version = export_saved_model(
        tmp_path / "m",
        preprocessing=preprocessing,
        classifier=model,
        class_names=names,
        metadata={"labels": list(names)},
        examples=x,
    )
    answers = ask(tf.saved_model.load(str(version)), "serving_default", x)
    np.testing.assert_allclose(
        answers["probabilities"], softmax(model.predict(x / 2.0, verbose=0)), atol=1e-5
    )
    assert [label.decode() for label in answers["label"]] == [names[n] for n in answers["class_id"]]


def test_what_is_no_export_is_an_error(chain, tmp_path):
    with pytest.raises(UserError, match=f"model={tmp_path}/absent .*cannot be read"):
        load_saved_model(tmp_path / "absent")
    run, folder = chain.student, chain.exported.parent
    with pytest.raises(UserError, match=f"it is a run folder: export it, or .* run={run}"):
        load_saved_model(run)
    with pytest.raises(UserError, match=f"versions of one: give .* such as {chain.exported}"):
        load_saved_model(folder)
    broken = shutil.copytree(chain.exported, tmp_path / "1")
    (broken / "saved_model.pb").write_bytes(b"no model")
    with pytest.raises(UserError, match=f"model={broken} .*cannot be read"):
        load_saved_model(broken)


@pytest.mark.parametrize("name", ["../elsewhere", "a/b"])
def test_a_name_that_is_a_path_is_refused(chain, tmp_path, unchecked, name):
    # It would write outside the folder that TF Serving watches.
    with pytest.raises(UserError, match=f"name={name}"):
        export.run(run=chain.student, name=name, export_dir=tmp_path / "served", quiet=True)
    assert list(tmp_path.iterdir()) == []


# Of TensorFlow alone: its own tool, where neither Keras nor this package can be imported.
TOOL = """
import sys
sys.modules["keras"] = sys.modules["kt_transfer"] = None
from tensorflow.python.tools.saved_model_cli import main
main()
"""


def test_tensorflows_own_command_line_runs_it_without_keras(chain, tmp_path):
    x = images(4)
    np.save(tmp_path / "x.npy", x)
    words = f"run --dir {chain.exported} --tag_set serve --signature_def serving_default"
    command = [sys.executable, "-c", TOOL, *words.split(), "--inputs", "image=x.npy"]
    done = subprocess.run(
        [*command, "--outdir", "out"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    expected = softmax(load(chain.student).predict(scaled(x), verbose=0))
    given = np.load(tmp_path / "out" / "probabilities.npy")
    np.testing.assert_allclose(given, expected, atol=1e-5)
