import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kt_transfer.data import pictures

RNG = np.random.default_rng(0)
# Brightness of a shape that looks the same nowhere when it is turned or mirrored.
SHAPE = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10


def decoded(path, channels=1, height=4, width=6):
    return pictures.decode(path, (height, width, channels))[0]


def saved(path, image, **options):
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(path, **options)
    return path


def tiff(path, pixels, sample_format=1, order="<"):
    """A plain TIFF of any type of numbers, which Pillow does not write."""
    height, width, *channels = pixels.shape
    samples = channels[0] if channels else 1
    bits = 8 * pixels.itemsize
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    extra = struct.pack(f"{order}{2 * samples}H", *[bits] * samples, *[sample_format] * samples)
    begin = 8 + len(data)

    def shorts(at, value):  # as many as there are samples: in place, or further on
        return (samples, value << 16 * (order == ">") if samples == 1 else begin + at)

    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, *shorts(0, bits)),
        (259, 3, 1, 1 << 16 * (order == ">")),
        (262, 3, 1, (2 if samples == 3 else 1) << 16 * (order == ">")),
        (273, 4, 1, 8),
        (277, 3, 1, samples << 16 * (order == ">")),
        (278, 4, 1, height),
        (279, 4, 1, len(data)),
        (339, 3, *shorts(2 * samples, sample_format)),
    ]
    directory = struct.pack(f"{order}H", len(entries))
    directory += b"".join(struct.pack(f"{order}HHII", *entry) for entry in entries)
    header = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, begin + len(extra))
    path.write_bytes(header + data + extra + directory + b"\0\0\0\0")
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("dtype", "largest", "sample_format", "kind"),
    [
        ("uint16", 4095, 1, "16-bit"),
        ("uint16", 200, 1, "16-bit"),
        ("int16", -30000, 2, "32-bit integer"),
        ("int32", 100_000, 2, "32-bit integer"),
        ("int32", -5_000_000, 2, "32-bit integer"),
        ("float32", 1, 3, "floating-point"),
        ("float32", 2.5e7, 3, "floating-point"),
    ],
)
def test_values_of_more_than_eight_bits_stay_as_they_are(
    tmp_path, dtype, largest, sample_format, kind, order
):
    pixels = (np.linspace(0, 1, 24).reshape(4, 6) * largest).astype(dtype)
    path = tiff(tmp_path / "x.tif", pixels, sample_format, order)
    assert pictures.read_header(path) == (4, 6, kind, True)
    for channels in (1, 3):
        read = decoded(path, channels)
        assert read.dtype == ("float64" if kind == "32-bit integer" else "float32")
        np.testing.assert_array_equal(read[..., -1], pixels)


@pytest.mark.parametrize("largest", [255, 4095, 65535])
def test_sixteen_bit_png(tmp_path, largest):
    pixels = np.linspace(0, largest, 24).astype(np.uint16).reshape(4, 6)
    path = saved(tmp_path / "x.png", pixels)
    assert pictures.read_header(path).kind == "16-bit"
    np.testing.assert_array_equal(decoded(path)[..., 0], pixels)


@pytest.mark.parametrize("largest", [255, 4095, 65535])
@pytest.mark.parametrize("form", ["png", "little", "big"])
def test_sixteen_bit_colours(tmp_path, largest, form):
    pixels = RNG.integers(0, largest + 1, (4, 6, 3)).astype(np.uint16)
    path = tmp_path / "x"
    if form == "png":
        path.write_bytes(tf.io.encode_png(pixels).numpy())
    else:
        tiff(path, pixels, order="<" if form == "little" else ">")
    assert pictures.read_header(path) == (4, 6, "16-bit", None)
    assert not pictures.is_grey(path)
    np.testing.assert_array_equal(decoded(path, 3), pixels)
    grey = pixels @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(decoded(path)[..., 0], grey, rtol=1e-5)


def test_sixteen_bit_colours_with_opacity(tmp_path):
    pixels = RNG.integers(0, 4096, (4, 6, 4)).astype(np.uint16)
    path = tmp_path / "x.png"
    pixels[..., 3] = 65535
    path.write_bytes(tf.io.encode_png(pixels).numpy())
    np.testing.assert_array_equal(decoded(path, 3), pixels[..., :3])
    pixels[0, 0, 3] = 0
    path.write_bytes(tf.io.encode_png(pixels).numpy())
    with pytest.raises(ValueError, match="it is transparent"):
        decoded(path, 3)
    pixels[..., 3] = 32768  # the same everywhere, which is no less transparent
    path.write_bytes(tf.io.encode_png(pixels).numpy())
    with pytest.raises(ValueError, match="it is transparent"):
        decoded(path, 3)
    path.write_bytes(tf.io.encode_png(pixels[..., 2:]).numpy())  # grey and opacity
    with pytest.raises(ValueError, match="cannot be read in full"):
        decoded(path)


