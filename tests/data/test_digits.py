import numpy as np
from sklearn.datasets import load_digits

from kt_transfer import load_data


def test_digits_are_scikit_learns_own():
    data, digits = load_data("digits"), load_digits()
    assert data.x.dtype == data.x_test.dtype == np.uint8
    assert data.value_range == (0.0, 16.0)
    assert data.class_names == tuple("0123456789")
    assert len(data.x) + len(data.x_test) == 1797
    assert np.array_equal(data.x, digits.images[data.rows])
    assert np.array_equal(data.y_test, digits.target[data.rows_test])
    assert not set(data.rows) & set(data.rows_test)
