import numpy as np
import pytest

from kt_transfer.data.overlap import joined, same_examples, shared_rows
from kt_transfer.data.rows import DiskRows

RNG = np.random.default_rng(0)
X = RNG.integers(0, 255, (50, 3, 2)).astype(np.uint8)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "float64"])
def test_the_same_numbers_are_found_in_any_order_and_type(dtype):
    known = [X[[7, 3]].astype(dtype), RNG.normal(size=(9, 3, 2)), X[[40]]]
    np.testing.assert_array_equal(np.flatnonzero(shared_rows(X, known)), [3, 7, 40])


def test_one_number_that_differs_makes_another_example():
    changed = X.astype(np.float32)
    changed[:, 2, 1] += 0.5
    assert not shared_rows(changed, [X]).any()


def test_minus_zero_is_zero():
    assert shared_rows(np.array([[-0.0]]), [np.array([[0]])]).all()


def test_the_shape_does_not_count_but_the_size_does():
    assert shared_rows(X, [X.reshape(50, 6)]).all()
    assert not shared_rows(X, [X[:, :2]]).any()
    assert not shared_rows(X, []).any()


def test_rows_on_disk(tmp_path):
    np.save(tmp_path / "x.npy", X)
    rows = DiskRows(np.load(tmp_path / "x.npy", mmap_mode="r"))
    np.testing.assert_array_equal(np.flatnonzero(shared_rows(rows, [X[:2]])), [0, 1])


def test_large_numbers_of_one_type_are_told_apart():
    x = np.arange(10**9, 10**9 + 8)[:, None]
    assert np.flatnonzero(shared_rows(x, [x[3:5]])).tolist() == [3, 4]


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float32", "float64", "bool"])
@pytest.mark.parametrize("width", [1, 3, 8])
def test_equal_examples_share_the_number_of_the_first(dtype, width):
    x = RNG.integers(0, 2, (60, width)).astype(dtype)
    _, first, place = np.unique(x, axis=0, return_index=True, return_inverse=True)
    (found,) = same_examples(x)
    np.testing.assert_array_equal(found, first[place.ravel()])


def test_examples_are_counted_through_several_arrays():
    train, test = same_examples(X[[0, 1, 0]], X[[2, 1]])
    assert (train.tolist(), test.tolist()) == ([0, 1, 0], [3, 1])


def test_examples_of_which_none_is_equal_are_numbered():
    x = RNG.normal(size=(100, 5))
    assert same_examples(x)[0].tolist() == list(range(100))
    # One bit apart, at the top of a word, where a sum of products would lose it.
    close = np.repeat(np.array([[0, 0]], np.uint64), 3, axis=0)
    close[1:, :] = [[1 << 63, 0], [1 << 63, 1 << 63]]
    assert same_examples(close)[0].tolist() == [0, 1, 2]


def test_equal_examples_among_zeros_and_on_disk(tmp_path):
    assert same_examples(np.array([[-0.0], [0.0]]))[0].tolist() == [0, 0]
    np.save(tmp_path / "x.npy", X[[4, 4, 5]])
    rows = DiskRows(np.load(tmp_path / "x.npy", mmap_mode="r"))
    assert same_examples(rows)[0].tolist() == [0, 0, 2]


def test_groups_join_what_equal_examples_join():
    copies = np.array([0, 1, 0, 3, 1, 5, 6])
    assert joined(copies, None) is copies
    assert joined(copies, np.full(7, -1)).tolist() == [0, 1, 0, 3, 1, 5, 6]
    # 3 is in the group of 2, which equals 0; 6 is in the group of 4, which equals 1.
    groups = np.array([-1, -1, 5, 5, 0, -1, 0])
    assert joined(copies, groups).tolist() == [0, 1, 0, 0, 1, 5, 1]
