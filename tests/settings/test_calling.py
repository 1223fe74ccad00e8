"""Commands as Python functions: what is natural to pass, and what an editor is told."""

import inspect as introspection
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from sklearn.linear_model import LogisticRegression

import kt_transfer
from kt_transfer import UserError, compare, distill, export, finetune, load_data, pretrain, tune
from kt_transfer.data import TableOptions
from kt_transfer.runs.folder import Run
from kt_transfer.settings import CompareConfig, DistillConfig, FinetuneConfig, PretrainConfig
from kt_transfer.settings.calling import config_of

RNG = np.random.default_rng(0)
X, Y = RNG.random((40, 6)), np.arange(40) % 2


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_run_stands_for_its_folder_and_one_value_for_several():
    given = config_of(FinetuneConfig, {"source": Run(Path("runs/a")), "labels": np.int64(50)})
    assert (given.source, given.labels, type(given.labels)) == ("runs/a", 50, int)
    assert config_of(FinetuneConfig, {"source": Path("runs/a")}).source == "runs/a"
    for teacher in ("runs/t", Path("runs/t"), Run(Path("runs/t")), ["runs/t"]):
        assert config_of(DistillConfig, {"teacher": teacher}).teacher == (Path("runs/t"),)
    assert config_of(CompareConfig, {"labels": 50}).labels == (50,)
    assert config_of(CompareConfig, {"labels": [50, "all"]}).labels == (50, "all")
    assert config_of(CompareConfig, {"labels": "all"}).labels == ("all",)
    assert config_of(PretrainConfig, {"hidden_units": 64}).hidden_units == (64,)
    assert config_of(PretrainConfig, {"image_size": [96, 128]}).image_size == (96, 128)
    assert config_of(PretrainConfig, {"image_size": 64.0}).image_size == 64


def test_names_that_are_no_settings_are_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"sorce=runs/a was given, .*did you mean source\?"):
        finetune.run(sorce="runs/a")
    with pytest.raises(UserError, match=r"label=50 .*did you mean labels\?"):
        compare.run(label=50)
    with pytest.raises(UserError, match=r"epoch=3 .*did you mean epochs\?"):
        tune.run("pretrain", epoch=3)
    with pytest.raises(UserError, match="no source was given, .*give source="):
        finetune.run()
    with pytest.raises(UserError, match=r"tune.run\('export'\) was given, expected pretrain, fi"):
        tune.run("export")


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("epochs", 2.5, "a whole number"),
        ("epochs", "3", "a whole number"),
        ("epochs", True, "a whole number"),
        ("learning_rate", "fast", "a number"),
        ("hidden_units", ["wide"], "a whole number"),
        ("epochs", 0, "at least 1"),
    ],
)
def test_values_of_another_type_are_refused(setting, value, expected):
    with pytest.raises(UserError, match=f"{setting}=.* was given, expected {expected}"):
        pretrain.run(**{setting: value})


@pytest.mark.parametrize(
    ("command", "settings"),
    [
        (pretrain, {}),
        (compare, {}),
        (kt_transfer.quickstart, {}),
        (kt_transfer.inspect, {}),
        (finetune, {"source": "scratch"}),
        (finetune, {"source": "keras_applications:MobileNetV2"}),
        (distill, {"teacher_predictions": "answers.csv"}),
    ],
)
def test_a_variable_that_holds_nothing_does_not_become_the_embedded_digits(command, settings):
    with pytest.raises(UserError, match="data=None was given, expected a value: give one"):
        command.run(data=None, **settings)


def test_none_is_refused_where_the_type_has_it_not_and_is_the_default_where_it_has(tmp_path):
    run = pretrain.run(epochs=1, hidden_units=4, out=tmp_path / "run", quiet=True)
    with pytest.raises(UserError, match="seed=None was given, expected a value"):
        pretrain.run(seed=None)
    assert config_of(FinetuneConfig, {"source": "scratch", "labels": None}).labels is None
    assert config_of(FinetuneConfig, {"source": "scratch"}).data is None
    # The data of the run that is started from.
    assert config_of(FinetuneConfig, {"source": run, "data": None}).data is None
    assert config_of(DistillConfig, {"teacher": run, "data": None}).data is None


@pytest.mark.parametrize("name", sorted({*kt_transfer._COMMANDS} - {"tune"}))
def test_every_command_shows_its_settings(name):
    signature = introspection.signature(getattr(kt_transfer, name).run)
    assert "settings" not in signature.parameters
    assert {"quiet", "debug"} <= set(signature.parameters)
    annotations = [p.annotation for p in signature.parameters.values() if p.kind == p.KEYWORD_ONLY]
    assert introspection.Parameter.empty not in annotations
    assert "Bound" not in str(signature)
    if name == "compare":
        assert list(signature.parameters)[:2] == ["candidates", "teachers"]
        assert signature.parameters["folds"].default == CompareConfig.folds
        assert signature.parameters["folds"].annotation is int


