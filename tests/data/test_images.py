import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from kt_transfer import UserError, load_data
from kt_transfer.data import Like, pictures

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
    data = load_data(f"images:{tmp_path / 'set'}")
    assert data.input_shape == (24, 32, 1)
    assert "3 scaled down: --image-size PIXELS says how far" in data.notes[0]


@pytest.mark.parametrize(("given", "shape"), [(128, (96, 128, 1)), (1000, (300, 400, 1))])
def test_how_far_pictures_are_scaled_down_can_be_said(tmp_path, given, shape):
    for n in range(3):
        write(tmp_path / "set" / "a" / f"{n}.jpg", picture(300, 400))
    spec = f"images:{tmp_path / 'set'}"
    data = load_data(spec, image_size=given)
    assert data.input_shape == shape
    assert ("scaled down" in data.notes[0]) == (given < 400)
    assert load_data(spec).input_shape == (24, 32, 1)


@pytest.mark.parametrize("side", [8, 28, 32])
def test_small_pictures_stay_as_they_are(tmp_path, side):
    pixels = [write(tmp_path / "set" / "a" / f"{n}.png", picture(side, side)) for n in range(5)]
    data = load_data(f"images:{tmp_path / 'set'}")
    np.testing.assert_array_equal(data.x[..., 0], np.stack(pixels)[data.rows])
    assert "scaled down" not in data.notes[0]


@pytest.mark.parametrize(("dtype", "largest"), [("uint16", 4095), ("int32", 1e5), ("float32", 1)])
def test_values_of_more_than_eight_bits_go_by_the_range_that_they_have(tmp_path, dtype, largest):
    pixels = (np.linspace(0, 1, 6 * 16).reshape(6, 4, 4) * largest).astype(dtype)
    for n in range(6):
        write(tmp_path / "set" / "a" / f"{n}.tif", pixels[n])
    data = load_data(f"images:{tmp_path / 'set'}")
    np.testing.assert_array_equal(np.sort(data.x.ravel()), np.sort(pixels[data.rows].ravel()))
    assert data.has_observed_range
    assert data.value_range == (data.x.min(), data.x.max())
    assert data.input_shape == (4, 4, 1)
    assert f"with values from {data.x.min():g} to {data.x.max():g}" in data.notes[0]


@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32"])
def test_pictures_of_several_kinds_are_refused(tmp_path, dtype):
    write(tmp_path / "set" / "a" / "0.png", picture(4, 4))
    write(tmp_path / "set" / "a" / "1.tif", np.ones((4, 4), dtype))
    write(tmp_path / "set" / "b" / "2.tif", np.ones((4, 4), dtype))
    with pytest.raises(UserError, match=r"1 8-bit \(a/0.png\), 2 .* \(a/1.tif, …\), expected one"):
        load_data(f"images:{tmp_path / 'set'}")


def test_grey_by_their_pixels_alone_is_one_channel(tmp_path):
    for n in range(80):
        grey = Image.fromarray(picture(4, 4))
        grey.convert("RGB").save(written := tmp_path / f"{n}.png")
        (tmp_path / "set" / "a").mkdir(parents=True, exist_ok=True)
        written.rename(tmp_path / "set" / "a" / written.name)
    spec = f"images:{tmp_path / 'set'}"
    assert load_data(spec).input_shape == (4, 4, 1)
    write(tmp_path / "set" / "a" / "last.png", picture(4, 4, 3))
    assert load_data(spec).input_shape == (4, 4, 3)


def test_what_is_read_as_what_is_said_in_a_line(tmp_path):
    folder = tmp_path / "set"
    for n in range(4):
        write(folder / "bus" / f"{n}.png", picture(4, 6))
        write(folder / "unlabeled" / f"{n}.png", picture(4, 6))
    glass = Image.new("LA", (6, 4), (255, 0))
    glass.putpixel((1, 1), (255, 255))
    glass.save(folder / "bus" / "glass.png")
    shaded = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6) * 10)
    for name, opacity in (("veiled", 128), ("erased", 0)):
        veiled = shaded.convert("LA")
        veiled.putalpha(opacity)
        veiled.save(folder / "bus" / f"{name}.png")
    Image.new("L", (6, 4)).save(
        folder / "bus" / "x.gif", save_all=True, append_images=[Image.new("L", (6, 4), 99)]
    )
    (folder / "bus" / "x.heic").touch()
    (folder / "list.txt").touch()
    for _ in ("decoded", "from the cache"):
        assert load_data(f"images:{folder}").notes == (
            "read 12 pictures of 1 class (bus), 4 of them without a class as 4x6x1; left out: "
            "1 .heic, 1 .txt; the first frame of 1 with several; 1 transparent on white; "
            "1 transparent on black; 1 transparent throughout as if opaque",
        )


