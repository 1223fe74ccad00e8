"""What is found where it was planted, and that nothing is found in real, clean data."""

import time

import numpy as np
import pandas as pd
import pytest
from sklearn import datasets

from kt_transfer import load_data
from kt_transfer.data import TableOptions
from kt_transfer.data.findings import alone, column_findings, further_findings
from kt_transfer.data.remarks import remarks

N = 900


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def table(frame, label="y", **options):
    pd.DataFrame(frame).to_csv("t.csv", index=False)
    return load_data("csv:t.csv", table=TableOptions(label_column=label, **options))


def honest(seed=0, num_classes=2):
    """Labels, and columns that tell something about them, but not much."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, num_classes, N)
    return rng, {
        "age": (40 + 10 * rng.normal(size=N) + 4 * y).round(),
        "city": rng.choice(["Rome", "Oslo", "Bonn"], N),
        "income": np.where(rng.random(N) < 0.1, np.nan, rng.lognormal(8, 1, N)),
        "y": np.array(["no", "yes", "perhaps"])[y],
    }


def texts(data):
    return [finding.text for finding in [*column_findings(data), *further_findings(data)]]


def arrays(**given):
    np.savez("d.npz", **given)
    return load_data("npz:d.npz")


def test_of_honest_columns_nothing_is_said():
    assert texts(table(honest()[1])) == []
    assert texts(table(honest(num_classes=3)[1])) == []


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer"])
def test_of_clean_real_tables_nothing_is_said(name):
    bunch = getattr(datasets, f"load_{name}")(as_frame=True)
    data = table(bunch.frame, label="target")
    assert texts(data) == []
    # Far from where it would be said, but those columns are strong.
    assert 0.8 < max(alone(data).values()) < 0.96


def test_of_digits_nothing_is_said():
    data = load_data("digits")
    assert texts(data) == [] and alone(data) == {}


@pytest.mark.parametrize(
    "leak",
    [
        lambda rng, y: y,
        lambda rng, y: np.where(y == "yes", "Q7", "B2"),
        lambda rng, y: np.where(y == "yes", 17, 4),
        lambda rng, y: np.where(y == "yes", rng.normal(100, 1, N), rng.normal(50, 1, N)),
        # As the lifeboats of Titanic: known of nearly all who survived, and of few others.
        lambda rng, y: np.where(
            np.where(y == "yes", rng.random(N) < 0.98, rng.random(N) < 0.02), "boat", ""
        ),
    ],
)
def test_a_column_that_gives_the_label_away_is_named_and_how_to_leave_it_out(leak):
    rng, frame = honest()
    frame["how it ended"] = leak(rng, frame["y"])
    data = table(frame)
    (found,) = column_findings(data)
    assert found.kind == "gives the label away" and found.columns == ("how it ended",)
    assert "tells the label without any other column" in found.text
    assert "--ignore 'how it ended'" in found.text
    assert texts(table(frame, ignore=("how it ended",))) == []


def test_a_date_of_outcome_gives_the_label_away_by_being_there():
    rng, frame = honest()
    dates = pd.Series(pd.date_range("2020-01-01", periods=N)[rng.permutation(N)].astype(str))
    frame["ended"] = dates.where(frame["y"] == "yes", "")
    assert [finding.columns for finding in column_findings(table(frame))] == [("ended",)]


def test_a_column_that_is_filled_in_for_some_of_one_class_is_told():
    rng, frame = honest(num_classes=3)
    frame["reason"] = np.where(
        (frame["y"] == "no") & (rng.random(N) < 0.6), rng.choice(["a", "b"], N), ""
    )
    (found,) = column_findings(table(frame))
    assert "where reason is known, 100 % of " in found.text
    assert " rows are no (" in found.text and "give --ignore reason" in found.text


def test_several_are_told_in_one_sentence():
    _, frame = honest()
    frame |= {"first": frame["y"], "second": np.where(frame["y"] == "no", 3, 5)}
    found = [*column_findings(table(frame))]
    assert found[0].text.startswith("first (100 %), second (100 %) each tell the label")
    assert "--ignore first second" in found[0].text


def test_a_number_of_the_row_that_tells_the_label_is_told():
    # Classes one after the other in a file, as those of iris are.
    _, frame = honest()
    frame = pd.DataFrame(frame).sort_values("y", kind="stable")
    frame["id"] = np.arange(N)
    (found,) = column_findings(table(frame))
    assert found.columns == ("id",) and "--ignore id" in found.text
    # In blocks of which one in seven is of the other class.
    blocks = np.arange(N) // 60
    y = np.where(np.random.default_rng(0).random(N) < 0.15, blocks + 1, blocks) % 2
    (found,) = column_findings(table(frame.assign(y=np.where(y, "no", "yes"))))
    assert found.text.startswith("id numbers the rows and yet tells the label of 77 % of them")
    # In any order it tells nothing.
    assert [*column_findings(table(frame.assign(y=honest()[1]["y"])))] == []


def test_rows_that_were_repeated_do_not_make_every_column_a_giveaway():
    rng, frame = honest()
    frame["weight"] = rng.normal(70, 9, N)
    again = pd.concat([pd.DataFrame(frame)] * 3)
    assert [*column_findings(table(again))] == []
    # Nor do those of a group, which have one label and one weight.
    again["visit"] = rng.normal(size=3 * N)
    again["patient"] = [*range(N)] * 3
    assert [*column_findings(table(again, group_column="patient"))] == []
    assert alone(table(again, group_column="patient"))["weight"] < 0.6
    assert alone(table(again, ignore=("patient",)))["weight"] > 0.8


def test_columns_that_say_the_same_are_told_together():
    rng, frame = honest()
    frame["pounds"] = (np.nan_to_num(frame["income"]) / 1.17).round(2)
    frame["income"] = np.nan_to_num(frame["income"]).round(2)
    frame["town"] = np.char.upper(frame["city"])
    frame["city again"] = frame["city"]
    (found,) = column_findings(table(frame))
    assert found.text == (
        "pounds (recoded one to one) says the same as income, town (recoded one to one), city "
        "again (equal) say the same as city: one is enough, give --ignore pounds town 'city again'"
    )


def test_without_labels_a_column_of_labels_is_asked_for():
    _, frame = honest()
    (found,) = texts(table(frame, label=None))
    assert "--label-column COLUMN" in found


def test_a_small_class_is_told():
    _, frame = honest()
    frame["y"] = np.where(np.arange(N) % 30, "no", "yes")
    (found,) = texts(table(frame))
    assert (
        "class no has 696 training examples, class yes 24: judge by --metric balanced_acc" in found
    )


def test_a_class_without_training_examples_does_not_count_as_the_small_one():
    x, y = np.random.default_rng(0).normal(size=(240, 3)), np.repeat([1, 2], [20, 220])
    data = arrays(x=x, y=y, x_test=x[:6] + 1, y_test=np.arange(6) % 3)
    assert any("class 2 has 220 training examples, class 1 20" in text for text in texts(data))


def test_arrays_have_columns_by_number():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(N, 5)), rng.integers(0, 2, N)
    x[:, 1], x[:, 2], x[:, 4] = 7, y, 2 * x[:, 3]
    assert texts(arrays(x=x, y=y)) == [
        "column 2 (100 %) tells the label without any other column: if it comes from the label or "
        "is known only after it, leave it out of x",
        "column 4 (recoded one to one) says the same as column 3: one is enough, leave it out of x",
        "column 1 has one value in all training rows, of which nothing can be learned: leave it "
        "out of x",
    ]


def test_columns_that_differ_in_a_given_test_part_are_told():
    rng = np.random.default_rng(0)
    given = {"x": rng.normal(size=(400, 3)), "y": np.arange(400) % 2}
    test = {"x_test": rng.normal(size=(200, 3)), "y_test": np.arange(200) % 2}
    assert texts(arrays(**given, **test)) == []
    test["x_test"][:, 1] += 1
    (found,) = texts(arrays(**given, **test))
    assert found.startswith("column 1 has other values in the test part than in training")


def test_blank_pictures_are_told():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (60, 8, 9, 3)).astype(np.uint8)
    x[[4, 7]] = 30
    x_test = x[:20] + 1
    found = [*further_findings(arrays(x=x, y=np.arange(60) % 2, x_test=x_test))]
    assert [(f.kind, f.rows) for f in found] == [("blank pictures", (4, 7))] * 2
    assert found[0].text.startswith("2 training pictures are of one colour throughout (row 4, 7)")
    assert found[1].text.startswith("2 test pictures are")


def test_all_commands_say_what_is_found_in_columns():
    _, frame = honest()
    frame["result"] = frame["y"]
    *_, line = remarks(table(frame))
    assert line.startswith("csv:t.csv: result (100 %) tells the label") and "--ignore" in line


def test_it_is_quick():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(10_000, 30)), rng.integers(0, 9, (10_000, 20))], axis=1)
    data = arrays(x=x, y=rng.integers(0, 2, 10_000))
    assert data.copies.any()
    began = time.process_time()
    assert [*column_findings(data)] == []
    assert time.process_time() - began < 1  # 0.13 s, were it not for other work on the machine