def test_help_begins_with_the_public_names_a_line_each():
    lines = kt_transfer.__doc__.splitlines()
    for name in kt_transfer.__all__:
        if not name.startswith("_"):
            assert sum(line.startswith(f"    {name} ") for line in lines) == 1, name


def kept(**given):
    """What is read of data that were given in memory."""
    config = config_of(CompareConfig, given)
    return load_data(config.data, table=TableOptions(label_column=config.label_column))


def rows(data):
    """All examples with their labels, in any order."""
    x, y = np.concatenate([data.x, data.x_test]), np.concatenate([data.y, data.y_test])
    names = [data.class_names[label] if label >= 0 else "-" for label in y]
    return sorted(zip(map(tuple, x.reshape(len(x), -1).round(6)), names, strict=True))


def batched(dataset):
    return dataset.batch(7)


@pytest.mark.parametrize(
    "given",
    [
        (X, Y),
        (X.tolist(), Y.tolist()),
        (X, Y[:, None]),
        tf.data.Dataset.from_tensor_slices((X, Y)),
        batched(tf.data.Dataset.from_tensor_slices((X, Y))),
        (keras.ops.convert_to_tensor(X), pd.Series(Y)),
    ],
)
def test_arrays_and_datasets_are_the_examples_that_they_hold(given):
    expected = sorted(zip(map(tuple, X.round(6)), map(str, Y), strict=True))
    assert rows(kept(data=given)) == expected


def test_missing_labels_are_none():
    names = np.array(["cat", "dog"])[Y].astype(object)
    names[:5] = [None, np.nan, pd.NA, "-1", None]
    assert [name for _, name in rows(kept(data=(X, names)))].count("-") == 5
    assert kept(data=(X, np.where(Y > 0, 1, -1))).num_labelled < 40


def test_examples_alone_have_no_label():
    for given in (X, X.astype(np.float32), tf.data.Dataset.from_tensor_slices(X)):
        assert kept(data=given).class_names == ()
        assert len(rows(kept(data=given))) == 40


def test_frames_are_tables():
    frame = pd.DataFrame({"size": X[:, 0], "colour": np.array(["red", "blue"])[Y], "kind": Y})
    apart = (frame.drop(columns="kind"), frame["kind"])
    for given in ({"data": frame, "label_column": "kind"}, {"data": apart}):
        data = kept(**given)
        assert [column.name for column in data.schema.columns] == ["size", "colour"]
        assert data.class_names == ("0", "1")
    with pytest.raises(UserError, match="expected labels that are not in the frame too"):
        config_of(CompareConfig, {"data": (frame, frame["kind"])})
    with pytest.raises(UserError, match="expected columns of numbers, words, dates"):
        config_of(CompareConfig, {"data": frame.assign(mixed=[{}, 1] * 20)})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (3, "data=int was given|int was given, expected a data spec, an array"),
        ([[1, 2], [3]], "list was given, expected"),
        (tf.data.Dataset.from_tensors(X).repeat(), "without end was given, .*leave out repeat"),
        (tf.data.Dataset.from_tensor_slices((X, np.eye(2)[Y][:, None])), "map one-hot labels"),
    ],
)
def test_what_is_no_data_is_refused(given, said):
    with pytest.raises(UserError, match=said):
        pretrain.run(data=given)


@pytest.mark.usefixtures("unchecked_exports")
@pytest.mark.slow
def test_a_session_with_arrays_runs_from_end_to_end(tmp_path):
    quick = {"quiet": True, "epochs": 9, "jit_compile": "no", "strategy": "one_device"}
    rows = X + 0.5 * Y[:, None]  # which can be learned
    source = pretrain.run(**quick, data=rows, hidden_units=8, latent_dim=4, out=tmp_path / "source")
    teacher = finetune.run(
        **quick, source=source, data=(rows, Y), learning_rate=0.05, out=tmp_path / "teacher"
    )
    student = distill.run(**quick, teacher=teacher, student_units=4, out=tmp_path / "student")
    assert student.settings["data"] == teacher.settings["data"]
    version = export.run(run=student, name="m", export_dir=tmp_path / "models", quiet=True)
    assert (version / "saved_model.pb").is_file()
    table = compare.run(
        **quick,
        data=(rows, Y),
        labels=20,
        folds=2,
        repeats=1,
        methods=("scratch", "linear"),
        teachers=LogisticRegression(),
        out=tmp_path / "compared",
        export_dir=tmp_path / "models",
    )
    assert set(table["method"]) == {
        "scratch",
        "linear",
        "LogisticRegression",
        "LogisticRegression student",
    }
