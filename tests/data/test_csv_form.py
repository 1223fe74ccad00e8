"""How a CSV file is written is found out from its text."""

import numpy as np
import pytest
from written_tables import PEOPLE, column, in_order, lines, repeated

from kt_transfer import UserError


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quoting", [0, 1], ids=["few quotes", "all quoted"])
def test_separators_are_found(load, separator, quoting):
    frame = PEOPLE.copy()
    frame.loc[3, "work class"] = "two\nlines; with, all | and\ta tab"
    data = load(frame.to_csv(index=False, sep=separator, quoting=quoting), label_column="target")
    np.testing.assert_array_equal(column(data, "age"), PEOPLE["age"])
    np.testing.assert_array_equal(data.schema.matrix(frame.iloc[data.rows]), data.x)


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
