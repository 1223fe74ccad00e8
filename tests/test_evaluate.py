"""``evaluate --explain``, on data in which it is known what carries the class."""

import json

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from kt_transfer import UserError, evaluate, finetune

QUICK = {
    "source": "scratch",
    "hidden_units": (24,),
    "epochs": 40,
    "batch_size": 16,
    "learning_rate": 0.01,
    "compare_scratch": "no",
    "strategy": "one_device",
    "jit_compile": "no",
    "quiet": True,
}
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("evaluate")


@pytest.fixture(scope="module")
def table(folder):
    """A run on a table with words and gaps, of which age and pet carry the class."""
    rows = 900
    frame = pd.DataFrame({f"noise_{n}": RNG.normal(size=rows) for n in range(8)})
    frame["age"] = RNG.normal(50, 10, rows)
    frame["pet"] = RNG.choice(["cat", "dog"], rows)
    frame["paid"] = np.where(
        (frame["age"] - 50) / 10 + 2 * (frame["pet"] == "dog") > 1, "yes", "no"
    )
    for name in ("age", "pet", "noise_1"):
        frame.loc[RNG.random(rows) < 0.05, name] = None
    frame.to_csv(folder / "table.csv", index=False)
    spec = f"csv:{folder / 'table.csv'}"
    return finetune.run(data=spec, label_column="paid", out=folder / "table", **QUICK)


@pytest.fixture(scope="module")
def pictures(folder):
    """A run on colour pictures; in which class they are stands in one quarter."""
    labels = np.arange(600) % 2
    x = RNG.integers(0, 120, (600, 8, 8, 3))
    x[labels == 1, 4:, 4:, 0] += 120
    np.savez(folder / "pictures.npz", x=x.astype(np.uint8), y=labels)
    spec = f"npz:{folder / 'pictures.npz'}"
    return finetune.run(data=spec, augment="none", out=folder / "pictures", **QUICK)


def test_the_columns_that_carry_the_class_are_on_top(table, folder, capsys):
    settings = {"run": table.path, "out": folder / "of-table", "explain": True}
    found = evaluate.run(**settings)["explanations"]
    assert (
        found == json.loads((folder / "of-table" / "evaluation.json").read_text())["explanations"]
    )
    assert (found["of"], found["metric"], found["part"]) == ("columns", "accuracy", "test")
    assert len(found["columns"]) == 10
    assert {each["column"] for each in found["columns"][:2]} == {"age", "pet"}
    for each in found["columns"][2:]:
        assert abs(each["importance"]) <= 3 * each["deviation"] + 0.01
    assert (folder / "of-table" / found["file"]).is_file()
    out = capsys.readouterr().out
    assert out.index("age") < out.index("noise_")
    assert " points" in out
    one = found["examples"][0]
    assert one["columns"][0]["column"] in ("age", "pet")
    assert one["true"] == one["predicted"]


def test_what_pixels_say_is_drawn_in_colours(pictures, folder):
    settings = {"run": pictures.path, "out": folder / "of-pictures", "explain": True}
    found = evaluate.run(**settings, quiet=True)["explanations"]
    assert (found["of"], found["file"]) == ("pixels", "plots/explanations.png")
    assert "integrated gradients" in found["method"]
    assert found["examples"][0]["difference_in_log_odds"] > 0
    drawn = matplotlib.image.imread(folder / "of-pictures" / found["file"])[..., :3]
    blue = np.abs(drawn - np.array([11, 99, 197]) / 255).max(axis=-1) < 0.02
    assert blue.sum() > 100  # a full pixel at least, and the legend


def test_what_is_not_asked_for_is_not_explained(table, folder):
    found = evaluate.run(run=table.path, out=folder / "without", quiet=True)
    assert "explanations" not in found
    assert not (folder / "without" / "plots" / "importance.png").exists()


def test_of_all_parts_the_test_part_is_explained(table, folder):
    settings = {"run": table.path, "out": folder / "all", "split": "all", "quiet": True}
    assert evaluate.run(**settings, explain=True)["explanations"]["part"] == "test"
    settings |= {"out": folder / "train", "split": "train"}
    assert evaluate.run(**settings, explain=True)["explanations"]["part"] == "train"


def test_the_same_is_said_again(table, folder):
    first, second = (
        evaluate.run(run=table.path, out=folder / name, explain=True, quiet=True)["explanations"]
        for name in ("once", "twice")
    )
    assert first == second


def test_data_without_labels_are_refused(table, folder):
    frame = pd.read_csv(folder / "table.csv").drop(columns="paid")
    frame.to_csv(folder / "unlabelled.csv", index=False)
    with pytest.raises(UserError, match="labels to measure against"):
        evaluate.run(
            run=table.path,
            data=f"csv:{folder / 'unlabelled.csv'}",
            split="all",
            explain=True,
            out=folder / "none",
            quiet=True,
        )
