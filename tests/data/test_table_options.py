"""What is said of columns, and where that is a mistake."""

import re

import pytest
from written_tables import COMMON, repeated

from kt_transfer import UserError, load_data
from kt_transfer.data import TableOptions


def test_text_where_numbers_were_declared(load):
    with pytest.raises(UserError, match="'x' in row 2 of t.csv in the column c, expected a number"):
        load(COMMON, numeric=("c",))
    dates = repeated("d", "2020-01-01", "2020-01-02")
    with pytest.raises(UserError, match="'2020-01-01' in row 2 of t.csv in the column d"):
        load(dates, numeric=("d",))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_column": "C"}, r"label_column=C was given, .* no column C \(did you mean c\?\)"),
        ({"label_column": "target"}, r"no column target \(it has a, b, c\)"),
        ({"ignore": ("a", "colour")}, r"ignore=\('a', 'colour'\) was given.*no column colour"),
        ({"id_column": "id"}, "id_column=id was given"),
        ({"group_column": "id"}, "group_column=id was given"),
        ({"categorical": ("d",)}, "categorical=.*no column d"),
        ({"numeric": ("d",)}, "numeric=.*no column d"),
        ({"label_column": "c", "ignore": ("c",)}, "ignore=.* with c as label_column too"),
        ({"numeric": ("a",), "categorical": ("a",)}, "numeric=.* with a as categorical too"),
        ({"label_column": "b"}, "label_column=b was given with 0.5 in row 2 of t.csv"),
        ({"label_column": "a"}, "label_column=a was given.*all its 30 values are different"),
        ({"ignore": ("a", "b", "c")}, "expected columns to learn from, but it has none"),
    ],
)
def test_bad_options_are_refused(load, options, message):
    with pytest.raises(UserError, match=message):
        load(COMMON, **options)


def test_one_name_or_a_list_of_names():
    assert TableOptions(ignore="ab", numeric=["c"]) == TableOptions(ignore=("ab",), numeric=("c",))


def test_options_of_tables_are_for_tables_alone():
    load_data("digits", table=TableOptions())
    with pytest.raises(UserError) as error:
        load_data("digits", table=TableOptions(label_column="target"))
    assert str(error.value) == (
        "label_column=target was given, expected csv: or parquet:, but digits is no table: "
        "leave it out."
    )


def test_sentences_name_flags_on_a_command_line(load):
    with pytest.raises(UserError) as error:
        load(COMMON, label_column="C")
    assert re.match(r"--label-column C was given, but the table has", error.value.as_flags())
