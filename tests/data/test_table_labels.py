"""Columns of a table that are no inputs: labels, names and groups."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from written_tables import PEOPLE, column, lines, repeated

from kt_transfer import UserError, load_data
from kt_transfer.data import TableOptions

RNG = np.random.default_rng(0)


def test_labels_are_words_or_numbers_in_order(load):
    data = load(repeated("c", "10", "9", "", "-1"), label_column="c")
    assert data.class_names == ("-1", "9", "10")
    assert sorted([*data.y, *data.y_test]) == [-1] * 6 + [0] * 6 + [1] * 6 + [2] * 6
    assert "-1 is a class of c (an empty cell would be no label)" in data.notes
    assert load(repeated("c", "1", "-1"), label_column="c").class_names == ("-1", "1")
    assert load(repeated("c", "a", "-1"), label_column="c").class_names == ("-1", "a")
    assert load(repeated("c", "1.0", "2.0", "NA"), label_column="c").class_names == ("1", "2")
    assert load(repeated("c", "10", "b", "?"), label_column="c").class_names == ("10", "b")
    assert load(repeated("c", "007", "7"), label_column="c").class_names == ("007", "7")
    assert load(repeated("c", "yes", "no"), label_column="c").class_names == ("no", "yes")
    large = (str(2**60), str(2**60 + 1))
    assert load(repeated("c", *large), label_column="c").class_names == large


def test_words_that_count_as_no_label_are_told(load, tmp_path):
    data = load(repeated("c", "a", "None", " ? ", "", "b"), label_column="c")
    assert data.class_names == ("a", "b")
    assert "12 cells of c say 'None' or '?' and count as no label" in data.notes
    frame = pd.DataFrame({"n": np.arange(30.0) % 7, "c": ["a", "b", "None"] * 10})
    frame["c"] = frame["c"].astype("category")
    frame.to_parquet(tmp_path / "t.parquet")
    data = load_data(f"parquet:{tmp_path}/t.parquet", table=TableOptions(label_column="c"))
    assert "10 cells of c say 'None' and count as no label" in data.notes
    with pytest.raises(UserError, match="all labels are a, and 6 cells of c say 'None' and count"):
        load(repeated("c", "a", "None"), label_column="c")


def test_missing_numbers_are_no_labels_or_words(tmp_path):
    values = pa.array([0.0, 1.0, np.nan] * 10, pa.float32())  # NaN, not null
    pq.write_table(pa.table({"n": np.arange(30) % 7 + 0.5, "c": values}), tmp_path / "t.parquet")
    spec = f"parquet:{tmp_path}/t.parquet"
    assert load_data(spec, table=TableOptions(label_column="c")).class_names == ("0", "1")
    data = load_data(spec, table=TableOptions(categorical=("c",)))
    assert {*data.schema.columns[1].vocabulary} == {"0", "1"}
    assert np.isnan(column(data, "c")[2::3]).all()


def test_ids_groups_and_labels_keep_their_text(load):
    rows = [f"{n},5;{n % 8},5;{'ab'[n % 2]},5;{n % 7},5" for n in range(40)]
    options = {"id_column": "id", "group_column": "g", "label_column": "c"}
    data = load(lines("id;g;c;n", *rows), **options)
    assert data.ids[:2].tolist() == ["0,5", "1,5"]
    assert data.class_names == ("a,5", "b,5")
    assert column(data, "n")[1] == 1.5


def test_a_type_that_is_no_word_is_advised_of_nothing_that_cannot_help(tmp_path):
    n = 15
    columns = {"struct": pa.array([{"a": 1}] * n), "bytes": pa.array([b"\xff"] * n)}
    columns["list"] = pa.array([[1]] * n)
    pq.write_table(pa.table({"a": np.arange(n) + 0.5, **columns}), tmp_path / "t.parquet")
    for role in ("label_column", "group_column", "id_column"):
        for name in columns:
            with pytest.raises(UserError, match=f"column {name}, .*: give another .* as {role}"):
                load_data(f"parquet:{tmp_path}/t.parquet", table=TableOptions(**{role: name}))


def test_a_label_column_without_labels_is_unlabelled(load):
    data = load(repeated("c", "", "NA"), label_column="c")
    assert {*data.y} == {-1}
    with pytest.raises(UserError, match="at least 2 classes, but it has 0"):
        data.require_labels()


def test_ids_are_kept_in_the_order_of_the_source(load):
    data = load(PEOPLE.to_csv(index=False), label_column="target", id_column="id")
    assert data.ids.tolist() == PEOPLE["id"].tolist()
    assert "id" not in data.schema.names
    assert data.ids[data.rows_test].tolist() == PEOPLE["id"].iloc[data.rows_test].tolist()


def test_groups_are_not_separated(load):
    n = 200
    group = RNG.integers(0, 30, n)
    values = RNG.integers(0, 500, n)  # some equal, which are not separated either
    rows = [f"g{g},{v},{'ab'[v % 2]}" for g, v in zip(group, values, strict=True)]
    data = load(lines("patient,v,c", *rows), label_column="c", group_column="patient")
    assert data.schema.names == ("v",)
    assert not {*group[data.rows]} & {*group[data.rows_test]}
    assert not {*values[data.rows]} & {*values[data.rows_test]}
    assert (data.copies >= 0).all()
    for number in np.unique(group[data.rows]):
        assert len(np.unique(data.copies[group[data.rows] == number])) == 1
    assert "no split separates rows of one patient" in data.notes[0]
    without = load(lines("patient,v,c", *rows), label_column="c", ignore=("patient",))
    assert {*group[without.rows]} & {*group[without.rows_test]}


def test_a_row_without_a_group_is_one_of_its_own(load):
    rows = [f"{'g' if n < 4 else ''},{n}.5" for n in range(40)]
    data = load(lines("g,v", *rows), group_column="g")
    assert len(data.rows_test) == 8
    assert len({*data.copies}) >= 28


def test_labels_that_teach_nothing_are_refused(load):
    with pytest.raises(UserError, match="label_column=c was given.*all labels are k"):
        load(repeated("c", "k", ""), label_column="c")
    with pytest.raises(UserError, match="group_column=c was given.*all rows are in k"):
        load(repeated("c", "k"), group_column="c")
