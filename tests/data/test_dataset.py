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


def of_names(tmp_path, y, y_test):
    x = np.arange(4.0 * (len(y) + len(y_test))).reshape(-1, 4)
    np.savez(tmp_path / "x.npz", x=x[: len(y)], y=y, x_test=x[len(y) :], y_test=y_test)
    return load_data(f"npz:{tmp_path / 'x.npz'}")


@pytest.mark.parametrize(
    ("y", "y_test", "names", "numbers", "numbers_test"),
    [
        (["cat", "dog", "-1"], ["dog", "dog"], ("dog", "cat"), [1, 0, -1], [0, 0]),
        (["cat", "cat"], ["cat", "cat"], ("ant", "bee", "cat"), [2, 2], [2, 2]),
        ([7, 10, -1], [2, 10], ("10", "2", "7"), [2, 0, -1], [1, 0]),
        ([-1, -1], [-1, -1], ("a", "b"), [-1, -1], [-1, -1]),
    ],
)
def test_labels_are_numbered_as_a_model_does(tmp_path, y, y_test, names, numbers, numbers_test):
    data = of_names(tmp_path, y, y_test).with_classes(names, "run")
    assert data.class_names == names
    assert (data.y.tolist(), data.y_test.tolist()) == (numbers, numbers_test)
    assert data.y.dtype == np.int32


@pytest.mark.parametrize(
    ("y", "names", "message"),
    [
        (
            ["cat", "dogs"],
            ("cat", "dog"),
            r"class dogs, but run knows cat, dog \(did you mean 'dog",
        ),
        ([0, 3, 4], ("0", "1"), r"class 3, 4, but run knows 0, 1: rename"),
    ],
)
def test_a_class_that_a_model_does_not_know_is_refused(tmp_path, y, names, message):
    with pytest.raises(UserError, match=message):
        of_names(tmp_path, y, y[:2]).with_classes(names, "run")
