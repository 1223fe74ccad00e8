"""The command as a user runs it, small."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from write_readme import shown_in_readme

from kt_transfer import compare
from kt_transfer.comparison.folds import draw_folds
from kt_transfer.comparison.table import COLUMNS
from kt_transfer.data import load_data
from kt_transfer.engine.fused_model import predict_raw
from kt_transfer.runs.folder import Run

# Of the comparison in a process of its own the export is checked.
pytestmark = pytest.mark.usefixtures("unchecked_exports")
METHODS = ("scratch", "linear", "parameters", "distilled", "features")


@pytest.fixture(scope="module")
def found(compared):
    return json.loads((compared.folder / "comparison.json").read_text())


def table_of(run):
    times = [name for name in COLUMNS if name.endswith("seconds")]
    return pd.read_csv(Path(run) / "comparison.csv", keep_default_na=False).drop(columns=times)


def test_the_table_has_a_row_a_cell(compared):
    frame = pd.read_csv(compared.folder / "comparison.csv", keep_default_na=False)
    assert tuple(frame.columns) == COLUMNS
    assert len(frame) == 5 * 2 * 2 * 2
    cells = frame.groupby(["method", "source", "labels"]).size()
    assert set(cells) == {4}
    assert {key[:2] for key in cells.index} == {
        ("scratch", ""),
        ("linear", ""),
        *[(name, "digits") for name in ("parameters", "distilled", "features")],
    }
    # Each fold draws the labels anew, and is judged by half of all others.
    assert (frame["num_train"] == frame["labels"]).all()
    assert set(frame["num_held_out"]) == {1438 // 2}
    assert (frame["seconds"] >= frame["fit_seconds"]).all()


def test_equal_budgets_are_equal_and_told(compared, found):
    frame = table_of(compared.folder)
    steps = frame[frame["method"].isin(["scratch", "parameters"])]
    by_method = steps.pivot(index=["labels", "repeat", "fold"], columns="method", values="steps")
    assert (by_method["scratch"] == by_method["parameters"]).all()
    assert "40 epochs over the same labelled examples" in found["equal_budget"]
    assert found["equal_budget"] in compared.output.stdout


def test_the_verdicts_are_those_of_the_contract(compared, found):
    assert found["metric"] == "accuracy"
    assert len(found["verdicts"]) == 4 * 2
    for entry in found["verdicts"]:
        assert {"method", "source", "labels", "mean", "difference", "interval"} <= set(entry)
        low, high = entry["interval"]
        assert low <= entry["difference"] <= high
        assert entry["verdict"] in ("better", "no difference", "worse")
        assert entry["detectable"] > 0
        assert sum(entry["probabilities"].values()) == pytest.approx(1)
    assert len(found["costs"]) == 5 * 2
    rows = pd.read_csv(compared.folder / "comparison.csv", keep_default_na=False)
    seconds = rows.groupby(["method", "labels"])["seconds"].median()
    for cost in found["costs"]:
        assert cost["seconds"] == pytest.approx(seconds[cost["method"], cost["labels"]], rel=1e-3)
        assert 0 < cost["latency_ms"] < 1000 * cost["seconds"]
    size = {cost["method"]: cost["bytes"] for cost in found["costs"]}
    assert size["distilled"] < size["parameters"] == size["scratch"]
    assert {entry["method"] for entry in found["until_scratch"]} == {"scratch", "parameters"}


def test_means_are_those_of_the_table(compared, found):
    means = table_of(compared.folder).groupby(["method", "labels"])["accuracy"].mean()
    for entry in found["verdicts"]:
        assert entry["mean"] == pytest.approx(means[entry["method"], entry["labels"]])
    winner = found["winner"]
    assert winner["labels"] == 60
    assert winner["mean"] == pytest.approx(means[:, 60].max())


def test_the_winner_is_a_run_of_its_own(compared, found):
    run, data = Run(compared.folder), load_data("digits")
    splits = run.read_arrays("splits.npz")
    expected = draw_folds(data.y, 60, 2, seed=0).rows
    assert sorted(splits["train"]) == sorted(expected)
    scaled = run.load_model("preprocessing.keras")(data.x_test)
    logits = run.load_model()(scaled).numpy()
    accuracy = float((logits.argmax(axis=1) == data.y_test).mean())
    test = run.read_json("metrics.json")["test"]
    assert test["accuracy"] == pytest.approx(accuracy)
    assert found["test"] == test
    assert {"balanced_accuracy", "macro_f1", "auc", "log_loss"} <= set(test)
    assert run.read_json("run.json")["status"] == "complete"
    assert not run.has("checkpoint")
    assert run.has("plots/confusion_matrix.png")
    assert run.label_names == [str(number) for number in range(10)]
    assert run.settings["labels"] == [30, 60]


def test_what_carries_the_answers_of_the_winner_is_shown(compared, found):
    why = found["explanations"]
    assert (why["of"], why["part"]) == ("pixels", "test")
    assert (compared.folder / why["file"]).is_file()
    data = load_data("digits")
    rows, groups = data.rows_test.tolist(), {"right": [], "wrong": [], "unsure": []}
    for one in why["examples"]:
        assert one["true"] == str(data.y_test[rows.index(one["row"])])
        groups[one["group"]].append(one)
    assert [len(group) for group in groups.values()] == [4, 4, 4]
    assert len({one["predicted"] for one in groups["right"]}) == 4
    assert all(one["true"] != one["predicted"] for one in groups["wrong"])


def explained(folder, arrays):
    """What a small comparison of these arrays says of its winner, and its page."""
    np.savez(folder / "x.npz", **arrays)
    table = compare.run(
        data=f"npz:{folder / 'x.npz'}",
        labels=(40,),
        methods=("scratch", "linear"),
        folds=2,
        repeats=1,
        epochs=5,
        hidden_units=(8,),
        latent_dim=4,
        out=folder / "run",
        export_dir=folder / "served",
        quiet=True,
    )
    run = Run(Path(table.attrs["run"]))
    return run.read_json("comparison.json")["explanations"], (run.path / "report.html").read_text()


@pytest.mark.slow
def test_without_test_labels_the_examples_that_it_learned_are_explained(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 4)), np.arange(200) % 2
    x[:, 1] += 4 * y
    arrays = {"x": x[:150], "y": y[:150], "x_test": x[150:], "y_test": np.full(50, -1)}
    why, page = explained(tmp_path, arrays)
    assert (why["part"], why["num_examples"]) == ("train", 40)
    assert why["columns"][0]["column"] == "value 2"
    assert "no test example has a label" in page


@pytest.mark.slow
def test_more_columns_than_are_explained_in_seconds_are_left_out_with_a_word(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(60, 201)), np.arange(60) % 2
    why, page = explained(tmp_path, {"x": x, "y": y})
    assert why is None
    assert "kt_transfer.evaluate --explain" in page


def test_what_is_printed_names_the_verdict_and_what_comes_next(compared, found):
    out = compared.output.stdout
    assert compared.output.stderr == ""
    for method in METHODS:
        assert method in out
    assert f"winner: {found['winner']['method']}" in out
    assert "measured once on the test split" in out
    assert found["exported"] == "saved_models/compare/1"
    assert f"kt_transfer.predict --model {found['exported']}" in out
    assert "tensorflow/serving --model_config_file=/models/compare/models.config" in out


def test_the_readme_shows_such_a_table(compared):
    # The default takes minutes: its head and its last lines are compared with those of a small one.
    shown, printed = (
        text.strip().splitlines() for text in (shown_in_readme("compare"), compared.output.stdout)
    )
    assert shown[2].split() == printed[2].split()
    for lines in (shown, printed):
        assert lines[0] == "accuracy on held-out examples of digits, against scratch:"
        assert lines[-6].startswith("run ")
        assert lines[-1].startswith("next: python -m kt_transfer.predict --model")
        heads = [line.split()[0] for line in lines[-5:-1]]
        assert heads == ["serve:", "ask:", "answer:", "gRPC:"]
        assert any(line.startswith("equal budgets: scratch, parameters and") for line in lines)
        assert any(line.startswith("winner: ") for line in lines)
    assert {line.split()[1] for line in shown[3:15]} == {*METHODS, "propagated"}


def test_what_the_evidence_says_beside_the_verdicts(compared, found):
    winner = found["winner"]
    assert winner["bound"] < winner["expected"] <= winner["mean"]
    rows = table_of(compared.folder)
    for entry in found["pairs"]:
        # Every labelled example is judged once in each of two repeats.
        assert entry["num_examples"] == 1438
        assert entry["num_answers"] == 2 * 1438
        own = rows[(rows["method"] == entry["method"]) & (rows["labels"] == entry["labels"])]
        right = (own["accuracy"] * own["num_held_out"]).sum()
        assert entry["both_right"] + entry["only_own"] == pytest.approx(right)
        assert sum(each["only_own"] for each in entry["by_class"]) == entry["only_own"]
    assert found["beside"] is None  # all classes are about as frequent
    assert found["constant"]["accuracy"] == pytest.approx(0.1, abs=0.01)
    assert {entry["more"] for entry in found["forecast"]["more_labels"]} == {50, 200}
    for cost in found["costs"]:
        assert cost["own_seconds"] <= cost["seconds"]


def test_what_is_exported_answers(compared, invoke, found):
    folder = compared.folder.parent
    done = invoke(
        "predict",
        "--model",
        folder / found["exported"],
        "--data",
        "digits",
        "--split",
        "test",
        "--out",
        "p.csv",
    )
    assert done.code == 0, done.err
    predicted = pd.read_csv("p.csv")
    data = load_data("digits")
    right = (predicted["class_id"] == data.y_test).mean()
    assert right == pytest.approx(found["test"]["accuracy"])


@pytest.mark.slow
def test_an_interrupted_comparison_goes_on_to_the_identical_table(
    compared, interrupt, command, tmp_path
):
    table = tmp_path / "run" / "comparison.csv"
    done = interrupt(
        *compared.words,
        until=lambda: table.is_file() and len(table.read_text().splitlines()) > 14,
    )
    assert done.returncode == 130
    resume = ["compare", "--resume", "--out", "run"]
    assert done.stderr.splitlines()[-1] == (
        "continue with: python -m kt_transfer.compare --resume --out run"
    )
    changed = command(*resume, "--epochs", 41, check=False)
    assert changed.returncode == 2
    assert "epochs 40 -> 41" in changed.stderr
    before = table_of(tmp_path / "run")
    assert 14 <= len(before) < 40
    resumed = command(*resume)
    assert resumed.stderr == ""
    whole = table_of(compared.folder)
    assert table_of(tmp_path / "run").equals(whole)
    assert before.equals(whole.iloc[: len(before)])
    verdicts = [
        json.loads((folder / "comparison.json").read_text())["verdicts"]
        for folder in (tmp_path / "run", compared.folder)
    ]
    assert verdicts[0] == verdicts[1]


QUICK = shlex.split(
    "--labels 40 --folds 2 --repeats 1 --epochs 2 --pretrain-epochs 1 --hidden-units 8 "
    "--latent-dim 4 --student-units 4 --quiet"
)


@pytest.mark.slow
def test_two_devices_come_to_the_same_verdicts(compared, found, command, tmp_path):
    command(*compared.words, "--strategy", "mirrored", "--num-devices", 2)
    two = json.loads((tmp_path / "run" / "comparison.json").read_text())
    assert json.loads((tmp_path / "run" / "run.json").read_text())["num_replicas"] == 2
    for one, other in zip(found["verdicts"], two["verdicts"], strict=True):
        assert one["verdict"] == other["verdict"], one
        # Where neither views nor noise are drawn, by each replica for itself, so are the scores.
        if one["method"] == "linear":
            assert one["mean"] == pytest.approx(other["mean"], abs=1e-6)
    for one, other in zip(found["scratch"], two["scratch"], strict=True):
        assert one["mean"] == pytest.approx(other["mean"], abs=0.1)


@pytest.mark.slow
def test_a_run_as_source_hands_its_autoencoder_on(chain, invoke):
    done = invoke(
        "compare",
        *QUICK,
        "--source",
        chain.source,
        "--out",
        "run",
        "--methods",
        "scratch",
        "features",
    )
    assert (done.code, done.err) == (0, "")
    run = Run("run")
    winner = run.read_json("comparison.json")["winner"]
    assert winner["source"] in ("", str(chain.source))
    assert run.has("autoencoder.keras") == (winner["method"] != "scratch")


def test_in_python_it_is_a_data_frame(tmp_path, monkeypatch):
    from kt_transfer import compare

    monkeypatch.chdir(tmp_path)
    frame = compare.run(
        data="digits",
        labels=[40],
        folds=2,
        repeats=1,
        methods=["scratch", "linear"],
        prefer="smallest",
        metric="log_loss",
        epochs=2,
        hidden_units=(16,),
        latent_dim=4,
        name="linear",
        out=tmp_path / "run",
        quiet=True,
    )
    assert tuple(frame.columns) == COLUMNS
    assert len(frame) == 4
    assert frame.attrs["run"] == str(tmp_path / "run")
    assert [entry["method"] for entry in frame.attrs["verdicts"]] == ["linear"]
    # 650 parameters against 1,158, and of two folds nothing is shown to be worse.
    assert frame.attrs["winner"]["method"] == "linear"
    assert all(Path(path).is_file() for path in frame.attrs["plots"])
    assert (tmp_path / "saved_models" / "linear" / "1").is_dir()


def test_a_time_budget_is_planned_and_kept(invoke):
    words = ("compare", *QUICK[:-1], "--methods", "scratch", "linear", "features", "--repeats", 2)
    done = invoke(*words, "--time-budget", "10m", "--out", "run")
    assert (done.code, done.err) == (0, "")
    plan = Run("run").read_json("run.json")["plan"]
    assert plan["told"] in done.out
    assert re.match(r"planned for 10m: \d of 2 repeats, 2 of 2 folds, 2 of 2 epochs", plan["told"])
    assert len(set(table_of("run")["repeat"])) == plan["repeats"]


def test_a_time_budget_that_is_too_short_is_refused(invoke):
    words = ("compare", *QUICK, "--methods", "scratch", "linear", "--time-budget", "1s")
    done = invoke(*words, "--out", "run")
    assert done.code == 2
    assert re.match("error: --time-budget 1s was given, expected time .*give more time", done.err)
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--labels 5000", "--labels 5000 .*1438 labelled"),
        ("--labels 5", "--labels 5 .*each of the 10 classes"),
        ("--judge budget --labels 12 --folds 5", "--labels 12 .*two of each class"),
        ("--margin -1", "--margin -1.0 .*at least 0"),
        (
            "--judge budget --metric auc --labels 30 --folds 20",
            "--metric auc .*--labels 30 and --folds 20, .*classes",
        ),
        ("--folds 1", "--folds 1 .*at least 2"),
        ("--repeats 0", "--repeats 0 .*at least 1"),
        ("--methods features linear", "--methods features linear .*scratch"),
        ("--methods scratch", "--methods scratch .*at least one other"),
        ("--source scratch", "--source scratch .*a model"),
        ("--source absent", "--source absent .*does not exist"),
        (
            "--source-data npz:absent.npz",
            "--source-data npz:absent.npz .*absent.npz does not exist",
        ),
        ("--time-budget soon", "--time-budget soon .*10m"),
        ("--name a/b", "--name a/b"),
        ("--strategy multi_worker", "multi_worker was given to compare"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_trained(invoke, flags, message):
    done = invoke("compare", *flags.split(), "--out", "run")
    assert done.code == 2
    assert re.search(message, done.err), done.err
    assert len(done.err.splitlines()) == 1
    assert not Path("run").exists()


def test_data_without_labels_are_refused(invoke):
    np.savez("x.npz", x=np.zeros((20, 4)))
    done = invoke("compare", "--data", "npz:x.npz", "--out", "run")
    assert done.code == 2
    assert "labelled examples" in done.err


@pytest.mark.slow
def test_changed_examples_and_a_second_set_are_judged_as_well(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, moved in (("a", 0.0), ("b", 1.0)):
        y = np.arange(200) % 2
        x = rng.normal(size=(200, 6)) + 2 * y[:, None] * (np.arange(6) < 2) + moved
        np.savez(f"{name}.npz", x=x, y=y)
    settings = {
        "data": "npz:a.npz",
        "labels": (30, 60),
        "folds": 2,
        "repeats": 1,
        "methods": ("scratch", "linear", "features"),
        "epochs": 3,
        "pretrain_epochs": 1,
        "shift": True,
        "shift_data": "npz:b.npz",
        "calibrate": True,
        "quiet": True,
    }
    compare.run(**settings, out=Path("run"))
    rows = pd.read_csv("run/shift.csv", keep_default_na=False)
    names = ["noise", "missing", "drift", "second set"]
    assert rows.groupby(["method", "change"]).size().to_dict() == {
        (method, name): 2 for method in settings["methods"] for name in ["clean", *names]
    }
    assert set(rows["labels"]) == {60}
    found = json.loads(Path("run/comparison.json").read_text())
    shift = found["shift"]
    assert [change["name"] for change in shift["changes"]] == names
    clean = table_of("run").query("labels == 60").groupby("method")["accuracy"].mean()
    changed = rows.groupby(["method", "change"])["accuracy"].mean()
    for row in shift["rows"]:
        expected = changed[row["method"], row["change"]]
        assert row["mean"] == pytest.approx(expected)
        assert row["lost"] == pytest.approx(clean[row["method"]] - expected)
    page = Path("run/report.html").read_text()
    assert "Does it generalize?" in page
    assert "labelled examples of npz:b.npz" in page
    assert Path("run/plots/shift.png").stat().st_size > 5000

    calibration = found["calibration"]
    assert calibration["is_applied"]
    assert calibration["temperature"] == found["temperature"]
    assert Run(Path("run")).read_json("metrics.json")["temperature"] == found["temperature"]
    assert "Can its confidence be trusted?" in page
    assert Path("run/plots/reliability.png").stat().st_size > 5000

    # Interrupted after some cells, and gone on with: the same in the end.
    whole = rows.copy()
    for name in ("comparison.csv", "shift.csv"):
        lines = Path("run", name).read_text().splitlines(keepends=True)
        keep = {"comparison.csv": 8, "shift.csv": 7}[name]
        Path("run", name).write_text("".join(lines[:keep]))
    Run(Path("run")).update_json("run.json", status="interrupted")
    compare.run(**settings, resume=True, out=Path("run"))
    uncalibrated = settings | {"calibrate": False, "shift": False, "shift_data": None}
    compare.run(**uncalibrated, out=Path("other"))
    x = np.load("b.npz")["x"]
    logits = [predict_raw(*Run(Path(name)).load_models(), x) for name in ("run", "other")]
    np.testing.assert_allclose(logits[0] * found["temperature"], logits[1], rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(logits[0].argmax(axis=1), logits[1].argmax(axis=1))
    again = pd.read_csv("run/shift.csv", keep_default_na=False)
    order = ["method", "repeat", "fold", "change"]
    pd.testing.assert_frame_equal(
        again.sort_values(order, ignore_index=True), whole.sort_values(order, ignore_index=True)
    )
