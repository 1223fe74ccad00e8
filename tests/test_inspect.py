"""Looking at data before training, as a user does."""

import json
import os
import subprocess
import sys

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kt_transfer import UserError, inspect

N = 600


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def planted():
    """A table with a column that gives the label away, one that is there twice, one constant."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, N)
    frame = pd.DataFrame(
        {
            "age": (40 + 10 * rng.normal(size=N)).round(),
            "city": rng.choice(["Rome", "Oslo", "Bonn"], N),
            "since": pd.date_range("2015-01-01", periods=N)[rng.permutation(N)].astype(str),
            "member": rng.choice(["yes", "no"], N),
            "children": rng.integers(0, 4, N),
            "income": np.where(rng.random(N) < 0.1, np.nan, rng.lognormal(8, 2, N)).round(2),
            "one": 1,
            "how it ended": np.where(y, "x17", "x40"),
            "left": np.where(y, "yes", "no"),
        }
    )
    frame["town"] = frame["city"].str.upper()
    frame.loc[::10, "left"] = ""
    frame.to_csv("people.csv", index=False)
    return frame


def drawn(path):
    """What was drawn, as grey values; it must be more than an empty page."""
    pixels = matplotlib.image.imread(path)[..., :3].mean(axis=-1)
    assert min(pixels.shape) > 60 and (pixels < 0.9).mean() > 0.01
    return pixels


def test_a_table(planted, capsys):
    found = inspect.run(data="csv:people.csv", label_column="left", id="age", out="looked")
    assert {path.name for path in (os.scandir("looked"))} == {
        *("inspect.json", "classes.png", "columns.png")
    }
    with open("looked/inspect.json") as file:
        assert json.load(file) == json.loads(json.dumps(found))
    assert found["examples"] | {"different": 0} == {
        "train": 480,
        "test": 120,
        "test_is_given": False,
        "unlabelled": 60,
        "different": 0,
    }
    assert sum(row["train"] + row["test"] for row in found["classes"]) == 540
    columns = {column["name"]: column for column in found["columns"]}
    assert "one" not in columns and "one (constant)" in found["notes"][0]
    assert set(columns["city"]["words"]) == {"Rome", "Oslo", "Bonn"}
    assert sum(columns["children"]["words"].values()) == pytest.approx(1)
    assert columns["since"]["kind"] == "date" and columns["since"]["low"].startswith("2015-01-")
    assert 0.05 < columns["income"]["missing"] < 0.15
    assert columns["how it ended"]["alone"] == 1 and columns["member"]["alone"] < 0.6
    assert [finding["columns"] for finding in found["findings"]] == [("how it ended",), ("town",)]
    out = capsys.readouterr().out
    assert "600 examples, 90 % with a label: 480 to train with, 120 to test (split off by" in out
    assert "2 classes: " in out and "alone: the share of each class" in out
    assert "- how it ended (100 %) tells the label" in out and "give --ignore 'how it ended'" in out
    assert out.endswith(
        "next: python -m kt_transfer.compare --data csv:people.csv --label-column left --id age\n"
    )
    for name in ("classes.png", "columns.png"):
        drawn(f"looked/{name}")


def test_what_was_advised_silences_it(planted, capsys):
    settings = {"data": "csv:people.csv", "label_column": "left"}
    found = inspect.run(**settings, ignore=("how it ended", "town"), out="looked")
    assert found["findings"] == []
    out = capsys.readouterr().out
    assert "nothing that would mislead was found" in out
    assert out.endswith("--label-column left --ignore 'how it ended' town\n")


def test_a_table_without_labels(planted, capsys):
    found = inspect.run(data="csv:people.csv", out="looked")
    assert found["classes"] == [] and "--label-column COLUMN" in found["findings"][-1]["text"]
    assert {path.name for path in os.scandir("looked")} == {"inspect.json", "columns.png"}
    out = capsys.readouterr().out
    assert "600 examples, none with a label" in out and "alone" not in out
    assert out.endswith("next: python -m kt_transfer.pretrain --data csv:people.csv\n")


def test_pictures(capsys):
    found = inspect.run(data="digits", out="looked")
    assert found["pictures"] == {
        "height": 8,
        "width": 8,
        "channels": 1,
        "type": "uint8",
        "range": [0.0, 16.0],
    }
    assert found["findings"] == []
    assert {path.name for path in os.scandir("looked")} == {
        *("inspect.json", "classes.png", "examples.png")
    }
    assert drawn("looked/examples.png").shape[1] > 800
    out = capsys.readouterr().out
    assert "10 classes: 3 183 (10 %)" in out
    assert "pictures of 8 x 8, grey, uint8 values from 0 to 16" in out


def test_files_of_pictures(capsys):
    rng = np.random.default_rng(0)
    for number in range(30):
        folder = f"pictures/{'cat' if number % 2 else 'dog'}"
        os.makedirs(folder, exist_ok=True)
        pixels = rng.integers(0, 256, (12, 16, 3)).astype(np.uint8)
        Image.fromarray(pixels if number != 8 else pixels * 0).save(f"{folder}/{number}.png")
    Image.open("pictures/cat/1.png").save("pictures/dog/31.png")
    found = inspect.run(data="images:pictures", out="looked")
    kinds = [finding["kind"] for finding in found["findings"]]
    assert kinds == ["blank pictures", "examples", "examples"]
    out = capsys.readouterr().out
    assert "1 training picture is of one colour throughout" in out
    assert "duplicates with a different label: check the labels" in out
    assert "most files have 12 x 16 (31)" in out
    drawn("looked/examples.png")


def test_files_whose_size_tells_their_class():
    rng = np.random.default_rng(0)
    for number in range(30):
        size = (12, 16, 3) if number % 2 else (24, 32, 3)
        os.makedirs(f"pictures/{number % 2}", exist_ok=True)
        pixels = rng.integers(0, 256, size).astype(np.uint8)
        Image.fromarray(pixels).save(f"pictures/{number % 2}/{number}.png")
    found = inspect.run(data="images:pictures", out="looked", quiet=True)
    assert found["pictures"]["files"] == {"12 x 16": 15, "24 x 32": 15}
    (finding,) = found["findings"]
    assert finding["text"].startswith("the size of a file tells its class (100 %)")


def test_a_given_test_part_is_said(capsys):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 3))
    np.savez("d.npz", x=x, y=np.arange(100) % 2, x_test=x[:50] + 2, y_test=np.arange(50) % 2)
    found = inspect.run(data="npz:d.npz", out="looked")
    assert found["examples"]["test_is_given"]
    (finding,) = found["findings"]
    assert finding["kind"] == "test part differs" and len(finding["columns"]) == 3
    assert "100 to train with" not in capsys.readouterr().err


def test_sequences_have_neither_columns_nor_pictures(capsys):
    x = np.random.default_rng(0).normal(size=(40, 2, 3, 4, 2))
    np.savez("d.npz", x=x, y=np.arange(40) % 2)
    inspect.run(data="npz:d.npz", out="looked")
    assert "pictures: looked/classes.png\n" in capsys.readouterr().out


def test_as_a_process_without_tensorflow(planted):
    script = (
        "import sys; from kt_transfer.__main__ import main\n"
        "try: main(['inspect', '--data', 'csv:people.csv', '--label-column', 'left'])\n"
        "finally: print(*{'tensorflow', 'keras', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("--label-column left\n\n")  # none of these
    words = [sys.executable, "-m", "kt_transfer.inspect", "--data", "csv:people.csv", "--quiet"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    folders = sorted(path.name for path in os.scandir("runs"))
    assert len(folders) == 2 and all(name.startswith("inspect-2") for name in folders)


def test_an_earlier_look_is_replaced_on_request_and_nothing_else_is(invoke):
    assert invoke("inspect", "--data", "digits", "--out", "a/looked").code == 0
    again = ("inspect", "--data", "digits", "--out", "a/looked")
    assert invoke(*again).code == 2
    assert invoke(*again, "--overwrite").code == 0
    assert [path.name for path in os.scandir("a")] == ["looked"]
    os.makedirs("mine")
    with open("mine/letter.txt", "w") as file:
        file.write("dear")
    done = invoke("inspect", "--data", "digits", "--out", "mine", "--overwrite")
    assert done.code == 2 and "--overwrite" in done.err and "something else" in done.err
    assert [path.name for path in os.scandir("mine")] == ["letter.txt"]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("", "--data"),
        ("--data csv:absent.csv", "--data csv:absent.csv was given"),
        ("--data csv:people.csv --label-column lef", "did you mean left"),
        ("--data digits --label-column left", "digits is no table"),
        ("--data digits --out people.csv", "--out people.csv was given"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(flags, expected, planted, invoke):
    done = invoke("inspect", *flags.split())
    assert done.code == 2 and expected in done.err
    assert [path.name for path in os.scandir()] == ["people.csv"]


def test_what_fails_while_drawing_leaves_nothing(planted, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kt_transfer.reporting.inspection_plots.plot_columns", fail)
    with pytest.raises(OSError, match="No space") as caught:
        inspect.run(data="csv:people.csv", label_column="left", out="new/looked")
    assert caught.value.filename == "new/looked"
    assert [path.name for path in os.scandir()] == ["people.csv"]


def test_a_mistake_in_python_is_a_user_error():
    with pytest.raises(UserError, match="data=npz:absent.npz"):
        inspect.run(data="npz:absent.npz")
