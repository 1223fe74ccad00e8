import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from kt_transfer import UserError
from kt_transfer.data.schema import OTHER, Column, Schema

AGE = Column(name="age", kind="number", low=0.5, high=99.0, missing=0.25)
SICK = Column(name="sick", kind="boolean", low=0.0, high=1.0)
COLOR = Column(name="color", kind="category", vocabulary=("red", "blue"))
SEEN = Column(name="seen", kind="date", low=18262.0, high=19000.5)
SCHEMA = Schema(columns=(AGE, SICK, COLOR, SEEN), label_column="class")
VALUES = {
    "seen": ["2020-01-01", "1970-01-02 12:00", None, "1969-12-31"],
    "further": [1, 2, 3, 4],
    "color": ["blue", "green", "red", None],
    "sick": [True, False, None, True],
    "age": [31, 4.5, None, -2],
}
MATRIX = np.array(
    [[31, 1, 1, 18262], [4.5, 0, 2, 1.5], [np.nan, np.nan, 0, np.nan], [-2, 1, np.nan, -1]]
)


@pytest.mark.parametrize("form", [dict, pd.DataFrame, pa.table], ids=["dict", "pandas", "arrow"])
def test_the_matrix_of_named_columns(form):
    matrix = SCHEMA.matrix(form(VALUES))
    assert matrix.dtype == np.float64
    np.testing.assert_array_equal(matrix, MATRIX)


def test_the_types_of_a_frame_make_no_difference():
    frame = pd.DataFrame(VALUES)
    frame["seen"] = pd.to_datetime(frame["seen"], format="ISO8601")
    frame["color"] = frame["color"].astype("category")
    frame["sick"] = frame["sick"].astype("boolean")
    frame["age"] = frame["age"].astype("Float32")
    np.testing.assert_array_equal(SCHEMA.matrix(frame), MATRIX)
    texts = {name: ["" if v is None else f" {v} " for v in VALUES[name]] for name in VALUES}
    np.testing.assert_array_equal(SCHEMA.matrix(texts), MATRIX)
    arrays = {name: np.array(VALUES[name], object) for name in VALUES}
    np.testing.assert_array_equal(SCHEMA.matrix(arrays), MATRIX)


@pytest.mark.parametrize(
    "missing", ["", "NA", "N/A", "NaN", "null", "None", "?", "-", " NA ", None]
)
def test_what_stands_for_a_missing_value_in_each_kind(missing):
    row = {name: [missing] for name in SCHEMA.names}
    assert np.isnan(SCHEMA.matrix(row)).all()


@pytest.mark.parametrize(
    ("written", "is_true"),
    [("true", 1), ("False", 0), ("YES", 1), ("no", 0), ("1", 1), ("0.0", 0), (1, 1), (0.0, 0)],
)
def test_words_of_booleans(written, is_true):
    assert Schema(columns=(SICK,)).matrix({"sick": [written]}) == is_true


def test_whole_numbers_are_words_without_a_point():
    area = Schema(columns=(Column(name="area", kind="category", vocabulary=("7", "12")),))
    for values in ([7, 12, 13], [7.0, 12.0, 13.0], ["7", "12", "13"], pd.Series([7, 12, 13])):
        assert area.matrix({"area": values}).ravel().tolist() == [0, 1, 2]
    assert area.matrix(pd.DataFrame({"area": [7, None]})).ravel()[0] == 0


def test_a_zone_counts_and_microseconds_stay():
    dates = Schema(columns=(SEEN,))
    hours = dates.matrix({"seen": ["2020-01-01T00:00:00+02:00", "2020-01-01T00:00:00Z"]})
    assert (24 * (hours[1] - hours[0])).round(6).item() == 2
    exact = dates.matrix({"seen": ["2020-01-01T00:00:00.000001"]}).item()
    assert round((exact - 18262) * 86_400e6) == 1
    assert dates.matrix({"seen": ["0001-01-01"]}).item() == -719162


