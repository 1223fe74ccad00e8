import numpy as np
import pytest

from kt_transfer.data import rows
from kt_transfer.data.rows import DiskRows, empty_rows, rows_in_file, take_rows

X = np.arange(60, dtype=np.float32).reshape(20, 3)


@pytest.fixture
def path(tmp_path):
    X.tofile(tmp_path / "x")
    return tmp_path / "x"


@pytest.fixture
def disk(path):
    return DiskRows(np.memmap(path, np.float32, "r", shape=X.shape))


@pytest.mark.parametrize(
    "key",
    [
        3,
        -1,
        slice(2, 7),
        slice(None),
        slice(None, None, -2),
        [5, 0, 5],
        np.array([], int),
        np.arange(20) % 3 == 0,
    ],
    ids=str,
)
def test_rows_on_disk_are_indexed_like_an_array(disk, key):
    assert np.array_equal(disk[key], X[key])


def test_they_look_like_an_array(disk):
    assert (len(disk), disk.shape, disk.ndim, disk.dtype) == (20, (20, 3), 2, np.float32)
    assert disk.nbytes == X.nbytes


def test_rows_of_rows(disk, monkeypatch):
    monkeypatch.setattr(rows, "_ROWS_AT_ONCE", 2)  # several reads for one answer
    some = take_rows(disk, np.array([7, 3, 11, 2]))
    assert isinstance(some, DiskRows)
    assert np.array_equal(some[:], X[[7, 3, 11, 2]])
    assert np.array_equal(take_rows(some, np.array([2, 0]))[:], X[[11, 7]])
    assert np.array_equal(take_rows(X, np.array([2, 0])), X[[2, 0]])


@pytest.mark.parametrize(("memory", "kind"), [(10_000, np.ndarray), (100, DiskRows)])
def test_a_file_is_read_if_it_fits(path, monkeypatch, memory, kind):
    monkeypatch.setattr(rows, "quarter_of_memory", lambda: memory)
    read = rows_in_file(path, np.float32, (19, 3), offset=12)
    assert type(read) is kind
    assert np.array_equal(read[:], X[1:])


@pytest.mark.parametrize("budget", [None, 10_000, 100])
def test_room_for_rows(budget):
    room = empty_rows(X.shape, budget)
    assert isinstance(room, DiskRows) == (budget == 100)
    room[:12], room[12:20] = X[:12], X[12:]
    assert np.array_equal(room[:], X)
