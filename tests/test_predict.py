"""What predict reads and writes, as a user gives it."""

import io
import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kt_transfer import UserError, data, finetune, load_data, predict
from kt_transfer.data import csv_files, streams
from kt_transfer.sources.predictions import read_predictions

pytestmark = pytest.mark.usefixtures("unchecked_exports")
QUICK = {"epochs": 2, "compare_scratch": "no", "quiet": True}


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """A table, and a run that has learned from it."""
    folder, rng = tmp_path_factory.mktemp("people"), np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "number": [f"p{row}" for row in range(300)],
            "age": rng.integers(18, 90, 300),
            "town": rng.choice(["Ulm", "Bad Ems", None], 300),
        }
    )
    table["ill"] = np.where(table["age"] > 50, "yes", "no")
    table.to_csv(folder / "people.csv", index=False)
    finetune.run(
        **QUICK,
        data=f"csv:{folder / 'people.csv'}",
        label_column="ill",
        id="number",
        source="scratch",
        hidden_units=(8,),
        latent_dim=4,
        out=folder / "run",
    )
    return folder


def piped(monkeypatch, text):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_the_suffix_says_what_is_written(chain, tmp_path, suffix):
    given = {"run": chain.student, "quiet": True}
    expected = pd.read_csv(predict.run(**given, out=tmp_path / "p.csv"))
    out = predict.run(**given, out=tmp_path / f"p{suffix}")
    found = pd.read_parquet(out) if suffix == ".parquet" else pd.read_json(out, lines=True)
    assert list(found.columns) == list(expected.columns)
    assert found["label"].astype(str).tolist() == expected["label"].astype(str).tolist()
    numbers = expected.columns.drop("split")
    np.testing.assert_allclose(
        found[numbers].astype(float), expected[numbers].astype(float), atol=1e-6
    )
    assert found["split"].tolist() == expected["split"].tolist()


def test_rows_that_come_some_at_a_time_are_those_of_the_whole(people, tmp_path, monkeypatch):
    given = {"run": people / "run", "data": f"csv:{people / 'people.csv'}", "quiet": True}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict, "can_stream", lambda *_: False)
        whole = predict.run(**given, out=tmp_path / "whole.csv").read_text()
    monkeypatch.setattr(csv_files, "_BYTES_AT_ONCE", 2**11)
    for split in ("all", "train", "test"):
        out = predict.run(**given, split=split, out=tmp_path / f"{split}.csv")
        rows = [r for r in whole.splitlines()[1:] if split in ("all", r.split(",")[0])]
        assert out.read_text().splitlines()[1:] == rows
    assert whole.startswith("split,row,number,class_id,label,probability_no,probability_yes\n")


def test_decimal_commas_need_the_whole_table_and_are_read_so(people, tmp_path):
    table = pd.read_csv(people / "people.csv")
    expected = predict.run(
        run=people / "run", data=f"csv:{people / 'people.csv'}", out=tmp_path / "a.csv", quiet=True
    )
    table["age"] = table["age"].map(lambda age: f"{age},0")
    table.to_csv(tmp_path / "commas.csv", sep=";", index=False)
    out = predict.run(
        run=people / "run", data=f"csv:{tmp_path}/commas.csv", out=tmp_path / "b.csv", quiet=True
    )
    assert out.read_text() == expected.read_text()


def test_names_of_columns_alone_are_no_rows(people, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"number,age\n")))
    with pytest.raises(UserError, match="data=- was given, .* it has no row"):
        predict.run(run=people / "run", data="-", out=people / "none.csv", quiet=True)
    assert not (people / "none.csv").exists()


