"""What new rows hold that training did not, as predict says it of a table."""

import numpy as np
import pandas as pd
import pytest

from kt_transfer import load_data
from kt_transfer.data import Like, TableOptions, csv_files
from kt_transfer.data.streams import Stream

OPTIONS = TableOptions(label_column="ill")
CITY = "column city: 3 of 200 rows have words that training did not see (Atlantis, Ys)"


@pytest.fixture
def known(tmp_path, monkeypatch):
    """The form of a table that a model was made for."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "city": rng.choice(["Ulm", "Bonn"], 300),
            "age": rng.integers(18, 90, 300),
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 99, 300), "D"),
            "member": rng.choice(["yes", "no"], 300),
            "ill": rng.choice(["yes", "no"], 300),
        }
    )
    table.to_csv("old.csv", index=False)
    data = load_data("csv:old.csv", table=OPTIONS)
    assert not any("training did" in note for note in data.notes)
    return Like((len(data.schema),), "float64", schema=data.schema)


def new_rows(**changed):
    """Rows as those that were learned from, with others put in from their beginning."""
    columns = {
        "city": ["Ulm", "Bonn"] * 100,
        "age": [30, 40] * 100,
        "since": ["2020-02-01", "2020-02-11"] * 100,
        "member": ["yes", "no"] * 100,
    }
    for name, values in changed.items():
        columns[name][: len(values)] = values
    pd.DataFrame(columns).to_csv("new.csv", index=False)


def notes_of(known):
    return [*load_data("csv:new.csv", like=known, table=OPTIONS).notes]


def test_words_that_training_did_not_see_are_said_and_missing_ones_are_none(known):
    new_rows(city=["Ys", "Atlantis", None, "Ys"], age=[None])
    assert notes_of(known) == [CITY.replace("Atlantis, Ys", "Ys, Atlantis")]
    new_rows()
    assert notes_of(known) == []


@pytest.mark.parametrize("size", [500, 10**6])
def test_a_stream_counts_over_all_its_parts_and_says_it_at_the_end(known, monkeypatch, size):
    new_rows(city=["Ulm"] * 70 + ["Atlantis"] + ["Ulm"] * 100 + ["Ys", "Ys"])
    monkeypatch.setattr(csv_files, "_BYTES_AT_ONCE", size)
    stream = Stream("csv:new.csv", known, OPTIONS)
    parts = [len(rows.x) for rows in stream]
    assert sum(parts) == 200 and (len(parts) > 2) == (size == 500)
    assert stream.notes == [CITY]


def test_numbers_and_dates_beyond_those_of_training_are_said_where_they_are_more_than_a_few(known):
    new_rows(age=[99, 17])
    assert notes_of(known) == []
    new_rows(age=[99, 17, 1000], since=["2021-01-01"] * 50)
    ages, dates = notes_of(known)[::-1]
    assert ages == "column age: 3 of 200 rows are beyond what training saw (18 to 89)"
    assert dates.startswith("column since: 50 of 200 rows are beyond what training saw (2020-01-0")


def test_of_many_words_a_few_are_named(known):
    new_rows(city=[f"town {number}" for number in range(50)])
    (note,) = notes_of(known)
    assert note.endswith(
        "50 of 200 rows have words that training did not see (town 0, town 1, town 2, …)"
    )


def test_of_many_columns_a_few_are_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    columns = {f"c{number}": ["a", "b", "a", "b"] * 20 for number in range(6)}
    pd.DataFrame(columns).to_csv("old.csv", index=False)
    schema = load_data("csv:old.csv").schema
    pd.DataFrame({name: ["a", "c"] for name in columns}).to_csv("new.csv", index=False)
    notes = load_data("csv:new.csv", like=Like((6,), "float64", schema=schema)).notes
    assert len(notes) == 4
    assert notes[-1] == "likewise: c3, c4, c5"


def test_words_beside_the_most_frequent_hundred_may_have_been_seen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [f"w{number}" for number in range(150)] * 4
    pd.DataFrame({"c": words, "n": range(600)}).to_csv("old.csv", index=False)
    data = load_data("csv:old.csv")
    pd.DataFrame({"c": ["w0", "other"], "n": [1, 2]}).to_csv("new.csv", index=False)
    (note,) = load_data("csv:new.csv", like=Like((2,), "float64", schema=data.schema)).notes
    assert "1 of 2 rows have words beside the 100 that training told apart (other)" in note
