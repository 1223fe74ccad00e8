"""distill --teacher-predictions: a teacher that lives anywhere, known by what it said alone."""

import json

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier

from kt_transfer import UserError, distill, load_data, predict
from kt_transfer.data import TableOptions
from kt_transfer.runs import recording
from kt_transfer.runs.folder import Run
from kt_transfer.sources.predictions import read_predictions

SETTINGS = {"strategy": "one_device", "jit_compile": "no", "quiet": True, "compare_scratch": "no"}
PLAIN = ("--strategy", "one_device", "--jit-compile", "no", "--compare-scratch", "no")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def metrics_of(run):
    return run.read_json("metrics.json")


def in_source_order(data, train, test):
    """Rows of both parts as they lie in the source."""
    rows = np.empty((len(train) + len(test), train.shape[1]))
    rows[data.rows], rows[data.rows_test] = train, test
    return rows


@pytest.fixture(scope="module")
def forest():
    """What a forest that has 300 labels says of all digits."""
    data = load_data("digits")
    model = RandomForestClassifier(100, random_state=0)
    model.fit(data.x[:300].reshape(300, -1), data.y[:300])
    parts = (model.predict_proba(x.reshape(len(x), -1)) for x in (data.x, data.x_test))
    return in_source_order(data, *parts)


def write_csv(rows, path="said.csv", columns=None, **more):
    columns = range(rows.shape[1]) if columns is None else columns
    frame = pd.DataFrame(rows, columns=list(map(str, columns)))
    frame.assign(**more).to_csv(path, index=False)
    return path


def wine_csv(unlabelled=()):
    """The wines as a table with names for its rows."""
    x, y = load_wine(return_X_y=True, as_frame=True)
    table = x.iloc[:, :6].assign(grower=np.array(["ada", "bea", "cid"])[y], name=names(len(x)))
    table.loc[list(unlabelled), "grower"] = ""
    table.to_csv("wine.csv", index=False)
    return {"data": "csv:wine.csv", "label_column": "grower", "id": "name"}


def names(count):
    return [f"wine-{number:03}" for number in range(count)]


def wine_predictions(sharpness=6.0):
    """Logits that are right and not quite sure."""
    y = load_wine().target
    noise = np.random.default_rng(0).normal(size=(len(y), 3))
    return sharpness * np.eye(3)[y] + noise


def said_of_wine(path, say=lambda line: None, **settings):
    data = load_rows(wine_csv())
    return read_predictions(path, data, id_column="name", say=say, **settings), data


# -- Students --------------------------------------------------------------------------------------


def test_a_student_of_a_forest_agrees_with_it(forest, folder):
    run = distill.run(
        teacher_predictions=write_csv(forest), student_units=(32,), out="s", **SETTINGS
    )
    metrics, data = metrics_of(run), load_data("digits")
    said = forest[data.rows_test]
    right = (said.argmax(axis=1) == data.y_test).mean()
    assert metrics["teacher"]["accuracy"] == pytest.approx(right)
    assert metrics["comparison"]["teacher"].keys() == {"accuracy", "calibration_error"}
    assert metrics["agreement_with_teacher"] > 0.88  # it has seen no label
    logits = run.load_model()(run.load_model("preprocessing.keras")(data.x_test)).numpy()
    same = (logits.argmax(axis=1) == said.argmax(axis=1)).mean()
    assert metrics["agreement_with_teacher"] == pytest.approx(same)
    note = run.read_json("run.json")["teacher_predictions"]
    assert note["file"] == "said.csv"
    assert len(note["sha256"]) == 64
    assert (run.path / "plots" / "gained.png").stat().st_size > 5000