def test_upright_sizes_count(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    for n in range(3):
        (tmp_path / "set" / "a").mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(8, 4)).save(tmp_path / "set" / "a" / f"{n}.jpg", exif=exif)
    write(tmp_path / "set" / "a" / "3.png", picture(8, 4))
    assert load_data(f"images:{tmp_path / 'set'}").input_shape == (4, 8, 1)


def test_pictures_are_decoded_once(tmp_path, monkeypatch):
    for n in range(4):
        write(tmp_path / "set" / "a" / f"{n}.png", picture(4, 4))
    first = load_data(f"images:{tmp_path / 'set'}")
    decoded = []
    real = pictures.decode
    monkeypatch.setattr(pictures, "decode", lambda *a, **k: decoded.append(1) or real(*a, **k))
    np.testing.assert_array_equal(load_data(f"images:{tmp_path / 'set'}").x, first.x)
    assert not decoded
    write(tmp_path / "set" / "a" / "0.png", picture(4, 4))
    load_data(f"images:{tmp_path / 'set'}")
    assert len(decoded) == 4


def test_broken_pictures_are_left_out_and_said(tmp_path):
    for n in range(6):
        write(tmp_path / "set" / "ab"[n % 2] / f"{n}.png", picture(40, 40) + n)
    whole = load_data(f"images:{tmp_path / 'set'}")
    broken = tmp_path / "set" / "b" / "1.png"
    broken.write_bytes(broken.read_bytes()[:500])
    (tmp_path / "set" / "a" / "2.png").write_bytes(b"not a picture")
    (tmp_path / "set" / "a" / "x.heic").touch()
    for _ in ("decoded", "from the cache"):
        data = load_data(f"images:{tmp_path / 'set'}")
        assert len(data.x) + len(data.x_test) == 4
        for x, y in ((data.x, data.y), (data.x_test, data.y_test)):
            for row, label in zip(x, y, strict=True):
                both = np.concatenate([whole.x, whole.x_test])
                (at,) = np.flatnonzero((both == row).all(axis=(1, 2, 3)))
                assert np.concatenate([whole.y, whole.y_test])[at] == label
        (note,) = data.notes
        assert "skipped 2 that cannot be read: a/2.png (its content is no picture" in note
        assert [file for file, _ in data.left_out] == ["a/x.heic", "a/2.png", "b/1.png"]
        assert "truncated" in dict(data.left_out)["b/1.png"]
        with pytest.raises(UserError, match=r"a/2\.png \(.*kind\), b/1\.png \(.*cannot be read"):
            load_data(f"images:{tmp_path / 'set'}", strict=True)


def test_where_none_can_be_read_all_are_named_and_none_is_cached(tmp_path):
    for n in range(9):
        write(tmp_path / "set" / "a" / f"{n}.png", picture(40, 40))
    for n in range(9):
        whole = (tmp_path / "set" / "a" / f"{n}.png").read_bytes()
        (tmp_path / "set" / "a" / f"{n}.png").write_bytes(whole[:500] if n > 2 else b"x")
    with pytest.raises(
        UserError, match=r"a/1\.png \(.*known kind\).* a/8\.png \(.*truncated.* cannot be read"
    ):
        load_data(f"images:{tmp_path / 'set'}")
    assert not list((tmp_path / "cache").rglob("*.npy"))


def test_height_and_width_are_those_that_are_asked_for(tmp_path):
    for n in range(4):
        write(tmp_path / "set" / "a" / f"{n}.png", np.full((20 + n, 30), 7 * n, np.uint8))
    data = load_data(f"images:{tmp_path / 'set'}", image_size=(24, 16))
    assert data.input_shape == (24, 16, 1)
    values = np.concatenate([data.x, data.x_test])
    assert {(row.min(), row.max()) for row in values} == {(7 * n, 7 * n) for n in range(4)}


def test_where_most_sizes_differ_a_middle_one_is_read(tmp_path):
    for n, (height, width) in enumerate([(10, 60), (10, 60), (40, 44), (42, 40), (44, 42)]):
        write(tmp_path / "set" / "a" / f"{n}.png", picture(height, width))
    assert load_data(f"images:{tmp_path / 'set'}").input_shape == (29, 32, 1)  # of 40 x 44


