import numpy as np
import pytest
from PIL import Image

from kt_transfer import UserError, load_data
from kt_transfer.data import images

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def picture(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def test_a_folder_is_a_class(tmp_path):
    pixels = {
        (name, n): write(tmp_path / "pets" / name / f"{n}.png", picture(6, 5))
        for name in ("cat", "dog")
        for n in range(10)
    }
    data = load_data(f"images:{tmp_path / 'pets'}")
    assert data.class_names == ("cat", "dog")
    assert data.input_shape == (6, 5, 1)
    assert data.value_range == (0.0, 255.0)
    assert len(data.x) == 16
    assert np.bincount(data.y_test).tolist() == [2, 2]
    for x, y, rows in ((data.x, data.y, data.rows), (data.x_test, data.y_test, data.rows_test)):
        for example, label, row in zip(x, y, rows, strict=True):
            name, number = divmod(row, 10)
            assert label == name
            np.testing.assert_array_equal(example[..., 0], pixels[("cat", "dog")[name], number])


def test_train_and_test_folders(tmp_path):
    for split, count in (("train", 4), ("test", 2)):
        for name in ("a", "b"):
            for n in range(count):
                write(tmp_path / split / name / f"{n}.png", picture(4, 4, 3))
    data = load_data(f"images:{tmp_path}")
    assert data.x.shape == (8, 4, 4, 3)
    assert data.x_test.shape == (4, 4, 4, 3)
    assert data.y_test.tolist() == [0, 0, 1, 1]


def test_unlabelled_pictures_have_no_class(tmp_path):
    for name in ("a", "b", "unlabelled"):
        for n in range(5):
            write(tmp_path / "set" / name / f"{n}.png", picture(4, 4))
    data = load_data(f"images:{tmp_path / 'set'}")
    assert data.class_names == ("a", "b")
    assert sorted(np.concatenate([data.y, data.y_test])) == [-1] * 5 + [0] * 5 + [1] * 5


def test_grey_and_colour_and_sizes_are_brought_together(tmp_path):
    for n in range(3):
        write(tmp_path / "set" / "a" / f"{n}.png", np.full((8, 6), 50 * n, np.uint8))
    colour = np.zeros((16, 12, 3), np.uint8) + np.array([10, 20, 30], np.uint8)
    write(tmp_path / "set" / "b" / "0.png", colour)
    data = load_data(f"images:{tmp_path / 'set'}")
    everything = {int(row): x for row, x in zip(data.rows, data.x, strict=True)}
    everything |= {int(row): x for row, x in zip(data.rows_test, data.x_test, strict=True)}
    assert data.input_shape == (8, 6, 3)
    np.testing.assert_array_equal(everything[2], np.full((8, 6, 3), 100))
    np.testing.assert_array_equal(everything[3], np.broadcast_to([10, 20, 30], (8, 6, 3)))


def test_large_pictures_are_scaled_down_in_proportion(tmp_path):
    for n in range(3):
        write(tmp_path / "set" / "a" / f"{n}.jpg", picture(300, 400))
    assert load_data(f"images:{tmp_path / 'set'}").input_shape == (96, 128, 1)


def test_sixteen_bits_a_pixel_keep_their_contrast(tmp_path):
    for n in range(3):
        write(tmp_path / "set" / "a" / f"{n}.png", np.full((4, 4), 0x8000, np.uint16))
    assert set(load_data(f"images:{tmp_path / 'set'}").x.ravel()) == {128}


def test_pictures_are_decoded_once(tmp_path, monkeypatch):
    for n in range(4):
        write(tmp_path / "set" / "a" / f"{n}.png", picture(4, 4))
    first = load_data(f"images:{tmp_path / 'set'}")
    decoded = []
    real = images._decode
    monkeypatch.setattr(images, "_decode", lambda *args: decoded.append(1) or real(*args))
    np.testing.assert_array_equal(load_data(f"images:{tmp_path / 'set'}").x, first.x)
    assert not decoded
    write(tmp_path / "set" / "a" / "0.png", picture(4, 4))
    load_data(f"images:{tmp_path / 'set'}")
    assert len(decoded) == 4


def test_a_broken_picture_is_named_and_leaves_no_cache(tmp_path):
    for n in range(3):
        write(tmp_path / "set" / "a" / f"{n}.png", picture(40, 40))
    broken = tmp_path / "set" / "a" / "1.png"
    broken.write_bytes(broken.read_bytes()[:500])
    with pytest.raises(UserError, match=r"a/1\.png .*cannot be read"):
        load_data(f"images:{tmp_path / 'set'}")
    broken.write_bytes(b"not a picture")
    with pytest.raises(UserError, match=r"a/1\.png .*cannot be read"):
        load_data(f"images:{tmp_path / 'set'}")
    assert not list((tmp_path / "cache").rglob("*.npy"))


@pytest.mark.parametrize("make", [lambda folder: None, lambda folder: (folder / "x.png").touch()])
def test_a_folder_without_class_folders_is_refused(tmp_path, make):
    folder = tmp_path / "set"
    folder.mkdir()
    make(folder)
    with pytest.raises(UserError, match="one folder of pictures per class .*there is none"):
        load_data(f"images:{folder}")


def test_no_folder_is_an_error(tmp_path):
    with pytest.raises(UserError, match=f"images:{tmp_path}/absent"):
        load_data(f"images:{tmp_path}/absent")
