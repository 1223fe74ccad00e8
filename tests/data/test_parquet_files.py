"""Parquet files: read as CSV files are, and refused where they are damaged."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from written_tables import PEOPLE, column

from kt_transfer import UserError, load_data
from kt_transfer.data import TableOptions


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
