"""A table of numbers, words, dates and missing cells, from its file to a served model."""

import contextlib
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_wine
from sklearn.metrics import accuracy_score

from kt_transfer import compare, distill, evaluate, finetune, label, load_data, predict, pretrain
from kt_transfer.data import TableOptions
from kt_transfer.errors import UserError
from kt_transfer.methods.estimator import TREES
from kt_transfer.shell.main import main

RNG = np.random.default_rng(0)
SHORT = ("--batch-size", 16, "--quiet", "--compare-scratch", "no")


def wines() -> pd.DataFrame:
    """Scikit-learn's wines, with three of their columns as other kinds than numbers."""
    rng, wine = np.random.default_rng(0), load_wine(as_frame=True)
    table = wine.frame.drop(columns="target").rename(columns={"od280/od315_of_diluted_wines": "od"})
    table["colour"] = pd.cut(table["color_intensity"], [0, 3, 5, 99], labels=list("abc"))
    table["colour"] = table["colour"].map({"a": "pale", "b": "red, clear", "c": "dark"})
    table["filled on"] = pd.Timestamp("2001-03-01") + pd.to_timedelta(
        table["proline"].astype(int), "D"
    )
    table["strong"] = np.where(table["alcohol"] > 13, "yes", "no")
    table = table.drop(columns=["color_intensity", "proline", "alcohol"])
    for column in ("ash", "colour", "filled on", "hue"):
        table[column] = table[column].mask(rng.random(len(table)) < 0.1)
    table["bottle"] = [f"no. {number}" for number in range(len(table))]
    table["vineyard"] = np.array(wine.target_names)[wine.target]
    return table


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The table as a file, and what the chain of commands makes of it."""
    folder, table = tmp_path_factory.mktemp("wines"), wines()
    table.to_csv(folder / "wines.csv", index=False)
    shuffled = table.drop(columns="vineyard").sample(frac=1, axis=1, random_state=1)
    shuffled.iloc[40:90].to_csv(folder / "new.csv", index=False)
    data = ("--data", "csv:wines.csv", "--label-column", "vineyard", "--id", "bottle")
    for words in (
        ("pretrain", *data, "--out", "source", "--epochs", 10, *SHORT[:-2]),
        ("finetune", "--source", "source", "--labels", 60, "--out", "teacher", *SHORT),
        ("distill", "--teacher", "teacher", "--student-units", 16, "--out", "student", *SHORT),
        ("evaluate", "--run", "student", "--quiet"),
        ("export", "--run", "student", "--name", "wines", "--quiet"),
        ("predict", "--run", "student", "--data", "csv:new.csv", "--out", "run.csv", "--quiet"),
        (
            *("predict", "--model", "saved_models/wines/1", "--data", "csv:new.csv"),
            *("--out", "served.csv", "--quiet"),
        ),
    ):
        with contextlib.chdir(folder):
            main([*map(str, words)])
    return folder


def test_the_chain_learns_what_is_in_the_table(folder):
    metrics = json.loads((folder / "student/evaluation.json").read_text())
    assert metrics["accuracy"] > 0.9
    schema = json.loads((folder / "source/schema.json").read_text())
    kinds = {column["name"]: column["kind"] for column in schema["columns"]}
    assert kinds["colour"] == "category" and kinds["filled on"] == "date"
    assert kinds["strong"] == "boolean" and kinds["ash"] == "number"
    assert not {"bottle", "vineyard"} & set(kinds)
    features = [tuple(feature) for feature in schema["features"]]
    assert ("colour", "word", "red, clear") in features and ("ash", "missing", "") in features
    assert json.loads((folder / "teacher/config.json").read_text())["label_column"] == "vineyard"


def test_new_rows_in_any_order_of_columns_are_answered_under_their_ids(folder):
    table, answers = wines(), pd.read_csv(folder / "run.csv")
    truth = table.set_index("bottle")["vineyard"][answers["bottle"]]
    assert set(answers["bottle"]) == set(table["bottle"][40:90])
    assert accuracy_score(truth, answers["label"]) > 0.8


def test_what_is_served_takes_the_cells_of_the_file_and_answers_as_the_run(folder):
    """In a process without Keras, from the raw strings and numbers of the file."""
    program = """