@pytest.mark.slow
def test_from_standard_input_to_standard_output(people):
    rows = pd.read_csv(people / "people.csv").drop(columns="ill")[::-1]
    command = [sys.executable, "-m", "kt_transfer.predict", "--run", "run"]
    done = subprocess.run(
        [*command, "--data", "-", "--out", "-"],
        cwd=people,
        input=rows.to_csv(index=False),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("300 predictions of standard input on standard output\n")
    found = pd.read_csv(io.StringIO(done.stdout))
    assert found["number"].tolist() == rows["number"].tolist()
    assert found["row"].tolist() == [*range(300)]
    given = {"data": f"csv:{people / 'people.csv'}", "quiet": True}
    expected = pd.read_csv(predict.run(run=people / "run", out=people / "all.csv", **given))
    expected = expected.set_index("number").loc[found["number"]]
    np.testing.assert_allclose(found["probability_yes"], expected["probability_yes"], atol=1e-5)


def test_rows_of_numbers_from_standard_input(chain, tmp_path, monkeypatch):
    x = load_data("digits").x_test[:20]
    piped(monkeypatch, "\n".join(",".join(map(str, row.ravel())) for row in x))
    out = predict.run(run=chain.student, data="-", out=tmp_path / "p.csv", quiet=True)
    np.savez(tmp_path / "x.npz", x=x[:1], x_test=x)
    given = {"data": f"npz:{tmp_path / 'x.npz'}", "split": "test", "quiet": True}
    expected = pd.read_csv(predict.run(run=chain.student, **given, out=tmp_path / "q.csv"))
    found = pd.read_csv(out)
    pd.testing.assert_frame_equal(found, expected.drop(columns="split"))


def test_pictures_have_their_file_beside_them(tmp_path, monkeypatch, invoke):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for number in range(24):
        name = ("dark", "light")[number % 2]
        path = tmp_path / "set" / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (6, 5), 10 + 200 * (number % 2) + number).save(path)
    run = {"source": "scratch", "hidden_units": (4,), "latent_dim": 2, "out": tmp_path / "run"}
    finetune.run(**QUICK, **run, data=f"images:{tmp_path / 'set'}")
    flat = tmp_path / "new"
    flat.mkdir()
    for name, shade in (("b.png", 210), ("a.png", 20), ("=c.jpg", 200)):
        Image.new("L", (40, 30), shade).save(flat / name)
    for spec, files in (
        ("images:new", ["'=c.jpg", "a.png", "b.png"]),
        ("images:new/*.png", ["a.png", "b.png"]),
        ("images:new/a.png", ["a.png"]),
    ):
        done = invoke("predict", "--run", "run", "--data", spec, "--out", "p.csv", "--overwrite")
        assert done.code == 0, done.err
        table = pd.read_csv(tmp_path / "p.csv")
        assert table["file"].tolist() == files
        assert [*table.columns[:4]] == ["row", "file", "class_id", "label"]
    done = invoke("predict", "--run", "run", "--data", "images:set", "--out", "q.csv")
    table = pd.read_csv(tmp_path / "q.csv")
    assert len({*table["file"]}) == 24 and "dark/0.png" in {*table["file"]}
    pictures = load_data(f"images:{tmp_path / 'set'}")
    _, test = pictures.parts("all")
    is_test = table["split"] == "test"
    assert table["file"][is_test].tolist() == pictures.files_of(test).tolist()
    # What predict writes teaches a student, too.
    said = read_predictions(tmp_path / "q.csv", pictures)
    expected = table[is_test][["probability_dark", "probability_light"]]
    np.testing.assert_allclose(np.exp(said.test), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--data images:*.png", "no file has such a name"),
        ("--data - --split test", "--split test was given with --data -, expected all"),
        ("--out p.xlsx", "--out p.xlsx was given, expected a file that ends in .csv, .parquet"),
        ("--url http://127.0.0.1:1/v1/models/m", "both --run and --url were given"),
        ("--num-devices 99", "already runs with 2"),
    ],
)
def test_mistakes(chain, invoke, tmp_path, words, message):
    done = invoke("predict", "--run", chain.student, *words.split())
    assert done.code == 2
    assert message in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "use"), [("--data -", "every worker reads"), ("--out -", "the chief writes")]
)
def test_workers_share_files(chain, invoke, monkeypatch, words, use):
    cluster = {"worker": ["127.0.0.1:24501", "127.0.0.1:24502"]}
    task = {"type": "worker", "index": 0}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    done = invoke("predict", "--run", chain.student, *words.split())
    assert done.code == 2
    assert f"with 2 workers in TF_CONFIG, expected a file, which {use}" in done.err
    # An export is shared by nobody.
    done = invoke("predict", "--model", chain.exported, "--data", "digits", "--out", "-")
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--model m --strategy mirrored", "--strategy mirrored was given with --model"),
        ("--model m --num-devices 2", "--num-devices 2 was given with --model"),
        ("--url http://127.0.0.1:1/v1/models/m --strategy mirrored", "a server has devices"),
    ],
)
def test_an_export_has_its_own_devices(invoke, words, message):
    done = invoke("predict", *words.split(), "--data", "digits")
    assert done.code == 2
    assert message in done.err


