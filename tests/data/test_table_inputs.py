"""Which columns of a table are inputs, of which kind, and what is said of them."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from written_tables import INPUTS, PEOPLE, column, lines, repeated

from kt_transfer import UserError, load_data
from kt_transfer.data import TableOptions


def test_the_schema_is_of_the_training_rows(load):
    data = load(PEOPLE.to_csv(index=False), label_column="target")
    train = PEOPLE.iloc[data.rows]
    age, children, smokes, work, joined = data.schema
    assert (age.low, age.high) == (train["age"].min(), train["age"].max())
    assert age.missing == pytest.approx(train["age"].isna().mean())
    assert (smokes.low, smokes.high, work.low, work.high) == (0, 1, None, None)
    assert work.missing == pytest.approx(train["work class"].isna().mean())
    assert joined.high == (train["joined"].max() - pd.Timestamp("1970-01-01")).days
    assert data.schema.label_column == "target"
    assert data.has_observed_range
    assert data.value_range == (0.0, joined.high)
    assert np.isfinite(data.scaling_range).all()


def test_a_column_that_is_empty_in_all_training_rows_is_left_out(load):
    rows = [f"g{n % 10},{n}.5,{n % 7}" for n in range(100)]
    without = load(lines("g,n,m", *rows), group_column="g")
    tested = {rows[row].split(",")[0] for row in without.rows_test}
    filled = [row + (",x,1" if row.split(",")[0] in tested else ",,") for row in rows]
    data = load(lines("g,n,m,w,z", *filled), group_column="g")
    assert {*data.rows_test} == {*without.rows_test}
    assert data.schema.names == ("n", "m")
    assert data.x.shape[1] == data.x_test.shape[1] == 2
    assert "left out: w, z (empty in all training rows)" in data.notes[0]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "2", "3"], "number"),
        (["1.5", "-2e3", ".5", "+7"], "number"),
        (["0", "1"], "number"),  # as a request to the exported model has them
        (["0.0", "1.0", ""], "number"),
        (["true", "False"], "boolean"),
        (["YES", "no"], "boolean"),
        (["yes", "0"], "category"),
        (["yes", "no", "maybe"], "category"),
        (["2020-01-01", "1999-12-31"], "date"),
        (["2020-01-01 10:00", "2020-01-01T10:00:00.5"], "date"),
        (["2020-01-01T10:00:00Z", "2020-01-01T10:00:00+02:00"], "date"),
        (["2020-01-01T10:00:00.123456789", "2020-01-02"], "date"),
        (["2020-01-01", "2020-01-01T10:00:00Z"], "category"),
        (["31.12.2020", "1.1.2021"], "category"),
        (["007", "012"], "category"),
        (["0.7", "0", "0e0"], "number"),
        (["a", "b"], "category"),
        (["1", "a"], "category"),
        (["1", ""], "number"),
        (["a", ""], "category"),
    ],
)
def test_kinds(load, cells, kind):
    data = load(repeated("a", *cells))
    assert data.schema.columns[1].kind == kind


def test_declared_kinds_go_first(load):
    text = repeated("zip,flag,name", "1,0,x", "2,1,y", "3,1,z")
    data = load(text, categorical=("zip",), numeric=("flag",))
    assert [c.kind for c in data.schema] == ["number", "category", "number", "category"]
    assert {*data.schema.columns[1].vocabulary} == {"1", "2", "3"}
    different = lines("a,b", *[f"{n},name {n}" for n in range(20)])
    assert load(different, categorical=("b",)).schema.names == ("a", "b")
    assert load(different).schema.names == ("a",)
    constant = lines("a,b", *[f"{n},7" for n in range(20)])
    assert load(constant, numeric=("b",)).schema.names == ("a", "b")


def test_a_vocabulary_has_a_hundred_words_and_the_rest_is_other(load):
    words = [f"w{n:03}" for n in range(150) for _ in range(3 if n < 100 else 2)]
    data = load(lines("a,b", *[f"{n}.5,{word}" for n, word in enumerate(words)]))
    vocabulary = data.schema.columns[1].vocabulary
    train = pd.Series(words).iloc[data.rows].value_counts()
    assert vocabulary == tuple(sorted(train.index, key=lambda word: (-train[word], word))[:100])
    left_out = ~pd.Series(words).isin(vocabulary)
    assert (column(data, "b")[left_out] == 100).all()
    assert "of many words the 100 most frequent are told apart: b (150)" in data.notes[0]


def test_a_word_of_test_rows_alone_is_unknown(load):
    rows = [f"{n}.5,{'ab'[n % 2]}" for n in range(40)]
    tested = load(lines("n,w", *rows)).rows_test[0]
    rows[tested] = f"{tested}.5,c"
    data = load(lines("n,w", *rows))
    assert tested in data.rows_test
    assert {*data.schema.columns[1].vocabulary} == {"a", "b"}
    assert column(data, "w")[tested] == 2


def test_the_decision_is_one_line(load):
    data = load(PEOPLE.to_csv(index=False), label_column="target")
    assert data.notes == (
        "5 columns: 2 numbers, 1 boolean (smokes), 1 category (work class), 1 date (joined); "
        "label: target (2 classes); left out: id (text that is nearly all different: --categorical "
        "keeps it), planet (constant)",
    )


@pytest.mark.parametrize("name", ["target", "Label", "CLASS", "y"])
def test_a_label_is_not_guessed(load, name):
    data = load(PEOPLE.rename(columns={"target": name}).to_csv(index=False))
    assert name in data.schema.names
    assert {*data.y} == {-1}
    said = f"a column '{name}' is taken as an input: give --label-column {name} if it is the label"
    assert said in data.notes


def test_numbers_with_a_few_words_among_them_are_told(load):
    cells = [f"{n},{n % 7}.25" for n in range(30)]
    cells[17] = "17,abc"
    data = load(lines("n,a", *cells))
    assert (
        "a is taken as words, though 96.7% of it are numbers: row 19 of t.csv says 'abc'"
        in data.notes
    )


def test_an_index_is_told_or_left_out(load, tmp_path):
    data = load(lines("id,a", *[f"{n},{n % 7}" for n in range(30)]))
    assert "id counts the rows: give --ignore id if it says nothing else" in data.notes
    data = load(PEOPLE.to_csv(), label_column="target")
    assert data.schema.names == tuple(INPUTS)
    assert "1 column (without a name)" in data.notes[0]
    PEOPLE.set_index("id").to_parquet(tmp_path / "t.parquet")
    pd.DataFrame({"a": np.arange(9.0) % 4}, np.arange(9)[::-1]).to_parquet(tmp_path / "i.parquet")
    assert load_data(f"parquet:{tmp_path}/i.parquet").schema.names == ("a",)


def test_types_that_are_no_kind_are_left_out(tmp_path):
    lists = pa.array([[1], [2], None] * 5)
    others = {"none": pa.nulls(15), "nan": np.full(15, np.nan), "bytes": pa.array([b"\xff"] * 15)}
    table = pa.table({"a": np.arange(15) + 0.5, "lists": lists, **others})
    pq.write_table(table, tmp_path / "t.parquet")
    data = load_data(f"parquet:{tmp_path}/t.parquet")
    assert data.schema.names == ("a",)
    why = "(empty, or of no kind that is known)"
    assert f"left out: lists, none, nan, bytes {why}" in data.notes[0]
    for options in ({"label_column": "lists"}, {"group_column": "bytes"}, {"numeric": ["lists"]}):
        with pytest.raises(UserError, match="in row 1 of t.parquet in the column (lists|bytes)"):
            load_data(f"parquet:{tmp_path}/t.parquet", table=TableOptions(**options))


def test_whole_numbers_that_are_too_long_are_told(load):
    data = load(lines("a,b", *[f"{10**17 + n % 7},{n % 5}" for n in range(30)]))
    assert data.notes[1].startswith("a has numbers beyond 9,007,199,254,740,992, of which")


def test_a_type_of_words_means_a_category(tmp_path):
    codes = pa.array([3, 5, None, 5] * 10)
    columns = {"i": codes, "f": codes.cast(pa.float64()), "s": codes.cast(pa.string())}
    table = {name: values.dictionary_encode() for name, values in columns.items()}
    table["constant"] = pa.array(["x"] * 40).dictionary_encode()
    pq.write_table(pa.table({"n": np.arange(40) + 0.5, **table}), tmp_path / "t.parquet")
    data = load_data(f"parquet:{tmp_path}/t.parquet")
    assert [c.kind for c in data.schema] == ["number"] + ["category"] * 3
    assert {c.vocabulary for c in data.schema if c.name != "n"} == {("5", "3")}
    data = load_data(f"parquet:{tmp_path}/t.parquet", table=TableOptions(numeric=("i",)))
    assert data.schema.columns[1].kind == "number"


def test_what_a_cell_says_does_not_depend_on_others(load):
    odd = "a\u00a0"  # a space, but none that a served model strips
    for others in ("b", " b", "\fb\v"):
        data = load(repeated("w", odd, "a", others))
        assert {*data.schema.columns[1].vocabulary} == {odd, "a", "b"}
