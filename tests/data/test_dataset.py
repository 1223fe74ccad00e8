import dataclasses

import numpy as np
import pytest

from kt_transfer import UserError, load_data


@pytest.fixture(scope="module")
def data():
    return load_data("digits")


def test_equal_data_has_an_equal_fingerprint_wherever_it_lies(data, tmp_path):
    path = tmp_path / "digits.npz"
    np.savez(path, x=data.x, y=data.y, x_test=data.x_test, y_test=data.y_test)
    assert load_data(f"npz:{path}").fingerprint == data.fingerprint
    np.savez(path, x=data.x, y=data.y, x_test=data.x_test, y_test=data.y_test[::-1])
    assert load_data(f"npz:{path}").fingerprint != data.fingerprint


def test_parts(data):
    train, test = data.parts("all")
    assert (train.name, test.name) == ("train", "test")
    assert train.x is data.x
    assert test.y is data.y_test
    assert sorted([*train.rows, *test.rows]) == list(range(1797))
    assert [part.name for part in data.parts("test")] == ["test"]
    assert data.input_dim == 64


def test_a_task_with_one_class_is_refused(data):
    data.require_labels()
    with pytest.raises(UserError, match="digits was given, .* but it has 1"):
        dataclasses.replace(data, y=np.where(data.y == 3, 3, -1)).require_labels()
    with pytest.raises(UserError, match="the class '3' in its test part alone"):
        dataclasses.replace(data, y=np.where(data.y == 3, -1, data.y)).require_labels()
