import os
import socket
import time
from pathlib import Path

import numpy as np
import pytest

from kt_transfer import UserError, load_data

DATA_DIR = Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()
# Of the published files; Fashion-MNIST has as many of each class.
MNIST_TRAIN = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
MNIST_TEST = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.parametrize(
    ("name", "train", "test", "first_class"),
    [
        ("mnist", MNIST_TRAIN, MNIST_TEST, "0"),
        ("fashion_mnist", [6000] * 10, [1000] * 10, "T-shirt/top"),
    ],
)
def test_real_sets(name, train, test, first_class):
    if not (DATA_DIR / name).is_dir():
        pytest.skip(f"{name} is not in {DATA_DIR} (TFDS_DATA_DIR)")
    data = load_data(f"tfds:{name}", data_dir=DATA_DIR)
    assert data.x.shape == (60000, 28, 28, 1)
    assert data.x_test.shape == (10000, 28, 28, 1)
    assert data.x.dtype == data.x_test.dtype == np.uint8
    assert (data.x.min(), data.x.max()) == (0, 255)
    assert data.value_range == (0.0, 255.0)
    assert np.bincount(data.y).tolist() == train
    assert np.bincount(data.y_test).tolist() == test
    assert data.class_names[0] == first_class


def test_a_set_that_is_not_there_fails_at_once_and_says_how_to_get_it(tmp_path, monkeypatch):
    import tensorflow_datasets  # noqa: F401  its import is not what is timed

    def unreachable(*_, **__):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setattr(socket.socket, "connect", unreachable)
    began = time.monotonic()
    with pytest.raises(UserError, match="tfds:kmnist .*tfds build kmnist.*data_dir"):
        load_data("tfds:kmnist", data_dir=tmp_path)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("name", ["no_such_set", "mnist:9.9.9", "no such set"])
def test_an_unknown_name_or_version_is_refused(tmp_path, name):
    with pytest.raises(UserError, match=f"tfds:{name} was given"):
        load_data(f"tfds:{name}", data_dir=tmp_path)