def test_what_a_model_would_say_teaches_what_the_model_does(chain, folder):
    shared = {"data": "digits", "student_units": (8,), "epochs": 3, "labels": 100, **SETTINGS}
    asked = distill.run(teacher=[chain.teacher], out="asked", **shared)
    data = load_data("digits")
    network, preprocessing = Run(chain.teacher).load_models()
    parts = (np.asarray(network(preprocessing(x))) for x in (data.x, data.x_test))
    np.savez("said.npz", predictions=in_source_order(data, *parts).astype(np.float32))
    told = distill.run(teacher_predictions="said.npz", out="told", **shared)
    for a, b in zip(asked.load_model().get_weights(), told.load_model().get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    before, after = (metrics_of(run)["comparison"] for run in (asked, told))
    assert after["teacher"]["accuracy"] == before["teacher"]["accuracy"]
    # What is no model has no size and no speed.
    assert "latency_ms" in before["teacher"]
    assert not {"latency_ms", "num_bytes", "num_parameters"} & {*after["teacher"]}


def test_another_runs_predictions_are_taken_as_they_are(chain, folder, capsys):
    for split in ("all", "train"):
        predict.run(run=chain.teacher, out=f"{split}.csv", split=split, quiet=True)
    shared = {"student_units": (8,), "epochs": 2, "data": "digits", **SETTINGS}
    run = distill.run(teacher_predictions="all.csv", out="all", **shared)
    teacher = json.loads((chain.teacher / "metrics.json").read_text())
    assert metrics_of(run)["teacher"]["accuracy"] == teacher["test"]["accuracy"]
    capsys.readouterr()
    other = distill.run(teacher_predictions="train.csv", out="train", **shared | {"quiet": False})
    assert "train.csv: no prediction for 359 of 359 test examples" in capsys.readouterr().out
    assert [*metrics_of(other)["comparison"]] == ["distilled"]
    # The training rows are the same, and so is what is learned from them.
    for a, b in zip(run.load_model().get_weights(), other.load_model().get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", ["csv", "parquet", "npz"])
def test_a_table_is_joined_by_its_names(kind, folder):
    wine, rows = wine_csv(), wine_predictions()
    order = np.random.default_rng(1).permutation(len(rows))[:120]
    frame = pd.DataFrame(rows[order], columns=["ada", "bea", "cid"])
    frame.insert(1, "name", np.array(names(len(rows)))[order])
    if kind == "npz":
        about = {"classes": ["ada", "bea", "cid"], "id": frame["name"].to_numpy(str)}
        np.savez("said.npz", predictions=rows[order], **about)
    else:
        getattr(frame, f"to_{kind}")(f"said.{kind}", index=False)
    run = distill.run(
        teacher_predictions=f"said.{kind}",
        out="s",
        epochs=150,
        learning_rate=0.01,
        student_units=(8,),
        **wine,
        **SETTINGS,
    )
    assert metrics_of(run)["agreement_with_teacher"] > 0.8
    # Without labels, only rows that the teacher knows teach anything.
    train = run.read_arrays("splits.npz")["train"]
    data = load_rows(wine)
    assert {*data.rows[train]} == {*data.rows} & {*order.tolist()}


def load_rows(wine):
    options = TableOptions(label_column=wine["label_column"], id_column=wine["id"])
    return load_data(wine["data"], table=options)


@pytest.mark.slow
def test_rows_without_a_prediction_are_learned_from_by_their_label(folder):
    wine, rows = wine_csv(), wine_predictions()
    data = load_rows(wine)
    rows[data.rows[data.y == 2]] = np.nan  # nothing is said of one class
    write_csv(rows, columns=["ada", "bea", "cid"])
    shared = {"teacher_predictions": "said.csv", "epochs": 150, "student_units": (8,), **wine}
    shared |= {**SETTINGS, "learning_rate": 0.01}
    without = distill.run(out="without", **shared)
    labelled = distill.run(out="with", labels=len(data.x), validation_split=0.0, **shared)

    def recall(run):
        x = run.load_model("preprocessing.keras")(data.x_test[data.y_test == 2])
        return (np.argmax(run.load_model()(x), axis=1) == 2).mean()

    assert recall(without) == 0
    assert recall(labelled) > 0.5
    assert len(without.read_arrays("splits.npz")["train"]) == (data.y != 2).sum()
    assert len(labelled.read_arrays("splits.npz")["train"]) == len(data.x)


def test_validation_rows_are_watched_by_what_was_said_of_them(forest, folder):
    run = distill.run(
        teacher_predictions=write_csv(forest), labels=200, epochs=2, out="s", **SETTINGS
    )
    history = pd.read_csv("s/history.csv")
    assert np.isfinite(history["val_distillation_loss"]).all()
    assert "validation" in metrics_of(run)


def test_pictures_whose_test_part_is_apart(folder):
    data = load_data("digits")
    np.savez("d.npz", x=data.x, y=data.y, x_test=data.x_test, y_test=data.y_test)
    sure = 0.9 * np.eye(10) + 0.01
    np.savez("said.npz", predictions=np.concatenate([sure[data.y], sure[data.y_test]]))
    run = distill.run(
        teacher_predictions="said.npz", data="npz:d.npz", epochs=2, out="s", **SETTINGS
    )
    assert metrics_of(run)["teacher"]["accuracy"] == 1
    rows = {"split": ["test"] * 3 + ["train"] * 40, "row": [*range(3), *range(40)]}
    said = np.concatenate([sure[data.y_test[:3]], sure[data.y[:40]]])
    found = read_predictions(write_csv(said, **rows), load_data("npz:d.npz"))
    assert [part.sum() for part in (found.is_taught, ~np.isnan(found.test[:, 0]))] == [40, 3]
    assert (found.train[:40].argmax(axis=1) == data.y[:40]).all()
    assert (found.test[:3].argmax(axis=1) == data.y_test[:3]).all()


@pytest.mark.slow
def test_it_runs_as_a_command(forest, command, folder):
    write_csv(forest)
    words = ("--teacher-predictions", "said.csv", "--epochs", 2, "--out", "s", *PLAIN)
    done = command("distill", *words)
    table = done.stdout[done.stdout.index("test accuracy") :].splitlines()
    teacher = next(line for line in table if line.startswith("teacher"))
    assert len(teacher.split()) == 3  # its name, accuracy and calibration error
    assert "python -m kt_transfer.export --run s --name NAME" in done.stdout
    again = command("distill", *words, check=False)
    assert again.returncode == 2


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_weights(forest, folder, monkeypatch):
    from kt_transfer.training.callbacks import Checkpoint

    monkeypatch.setattr(Checkpoint.__init__, "__defaults__", (0.0, True))  # one an epoch
    shared = {"teacher_predictions": write_csv(forest), "student_units": (8,), "epochs": 4}
    shared |= SETTINGS
    whole = distill.run(**shared, out="whole")

    class Break(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    watching = recording.watching
    monkeypatch.setattr(recording, "watching", lambda *given: [*watching(*given), Break()])
    with pytest.raises(KeyboardInterrupt):
        distill.run(**shared, out="broken")
    monkeypatch.setattr(recording, "watching", watching)
    write_csv(forest[:, ::-1], columns=range(10))
    with pytest.raises(UserError, match=r"said.csv was given with resume=True, .* has changed"):
        distill.run(**shared, out="broken", resume=True)
    write_csv(forest)
    again = distill.run(**shared, out="broken", resume=True)
    for a, b in zip(
        whole.load_model().get_weights(), again.load_model().get_weights(), strict=True
    ):
        np.testing.assert_array_equal(a, b)


# -- What is read ----------------------------------------------------------------------------------


def test_probabilities_and_logits_are_told_apart(folder):
    logits = wine_predictions()
    exact = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    columns = ["ada", "bea", "cid"]
    (said, data) = said_of_wine(write_csv(logits, columns=columns))
    np.testing.assert_allclose(said.train, logits[data.rows], rtol=1e-5)
    said, _ = said_of_wine(write_csv(exact.round(3), columns=columns))
    np.testing.assert_allclose(np.exp(said.train), exact[data.rows].round(3), atol=1e-5)
    # Said to be logits, they are left alone.
    said, _ = said_of_wine(write_csv(exact, columns=columns), output="logits")
    np.testing.assert_allclose(said.train, exact[data.rows], rtol=1e-5)


def test_columns_may_be_in_any_order_and_decimals_with_commas(folder):
    rows = wine_predictions()
    frame = pd.DataFrame(rows, columns=["ada", "bea", "cid"])[["cid", "ada", "bea"]]
    frame.to_csv("said.csv", index=False, sep=";", decimal=",")
    said, data = said_of_wine("said.csv")
    np.testing.assert_allclose(said.train, rows[data.rows], rtol=1e-5)


def test_what_was_left_out_is_said(folder):
    rows, lines = wine_predictions(), []
    rows[5] = np.nan
    named = [*names(170), *(f"beer-{number}" for number in range(8))]
    path = write_csv(rows, columns=CLASSES, name=named)
    said, data = said_of_wine(path, say=lines.append)
    assert lines[0] == (
        "said.csv: 8 of 178 predictions are for rows that csv:wine.csv does not have (the id "
        "beer-0 is the first)"
    )
    absent = {5, *range(170, 178)}
    train, test = (len(absent & {*rows.tolist()}) for rows in (data.rows, data.rows_test))
    assert f"no prediction for {train} of {len(data.x)} training examples" in lines[1]
    assert f"no prediction for {test} of {len(data.x_test)} test examples" in lines[2]
    assert (~said.is_taught).sum() == train


# -- Mistakes --------------------------------------------------------------------------------------

GOOD = np.tile([0.7, 0.2, 0.1], (178, 1))
CLASSES = ["ada", "bea", "cid"]


def spoiled(row, column, value):
    rows = GOOD.copy()
    rows[row, column] = value
    return rows


@pytest.mark.parametrize(
    ("rows", "columns", "more", "message"),
    [
        (spoiled(3, 1, np.nan), CLASSES, {}, "without a value for bea in row 5 of said.csv"),
        (spoiled(0, 2, np.inf), CLASSES, {}, "with 'inf' for cid in row 2 of said.csv"),
        (spoiled(7, 0, 0.9), CLASSES, {}, r"sum to 1.2 in row 9 of said.csv, expected 1, within"),
        (spoiled(7, 0, -0.1), CLASSES, {}, "with -0.1 for ada in row 9 of said.csv, .*0 or more"),
        (GOOD * 0.9, CLASSES, {}, "from 0 to 1 and no row sums to one: say .*teacher_output"),
        (GOOD, ["ada", "bae", "cid"], {}, "without bea and with bae, .*did you mean bea by bae"),
        (GOOD[:, :2], CLASSES[:2], {}, "without cid, expected a column for each of the 3 classes"),
        (GOOD, CLASSES, {"taste": 1}, "with taste, .*leave taste out"),
        (GOOD, [f"probability_{c}" for c in "abc"], {}, "without ada, bea, cid and with a, b, c"),
        (GOOD[:100], CLASSES, {}, r"with 100 rows, expected the 178 of csv:wine.csv in their or"),
        (GOOD, CLASSES, {"name": ["x"] * 178}, "with the id x twice in its ids"),
        (GOOD, CLASSES, {"name": range(178)}, "with the id 0 first, .*has none for any of them"),
        (GOOD, CLASSES, {"row": 1}, "with the row 1 twice in its rows"),
        (GOOD, CLASSES, {"row": np.arange(178) - 0.5}, "with -0.5 for 'row' in row 2 of said.csv"),
        (GOOD * np.nan, CLASSES, {"name": names(178)}, "none for any of them"),
    ],
)
def test_bad_tables_are_named(rows, columns, more, message, folder):
    wine = wine_csv()
    write_csv(rows, columns=columns, **more)
    with pytest.raises(UserError, match=f"teacher_predictions=said.csv was given.*{message}"):
        distill.run(teacher_predictions="said.csv", out="s", **wine, **SETTINGS)
    assert not (folder / "s").exists()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"scores": GOOD}, "with the arrays scores, expected predictions"),
        ({"predictions": GOOD, "labels": [1]}, "with the arrays predictions, labels"),
        ({"predictions": GOOD[:, 0]}, r"with predictions of shape \(178,\) and type float64"),
        ({"predictions": GOOD[:, :2]}, r"of shape \(178, 2\) .*expected numbers of shape \(n, 3\)"),
        ({"predictions": GOOD.astype(str)}, "type <U"),
        ({"predictions": GOOD, "classes": ["ada", "bea", "ada"]}, "class ada twice"),
        ({"predictions": GOOD, "classes": ["ada", "bea", "dan"]}, "without cid and with dan"),
        ({"predictions": GOOD, "id": ["a"]}, "with 1 ids and 178 predictions"),
        (
            {"predictions": spoiled(4, 2, -np.inf)},
            r"with -inf for cid in predictions\[4\] of said.npz",
        ),
        ({"predictions": np.array([None])}, "it holds Python objects"),
    ],
)
def test_bad_arrays_are_named(arrays, message, folder):
    wine = wine_csv()
    np.savez("said.npz", **arrays)
    with pytest.raises(UserError, match=f"teacher_predictions=said.npz was given.*{message}"):
        distill.run(teacher_predictions="said.npz", out="s", **wine, **SETTINGS)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.csv", None, "but it does not exist"),
        ("said.keras", b"x", "said.keras was given, expected a .csv, .tsv, .parquet or .npz file"),
        ("said.npz", b"x", "said.npz was given, .*it cannot be read"),
        ("said.parquet", b"x", "teacher_predictions=said.parquet was given, .*cannot be read"),
        ("said.csv", b"", "teacher_predictions=said.csv was given, .*it is empty"),
        ("said.csv", b"0,1,2\nx,0,1\n", "with 'x' for 0 in row 2 of said.csv, expected a number"),
    ],
)
def test_files_that_are_none(name, content, message, folder):
    if content is not None:
        (folder / name).write_bytes(content)
    np.savez("d.npz", x=np.arange(60.0).reshape(30, 2), y=np.arange(30) % 3)
    with pytest.raises(UserError, match=message):
        distill.run(teacher_predictions=name, data="npz:d.npz", out="s", **SETTINGS)


