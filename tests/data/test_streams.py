"""Rows that come some at a time are those that come all together."""

import io
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from kt_transfer import UserError, load_data
from kt_transfer.data import Like, TableOptions, csv_files, npz, parquet_files, streams
from kt_transfer.data.schema import NeedsWholeTableError
from kt_transfer.data.streams import Stream, dataset_of

OPTIONS = TableOptions(label_column="kind", id_column="name", group_column="house")


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(parquet_files, "_ROWS_AT_ONCE", 50)
    monkeypatch.setattr(csv_files, "_BYTES_AT_ONCE", 2**12)
    monkeypatch.setattr(npz, "_ROWS_AT_ONCE", 50)
    monkeypatch.setattr(streams, "_ROWS_AT_ONCE", 50)


def people(rows=400):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "age": rng.integers(20, 60, rows),
            "colour": rng.choice(["red", "dark blue", None], rows),
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 9, rows), "D"),
            "member": rng.choice(["yes", "no"], rows),
            "kind": rng.choice(["10", "9", "x", None], rows, p=[0.5, 0.3, 0.1, 0.1]),
            "house": rng.choice([*map(str, range(150)), None], rows),
            "name": [f"p{number}" for number in range(rows)],
        }
    )
    return pd.concat([table, table[:40].assign(house=None)])  # some rows twice


def like_of(data):
    return Like(data.input_shape, str(data.x.dtype), schema=data.schema)


def joined(stream):
    pieces = [*stream]
    x, numbers = (np.concatenate([getattr(p, n) for p in pieces]) for n in ("x", "numbers"))
    names = None
    if pieces[0].names is not None:
        names = np.concatenate([piece.names for piece in pieces])
    return pieces, x, numbers, names


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("options", [OPTIONS, TableOptions(label_column="kind"), None])
def test_a_table_and_its_split(tmp_path, kind, options):
    table, spec = people(), f"{kind}:{tmp_path}/part-*.{kind}"
    for number, some in enumerate((table[:250], table[250:])):
        path = tmp_path / f"part-{number}.{kind}"
        some.to_csv(path, index=False) if kind == "csv" else some.to_parquet(path)
    model = load_data(spec, table=OPTIONS)
    like = like_of(model)
    data = load_data(spec, table=options, like=like)
    stream = Stream(spec, like, options)
    pieces, x, numbers, names = joined(stream)
    assert len(pieces) >= 4 and max(len(piece.x) for piece in pieces) < 200
    assert np.array_equal(numbers, np.arange(440))
    assert np.array_equal(np.flatnonzero(stream.is_test()), data.rows_test)
    assert np.array_equal(x[data.rows], data.x, equal_nan=True)
    assert np.array_equal(x[data.rows_test], data.x_test, equal_nan=True)
    assert names is None if data.ids is None else np.array_equal(names, data.ids)
    assert {*stream.notes} == {*data.notes}


def test_arrays_and_their_split(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 5, (333, 2, 2), dtype=np.int16)
    spec, like = f"npz:{tmp_path}/a.npz", Like((2, 2), "float32")
    for arrays in (
        {"x": x, "y": rng.integers(0, 3, 333)},
        {"x": np.asfortranarray(x)},
        {"x": x, "y": rng.choice(["b", "a", "-1"], 333)},
    ):
        np.savez_compressed(tmp_path / "a.npz", **arrays)
        data, stream = load_data(spec, like=like), Stream(spec, like)
        pieces, found, _, _ = joined(stream)
        assert len(pieces) == 7 and {piece.part for piece in pieces} == {None}
        assert found.dtype == data.x.dtype
        assert np.array_equal(found[data.rows], data.x)
        assert np.array_equal(np.flatnonzero(stream.is_test()), data.rows_test)


def test_arrays_with_a_test_part_of_their_own(tmp_path):
    x = np.arange(120.0, dtype=np.float32).reshape(60, 2)
    np.savez(tmp_path / "a.npz", x=x, x_test=x[:20].astype(np.float64))
    stream = Stream(f"npz:{tmp_path}/a.npz", Like((2,), "float32"))
    pieces = [*stream]
    assert [piece.part for piece in pieces] == ["train", "train", "test"]
    assert [piece.numbers[0] for piece in pieces] == [0, 50, 0]
    assert {piece.x.dtype for piece in pieces} == {np.dtype("float64")}
    assert not stream.splits


