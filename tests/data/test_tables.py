import gzip
import io
import re
import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kt_transfer import UserError, load_data
from kt_transfer.data import Like, TableOptions, require_data
from kt_transfer.data.remarks import remarks, require_variety

RNG = np.random.default_rng(0)


def people(n=60):
    """A table with columns of each kind, with missing values, and some that teach nothing."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "id": [f"p{row}" for row in range(n)],
            "age": rng.normal(50, 20, n).round(2),
            "children": rng.integers(0, 5, n),
            "smokes": rng.choice(["yes", "no"], n),
            "work class": rng.choice(["private", "state, local", 'so "called"', "none"], n),
            "joined": pd.Series(
                pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), "D")
            ),
            "planet": "earth",
            "target": rng.choice(["ill", "well"], n),
        }
    )
    frame["joined"] = frame["joined"].astype("datetime64[us]")
    frame.loc[rng.choice(n, 7, replace=False), "age"] = np.nan
    frame.loc[rng.choice(n, 5, replace=False), "work class"] = None
    return frame


PEOPLE = people()
INPUTS = ["age", "children", "smokes", "work class", "joined"]


@pytest.fixture
def write(tmp_path):
    """Writes a file, and says how it is given as data."""

    def written(content, name="t.csv", kind="csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return f"{kind}:{path}"

    return written


@pytest.fixture
def load(write):
    """Loads the text of a CSV file."""

    def load_text(content, like=None, **options):
        return load_data(write(content), table=TableOptions(**options), like=like)

    return load_text


def lines(*rows):
    return "\n".join(rows) + "\n"


def repeated(header, *rows, times=6):
    """Rows that come again and again, each time with another number in front."""
    body = [f"{t * len(rows) + n + 0.5},{row}" for t in range(times) for n, row in enumerate(rows)]
    return lines(f"nr,{header}", *body)


def in_order(data):
    """The rows of both parts in the order of the source."""
    x = np.empty((len(data.x) + len(data.x_test), data.x.shape[1]))
    x[data.rows], x[data.rows_test] = data.x, data.x_test
    return x


def column(data, name):
    return in_order(data)[:, data.schema.names.index(name)]


# -- Values ----------------------------------------------------------------------------------------


def test_values_are_those_that_pandas_reads(load):
    data = load(PEOPLE.to_csv(index=False), label_column="target")
    assert data.schema.names == tuple(INPUTS)
    assert [c.kind for c in data.schema] == ["number", "number", "boolean", "category", "date"]
    x = in_order(data)
    np.testing.assert_array_equal(x[:, 0], PEOPLE["age"])
    np.testing.assert_array_equal(x[:, 1], PEOPLE["children"])
    np.testing.assert_array_equal(x[:, 2], PEOPLE["smokes"] == "yes")
    epoch = pd.Timestamp("1970-01-01")
    np.testing.assert_array_equal(x[:, 4], (PEOPLE["joined"] - epoch) / pd.Timedelta("1D"))
    train = PEOPLE.iloc[data.rows]
    words = data.schema.columns[3].vocabulary
    counts = train["work class"].value_counts()
    assert words == tuple(sorted(counts.index, key=lambda word: (-counts[word], word)))
    codes = PEOPLE["work class"].map({word: code for code, word in enumerate(words)})
    np.testing.assert_array_equal(x[:, 3], codes)
    assert data.class_names == ("ill", "well")
    assert [data.class_names[y] for y in data.y] == train["target"].tolist()


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


def test_the_matrix_of_the_schema_is_what_was_read(load):
    data = load(PEOPLE.to_csv(index=False), label_column="target")
    np.testing.assert_array_equal(data.schema.matrix(PEOPLE.iloc[data.rows]), data.x)
    np.testing.assert_array_equal(data.schema.matrix(PEOPLE.iloc[data.rows_test]), data.x_test)
    named = data.schema.frame_of(data.x)
    np.testing.assert_array_equal(data.schema.matrix(named), data.x)


def test_parquet_is_read_as_csv_is(load, tmp_path):
    PEOPLE.to_parquet(tmp_path / "t.parquet")
    PEOPLE.astype({"work class": "category"}).to_parquet(tmp_path / "c.parquet")
    options = TableOptions(label_column="target")
    csv = load(PEOPLE.to_csv(index=False), label_column="target")
    for name in ("t", "c"):
        parquet = load_data(f"parquet:{tmp_path}/{name}.parquet", table=options)
        assert parquet.schema == csv.schema
        assert parquet.fingerprint == csv.fingerprint
        assert parquet.notes == csv.notes


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quoting", [0, 1], ids=["few quotes", "all quoted"])
def test_separators_are_found(load, separator, quoting):
    frame = PEOPLE.copy()
    frame.loc[3, "work class"] = "two\nlines; with, all | and\ta tab"
    data = load(frame.to_csv(index=False, sep=separator, quoting=quoting), label_column="target")
    np.testing.assert_array_equal(column(data, "age"), PEOPLE["age"])
    np.testing.assert_array_equal(data.schema.matrix(frame.iloc[data.rows]), data.x)


def test_decimal_commas(load):
    text = PEOPLE.to_csv(index=False, sep=";", decimal=",")
    np.testing.assert_array_equal(column(load(text), "age"), PEOPLE["age"])
    # Where commas separate columns, a quoted one is text, and would not be guessed to be a point.
    data = load(lines("a,b", *[f'"{n % 3},5",{n}' for n in range(12)]))
    assert {*data.schema.columns[0].vocabulary} == {"0,5", "1,5", "2,5"}
    data = load(lines("a;b", *[f"{n % 3},5;{n}" for n in range(12)]), categorical=("a",))
    assert {*data.schema.columns[0].vocabulary} == {"0,5", "1,5", "2,5"}


# Each with a number of two groups, or a fraction, or with nothing that tells.
@pytest.mark.parametrize(
    ("cells", "values", "note"),
    [
        (["12,500", "7,250", "950", ""], [12500, 7250, 950, np.nan], "thousands separators"),
        (["1,234,567", "-2,500"], [1234567, -2500], "thousands separators"),
        (["1,234.56", "12,500", "3.5"], [1234.56, 12500, 3.5], "thousands separators"),
        (["12,500", "7,25"], [12.5, 7.25], None),
        (["0,125", "1,250"], [0.125, 1.25], None),
        (["1234,567", "1,250"], [1234.567, 1.25], None),
        (["1.234,56", "12,5", "2.000"], [1234.56, 12.5, 2000], None),
        (["1.234.567,5", "-1.000,25"], [1234567.5, -1000.25], None),
        (["2.5", "1,234", "1,5"], [2.5, 1.234, 1.5], None),
    ],
)
@pytest.mark.parametrize("separator", ["\t", ";", "|"])
def test_commas_of_thousands_are_told_from_decimal_ones(load, cells, values, note, separator):
    rows = [f"w{n % 3}{separator}{cell}" for n, cell in enumerate(cells * 6)]
    data = load(lines(f"w{separator}income", *rows))
    np.testing.assert_array_equal(column(data, "income"), values * 6)
    assert [*data.notes[:-1]] == ([f"income has {note}"] if note else [])


def test_thousands_in_quotes_between_commas(load):
    data = load(lines("a,b", *[f'"{n % 7 + 1},591",{n}' for n in range(30)]))
    np.testing.assert_array_equal(column(data, "a"), [(n % 7 + 1) * 1000 + 591 for n in range(30)])
    assert "a has thousands separators" in data.notes


def test_other_columns_tell_what_commas_are(load):
    data = load(lines("a;b", *[f"{n % 7 + 1},591;{n % 9},5" for n in range(30)]))
    np.testing.assert_array_equal(column(data, "a"), [n % 7 + 1.591 for n in range(30)])
    assert "a has decimal commas, as others do" in data.notes
    data = load(lines("a;b", *[f"{n % 7 + 1},591;w{n % 3}, 5" for n in range(30)]))
    assert column(data, "a")[0] == 1591


def test_words_with_commas_stay_words(load):
    words = ["12,500", "Köln, 5"]
    data = load(lines("a\tb", *[f"{n}.5\t{words[n % 2]}" for n in range(30)]))
    assert {*data.schema.columns[1].vocabulary} == {*words}


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252"]
)
def test_encodings_are_found(load, encoding):
    text = repeated("stadt,größe", "Köln,1", "Zürich,2", "Málaga,3")
    mark = b"\xff\xfe" if encoding == "utf-16-le" else b""
    data = load(mark + text.encode(encoding))
    assert data.schema.names == ("nr", "stadt", "größe")
    assert {*data.schema.columns[1].vocabulary} == {"Köln", "Zürich", "Málaga"}
    said = "t.csv is read as cp1252, since it is no UTF-8"
    assert (said in data.notes) == (encoding == "cp1252")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    ("above", "separator"),
    [
        (["sep=;"], ";"),
        (['"sep=|"'], "|"),
        (["SEP=\t", "# made, today"], "\t"),
        (["# made by us", "#", "# today, at noon"], ","),
    ],
)
def test_lines_above_the_names_are_skipped(load, above, separator, encoding, end):
    body = lines("a;b;c", *[f"{n}.5;{n % 5};w{n % 3}" for n in range(20)]).replace(";", separator)
    data = load((lines(*above) + body).replace("\n", end).encode(encoding))
    assert data.schema.names == ("a", "b", "c")
    assert column(data, "a").tolist() == [n + 0.5 for n in range(20)]
    first = len(above) + 1
    assert f"t.csv is read from row {first} on, below its remarks" in data.notes
    with pytest.raises(UserError, match=f"'w0' in row {first + 1} of t.csv in the column c"):
        load(lines(*above) + body, numeric=("c",))
    with pytest.raises(UserError, match=f"with 2 cells in row {first + 21} of t.csv, expected 3"):
        load(lines(*above) + body + f"1{separator}2\n")


def test_names_may_begin_with_a_hash(load):
    data = load(lines("# a remark", "#a,b", *[f"{n}.5,{n % 5}" for n in range(20)]))
    assert data.schema.names == ("#a", "b")
    assert len(in_order(data)) == 20


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


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_ends_of_lines(load, end):
    text = PEOPLE.to_csv(index=False, lineterminator=end)
    for whole in (text, text.rstrip("\r\n"), text + end):
        np.testing.assert_array_equal(column(load(whole), "age"), PEOPLE["age"])


def test_gz_is_read_as_it_is(write, load):
    text = PEOPLE.to_csv(index=False)
    packed = load_data(write(gzip.compress(text.encode()), "t.csv.gz"))
    assert packed.fingerprint == load(text).fingerprint


@pytest.mark.parametrize("word", ["", "NA", "N/A", "NaN", "null", "None", "?", "-", " ? ", '"NA"'])
def test_missing_values(load, word):
    data = load(
        repeated(
            "a,b,c,d",
            f"{word},{word},{word},{word}",
            "1.5,red,yes,2020-01-01",
            "2,blue,no,2020-01-02",
        )
    )
    assert [c.kind for c in data.schema] == ["number", "number", "category", "boolean", "date"]
    assert np.isnan(in_order(data)[::3, 1:]).all()
    assert not np.isnan(in_order(data)[1::3]).any()


def test_spaces_around_cells_and_names_do_not_count(load):
    data = load(
        "age, work , sick\n"
        + lines(*[f" {n}.5, {'ab'[n % 2]} , {'yes' if n % 3 else 'no'}" for n in range(12)])
    )
    assert data.schema.names == ("age", "work", "sick")
    assert [c.kind for c in data.schema] == ["number", "category", "boolean"]
    assert {*data.schema.columns[1].vocabulary} == {"a", "b"}


# -- Kinds -----------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("values", "kind", "codes"),
    [
        (pa.array([1, 2, None], pa.int8()), "number", [1, 2, np.nan]),
        (pa.array([1, 2, 2**40], pa.uint64()), "number", [1, 2, 2**40]),
        (pa.array([0.5, np.nan, None], pa.float32()), "number", [0.5, np.nan, np.nan]),
        (pa.array([1, 2, 3]).cast(pa.decimal128(25, 2)), "number", [1, 2, 3]),
        (pa.array([True, False, None]), "boolean", [1, 0, np.nan]),
        (pa.array([0, 1, None], pa.int64()), "number", [0, 1, np.nan]),
        (pa.array([0, 1, None], pa.date32()), "date", [0, 1, np.nan]),
        (pa.array([0, 86_400_000, None], pa.date64()), "date", [0, 1, np.nan]),
        (pa.array([0, 43_200, None], pa.timestamp("s")), "date", [0, 0.5, np.nan]),
        (pa.array([0, 43_200 * 10**9, None], pa.timestamp("ns", "UTC")), "date", [0, 0.5, np.nan]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), "category", [0, 1, 0]),
        (pa.array(["b", "a", "a"], pa.large_string()), "category", [1, 0, 0]),
        (pa.array(["b", "a", "a"], pa.string_view()), "category", [1, 0, 0]),
        (pa.array([b"b", b"a", b"a"], pa.binary()), "category", [1, 0, 0]),
    ],
)
def test_types_of_parquet(tmp_path, values, kind, codes):
    table = pa.table({"nr": np.arange(30) + 0.5, "a": pa.concat_arrays([values] * 10)})
    pq.write_table(table, tmp_path / "t.parquet")
    data = load_data(f"parquet:{tmp_path}/t.parquet")
    assert data.schema.columns[1].kind == kind
    if kind != "category":
        np.testing.assert_array_equal(column(data, "a"), codes * 10)
    else:
        assert column(data, "a")[:3].tolist() == codes


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


def test_names_of_columns_may_be_anything(load):
    names = ["class", "for", "a b", "😀", "x" * 1000, "a.b", "a'b", "%s{}", "1", "größe"]
    rows = ((RNG.random((30, len(names))) * 100).round(3)).tolist()
    data = load(pd.DataFrame(rows, columns=names).to_csv(index=False), ignore=("class",))
    assert data.schema.names == tuple(names[1:])
    np.testing.assert_array_equal(in_order(data), np.array(rows)[:, 1:])
    assert all(len(note) < 1000 for note in data.notes)


# -- Notes -----------------------------------------------------------------------------------------


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


# -- Labels, ids and groups ------------------------------------------------------------------------


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


def test_what_a_cell_says_does_not_depend_on_others(load):
    odd = "a\u00a0"  # a space, but none that a served model strips
    for others in ("b", " b", "\fb\v"):
        data = load(repeated("w", odd, "a", others))
        assert {*data.schema.columns[1].vocabulary} == {odd, "a", "b"}


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


def test_rows_that_are_equal_with_missing_values_stay_together(load):
    rows = [f"{n % 20}.5,{'' if n % 3 else n % 20},{'ab'[n % 2]}" for n in range(60)]
    data = load(lines("a,b,c", *(rows * 2)))
    assert (data.copies >= 0).all()
    require_variety(data)
    assert any("120 of 120 examples occur more than once" in line for line in remarks(data))


# -- For a model -----------------------------------------------------------------------------------


@pytest.fixture
def like(load):
    schema = load(PEOPLE.to_csv(index=False), label_column="target").schema
    return Like((len(schema),), "float64", 1, schema)


def test_new_rows_are_read_as_the_model_knows_them(load, like):
    new = people(70).iloc[60:].assign(extra=3.0)
    new.loc[61, "work class"] = "unheard of"
    new["smokes"] = "no"  # not constant to the model
    for frame in (new, new[new.columns[::-1]]):
        data = load(frame.to_csv(index=False), like)
        assert data.schema == like.schema
        np.testing.assert_array_equal(in_order(data), like.schema.matrix(new))
        assert column(data, "work class")[1] == 4
    left_out, unseen = data.notes
    assert left_out.removeprefix("left out, since the model does not know it: ") in (
        "extra, planet, id",
        "id, planet, extra",
    )
    assert "work class: 1 of 10 rows have words that training did not see (unheard of)" in unseen
    assert data.class_names == ("ill", "well")


def test_a_single_row_without_label_will_do(load, like):
    data = load(PEOPLE.drop(columns=["target", "id", "planet"]).iloc[:1].to_csv(index=False), like)
    assert len(data.x) + len(data.x_test) == 1
    assert data.notes == ()
    assert {*data.y, *data.y_test} == {-1}
    one = PEOPLE.iloc[:1].to_csv(index=False)
    assert load(one, like, label_column="target").class_names == (PEOPLE["target"][0],)


def test_the_kinds_are_those_of_the_model(load, like):
    numbers = PEOPLE.assign(**{"work class": np.arange(60) % 4})
    data = load(numbers.to_csv(index=False), like, categorical=("age",), ignore=("joined",))
    assert [c.kind for c in data.schema] == ["number", "number", "boolean", "category", "date"]
    assert (column(data, "work class") == 4).all()


def test_what_the_model_cannot_take_is_refused(load, like):
    with pytest.raises(UserError, match=r"without the column work class.* mean work_class\?"):
        load(PEOPLE.rename(columns={"work class": "work_class"}).to_csv(index=False), like)
    broken = PEOPLE.astype({"age": object})
    broken.loc[41, "age"] = "old"
    with pytest.raises(UserError, match="'old' in row 43 of t.csv in the column age, .* a number"):
        load(broken.to_csv(index=False), like)
    with pytest.raises(
        UserError, match=r"label_column=targt was given.*did you mean target or age"
    ):
        load(PEOPLE.to_csv(index=False), like, label_column="targt")


# -- Several files ---------------------------------------------------------------------------------


def test_files_are_joined_in_the_order_of_their_names(write, load, tmp_path):
    whole = load(PEOPLE.to_csv(index=False), label_column="target")
    parts = {"part-10.csv": PEOPLE[:20], "part-2.csv": PEOPLE[20:45], "part-3.csv": PEOPLE[45:]}
    for name, part in parts.items():
        write(part[part.columns[:: 1 if name == "part-2.csv" else -1]].to_csv(index=False), name)
        part.to_parquet(tmp_path / name.replace("csv", "parquet"))
    for kind in ("csv", "parquet"):
        spec = f"{kind}:{tmp_path}/part-*.{kind}"
        require_data(spec)
        data = load_data(spec, table=TableOptions(label_column="target"))
        assert {*data.schema.names} == {*whole.schema.names}
        np.testing.assert_array_equal(column(data, "age"), PEOPLE["age"])
    write(parts["part-3.csv"].assign(age="old").to_csv(index=False), "part-3.csv")
    with pytest.raises(UserError, match="'old' in row 2 of part-3.csv in the column age"):
        load_data(f"csv:{tmp_path}/part-*.csv", table=TableOptions(numeric=("age",)))


def test_files_of_other_columns_are_refused(write, tmp_path):
    write("a,b\n1,2\n", "1.csv")
    write("a,c\n1,2\n", "2.csv")
    with pytest.raises(UserError, match="2.csv without b, expected the columns of 1.csv"):
        load_data(f"csv:{tmp_path}/*.csv")
    write("a,b,c\n1,2,3\n", "2.csv")
    with pytest.raises(UserError, match="2.csv with c besides, expected the columns of 1.csv"):
        load_data(f"csv:{tmp_path}/*.csv")


def test_home_and_names_with_brackets(write, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(PEOPLE.to_csv(index=False), "data[1].csv")
    assert load_data("csv:~/data[1].csv").x.shape[1] == len(load_data("csv:~/*.csv").schema)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "nothing does not exist"),
        ("no*", "expected a file, or a pattern .* but no file has such a name"),
        ("", "is a folder: give"),
    ],
)
def test_what_is_not_there_is_refused(tmp_path, kind, name, message):
    spec = f"{kind}:{tmp_path}/{name}"
    for find in (require_data, load_data):
        with pytest.raises(UserError, match=message) as error:
            find(spec)
        assert spec in str(error.value)


# -- Bad input -------------------------------------------------------------------------------------

COMMON = lines("a,b,c", *[f"{n},{n % 5}.5,{'xyz'[n % 3]}" for n in range(30)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "t.csv cannot be read .it is empty"),
        ("\n\n", "it is empty"),
        (b"\xef\xbb\xbf", "it is empty"),
        ("a,b", "it holds names of columns alone"),
        ("a,b\n", "holds names of columns alone"),
        ("a,b\n1,2\n", "with 1 row of data, expected at least 2"),
        ("a,b,c\n1,2,3\n4,5\n6,7,8\n", "with 2 cells in row 3 of t.csv, expected 3"),
        ("a,b\n1,2\n4,5,6\n", "with 3 cells in row 3 of t.csv, expected 2"),
        (COMMON + "1,2\n", "with 2 cells in row 32 of t.csv, expected 3"),
        ('a,b\n1,2\n1,"x\n2,y\n', "the quote that opens in row 3 is never closed"),
        ("a,b,a\n1,2,3\n4,5,6\n", "with two columns a in t.csv"),
        ("a, a\n1,2\n4,5\n", "with two columns a in t.csv"),
        (",,\n1,2,3\n4,5,6\n", "with no name in the first row of t.csv"),
        ("5.1,3.5,1.4\n4.9,3.0,1.4\n", "with the numbers 5.1, 3.5, 1.4 in the first row of t.csv"),
        ("5,5\n4,3\n", "with the numbers 5, 5 in the first row of t.csv"),
        (COMMON + "31,inf,x\n", "with 'inf' in row 32 of t.csv in the column b"),
        (COMMON + "1e999,2,x\n", "with '1e999' in row 32 of t.csv in the column a"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "it is no text in UTF-8 or Windows-1252"),
        (COMMON.encode("utf-16-le"), "it is no text in UTF-8 or Windows-1252"),
        (b"a,b\n\x81\x8d,2\n", "it is no text in UTF-8 or Windows-1252"),
        (COMMON.encode("utf-16")[:-1], "it is no text in UTF-16"),
        ("a,b\n" + "x,y\n" * 9, "expected columns to learn from, but it has none besides a, b"),
    ],
)
def test_bad_files_are_refused_in_a_sentence(load, text, message):
    with pytest.raises(UserError, match=message) as error:
        load(text)
    sentence = str(error.value)
    assert sentence.startswith("data=csv:")
    assert "\n" not in sentence
    assert len(sentence) < 500


def test_a_damaged_gz_is_refused(write):
    packed = gzip.compress(PEOPLE.to_csv(index=False).encode())
    for content in (packed[:-40], b"no gzip", b""):
        with pytest.raises(UserError, match=r"t.csv.gz cannot be read"):
            load_data(write(content, "t.csv.gz"))


def test_a_bomb_is_refused(write):
    bomb = gzip.compress(b"a,b\n" + b"1,2\n" * 17_000_000)
    with pytest.raises(UserError, match="would unpack to"):
        load_data(write(bomb, "t.csv.gz"))


def test_a_row_far_below_is_found(load):
    text = "a,b\n" + "1234567,8901234\n" * 1_200_000 + "1,2,3\n"  # more than one block
    with pytest.raises(UserError, match="with 3 cells in row 1,200,002 of t.csv, expected 2"):
        load(text)


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


def test_labels_that_teach_nothing_are_refused(load):
    with pytest.raises(UserError, match="label_column=c was given.*all labels are k"):
        load(repeated("c", "k", ""), label_column="c")
    with pytest.raises(UserError, match="group_column=c was given.*all rows are in k"):
        load(repeated("c", "k"), group_column="c")


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


@pytest.mark.parametrize("content", [b"", b"PAR1", b"a,b\n1,2\n", bytes(1000)])
def test_what_is_no_parquet_is_refused(write, content):
    with pytest.raises(UserError, match="t.parquet cannot be read"):
        load_data(write(content, "t.parquet", "parquet"))


def test_damaged_parquet_is_refused_or_read(write):
    file = io.BytesIO()
    PEOPLE.to_parquet(file)
    good = file.getvalue()
    for size in range(0, len(good), 1000):
        with pytest.raises(UserError, match="t.parquet cannot be read"):
            load_data(write(good[:size], "t.parquet", "parquet"))


def test_parquet_with_a_column_twice_is_refused(tmp_path):
    table = pa.Table.from_arrays([pa.array([1.0, 2, 3]), pa.array([1.0, 2, 3])], ["a", "a"])
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(UserError, match="two columns a in t.parquet"):
        load_data(f"parquet:{tmp_path}/t.parquet")
    pq.write_table(pa.table({"a": pa.array([], pa.float64())}), tmp_path / "t.parquet")
    with pytest.raises(UserError, match="t.parquet holds names of columns alone"):
        load_data(f"parquet:{tmp_path}/t.parquet")


def test_infinity_in_parquet_is_refused(tmp_path):
    pq.write_table(pa.table({"a": [1.0, 2.0, -np.inf]}), tmp_path / "t.parquet")
    with pytest.raises(UserError, match="with -inf in row 3 of t.parquet in the column a"):
        load_data(f"parquet:{tmp_path}/t.parquet")


def test_many_columns_are_read_and_too_many_refused(load):
    rows = RNG.integers(0, 9, (20, 3000)).astype(str)
    text = lines(",".join(f"c{n}" for n in range(3000)), *map(",".join, rows))
    assert load(text).x.shape[1] == 3000
    with pytest.raises(UserError, match="20,001 columns in t.csv, expected at most 20,000"):
        load(lines(",".join(f"c{n}" for n in range(20_001)), ",".join(["1"] * 20_001)))


def test_no_warnings(load):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(PEOPLE.to_csv(index=False), label_column="target", group_column="children")
        load(lines("a,b", *[f"{n},{'x' if n % 2 else ''}" for n in range(10)]))


def test_sentences_name_flags_on_a_command_line(load):
    with pytest.raises(UserError) as error:
        load(COMMON, label_column="C")
    assert re.match(r"--label-column C was given, but the table has", error.value.as_flags())


def test_words_have_one_number_over_many_blocks(load):
    words = [f"{'abcdef'[(n // 9) % 6]}{'x' * 90}" for n in range(400_000)]  # 36 MB
    data = load(lines("n,w", *[f"{n % 977}.5,{word}" for n, word in enumerate(words)]))
    assert len(data.schema.columns[1].vocabulary) == 6
    codes = pd.Series(words).map({w: c for c, w in enumerate(data.schema.columns[1].vocabulary)})
    np.testing.assert_array_equal(column(data, "w"), codes)
