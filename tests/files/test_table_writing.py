import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from kt_transfer import UserError
from kt_transfer.files.table_writing import require_format, writing_table

SHARES = np.array([0.25, 2 / 3, 1.0, 0.0, 123456789.0, 1.23456789e-9], np.float32)
BATCH = pa.record_batch(
    {
        "row": np.arange(6),
        "=id": ["=1", "2", "3", "4", "5", "6"],
        "label": ["cat", "a,b", 'say "no"', "=1+1", "line\nbreak", "ä"],
        "share": SHARES,
    }
)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl", ""])
def test_what_is_written_is_read_again(tmp_path, suffix):
    path = tmp_path / f"table{suffix}"
    with writing_table(path, as_they_are=("=id",)) as write:
        write(BATCH)
        write(BATCH)
    reader = {".parquet": pd.read_parquet, ".jsonl": lambda p: pd.read_json(p, lines=True)}
    found = reader.get(suffix, pd.read_csv)(path)
    assert list(found.columns) == ["row", "=id", "label", "share"]
    assert found["row"].tolist() == [*range(6)] * 2
    labels = BATCH["label"].to_pylist()
    if suffix in (".csv", ""):
        labels[3] = "'=1+1"  # no spreadsheet is to compute it
    assert found["label"].tolist() == labels * 2
    assert found["=id"].astype(str).tolist()[:2] == ["=1", "2"]
    np.testing.assert_allclose(found["share"], np.tile(SHARES, 2), rtol=1e-5)


def test_numbers_have_six_digits_as_before(tmp_path):
    values = np.random.default_rng(0).dirichlet(np.ones(5) * 0.2, 2000).astype(np.float32).ravel()
    values = values[values > 1e-15]
    with writing_table(tmp_path / "t.csv") as write:
        write(pa.record_batch({"share": values}))
    found = [float(line) for line in (tmp_path / "t.csv").read_text().splitlines()[1:]]
    assert found == [float(f"{value:.6g}") for value in values]


def test_json_lines_are_one_object_each(tmp_path):
    with writing_table(tmp_path / "t.jsonl") as write:
        write(BATCH)
    first, *_, last = (tmp_path / "t.jsonl").read_text().splitlines()
    assert json.loads(first) == {"row": 0, "=id": "=1", "label": "cat", "share": 0.25}
    assert json.loads(last)["label"] == "ä"


def test_a_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), writing_table(path, overwrite=True) as write:
        write(BATCH)
        raise ZeroDivisionError
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("t.csv", "old")]


def test_a_suffix_of_something_else_is_refused():
    with pytest.raises(UserError, match=r"out=t\.xlsx .*\.csv, \.parquet, \.jsonl"):
        require_format("t.xlsx")