def test_a_mistake_late_in_a_stream_leaves_nothing(people, tmp_path, monkeypatch):
    monkeypatch.setattr(csv_files, "_BYTES_AT_ONCE", 2**11)
    rows = (people / "people.csv").read_text().splitlines()
    rows[250] = rows[250].replace(",", ",old ", 1)
    (tmp_path / "bad.csv").write_text("\n".join(rows))
    with pytest.raises(UserError, match=r"'old \d+' in row 251 of bad\.csv in the column age"):
        predict.run(run=people / "run", data=f"csv:{tmp_path}/bad.csv", out=tmp_path / "p.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.csv"]


def test_later_rows_are_not_cut_to_whole_numbers(chain, tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "_ROWS_AT_ONCE", 10)
    rows = [["3"] * 64 for _ in range(30)]
    rows[25][7] = "3.5"
    piped(monkeypatch, "\n".join(map(",".join, rows)))
    with pytest.raises(UserError, match=r"whole numbers from 0 to 255.*\(rows 20 to 29\)"):
        predict.run(run=chain.student, data="-", out=tmp_path / "p.csv", quiet=True)
    assert list(tmp_path.iterdir()) == []


def test_a_split_without_an_example(people, tmp_path):
    rows = (people / "people.csv").read_text().splitlines()[:2]
    (tmp_path / "one.csv").write_text("\n".join(rows))
    given = {"run": people / "run", "data": f"csv:{tmp_path}/one.csv", "out": tmp_path / "p.csv"}
    with pytest.raises(UserError, match="split=train was given, but csv:.* has no example in that"):
        predict.run(**given, split="train")
    assert [path.name for path in tmp_path.iterdir()] == ["one.csv"]


@pytest.mark.slow
def test_whoever_has_seen_enough_may_close_the_pipe(people):
    command = f"{sys.executable} -m kt_transfer.predict --run run --data csv:people.csv --out -"
    # More rows than a pipe holds.
    text = (people / "people.csv").read_text()
    (people / "many.csv").write_text(text + text.split("\n", 1)[1] * 30)
    command = command.replace("people.csv", "many.csv")
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{command} | head -2"],
        cwd=people,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2
    assert "Error" not in done.stderr


def test_memory_does_not_grow_with_the_rows(people, tmp_path, peak_memory):
    """Python's and NumPy's own; the whole process is measured in benchmarks/predicting.py."""
    table = pd.read_csv(people / "people.csv").drop(columns=["ill", "number"])
    table = table.sample(200_000, replace=True, random_state=0)
    table["age"] = table["age"] + np.arange(len(table)) / 1e6
    table.to_parquet(tmp_path / "many.parquet")
    like = data.Like((2,), "float64", schema=load_schema(people))
    stream = streams.Stream(f"parquet:{tmp_path}/many.parquet", like)
    with peak_memory(200_000 * 120):
        for _ in stream:
            pass
        stream.is_test()


def load_schema(people):
    from kt_transfer.runs.folder import open_run

    return open_run(people / "run").schema
