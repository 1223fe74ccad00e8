import numpy as np
import pytest

from kt_transfer.data.overlap import shared_rows
from kt_transfer.rows import DiskRows

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