import json, sys
sys.modules["keras"] = None
import numpy as np, pandas as pd, tensorflow as tf
model = tf.saved_model.load("saved_models/wines/1")
names = json.load(open("saved_models/wines/1/metadata.json"))["columns"]
table = pd.read_csv("new.csv", dtype=str, keep_default_na=False)
signature = model.signatures["serving_default"]
inputs = {}
for name, spec in signature.structured_input_signature[1].items():
    cells = table[{served: own for own, served in names.items()}[name]]
    if spec.dtype == tf.float64:
        cells = cells.replace("", "nan").astype(float)
    inputs[name] = tf.constant(cells.to_numpy(spec.dtype.as_numpy_dtype))
answers = signature(**inputs)
pd.DataFrame(answers["probabilities"].numpy()).to_csv("asked.csv", index=False)
one = signature(**{name: values[:1] for name, values in inputs.items()})
assert np.allclose(one["probabilities"], answers["probabilities"][:1], atol=1e-6)
none = signature(**{name: values[:0] for name, values in inputs.items()})
assert none["probabilities"].shape == (0, 3), none
"""
    subprocess.run([sys.executable, "-c", program], cwd=folder, check=True)
    asked = pd.read_csv(folder / "asked.csv").to_numpy()
    for name in ("run.csv", "served.csv"):
        answers = pd.read_csv(folder / name).sort_values("row").filter(like="probability_")
        assert answers.to_numpy() == pytest.approx(asked, abs=1e-5)


def test_a_missing_column_is_named(folder, tmp_path):
    lacking = pd.read_csv(folder / "new.csv").rename(columns={"ash": "Ash"})
    lacking.to_csv(tmp_path / "lacking.csv", index=False)
    answers = tmp_path / "answers.csv"
    with pytest.raises(UserError, match=r"without the column ash.*did you mean Ash"):
        predict.run(run=folder / "student", data=f"csv:{tmp_path / 'lacking.csv'}", out=answers)
    assert not answers.exists()


def test_a_table_with_other_columns_is_a_target_of_the_same_source(folder, tmp_path, capsys):
    other = wines().drop(columns=["ash", "colour"]).assign(price=RNG.normal(size=178))
    other["strong"] = other["strong"].sample(frac=1, random_state=0).to_numpy()
    other = other[other.columns[::-1]]
    other.to_csv(tmp_path / "other.csv", index=False)
    run = finetune.run(
        source=str(folder / "source"),
        data=f"csv:{tmp_path / 'other.csv'}",
        label_column="vineyard",
        ignore=("bottle",),
        labels=60,
        compare_scratch="no",
        out=tmp_path / "run",
    )
    said = capsys.readouterr().out
    assert "ash, colour count as missing, price of it are left out" in said
    assert run.read_json("metrics.json")["test"]["accuracy"] > 0.8
    measured = evaluate.run(run=run.path, quiet=True, out=tmp_path / "measured")
    assert measured["accuracy"] == run.read_json("metrics.json")["test"]["accuracy"]


def test_a_source_of_other_kinds_is_refused_before_it_is_trained(folder, tmp_path):
    other = wines().assign(ash="a word")
    other.loc[::2, "ash"] = "another"
    other.to_csv(tmp_path / "other.csv", index=False)
    given = {"source": str(folder / "source"), "label_column": "vineyard", "quiet": True}
    with pytest.raises(UserError, match="the column ash is a number for it, and a category here"):
        finetune.run(data=f"csv:{tmp_path / 'other.csv'}", out=tmp_path / "run", **given)
    with pytest.raises(UserError, match="it takes the columns of a table"):
        finetune.run(source=given["source"], data="digits", out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_an_exported_model_of_a_table_is_no_teacher_and_its_run_is_named(folder, tmp_path):
    with pytest.raises(UserError, match="takes 13 named columns .*the run it was exported from"):
        distill.run(
            teacher=[folder / "saved_models/wines/1"],
            data=f"csv:{folder / 'wines.csv'}",
            label_column="vineyard",
            id="bottle",
            out=tmp_path / "none",
            quiet=True,
        )
    assert not (tmp_path / "none").exists()


def test_rows_with_gaps_and_later_dates_are_predicted(folder, tmp_path):
    rows = pd.read_csv(folder / "new.csv").head(2)
    numbers = rows.select_dtypes("number").columns
    rows[numbers] = rows[numbers].astype(float)
    rows.loc[0, numbers] = np.nan
    rows.loc[1, numbers] *= 3
    later = pd.read_csv(folder / "new.csv").assign(**{"filled on": "2024-05-06"})
    for name, table in (("odd", rows), ("later", later)):
        table.to_csv(tmp_path / f"{name}.csv", index=False)
        answers = predict.run(
            run=folder / "student",
            data=f"csv:{tmp_path / name}.csv",
            out=tmp_path / f"{name}-answers.csv",
            quiet=True,
        )
        assert len(pd.read_csv(answers)) == len(table)
    other = pd.read_csv(folder / "new.csv")
    other[numbers] *= 1000
    other.to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(UserError, match="other values in .* such as malic_acid: about"):
        predict.run(
            run=folder / "student", data=f"csv:{tmp_path / 'other.csv'}", out=tmp_path / "none.csv"
        )


def test_answers_under_odd_ids_teach(folder, tmp_path):
    table = wines().rename(columns={"bottle": "label"})
    table["label"] = [f"={number}" if number % 2 else f"{number:04d}" for number in range(178)]
    table.to_csv(tmp_path / "wines.csv", index=False)
    data = {"data": f"csv:{tmp_path / 'wines.csv'}", "id": "label", "quiet": True}
    said = predict.run(run=folder / "student", out=tmp_path / "said.csv", **data)
    assert set(pd.read_csv(said, dtype=str)["id"]) == set(table["label"])
    run = distill.run(
        teacher_predictions=said,
        label_column="vineyard",
        student_units=(8,),
        epochs=2,
        compare_scratch="no",
        out=tmp_path / "run",
        **data,
    )
    assert run.read_json("metrics.json")["comparison"]["teacher"]["accuracy"] > 0.8


def test_what_to_label_next_is_named_by_its_id(folder, tmp_path):
    with contextlib.chdir(folder):
        path = label.run(run="teacher", count=5, out=tmp_path / "next.csv", quiet=True)
    chosen = pd.read_csv(path)
    assert list(chosen)[:2] == ["bottle", "row"]
    assert (chosen["bottle"] == [f"no. {row}" for row in chosen["row"]]).all()


@pytest.mark.slow
def test_compare_judges_trees_and_exports_their_student_as_a_network(folder, tmp_path):
    table = compare.run(
        data=f"csv:{folder / 'wines.csv'}",
        label_column="vineyard",
        ignore=("bottle",),
        labels=(60,),
        folds=2,
        repeats=1,
        methods=("scratch", "features"),
        teachers=[TREES],
        epochs=2,
        pretrain_epochs=2,
        out=tmp_path / "run",
        export_dir=tmp_path / "models",
        quiet=True,
    )
    names = ["scratch", "ExtraTreesClassifier", "ExtraTreesClassifier student", "features"]
    assert list(dict.fromkeys(table["method"])) == names
    found = json.loads((tmp_path / "run/comparison.json").read_text())
    means = {entry["method"]: entry["mean"] for entry in found["verdicts"]}
    # Two epochs teach a network nothing; forty steps of a student show what trees know.
    assert means["ExtraTreesClassifier"] > 0.85
    assert found["winner"]["method"] in ("ExtraTreesClassifier student", "features")
    assert (tmp_path / "models/compare/1/metadata.json").is_file()
    size = {cost["method"]: cost["bytes"] for cost in found["costs"]}
    assert size["ExtraTreesClassifier"] > 5 * size["ExtraTreesClassifier student"]
    report = (tmp_path / "run/report.html").read_text()
    assert "ExtraTreesClassifier student" in report


def test_what_pretraining_reconstructs_is_measured_by_kind(folder):
    """The loss of the whole model against NumPy: squares of numbers, entropy of categories."""
    import keras

    data = load_data(
        f"csv:{folder / 'wines.csv'}",
        table=TableOptions(label_column="vineyard", id_column="bottle"),
    )
    autoencoder = keras.saving.load_model(folder / "source/model.keras")
    preprocessing = keras.saving.load_model(folder / "source/preprocessing.keras")
    x = preprocessing(data.x_test).numpy()
    made = autoencoder(x).numpy()
    words = np.array([feature.column == "colour" for feature in data.layout.features])
    assert words.sum() == 4 and words[-4:].all()  # three words, and what is missing
    assert made[:, words].sum(axis=1) == pytest.approx(np.ones(len(x)), abs=1e-5)
    loss = ((x - made)[:, ~words] ** 2).sum(axis=1) - (
        x[:, words] * np.log(np.maximum(made[:, words], 1e-7))
    ).sum(axis=1)
    metrics = json.loads((folder / "source/metrics.json").read_text())["test"]
    assert metrics["loss"] == pytest.approx(loss.mean(), rel=1e-4)
    assert metrics["mse"] == pytest.approx(((x - made) ** 2).mean(), rel=1e-4)


def test_folds_do_not_see_the_columns_of_what_they_hold_out(tmp_path):
    """Ranges, and which words and gaps occur, are those of the rows that a fold may see."""
    from kt_transfer.comparison.refitting import fixed, refit, refittable
    from kt_transfer.data.table_features import Layout, features_of
    from kt_transfer.models.preprocessing import preprocessing_model

    wines().to_csv(tmp_path / "wines.csv", index=False)
    data = load_data(
        f"csv:{tmp_path / 'wines.csv'}",
        table=TableOptions(label_column="vineyard", ignore=("bottle",)),
    )
    names = data.schema.names
    seen = data.x[data.x[:, names.index("colour")] < 2]  # neither the rarest word nor a gap
    model = refittable(
        preprocessing_model(data.input_shape, data.scaling_range, data.x.dtype, layout=data.layout),
        data.value_range,
    )
    refit(model, seen)
    from kt_transfer.data.ranges import column_ranges

    own = Layout(features_of(data.schema, seen), data.schema)
    alone = preprocessing_model(data.input_shape, column_ranges(seen), data.x.dtype, layout=own)
    given, expected = fixed(model)(data.x).numpy(), alone(data.x).numpy()
    for place, feature in enumerate(data.layout.features):
        rare = feature == (
            "colour",
            "word",
            data.schema.columns[names.index("colour")].vocabulary[2],
        )
        if feature in own.features and not rare:
            wanted = expected[:, own.features.index(feature)]
        else:
            wanted = np.zeros(len(data.x))
        assert given[:, place] == pytest.approx(wanted, abs=1e-6), feature


def test_rows_of_a_group_stay_together(tmp_path):
    table = wines().assign(estate=[f"e{number // 6}" for number in range(178)])
    table.to_csv(tmp_path / "wines.csv", index=False)
    options = TableOptions(label_column="vineyard", ignore=("bottle",), group_column="estate")
    data = load_data(f"csv:{tmp_path / 'wines.csv'}", table=options)
    groups = table["estate"].to_numpy()
    assert not set(groups[data.rows]) & set(groups[data.rows_test])
    assert "estate" not in data.schema.names
    for estate in set(groups[data.rows]):
        assert len(set(data.copies[groups[data.rows] == estate])) == 1


@pytest.mark.slow
def test_settings_of_tables_are_those_of_the_run_that_a_command_starts_from(tmp_path):
    table = wines().assign(code=RNG.integers(0, 5, 178))
    table.to_csv(tmp_path / "wines.csv", index=False)
    settings = {"epochs": 1, "quiet": True, "label_column": "vineyard"}
    source = pretrain.run(
        data=f"csv:{tmp_path / 'wines.csv'}",
        ignore=("bottle",),
        categorical=("code",),
        out=tmp_path / "source",
        **settings,
    )
    run = finetune.run(
        source=str(source.path), labels=30, epochs=1, out=tmp_path / "run", quiet=True
    )
    assert run.settings["categorical"] == ["code"] and run.settings["ignore"] == ["bottle"]
    assert run.read_json("schema.json") == source.read_json("schema.json")


def test_settings_of_tables_are_refused_for_other_data(tmp_path):
    with pytest.raises(UserError, match="label_column=x was given.*expected .*csv:"):
        pretrain.run(data="digits", label_column="x", out=tmp_path / "run", quiet=True)
