import gzip
from pathlib import Path

import numpy as np
import pytest

from kt_transfer import UserError, load_data

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (30, 5, 4), dtype=np.uint8)
LABELS = np.tile(np.arange(3, dtype=np.uint8), 10)


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    content = header + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("dot", ["-", "."])
def test_the_four_files_are_read(tmp_path, suffix, dot):
    for part, rows in (("train", slice(20)), ("t10k", slice(20, 30))):
        write_idx(tmp_path / f"{part}-images{dot}idx3-ubyte{suffix}", IMAGES[rows])
        write_idx(tmp_path / f"{part}-labels{dot}idx1-ubyte{suffix}", LABELS[rows])
    data = load_data(f"idx:{tmp_path}")
    assert np.array_equal(data.x, IMAGES[:20])
    assert np.array_equal(data.y, LABELS[:20])
    assert np.array_equal(data.x_test, IMAGES[20:])
    assert np.array_equal(data.y_test, LABELS[20:])
    assert data.value_range == (0.0, 255.0)
    assert data.class_names == ("0", "1", "2")


def test_without_test_files_a_test_part_is_split_off(tmp_path):
    write_idx(tmp_path / "train-images-idx3-ubyte", IMAGES)
    write_idx(tmp_path / "train-labels-idx1-ubyte", LABELS)
    data = load_data(f"idx:{tmp_path}")
    assert len(data.x_test) == 6
    assert np.array_equal(data.x_test, IMAGES[data.rows_test])


def test_no_folder_is_an_error(tmp_path):
    with pytest.raises(UserError, match=f"idx:{tmp_path}/absent"):
        load_data(f"idx:{tmp_path}/absent")


def test_a_missing_file_is_named(tmp_path):
    write_idx(tmp_path / "train-images-idx3-ubyte", IMAGES)
    with pytest.raises(UserError, match="train-labels"):
        load_data(f"idx:{tmp_path}")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[:3],
        lambda content: b"",
        lambda content: b"\x00\x00\x0d" + content[3:],
        lambda content: b"PK" + content[2:],
    ],
    ids=["truncated", "half a header", "empty", "floats", "another format"],
)
def test_a_damaged_file_is_named(tmp_path, damage):
    write_idx(tmp_path / "train-images-idx3-ubyte", IMAGES)
    labels = tmp_path / "train-labels-idx1-ubyte"
    write_idx(labels, LABELS)
    labels.write_bytes(damage(labels.read_bytes()))
    with pytest.raises(UserError, match="train-labels-idx1-ubyte .*cannot be read"):
        load_data(f"idx:{tmp_path}")


@pytest.mark.parametrize("keep", [-20, 5])
def test_a_truncated_gz_is_named(tmp_path, keep):
    write_idx(tmp_path / "train-images-idx3-ubyte.gz", IMAGES)
    images = tmp_path / "train-images-idx3-ubyte.gz"
    images.write_bytes(images.read_bytes()[:keep])
    with pytest.raises(UserError, match="train-images-idx3-ubyte.gz .*cannot be read"):
        load_data(f"idx:{tmp_path}")


def test_images_and_labels_of_different_number_are_refused(tmp_path):
    write_idx(tmp_path / "train-images-idx3-ubyte", IMAGES)
    write_idx(tmp_path / "train-labels-idx1-ubyte", LABELS[:-1])
    with pytest.raises(UserError, match=r"y of shape \(29,\), expected \(30,\)"):
        load_data(f"idx:{tmp_path}")


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_fashion_mnist_as_debian_packs_it():
    data = load_data(f"idx:{DEBIAN}")
    assert data.x.shape == (60000, 28, 28)
    assert np.array_equal(np.bincount(data.y), [6000] * 10)
    assert np.array_equal(np.bincount(data.y_test), [1000] * 10)
