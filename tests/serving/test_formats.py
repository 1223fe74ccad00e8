"""Exports in other formats than SavedModel, each asked in its own runtime."""

import json
import shutil
import sys

import keras
import numpy as np
import onnxruntime
import pandas as pd
import pytest
from ai_edge_litert.interpreter import Interpreter

from kt_transfer import (
    UserError,
    classifier,
    conv_autoencoder,
    export,
    finetune,
    load_data,
    predict,
)
from kt_transfer.data import TableOptions
from kt_transfer.models.classifiers import dense_encoder
from kt_transfer.models.preprocessing import preprocessing_model
from kt_transfer.runs.folder import Run
from kt_transfer.serving import litert
from kt_transfer.serving.formats import FORMATS
from kt_transfer.serving.loading import load_served

pytestmark = pytest.mark.usefixtures("unchecked_exports")
DIGITS = load_data("digits")
CONVERTED = ("litert", "litert_int8", "onnx")


def softmax(logits):
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


def by_keras(run, x):
    preprocessing, model = (
        keras.saving.load_model(run / name, compile=False)
        for name in ("preprocessing.keras", "model.keras")
    )
    return softmax(model.predict(preprocessing.predict(x, verbose=0), verbose=0))


def by_litert(file, x):
    runner = Interpreter(model_path=str(file)).get_signature_runner("serving_default")
    (name,) = runner.get_input_details()
    return runner(**{name: x})


def by_onnx(file, **inputs):
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


@pytest.fixture(scope="module")
def exported(chain, tmp_path_factory, unchecked_exports):
    """A model of digits in every format."""
    folder = tmp_path_factory.mktemp("exported")
    export.run(run=chain.student, name="m", format=[*FORMATS], export_dir=folder, quiet=True)
    return folder / "m"


@pytest.fixture(scope="module")
def people(tmp_path_factory, unchecked_exports):
    """A run on a table of every kind of column, and its export in the formats that take one."""
    folder, rng = tmp_path_factory.mktemp("people"), np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "age": np.where(rng.random(200) < 0.1, np.nan, rng.integers(18, 90, 200)),
            "home town": rng.choice(["Bad Ems", "Ulm", "Ys", None], 200),
            "member": rng.choice(["Yes", "no", None], 200),
            "since": (pd.Timestamp("2019-03-01") + pd.to_timedelta(rng.integers(0, 900, 200), "D")),
        }
    )
    table["ill"] = np.where(table["age"].fillna(0) + rng.normal(0, 9, 200) > 50, "yes", "no")
    table.to_csv(folder / "people.csv", index=False)
    run = finetune.run(
        data=f"csv:{folder / 'people.csv'}",
        label_column="ill",
        source="scratch",
        hidden_units=(8,),
        latent_dim=4,
        epochs=5,
        compare_scratch="no",
        out=folder / "run",
        quiet=True,
    )
    export.run(run=run.path, name="m", format=("litert", "onnx"), export_dir=folder, quiet=True)
    return folder


def test_where_they_stand_and_what_lies_beside(exported, chain):
    assert {path.name for path in exported.iterdir()} > {"1", *CONVERTED, "formats.csv"}
    for name, file in zip(CONVERTED, ("model.tflite", "model.tflite", "model.onnx"), strict=True):
        version = exported / name / "1"
        assert {path.name for path in version.iterdir()} == {file, "metadata.json"}
        metadata = json.loads((version / "metadata.json").read_text())
        assert metadata["labels"] == list("0123456789")
        assert metadata["format"] == name
        assert 0 <= metadata["largest_difference"] <= (0.25 if name == "litert_int8" else 1e-5)


@pytest.mark.parametrize("count", [1, 7, 359])
def test_litert_answers_as_keras_does(exported, chain, count):
    x = DIGITS.x_test[:count]
    answers = by_litert(exported / "litert/1/model.tflite", x)
    np.testing.assert_allclose(answers["probabilities"], by_keras(chain.student, x), atol=1e-5)
    assert np.array_equal(answers["class_id"], answers["probabilities"].argmax(axis=1))


