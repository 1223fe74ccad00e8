"""The columns of a table at the entrance of what is served, against the calendar and by hand."""

import numpy as np
import pytest
import tensorflow as tf

from kt_transfer.data.schema import Column, Schema
from kt_transfer.serving.named_columns import (
    column_specs,
    served_names,
    to_columns,
    to_matrix,
)

SCHEMA = Schema(
    columns=(
        Column(name="age", kind="number"),
        Column(name="pet", kind="category", vocabulary=("cat", "dog")),
        Column(name="since", kind="date"),
        Column(name="paid", kind="boolean"),
    )
)


def matrix(**columns):
    return to_matrix({name: tf.constant(values) for name, values in columns.items()}, SCHEMA)


def test_cells_become_numbers_and_codes():
    found = matrix(
        age=np.array([30.0, np.nan, -1.5, 0]),
        pet=["dog", " cat ", "", "horse"],
        since=["1970-01-02", "2024-02-29T12:00:00", "", "yesterday"],
        paid=["true", "No", "", "perhaps"],
    ).numpy()
    leap_day = (np.datetime64("2024-02-29") - np.datetime64("1970-01-01")).astype(int) + 0.5
    expected = [
        [30, 1, 1, 1],
        [np.nan, 0, leap_day, 0],
        [-1.5, np.nan, np.nan, np.nan],
        [0, 2, np.nan, np.nan],
    ]
    assert np.array_equal(found, np.array(expected, float), equal_nan=True)


@pytest.mark.parametrize("ending", ["", "T07:09", " 23:59:59", "T01:02:03.25"])
def test_every_date_is_that_of_the_calendar(ending):
    days = np.datetime64("1600-01-01") + np.arange(0, 365 * 900, 97)
    words = [f"{day}{ending}" for day in days]
    columns = {"since": Column(name="since", kind="date")}
    schema = Schema(columns=tuple(columns.values()))
    found = to_matrix({"since": tf.constant(words)}, schema).numpy()[:, 0]
    exact = np.array([word.replace(" ", "T") for word in words], "datetime64[us]")
    since = exact - np.datetime64("1970-01-01T00:00:00", "us")
    assert found == pytest.approx(since / np.timedelta64(1, "D"), abs=1e-9)


def days_of(words):
    schema = Schema(columns=(Column(name="since", kind="date"),))
    return to_matrix({"since": tf.constant(words)}, schema).numpy()[:, 0]


@pytest.mark.parametrize("zone", ["Z", "+02:00", "-05:30", "+0530", "-08"])
def test_zones_are_counted_as_where_a_file_is_read(zone):
    words = [f"2020-03-{day:02d}T{day % 24:02d}:30:15{zone}" for day in range(1, 32)]
    schema = Schema(columns=(Column(name="since", kind="date"),))
    assert days_of(words) == pytest.approx(schema.matrix({"since": words})[:, 0], abs=1e-9)


def test_an_hour_alone_and_days_that_are_none():
    assert days_of(["1970-01-01 12"]) == pytest.approx([0.5])
    wrong = [
        "2020-02-30",
        "2021-02-29",
        "2020-13-45",
        "2020-00-10",
        "2020-01-01 24:00",
        "1900-02-29",
    ]
    assert np.isnan(days_of([*wrong, "2020-01-01T10:61", "20-01-01", "2020-1-1", "soon"])).all()
    assert not np.isnan(days_of(["2020-02-29", "2000-02-29"])).any()


def test_truth_values_as_pandas_writes_them_with_gaps():
    schema = Schema(columns=(Column(name="paid", kind="boolean"),))
    words = ["1.0", "0.0", "1", "0", "TRUE", "no", "2.0", ""]
    found = to_matrix({"paid": tf.constant(words)}, schema).numpy()[:, 0]
    expected = [1, 0, 1, 0, 1, 0, np.nan, np.nan]
    assert np.array_equal(found, expected, equal_nan=True)


def test_margins_are_spaces_of_ascii():
    schema = Schema(columns=(Column(name="pet", kind="category", vocabulary=("cat", "\u00a0dog")),))
    words = ["\tcat\n", " cat \v", "\u00a0dog", "dog", "c at"]
    found = to_matrix({"pet": tf.constant(words)}, schema).numpy()[:, 0]
    assert found.tolist() == [0, 0, 1, 2, 2]


def test_a_category_of_which_no_word_is_known():
    schema = Schema(columns=(Column(name="pet", kind="category"),))
    found = to_matrix({"pet": tf.constant(["cat", "", "NA"])}, schema).numpy()[:, 0]
    assert np.array_equal(found, [0, np.nan, np.nan], equal_nan=True)


def test_the_way_back_gives_the_same_matrix():
    rng = np.random.default_rng(0)
    rows = np.stack(
        [
            rng.normal(size=200),
            rng.integers(0, 3, 200),
            rng.integers(-20_000, 40_000, 200) + rng.integers(0, 24, 200) / 24,
            rng.integers(0, 2, 200),
        ],
        axis=1,
    )
    rows[rng.random(rows.shape) < 0.2] = np.nan
    again = matrix(**to_columns(rows, SCHEMA)).numpy()
    assert np.array_equal(np.isnan(again), np.isnan(rows))
    assert np.nan_to_num(again) == pytest.approx(np.nan_to_num(rows), abs=1e-9)


def test_a_word_for_what_is_unknown_is_none_that_is_known():
    column = Column(name="pet", kind="category", vocabulary=("other", "other_"))
    schema = Schema(columns=(column,))
    cells = to_columns(np.array([[2.0], [0.0]]), schema)["pet"]
    assert cells.tolist() == ["other__", "other"]


@pytest.mark.parametrize(
    ("given", "served"),
    [
        ("age", "age"),
        ("hours per week", "hours_per_week"),
        ("class", "class_"),
        ("self", "self_"),
        ("1st", "column_1st"),
        ("_x", "column__x"),
        ("🙂", "column__"),
        ("", "column_"),
    ],
)
def test_names_that_tensorflow_can_have(given, served):
    schema = Schema(columns=(Column(name=given, kind="number"),))
    assert served_names(schema) == {given: served}


def test_names_stay_distinct_and_short():
    names = ["a b", "a.b", "a_b", "x" * 1000, "x" * 999, "A_B", "Raw", "raw"]
    schema = Schema(columns=tuple(Column(name=name, kind="number") for name in names))
    served = list(served_names(schema).values())
    assert served[:3] == ["a_b", "a_b_2", "a_b_3"]
    assert len(set(served)) == len(names) and max(map(len, served)) < 70
    function = tf.function(lambda **columns: to_matrix(columns, schema))
    assert function.get_concrete_function(**column_specs(schema)) is not None