def test_integers_beyond_31_bits(tmp_path):
    pixels = np.linspace(0, 4e9, 24).astype(np.uint32).reshape(4, 6)
    path = tiff(tmp_path / "x.tif", pixels)
    np.testing.assert_array_equal(decoded(path)[..., 0], pixels)


def test_small_differences_of_large_numbers_stay(tmp_path):
    pixels = (10**9 + np.arange(24, dtype=np.int32)).reshape(4, 6)
    path = saved(tmp_path / "x.tif", pixels)
    np.testing.assert_array_equal(decoded(path)[..., 0], pixels)
    smaller = decoded(path, 1, 2, 3)
    np.testing.assert_allclose(
        smaller[..., 0] - 10**9,
        np.asarray(Image.fromarray((pixels - 10**9).astype(np.float32)).resize((3, 2), 2)),
        atol=1e-3,
    )


def test_eight_bits_with_a_sign_are_refused(tmp_path):
    path = tiff(tmp_path / "x.tif", np.full((4, 6), -1, np.int8), 2)
    with pytest.raises(ValueError, match="have a sign"):
        pictures.read_header(path)


def test_values_that_are_not_finite_are_refused(tmp_path):
    path = saved(tmp_path / "x.tif", np.full((4, 6), np.nan, np.float32))
    with pytest.raises(ValueError, match="not finite"):
        decoded(path)


def test_wide_values_are_resized_in_proportion(tmp_path):
    pixels = np.kron(RNG.integers(0, 4096, (2, 3)), np.ones((2, 2))).astype(np.uint16)
    path = saved(tmp_path / "x.png", pixels)
    small = np.asarray(Image.fromarray(pixels.astype(np.float32)).resize((3, 2), 2))
    np.testing.assert_allclose(decoded(path, 1, 2, 3)[..., 0], small)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "gif", "jpg"])
def test_plain_pictures_are_what_pillow_reads(tmp_path, mode, suffix):
    image = Image.fromarray(RNG.integers(0, 256, (4, 6, 3), np.uint8)).convert(mode)
    path = saved(tmp_path / f"x.{suffix}", image)
    with Image.open(path) as opened:
        np.testing.assert_array_equal(decoded(path, 3), np.asarray(opened.convert("RGB")))
        np.testing.assert_array_equal(decoded(path)[..., 0], np.asarray(opened.convert("L")))


@pytest.mark.parametrize(
    ("make", "suffix"),
    [
        (lambda grey: grey, "gif"),
        (lambda grey: grey.convert("P"), "png"),
        (lambda grey: Image.merge("LA", (grey, Image.new("L", grey.size, 255))), "png"),
        (lambda grey: grey.convert("RGB"), "png"),
        (lambda grey: grey.convert("RGBA"), "webp"),
        (lambda grey: grey.convert("RGB"), "jpg"),
        (lambda grey: grey, "jpg"),
        (lambda grey: grey.convert("1"), "png"),
    ],
)
def test_what_is_grey_in_every_pixel_is_grey(tmp_path, make, suffix):
    path = saved(tmp_path / f"x.{suffix}", make(Image.fromarray(SHAPE)), lossless=True)
    header = pictures.read_header(path)
    assert header.is_grey or pictures.is_grey(path)
    coloured = Image.fromarray(np.stack([SHAPE, SHAPE, SHAPE[::-1]], axis=-1))
    path = saved(tmp_path / "colour.gif", coloured)
    assert pictures.read_header(path).is_grey is None
    assert not pictures.is_grey(path)