@pytest.mark.parametrize("count", [0, 1, 7, 359])
def test_onnx_answers_as_keras_does(exported, chain, count):
    x = DIGITS.x_test[:count]
    answers = by_onnx(exported / "onnx/1/model.onnx", image=x)
    expected = by_keras(chain.student, DIGITS.x_test)[:count]
    np.testing.assert_allclose(answers["probabilities"], expected, atol=1e-5)
    assert answers["label"].tolist() == [str(number) for number in answers["class_id"]]


def test_8_bits_are_8_bits_and_nearly_the_same(exported, chain):
    file, x = exported / "litert_int8/1/model.tflite", DIGITS.x_test
    answers, expected = by_litert(file, x)["probabilities"], by_keras(chain.student, x)
    assert (answers.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.95
    assert 1e-5 < np.abs(answers - expected).max() < 0.25
    interpreter = Interpreter(model_path=str(file))
    interpreter.allocate_tensors()
    kinds = [np.dtype(tensor["dtype"]).name for tensor in interpreter.get_tensor_details()]
    # Floats are probabilities as they leave, and pixels as they enter.
    assert kinds.count("float32") == 2
    assert kinds.count("int8") > 5


def test_a_table_of_every_kind_by_name_in_onnx_and_as_a_matrix_in_litert(people):
    rows = {
        "age": [31.0, np.nan, 500.0, 40.0],
        "home town": ["Ulm", "Bad Ems", "Atlantis", ""],
        "member": ["yes", "NO", "", "1"],
        "since": ["2020-02-29", "", "2018-01-01 12:30:00", "2021-01-01T00:00:00"],
    }
    options = TableOptions(label_column="ill")
    schema = load_data(f"csv:{people / 'people.csv'}", table=options).schema
    x = schema.matrix(rows)
    expected = by_keras(people / "run", x)
    since = pd.to_datetime(rows["since"], format="mixed")
    days = (since - pd.Timestamp("1970-01-01")) / pd.Timedelta("1D")
    answers = by_onnx(
        people / "m/onnx/1/model.onnx",
        age=np.array(rows["age"]),
        home_town=np.array(rows["home town"], object),
        member=np.array([*rows["member"][:3], "1.0"], object),  # as pandas writes it
        since=np.array(days, np.float64),
    )
    np.testing.assert_allclose(answers["probabilities"], expected, atol=1e-5)
    assert answers["label"].tolist() == [["no", "yes"][one] for one in expected.argmax(axis=1)]
    answers = by_litert(people / "m/litert/1/model.tflite", x.astype(np.float32))
    np.testing.assert_allclose(answers["probabilities"], expected, atol=1e-5)
    for version in ("m/onnx/1", "m/litert/1"):
        model, metadata = load_served(people / version)
        assert metadata["labels"] == ["no", "yes"]
        np.testing.assert_allclose(model(x), expected, atol=1e-5)
        assert model(x[:0]).shape == (0, 2)


@pytest.mark.parametrize("format", ["litert", "litert_int8", "onnx"])
@pytest.mark.parametrize("kind", ["colour pictures", "features"])
def test_convolutions_and_features(tmp_path, format, kind):
    rng = np.random.default_rng(0)
    if kind == "features":
        x = rng.normal(size=(60, 6)).astype(np.float32)
        scale = preprocessing_model((6,), (-2.0, 2.0), "float32")
        encoder = dense_encoder(6, (5,))
    else:
        x = rng.integers(0, 256, (60, 9, 7, 3), dtype=np.uint8)
        scale = preprocessing_model((9, 7, 3), (0.0, 255.0), flatten=False)
        encoder = conv_autoencoder((9, 7, 3), filters=(4,), latent_dim=5).get_layer("encoder")
    model = classifier(encoder, 3)
    version = FORMATS[format](
        tmp_path / "m",
        preprocessing=scale,
        classifier=model,
        class_names=["a", "ä", ""],
        metadata={"labels": ["a", "ä", ""], "data": "npz:none"},
        examples=x[:20],
        kept=x,
    )
    expected = softmax(model.predict(scale.predict(x, verbose=0), verbose=0))
    served, _ = load_served(version)
    np.testing.assert_allclose(served(x), expected, atol=0.25 if "int8" in format else 1e-5)


def test_an_autoencoder_is_converted_too(chain, tmp_path):
    formats = ("litert", "onnx")
    export.run(run=chain.source, name="m", format=formats, export_dir=tmp_path, quiet=True)
    x = DIGITS.x_test[:5]
    autoencoder = keras.saving.load_model(chain.source / "model.keras", compile=False)
    expected = autoencoder.predict(x.reshape(5, -1) / 8.0 - 1.0, verbose=0)
    for answers in (
        by_litert(tmp_path / "m/litert/1/model.tflite", x),
        by_onnx(tmp_path / "m/onnx/1/model.onnx", image=x),
    ):
        assert {*answers} >= {"features", "reconstruction", "reconstruction_error"}
        np.testing.assert_allclose(answers["reconstruction"], expected, atol=1e-5)
    assert not (tmp_path / "m" / "formats.csv").exists()


@pytest.mark.parametrize(
    "by", ["1", "litert/1", "litert/1/model.tflite", "litert_int8/1", "onnx/1"]
)
def test_predict_says_the_same_by_every_format(exported, chain, tmp_path, by):
    given = {"data": "digits", "quiet": True}
    expected = pd.read_csv(predict.run(run=chain.student, out=tmp_path / "run.csv", **given))
    found = pd.read_csv(predict.run(model=exported / by, out=tmp_path / "model.csv", **given))
    # The other formats are made of the classifier alone.
    lacking = [] if by == "1" else ["unusual"]
    assert list(expected.columns) == [*found.columns, *lacking]
    if by == "1":
        assert found["unusual"].equals(expected["unusual"])
    assert found[["split", "row"]].equals(expected[["split", "row"]])
    columns = [name for name in expected if name.startswith("probability_")]
    tolerance = 0.25 if "int8" in by else 1e-5
    np.testing.assert_allclose(found[columns], expected[columns], atol=tolerance)
    assert (found["label"] == expected["label"]).mean() > (0.95 if "int8" in by else 0.999)


def test_nothing_is_said_of_types_that_no_cell_of_a_table_has(people, invoke):
    flags = ("--data", f"csv:{people / 'people.csv'}", "--out", "p.csv")
    done = invoke("predict", "--model", people / "m/litert/1", *flags)
    assert done.code == 0
    assert "float" not in done.out


def test_the_table_of_all_formats(exported, chain, invoke):
    table = pd.read_csv(exported / "formats.csv").set_index("format")
    assert list(table.index) == list(FORMATS)
    metrics = json.loads((chain.student / "metrics.json").read_text())["test"]
    exact = table.drop("litert_int8")
    np.testing.assert_allclose(exact["accuracy"], metrics["accuracy"])
    assert abs(table["accuracy"]["litert_int8"] - metrics["accuracy"]) < 0.05
    size = (exported / "onnx/1/model.onnx").stat().st_size
    assert size < table["bytes"]["onnx"] < size + 10_000
    assert (table["latency_ms"] > 0).all()
    assert (table["throughput"] > 1000).all()


def test_without_the_data_the_accuracy_is_left_out_and_it_is_said(people, tmp_path, invoke):
    shutil.copytree(people / "run", tmp_path / "run")
    about = json.loads((tmp_path / "run" / "config.json").read_text())
    about["data"] = "csv:gone.csv"
    (tmp_path / "run" / "config.json").write_text(json.dumps(about))
    done = invoke("export", "--run", "run", "--name", "m", "--format", "onnx")
    assert done.code == 0, done.err
    assert "the accuracy is left out" in done.out and "gone.csv cannot be read" in done.out
    (row,) = pd.read_csv(tmp_path / "saved_models/m/formats.csv").to_dict("records")
    assert row["format"] == "onnx" and np.isnan(row["accuracy"])


@pytest.fixture
def conversion_disagrees(exported, monkeypatch):
    """LiteRT of float32 and of 8 bits become the files of another run."""
    content = (exported / "litert/1/model.tflite").read_bytes()
    monkeypatch.setattr(litert, "_convert", lambda *_: content)


def test_a_conversion_that_disagrees_is_refused(chain, conversion_disagrees, tmp_path):
    kept = {"export_dir": tmp_path, "quiet": True}
    with pytest.raises(UserError, match=r"LiteRT model differs from Keras by [\d.]+, expected"):
        export.run(run=chain.teacher, format="litert", **kept)
    with pytest.raises(UserError, match=r"differs .* by [\d.]+ in .* class to \d+\.\d% of 180"):
        export.run(run=chain.teacher, format="litert_int8", **kept)
    assert list(tmp_path.iterdir()) == []


def test_formats_after_one_that_fails_are_written(chain, conversion_disagrees, tmp_path, invoke):
    formats = ("litert", "onnx", "saved_model")
    done = invoke("export", "--run", chain.teacher, "--name", "m", "--format", *formats)
    assert done.code == 2
    folder = tmp_path / "saved_models" / "m"
    assert {path.name for path in folder.iterdir()} >= {"1", "onnx", "formats.csv"}
    assert not (folder / "litert").exists()
    assert list(pd.read_csv(folder / "formats.csv")["format"]) == ["saved_model", "onnx"]
    assert "next: " in done.out
    (line,) = done.err.splitlines()
    assert line.startswith(
        "error: --format litert was given, expected a model that LiteRT can hold"
    )
    assert "differs from Keras by" in line and "give saved_model or onnx." in line
    assert line.endswith("(written: saved_models/m/onnx/1, saved_models/m/1)")


def test_several_that_fail_are_told_in_one_sentence(people, tmp_path, invoke, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    formats = ("litert_int8", "litert", "onnx")
    done = invoke("export", "--run", people / "run", "--name", "m", "--format", *formats)
    assert done.code == 2
    assert (tmp_path / "saved_models/m/litert/1/model.tflite").is_file()
    (line,) = done.err.splitlines()
    assert line.startswith("error: --format litert_int8 onnx was given, but none of these is")
    for said in ("litert_int8: 8 bits cannot", "give litert", "pip install 'kt-transfer[formats]'"):
        assert said in line
    with pytest.raises(UserError, match="none of these is written"):
        again = {"format": ("litert_int8", "onnx"), "export_dir": tmp_path / "other", "quiet": True}
        export.run(run=people / "run", **again)
    assert not (tmp_path / "other").exists()


def test_a_run_is_loaded_once_for_all_formats(chain, tmp_path, monkeypatch):
    load, loaded = Run.load_model, []
    monkeypatch.setattr(
        Run, "load_model", lambda run, name="model.keras": loaded.append(name) or load(run, name)
    )
    given = {"format": ("saved_model", "litert", "onnx"), "export_dir": tmp_path, "quiet": True}
    export.run(run=chain.student, name="m", **given)
    assert sorted(loaded) == sorted({*loaded}) and "model.keras" in loaded


@pytest.mark.parametrize(
    ("format", "package"), [("litert", "ai_edge_litert"), ("onnx", "tf2onnx"), ("onnx", "onnx")]
)
def test_a_converter_that_is_missing(chain, invoke, tmp_path, monkeypatch, format, package):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    done = invoke("export", "--run", chain.student, "--name", "m", "--format", format)
    assert done.code == 2
    assert f"--format {format} was given, expected the package {package}" in done.err
    assert "pip install 'kt-transfer[formats]'" in done.err
    assert list(tmp_path.iterdir()) == []


def test_8_bits_are_refused_where_they_cannot_answer(people, chain, tmp_path):
    given = {"format": "litert_int8", "export_dir": tmp_path, "quiet": True}
    with pytest.raises(UserError, match="format=litert_int8 .* columns of a table"):
        export.run(run=people / "run", **given)
    with pytest.raises(UserError, match="format=litert_int8 .* it is an autoencoder"):
        export.run(run=chain.source, **given)
    old = shutil.copytree(chain.student, tmp_path / "old")
    (old / "examples.npz").unlink()
    with pytest.raises(UserError, match=r"format=litert_int8 .* no examples\.npz"):
        export.run(run=old, **given)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_files_that_cannot_be_read(exported, tmp_path):
    for name in ("litert/1/model.tflite", "onnx/1/model.onnx"):
        alone = tmp_path / name.split("/")[-1]
        alone.write_bytes((exported / name).read_bytes())
        with pytest.raises(UserError, match=f"model={alone} .*metadata.json"):
            load_served(alone)
        (tmp_path / "metadata.json").write_text((exported / "1/metadata.json").read_text())
        assert load_served(alone)[0](DIGITS.x_test[:2]).shape == (2, 10)
        alone.write_bytes(b"no model")
        with pytest.raises(UserError, match=f"model={alone} .*it cannot be read"):
            load_served(alone)
        (tmp_path / "metadata.json").unlink()