def test_a_column_that_may_name_the_rows_is_said_to(folder):
    wine = wine_csv()
    del wine["id"]
    write_csv(GOOD, columns=CLASSES, name=names(178))
    with pytest.raises(UserError, match="with name, .*or give id=name if it names the rows"):
        distill.run(teacher_predictions="said.csv", ignore=("name",), out="s", **wine, **SETTINGS)


def test_data_whose_names_are_not_its_own(folder):
    wine = wine_csv()
    table = pd.read_csv("wine.csv").assign(name=["same"] * 178)
    table.to_csv("wine.csv", index=False)
    write_csv(GOOD[:1], columns=CLASSES, name=["same"])
    with pytest.raises(UserError, match="id=name was given .* has same in two rows"):
        distill.run(teacher_predictions="said.csv", out="s", **wine, **SETTINGS)


def test_predictions_of_test_rows_alone_teach_nothing(forest, folder):
    rows = np.full_like(forest, np.nan)
    test = load_data("digits").rows_test
    rows[test] = forest[test]
    with pytest.raises(UserError, match="expected predictions for training examples"):
        distill.run(teacher_predictions=write_csv(rows), out="s", **SETTINGS)


def test_predictions_in_another_order_are_noticed(forest, folder):
    shuffled = np.random.default_rng(0).permutation(forest)
    with pytest.raises(UserError, match=r"agree with some of the labels, but it is right for \d"):
        distill.run(teacher_predictions=write_csv(shuffled), out="s", **SETTINGS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "neither teacher nor teacher_predictions was given, expected one of them"),
        ({"teacher": ["t"], "teacher_predictions": "p.csv"}, "both teacher and teacher_predicti"),
        ({"teacher_predictions": "p.csv", "augment": "shift:1"}, "augment=shift:1 was given with "),
        ({"teacher_predictions": "p.csv", "hint": "code"}, "hint=code was given with teacher_pre"),
        ({"teacher_predictions": "p.csv", "class_map": "m.json"}, "class_map=m.json was given wi"),
        ({"teacher_predictions": "p.csv", "teacher_range": (0.0, 1.0)}, "teacher_range=.*answers"),
        ({"teacher_predictions": "p.csv", "loss": "none"}, "loss=none was given without hint"),
    ],
)
def test_settings_that_do_not_go_together(settings, message):
    with pytest.raises(UserError, match=message):
        distill.run(**settings)