def test_all_missing_values_are_one_pattern_of_bits():
    other = np.array([0x7FF8000000000001, 0xFFF8000000000000], np.uint64).view(np.float64)
    matrix = Schema(columns=(AGE,)).matrix({"age": other})
    assert {value.tobytes() for value in matrix} == {np.float64(np.nan).tobytes()}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("age", "abc", "expected a number"),
        ("age", "1_000", "expected a number"),
        ("age", np.inf, "expected a number up to"),
        ("age", "-inf", "expected a number up to"),
        ("age", "1e301", "expected a number up to"),
        ("sick", "maybe", "expected true/false or yes/no or 1/0"),
        ("sick", 2, "expected true/false or yes/no or 1/0"),
        ("seen", "31.12.2020", "expected a date as 2024-12-31"),
        ("seen", "2020-02-30", "expected a date as 2024-12-31"),
        ("seen", 5.0, "expected a date as 2024-12-31"),
    ],
)
def test_a_value_of_another_kind_is_named_with_its_row(name, value, expected):
    values = {**VALUES, name: [None, None, value, None]}
    with pytest.raises(UserError) as error:
        SCHEMA.matrix(values)
    assert f"{value!r} in row 3 of the column '{name}', {expected}" in str(error.value)


def test_an_absent_column_is_named_with_those_like_it():
    frame = pd.DataFrame(VALUES).rename(columns={"color": "colour", "age": "Age"})
    with pytest.raises(UserError, match="the columns age, color.*add them .did you mean Age"):
        SCHEMA.matrix(frame)
    with pytest.raises(UserError, match=r"without the column color.*did you mean colour\?"):
        SCHEMA.matrix(frame.rename(columns={"Age": "age"}))


def test_columns_of_different_length_are_refused():
    with pytest.raises(ValueError, match="'sick' has 3 values, others 4"):
        SCHEMA.matrix({**VALUES, "sick": [True, False, None]})


def test_a_matrix_without_rows():
    assert SCHEMA.matrix(dict.fromkeys(SCHEMA.names, [])).shape == (0, 4)


def test_named_values_are_the_matrix_again():
    named = SCHEMA.frame_of(MATRIX)
    assert named["color"] == ["blue", OTHER, "red", None]
    assert named["sick"] == [True, False, None, True]
    assert named["age"] == [31.0, 4.5, None, -2.0]
    assert named["seen"][1] == np.datetime64("1970-01-02T12:00:00")
    np.testing.assert_array_equal(SCHEMA.matrix(named), MATRIX)
    # Reconstructions are between values, and beyond them.
    assert SCHEMA.frame_of(np.array([[1, 0.7, 9.9, 0]]))["color"] == [OTHER]


def test_a_note_is_json_and_comes_back():
    note = json.loads(json.dumps(SCHEMA.to_note(), allow_nan=False))
    assert Schema.from_note(note) == SCHEMA
    assert [column.name for column in Schema.from_note(note)] == ["age", "sick", "color", "seen"]
    strange = Schema(columns=(Column(name="für 😀\n", kind="number"),))
    assert Schema.from_note(json.loads(json.dumps(strange.to_note()))) == strange


def changed(**changes):
    column = {"name": "age", "kind": "number", **changes}
    return {"columns": [{key: value for key, value in column.items() if value is not ...}]}


@pytest.mark.parametrize(
    "note",
    [
        None,
        [],
        {},
        {"columns": 3},
        {"columns": "age"},
        {"columns": []},
        {"columns": [3]},
        {"columns": [{"name": "a", "kind": "number"}] * 2},
        {"columns": [{"name": "a", "kind": "number"}], "label_column": 3},
        changed(name=...),
        changed(name=3),
        changed(kind="text"),
        changed(kind=["number"]),
        changed(unknown=3),
        changed(vocabulary="abc"),
        changed(vocabulary=None),
        changed(vocabulary=["a", "a"]),
        changed(vocabulary=[3]),
        changed(vocabulary=[[]]),
        changed(vocabulary=[str(n) for n in range(101)]),
        changed(low="3"),
        changed(high=float("nan")),
        changed(low=3.0, high=2.0),
        changed(low=3.0),
        changed(missing=1.5),
        changed(missing=None),
        changed(missing=True),
    ],
)
def test_a_damaged_note_is_refused(note):
    with pytest.raises(ValueError, match=r"it describes|'age'|the column 3"):
        Schema.from_note(note)


def test_a_schema_is_light():
    code = "import sys, kt_transfer.data.schema as s; print({'pandas', 'pyarrow'} & {*sys.modules})"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"
