"""Tables: the values of their cells, and rows for a model."""

import numpy as np
import pandas as pd
import pytest
from written_tables import INPUTS, PEOPLE, column, in_order, lines, people, repeated

from kt_transfer import UserError, load_data
from kt_transfer.data import Like, require_data
from kt_transfer.data.remarks import remarks, require_variety


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


def test_the_matrix_of_the_schema_is_what_was_read(load):
    data = load(PEOPLE.to_csv(index=False), label_column="target")
    np.testing.assert_array_equal(data.schema.matrix(PEOPLE.iloc[data.rows]), data.x)
    np.testing.assert_array_equal(data.schema.matrix(PEOPLE.iloc[data.rows_test]), data.x_test)
    named = data.schema.frame_of(data.x)
    np.testing.assert_array_equal(data.schema.matrix(named), data.x)


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


def test_rows_that_are_equal_with_missing_values_stay_together(load):
    rows = [f"{n % 20}.5,{'' if n % 3 else n % 20},{'ab'[n % 2]}" for n in range(60)]
    data = load(lines("a,b,c", *(rows * 2)))
    assert (data.copies >= 0).all()
    require_variety(data)
    assert any("120 of 120 examples occur more than once" in line for line in remarks(data))


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
