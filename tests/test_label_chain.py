"""Labels of any value through the commands: learned as classes, answered by their own names."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

pytestmark = pytest.mark.usefixtures("unchecked_exports")
X, Y = load_digits(return_X_y=True)
# Three digits, far apart and in another order than their numbers.
YEARS = np.array([2001, 1999, 2**40])
X, Y = (X[Y < 3] / 16).astype(np.float32), YEARS[Y[Y < 3]]
SHORT = (
    "--batch-size 16 --learning-rate 0.01 --strategy one_device --jit-compile no "
    "--compare-scratch no"
)


@pytest.fixture
def npz(tmp_path):
    """Writes a file of arrays and gives its spec."""

    def write(name="data", **arrays):
        np.savez(tmp_path / f"{name}.npz", **arrays)
        return f"npz:{tmp_path / name}.npz"

    return write


def test_labels_of_any_value_are_answered_by_their_names(invoke, npz, tmp_path):
    data = npz(x=X, y=Y)
    for words in (
        f"finetune --source scratch --hidden-units 16 --out teacher --epochs 8 {SHORT}",
        f"distill --teacher teacher --student-units 8 --out student --epochs 1 {SHORT}",
        "evaluate --run teacher --out measured",
        "predict --run teacher --split all --out answers.csv",
        "export --run teacher --name digits",
        "predict --model saved_models/digits/1 --split all --out served.csv",
    ):
        data_flag = [] if words.startswith("export") else ["--data", data]
        found = invoke(*words.split(), *data_flag)
        assert found.code == 0, found.err
    names = ["1999", "2001", str(2**40)]
    for run in ("teacher", "student"):
        assert json.loads((tmp_path / run / "labels.json").read_text())["labels"] == names
    measured = json.loads((tmp_path / "measured/evaluation.json").read_text())
    assert measured["accuracy"] > 0.9
    assert [row["class"] for row in measured["per_class"]] == names
    for table in ("answers.csv", "served.csv"):
        answers = pd.read_csv(table).sort_values("row")
        assert (answers["label"] == Y).mean() > 0.9
        assert set(answers["class_id"]) == {0, 1, 2}


@pytest.mark.parametrize(
    "words",
    ["finetune --source scratch", "compare", "pretrain --objective classification", "distill"],
)
@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": np.full(len(Y), 7)}, "at least 2 classes, but it has 1 (7; -1 stands for no label)"),
        ({"y": np.where(Y == 1999, 1, -1)}, "but it has 1 (1; -1 stands for no label)"),
        ({"y": Y, "y_test": Y}, "y_test but without x_test"),
        ({"y": Y + 0.5}, "in row 0, expected whole numbers or names"),
        (
            {"y": np.full(len(Y), 7), "x_test": X + 1, "y_test": Y},
            "at least 2 classes, but it has 1",
        ),
    ],
    ids=["one class", "one and -1", "no x_test", "fractions", "test has more"],
)
def test_labels_that_teach_nothing_are_refused(invoke, npz, tmp_path, words, arrays, message):
    given = {"y": Y, **arrays}
    teacher = []
    if words == "distill":
        import keras

        keras.Sequential([keras.Input((64,)), keras.layers.Dense(3)]).save(tmp_path / "t.keras")
        teacher = ["--teacher", "t.keras"]
    found = invoke(*words.split(), *teacher, "--data", npz(x=X, **given), "--out", "run")
    assert found.code == 2
    assert message in " ".join(found.err.split())
    assert not (tmp_path / "run").exists()