@pytest.mark.parametrize("suffix", ["png", "gif", "tif"])
def test_a_header_that_asks_for_all_memory_is_refused(tmp_path, suffix):
    write(tmp_path / "set" / "a" / "0.png", picture(4, 4))
    path = tmp_path / "set" / "a" / f"1.{suffix}"
    Image.new("L", (7, 7)).save(path)
    content = path.read_bytes()
    size = {"png": ">II", "gif": "<HH"}.get(suffix)
    if size:
        content = content.replace(struct.pack(size, 7, 7), struct.pack(size, 30_000, 30_000), 1)
        if suffix == "png":
            checksum = struct.pack(">I", zlib.crc32(content[12:29]))
            content = content[:29] + checksum + content[33:]
    else:
        for tag in (256, 257):
            at = content.index(struct.pack("<HHI", tag, 4, 1)) + 8
            content = content[:at] + struct.pack("<I", 30_000) + content[at + 4 :]
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"a/1\.{suffix} \(Image size \(900000000 pixels\)"):
        load_data(f"images:{tmp_path / 'set'}")


def test_a_folder_without_pictures_is_refused(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "x.txt").touch()
    with pytest.raises(UserError, match="one folder of pictures per class .*there is none"):
        load_data(f"images:{folder}")


def test_pictures_without_classes_can_only_be_learned_from_without_labels(tmp_path):
    for n in range(5):
        write(tmp_path / "set" / f"{n}.png", picture(4, 4))
    data = load_data(f"images:{tmp_path / 'set'}")
    assert (data.num_classes, len(data.x), set(data.y)) == (0, 4, {-1})
    with pytest.raises(UserError, match="a folder for each class"):
        data.require_labels()


def test_a_test_folder_alone_is_not_a_data_set(tmp_path):
    for n in range(5):
        write(tmp_path / "set" / "test" / "a" / f"{n}.png", picture(4, 4))
    with pytest.raises(UserError, match="a test folder alone"):
        load_data(f"images:{tmp_path / 'set'}")


def test_no_folder_is_an_error(tmp_path):
    with pytest.raises(UserError, match=f"images:{tmp_path}/absent"):
        load_data(f"images:{tmp_path}/absent")


def like(*shape, dtype="uint8"):
    return Like(shape, dtype)


@pytest.mark.parametrize("shape", [(6, 5, 1), (3, 2, 1), (6, 5, 3), (6, 5)])
def test_pictures_are_read_as_a_model_takes_them(tmp_path, shape):
    pixels = [write(tmp_path / "set" / name / "0.png", picture(6, 5)) for name in ("cat", "dog")]
    spec = f"images:{tmp_path / 'set'}"
    for _ in ("before", "after"):
        data = load_data(spec, like=like(*shape))
        x = np.concatenate([data.x, data.x_test])[np.argsort([*data.rows, *data.rows_test])]
        assert x.shape == (2, *shape)
        assert x.dtype == np.uint8
        if shape[:2] == (6, 5):
            np.testing.assert_array_equal(x.reshape(2, 6, 5, -1)[..., -1], pixels)
        load_data(spec)  # which puts them in the cache in their own form


def test_one_picture_is_enough_for_a_model(tmp_path):
    pixels = write(tmp_path / "new.png", picture(6, 5))
    data = load_data(f"images:{tmp_path / 'new.png'}", like=like(6, 5, 1))
    ((name, x, y, rows),) = data.parts("all")
    assert (name, y.tolist(), rows.tolist()) == ("test", [-1], [0])
    np.testing.assert_array_equal(x[0, ..., 0], pixels)


def test_a_test_folder_alone_is_enough_for_a_model(tmp_path):
    write(tmp_path / "set" / "test" / "b" / "0.png", picture(6, 5))
    data = load_data(f"images:{tmp_path / 'set'}", like=like(6, 5, 1))
    assert [(part.name, len(part.x)) for part in data.parts("all")] == [("test", 1)]
    with pytest.raises(UserError, match="no example in that split"):
        data.parts("train")


@pytest.mark.parametrize(
    ("pixels", "wanted", "message"),
    [
        (picture(4, 4), like(4, 4, 1, dtype="float32"), "8-bit pictures .*not 8-bit"),
        (np.ones((4, 4), np.uint16), like(4, 4, 1), "16-bit pictures .* are 8-bit"),
        (np.ones((4, 4), np.float32), like(4, 4, 3), "floating-point pictures .* are 8-bit"),
        (picture(4, 4), like(30), r"cannot become examples of shape \(30,\)"),
    ],
)
def test_pictures_of_another_kind_than_a_model_takes_are_refused(tmp_path, pixels, wanted, message):
    write(tmp_path / "x.tif", pixels)
    with pytest.raises(UserError, match=message):
        load_data(f"images:{tmp_path / 'x.tif'}", like=wanted)
