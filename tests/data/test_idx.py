import gzip
import re
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
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", LABELS)
    images = tmp_path / "train-images-idx3-ubyte.gz"
    images.write_bytes(images.read_bytes()[:keep])
    with pytest.raises(UserError, match="train-images-idx3-ubyte.gz .*cannot be read"):
        load_data(f"idx:{tmp_path}")


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_images_and_labels_of_different_number_are_refused(tmp_path, suffix):
    write_idx(tmp_path / f"train-images-idx3-ubyte{suffix}", IMAGES)
    write_idx(tmp_path / f"train-labels-idx1-ubyte{suffix}", LABELS[:-1])
    with pytest.raises(UserError, match=r"labels of shape \(29,\), expected \(30,\)"):
        load_data(f"idx:{tmp_path}")


def test_test_labels_without_images_are_refused(tmp_path):
    write_idx(tmp_path / "train-images-idx3-ubyte", IMAGES)
    write_idx(tmp_path / "train-labels-idx1-ubyte", LABELS)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", LABELS)
    with pytest.raises(UserError, match="test labels but without test images"):
        load_data(f"idx:{tmp_path}")


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("shape", [(30, 0, 0), (0, 5, 4), (30, 5, 0), (1, 5, 4), (30,)])
def test_images_of_no_pixels_are_refused(tmp_path, suffix, shape):
    write_idx(tmp_path / f"train-images-idx3-ubyte{suffix}", np.zeros(shape, np.uint8))
    write_idx(tmp_path / f"train-labels-idx1-ubyte{suffix}", np.zeros(shape[:1], np.uint8))
    with pytest.raises(UserError, match=re.escape(f"images of shape {shape}, expected")):
        load_data(f"idx:{tmp_path}")


def test_a_large_label_is_one_class(tmp_path):
    write_idx(tmp_path / "train-images-idx3-ubyte", IMAGES)
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.where(LABELS == 2, 255, LABELS))
    data = load_data(f"idx:{tmp_path}")
    assert data.class_names == ("0", "1", "255")
    assert set(data.y) == {0, 1, 2}


def write_bomb(path, shape, size):
    """A header of that shape, and so many zeros, packed to a thousandth."""
    header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(header) + gzip.compress(bytes(2**20)) * (size >> 20))


@pytest.mark.parametrize(
    ("part", "shape", "size", "message"),
    [
        ("images", (30, 5, 4), 2**31, "header does not describe"),
        ("labels", (30,), 2**31, "header does not describe"),
        ("images", (30, 2**13, 2**13), 30 * 2**26, "would unpack to 2,013,265,920"),
        ("images", (30, 2**31, 2**31), 2**20, "would unpack to"),
        ("images", (30, *[2**31] * 70), 2**20, "would unpack to"),
        ("images", (30, 2**10, 2**10), 2**22, "header does not describe"),
    ],
    ids=["says less", "labels", "honest", "beyond any memory", "many dimensions", "says more"],
)
def test_what_unpacks_to_far_more_is_refused_unread(
    tmp_path, peak_memory, part, shape, size, message
):
    small = {"images": IMAGES, "labels": LABELS}
    for other in small.keys() - {part}:
        write_idx(tmp_path / f"train-{other}-idx1-ubyte.gz", small[other])
    write_bomb(tmp_path / f"train-{part}-idx1-ubyte.gz", shape, size)
    with peak_memory(2**26), pytest.raises(UserError, match=f"train-{part}-idx.*{message}"):
        load_data(f"idx:{tmp_path}")


def test_nothing_packed_many_times_is_refused(tmp_path):
    write_idx(tmp_path / "train-labels-idx1-ubyte", LABELS)
    images = tmp_path / "train-images-idx3-ubyte.gz"
    write_idx(images, IMAGES)
    # As some tools write it: in two members, and with an empty one at the end.
    images.write_bytes(images.read_bytes() + gzip.compress(b""))
    assert load_data(f"idx:{tmp_path}").input_shape == (5, 4)
    for nothing in (gzip.compress(b"") * 400_000, bytes(2**23)):
        images.write_bytes(images.read_bytes() + nothing)
        with pytest.raises(UserError, match="train-images.*header does not describe"):
            load_data(f"idx:{tmp_path}")


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_fashion_mnist_as_debian_packs_it():
    data = load_data(f"idx:{DEBIAN}")
    assert data.x.shape == (60000, 28, 28)
    assert np.array_equal(np.bincount(data.y), [6000] * 10)
    assert np.array_equal(np.bincount(data.y_test), [1000] * 10)