@pytest.mark.parametrize("form", ["RGBA", "LA", "PA", "palette", "key"])
@pytest.mark.parametrize("brightness", [0, 128, 250, 255])
def test_a_shape_that_is_only_in_the_transparency_is_seen(tmp_path, form, brightness):
    opacity = np.kron([[0, 255, 0], [0, 0, 255]], np.ones((2, 2))).astype(np.uint8)
    uniform = Image.new("L", (6, 4), brightness)
    if form in ("RGBA", "LA", "PA"):
        image = uniform.convert(form.rstrip("A") or "L").convert("RGB").convert("RGBA")
        image.putalpha(Image.fromarray(opacity))
        path = saved(tmp_path / "x.png", image.convert("LA") if form == "LA" else image)
    elif form == "palette":  # two entries of one colour, of which one is transparent
        image = Image.fromarray(opacity // 255).convert("P")
        image.putpalette([brightness] * 6)
        path = saved(tmp_path / "x.gif", image, transparency=0)
    else:  # one colour stands for transparent
        other = (brightness + 1) % 256
        pixels = np.where(opacity, brightness, other).astype(np.uint8)
        path = saved(tmp_path / "x.png", pixels, transparency=other)
    pixels, said = pictures.decode(path, (4, 6, 1))
    background = {pictures.ON_WHITE: 255, pictures.ON_BLACK: 0}[said]
    np.testing.assert_array_equal(pixels[..., 0], np.where(opacity, brightness, background))
    assert abs(brightness - background) >= 32


@pytest.mark.parametrize(
    ("opacity", "flag"),
    [
        (255, 0),
        (128, pictures.ON_WHITE),  # as in a browser
        (20, pictures.AS_OPAQUE),  # where it would hardly be visible
        (0, pictures.AS_OPAQUE),
    ],
)
def test_opacity_that_is_everywhere_the_same(tmp_path, opacity, flag):
    image = Image.fromarray(SHAPE).convert("RGBA")
    image.putalpha(opacity)
    path = saved(tmp_path / "x.png", image)
    pixels, said = pictures.decode(path, (4, 6, 1))
    assert said == flag
    on_white = SHAPE * (opacity / 255) + 255 - opacity
    wanted = on_white if flag == pictures.ON_WHITE else SHAPE
    np.testing.assert_allclose(pixels[..., 0], wanted, atol=1)


def test_one_colour_that_is_transparent_throughout_is_white(tmp_path):
    path = saved(tmp_path / "x.png", Image.new("RGBA", (6, 4), (200, 0, 0, 0)))
    pixels, said = pictures.decode(path, (4, 6, 3))
    assert said == pictures.ON_WHITE
    assert (pixels == 255).all()


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_upright(tmp_path, suffix, orientation):
    turns = {
        1: lambda x: x,
        2: lambda x: x[:, ::-1],
        3: lambda x: x[::-1, ::-1],
        4: lambda x: x[::-1],
        5: lambda x: x.T,
        6: lambda x: np.rot90(x),
        7: lambda x: x[::-1, ::-1].T,
        8: lambda x: np.rot90(x, -1),
    }
    stored = Image.fromarray(np.ascontiguousarray(turns[orientation](SHAPE)))
    exif = Image.Exif()
    exif[274] = orientation
    if suffix == "webp":
        stored = stored.convert("RGB")
    path = saved(tmp_path / f"x.{suffix}", stored, exif=exif, lossless=True)
    assert pictures.read_header(path)[:2] == (4, 6)
    np.testing.assert_array_equal(decoded(path)[..., 0], SHAPE)


def test_wide_pictures_are_upright(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    turned = np.ascontiguousarray(np.rot90(SHAPE).astype(np.uint16) * 100)
    for name in ("x.png", "x.tif"):
        path = saved(tmp_path / name, turned, exif=exif)
        assert pictures.read_header(path)[:2] == (4, 6)
        np.testing.assert_array_equal(decoded(path)[..., 0], SHAPE.astype(np.uint16) * 100)


@pytest.mark.parametrize("suffix", ["gif", "tif", "png", "webp"])
def test_of_several_frames_it_is_the_first(tmp_path, suffix):
    first, second = Image.fromarray(SHAPE).convert("RGB"), Image.new("RGB", (6, 4), "white")
    path = tmp_path / f"x.{suffix}"
    first.save(path, save_all=True, append_images=[second], lossless=True)
    pixels, said = pictures.decode(path, (4, 6, 1))
    assert said == pictures.FIRST_FRAME
    np.testing.assert_array_equal(pixels[..., 0], SHAPE)


def test_a_picture_is_told_by_its_content(tmp_path):
    assert pictures.is_picture(saved(tmp_path / "photo", SHAPE, format="PNG"))
    assert pictures.is_picture(saved(tmp_path / "photo.txt", SHAPE, format="JPEG"))
    (tmp_path / "text.png").write_text("no picture")
    assert not pictures.is_picture(tmp_path / "text.png")


def test_what_would_start_another_program_is_no_picture(tmp_path):
    """Pillow has Ghostscript draw what is an EPS file by its content."""
    path = saved(tmp_path / "x.png", Image.fromarray(SHAPE), format="EPS")
    assert not pictures.is_picture(path)
