"""CSV files: their rows, and what is refused of them."""

import gzip
import warnings

import numpy as np
import pandas as pd
import pytest
from written_tables import COMMON, PEOPLE, column, in_order, lines

from kt_transfer import UserError, load_data
from kt_transfer.data import TableOptions, require_data

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_ends_of_lines(load, end):
    text = PEOPLE.to_csv(index=False, lineterminator=end)
    for whole in (text, text.rstrip("\r\n"), text + end):
        np.testing.assert_array_equal(column(load(whole), "age"), PEOPLE["age"])


def test_gz_is_read_as_it_is(write, load):
    text = PEOPLE.to_csv(index=False)
    packed = load_data(write(gzip.compress(text.encode()), "t.csv.gz"))
    assert packed.fingerprint == load(text).fingerprint


def test_names_of_columns_may_be_anything(load):
    names = ["class", "for", "a b", "😀", "x" * 1000, "a.b", "a'b", "%s{}", "1", "größe"]
    rows = ((RNG.random((30, len(names))) * 100).round(3)).tolist()
    data = load(pd.DataFrame(rows, columns=names).to_csv(index=False), ignore=("class",))
    assert data.schema.names == tuple(names[1:])
    np.testing.assert_array_equal(in_order(data), np.array(rows)[:, 1:])
    assert all(len(note) < 1000 for note in data.notes)


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


def test_words_have_one_number_over_many_blocks(load):
    words = [f"{'abcdef'[(n // 9) % 6]}{'x' * 90}" for n in range(400_000)]  # 36 MB
    data = load(lines("n,w", *[f"{n % 977}.5,{word}" for n, word in enumerate(words)]))
    assert len(data.schema.columns[1].vocabulary) == 6
    codes = pd.Series(words).map({w: c for c, w in enumerate(data.schema.columns[1].vocabulary)})
    np.testing.assert_array_equal(column(data, "w"), codes)
