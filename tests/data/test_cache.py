import numpy as np
import pytest

from kt_transfer import UserError
from kt_transfer.data.cache import cache_folder, cached_rows, file_key

X = np.arange(30, dtype=np.uint8).reshape(10, 3)
Y = np.arange(10, dtype=np.int32)


def pieces():
    for rows in (slice(4), slice(4, 10)):
        yield {"x": X[rows], "y": Y[rows]}


def never():
    raise AssertionError("decoded again")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "kt_transfer"


def test_what_was_decoded_once_is_read_again(cache):
    for batches in (pieces, never):
        arrays = cached_rows("set/train/abc", 10, batches)
        assert arrays.keys() == {"x", "y"}
        assert np.array_equal(arrays["x"], X)
        assert np.array_equal(arrays["y"], Y)
        assert (arrays["x"].dtype, arrays["y"].dtype) == (np.uint8, np.int32)
    assert cache_folder() == cache
    assert np.array_equal(np.load(cache / "set/train/abc/x.npy"), X)


def test_what_was_not_decoded_to_the_end_is_not_kept(cache):
    def broken():
        yield {"x": X[:4], "y": Y[:4]}
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        cached_rows("set", 10, broken)
    assert list(cache.iterdir()) == []
    assert np.array_equal(cached_rows("set", 10, pieces)["x"], X)


def test_another_process_may_be_faster(cache):
    def slower():
        cached_rows("set", 10, pieces)
        yield from pieces()

    assert np.array_equal(cached_rows("set", 10, slower)["x"], X)
    assert [path.name for path in cache.iterdir()] == ["set"]


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match=f"{tmp_path}/file/kt_transfer .*XDG_CACHE_HOME"):
        cached_rows("set", 10, pieces)


def test_a_key_changes_with_the_file(tmp_path):
    path = tmp_path / "info.json"
    keys = []
    for content in ("a", "b", "a"):
        path.write_text(content)
        keys.append(file_key(path))
    assert keys[0] == keys[2] != keys[1]