def test_signs_that_change_in_pairs_are_no_copies():
    from kt_transfer.data.overlap import keys_of, same_keys

    x = np.array([[1.0, 2.0], [-1.0, -2.0], [1.0, 2.0], [0.0, 3.0], [-0.0, 3.0]])
    assert same_keys(keys_of(x)).tolist() == [0, 1, 0, 3, 3]


def test_the_place_of_a_mistake_is_that_in_the_file(tmp_path):
    table = people()
    table.to_csv(tmp_path / "good.csv", index=False)
    like = like_of(load_data(f"csv:{tmp_path}/good.csv", table=OPTIONS))
    table["age"] = table["age"].astype(object)
    table.iloc[300, 0] = "old"
    table.to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(UserError, match=r"'old' in row 302 of bad\.csv in the column age"):
        [*Stream(f"csv:{tmp_path}/bad.csv", like)]
    with pytest.raises(UserError, match="without the column colour"):
        table.drop(columns="colour").to_csv(tmp_path / "bad.csv", index=False)
        [*Stream(f"csv:{tmp_path}/bad.csv", like)]
    lines = (tmp_path / "good.csv").read_text().splitlines()
    lines[401] += ",surplus"
    (tmp_path / "bad.csv").write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"8 cells in row 402 of bad\.csv, expected 7"):
        [*Stream(f"csv:{tmp_path}/bad.csv", like)]


def test_commas_in_numbers_need_the_whole_table(tmp_path):
    people().to_csv(tmp_path / "a.csv", index=False, sep=";")
    like = like_of(load_data(f"csv:{tmp_path}/a.csv", table=OPTIONS))
    table = people().assign(age=lambda t: t["age"].astype(str) + ",5")
    table.to_csv(tmp_path / "a.csv", index=False, sep=";")
    with pytest.raises(NeedsWholeTableError):
        [*Stream(f"csv:{tmp_path}/a.csv", like)]


def piped(monkeypatch, text, encoding="utf-8"):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode(encoding))))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_standard_input(tmp_path, monkeypatch, encoding):
    people().to_csv(tmp_path / "a.csv", index=False)
    data = load_data(f"csv:{tmp_path}/a.csv", table=OPTIONS)
    piped(monkeypatch, people().to_csv(index=False, sep="\t"), encoding)
    stream = Stream("-", like_of(data), TableOptions(id_column="name"))
    pieces, x, numbers, names = joined(stream)
    assert not stream.splits and len(pieces) > 1
    assert np.array_equal(x[data.rows], data.x, equal_nan=True)
    assert names.tolist() == people()["name"].tolist()


@pytest.mark.parametrize("header", ["", "a,b,c,d\n"])
def test_numbers_from_standard_input(monkeypatch, header):
    x = np.random.default_rng(0).normal(size=(120, 2, 2))
    rows = "\n".join(",".join(map(str, row.ravel())) for row in x)
    piped(monkeypatch, header + rows + "\n\n")
    pieces, found, numbers, _ = joined(Stream("-", Like((2, 2), "float32")))
    assert len(pieces) == 3
    np.testing.assert_array_equal(found, x)
    assert numbers.tolist() == [*range(120)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "standard input is empty"),
        ("1,2\n3\n", "1 numbers in row 2 of standard input, expected 2"),
        ("1,2\n3,x\n", "'x' in row 2 of standard input, expected numbers"),
        ("1,2\n3,nan\n", "'nan' in row 2"),
    ],
)
def test_what_is_no_row_of_numbers(monkeypatch, text, message):
    piped(monkeypatch, text)
    with pytest.raises(UserError, match=message):
        [*Stream("-", Like((2,), "float32"))]


def test_the_first_rows_as_a_data_set(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(12, dtype=np.uint8).reshape(3, 4))
    like = Like((4,), "uint8")
    (rows,) = Stream(f"npz:{tmp_path}/a.npz", like)
    data = dataset_of("npz:a.npz", rows, like)
    assert data.value_range == (0.0, 11.0) and data.input_shape == (4,)
