"""Read a picture file: its header, and its pixels, upright and resized."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

# Formats to read, whatever the suffix. Pillow supports more, but runs Ghostscript for some.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "AVIF")
# The kind whose values span 0 to 255. For other kinds, black and white are not known.
BYTES = "8-bit"
_WORDS, _INTEGERS, _FLOATS = "16-bit", "32-bit integer", "floating-point"

# Flags for pictures that needed special treatment.
FIRST_FRAME, ON_WHITE, ON_BLACK, LARGER, TURNED, UNREADABLE, AS_OPAQUE = 1, 2, 4, 8, 16, 32, 64

_GREY_MODES = ("1", "L", "LA", "La", "I", "F")
_TIFF_SAMPLE_FORMAT, _UNSIGNED, _SIGNED = 339, 1, 2
_TURNED_BY_90_DEGREES = (5, 6, 7, 8)
_SWAPPED = {
    f"{mode};16{order}": f"{mode};16{other}"
    for mode in ("RGB", "RGBA")
    for order, other in (("B", "L"), ("L", "B"), ("N", "B" if sys.byteorder == "little" else "L"))
}
_LUMINANCE = np.array([0.299, 0.587, 0.114])
# Below this contrast, a shape is invisible on white.
_LEAST_CONTRAST = 32


class Header(NamedTuple):
    """The header of a picture.

    Attributes:
        height: Number of rows, when upright.
        width: Number of columns, when upright.
        kind: Kind of values: ``BYTES`` or another.
        is_grey: Whether it is grey; ``None`` if only its pixels can tell.
    """

    height: int
    width: int
    kind: str
    is_grey: bool | None


def is_picture(path: Path) -> bool:
    """Whether the content of a file is a picture, whatever its suffix."""
    try:
        with _opened(path):
            return True
    except Exception:
        return False


def read_header(path: Path) -> Header:
    """Read the header of a picture.

    Raises:
        Exception: Of any kind, if it cannot be read.
    """
    with _opened(path) as image:
        height, width = image.height, image.width
        if _orientation(image) in _TURNED_BY_90_DEGREES:
            height, width = width, height
        is_grey = image.mode in _GREY_MODES or image.mode.startswith("I;16")
        return Header(height, width, _kind(image), is_grey or None)


def is_grey(path: Path) -> bool:
    """Whether every pixel of a picture is grey.

    Raises:
        Exception: Of any kind, if it cannot be read.
    """
    with _opened(path) as image:
        if _kind(image) == BYTES:
            pixels = np.asarray(_without_transparency(image)[0].convert("RGB"))
        else:
            pixels = _wide_pixels(path, image)
    # A few pixels suffice for most colour pictures.
    return _has_equal_channels(pixels[::16, ::16]) and _has_equal_channels(pixels)


def decode(path: Path, shape: tuple[int, int, int]) -> tuple[np.ndarray, int]:
    """The pixels of a picture, upright, and its flags.

    Transparency becomes white, as in a browser, or black if the content would be invisible on
    white. Where all is equally transparent, no ground would show more; then what would be invisible
    is read as if it were opaque. Of several frames the first is read.

    Args:
        path: The file.
        shape: Height, width and channels (1 or 3) of the result.

    Returns:
        ``uint8`` values for ``BYTES``; for other kinds the original values as ``float32`` or, for
        32-bit integers, ``float64``. And a sum of ``FIRST_FRAME``, ``ON_WHITE``, ``ON_BLACK``,
        ``AS_OPAQUE``, ``TURNED`` and, for a picture of more pixels than the result, ``LARGER``.

    Raises:
        Exception: Of any kind, if it cannot be read.
    """
    with _opened(path) as image:
        if _kind(image) == BYTES:
            flat, flags = _without_transparency(image)
            flat = _upright(flat, image).convert("L" if shape[2] == 1 else "RGB")
            pixels = np.asarray(_resized(flat, shape), np.uint8).reshape(shape)
        else:
            pixels, flags = _of_shape(_wide_pixels(path, image), shape), 0
        if image.height * image.width > shape[0] * shape[1]:
            flags |= LARGER
        if _orientation(image) != 1:
            flags |= TURNED
        if image.format != "MPO" and getattr(image, "is_animated", False):
            flags |= FIRST_FRAME
    return pixels, flags


def type_of(kind: str) -> np.dtype:
    """The type of the pixels that :func:`decode` makes of pictures of that kind."""
    return np.dtype({BYTES: np.uint8, _INTEGERS: np.float64}.get(kind, np.float32))


@contextlib.contextmanager
def _opened(path: Path):
    from PIL import Image

    Image.init()
    formats = [name for name in _FORMATS if name in Image.OPEN]
    # Not by path: Pillow would memory-map some files, which garbles TIFF files to be rotated by 90
    # degrees.
    with path.open("rb") as file, Image.open(file, formats=formats) as image:
        yield image


def _kind(image) -> str:
    if image.mode == "F":
        return _FLOATS
    if image.mode == "I":
        return _INTEGERS
    if image.mode.startswith("I;16") or _keeps_high_bytes(image):
        return _WORDS
    if image.mode == "L" and _sample_format(image) == _SIGNED:
        raise ValueError("its 8-bit values have a sign, which would be read as large ones")
    return BYTES


def _sample_format(image) -> int | None:
    given = image.tag_v2.get(_TIFF_SAMPLE_FORMAT) if image.format == "TIFF" else None
    return given[0] if isinstance(given, tuple) else given


def _orientation(image) -> int:
    from PIL import ExifTags, Image

    if image.format == "TIFF":  # Pillow rotates these itself
        return 1
    try:
        # Not the PNG reader's method, which would decode all pixels first.
        return Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged metadata does not make a picture unreadable
        return 1


def _upright(picture, image):
    """Rotate ``picture``, which was made from ``image``, according to the latter's metadata."""
    from PIL import ImageOps

    if _orientation(image) == 1:
        return picture
    turned = picture.copy()
    turned.info["exif"] = image.info.get("exif", b"")
    return ImageOps.exif_transpose(turned)


def _without_transparency(image):
    """An 8-bit picture on white, or as :func:`decode` says if invisible on it; and the flag."""
    from PIL import Image

    if not image.has_transparency_data:
        image.load()
        return image, 0
    image = image.convert("RGBA")
    lowest, highest = image.getchannel("A").getextrema()
    if lowest == 255:
        return image.convert("RGB"), 0

    def on(colour):
        ground = Image.new("RGBA", image.size, colour)
        return Image.alpha_composite(ground, image).convert("RGB")

    on_white = on("white")
    if _contrast(on_white) < _LEAST_CONTRAST:
        # What is equally transparent has the same contrast on every ground.
        is_even = lowest == highest
        other = image.convert("RGB") if is_even else on("black")
        if _contrast(other) > _contrast(on_white):
            return other, AS_OPAQUE if is_even else ON_BLACK
    return on_white, ON_WHITE


def _contrast(image) -> int:
    return max(highest - lowest for lowest, highest in image.getextrema())


def _resized(image, shape):
    from PIL import Image

    size = (shape[1], shape[0])
    return image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)


def _wide_pixels(path: Path, image) -> np.ndarray:
    """Unchanged values of more than 8 bits, ``(height, width, channels)``."""
    if _keeps_high_bytes(image):
        pixels = _both_bytes(path, image)
    else:
        unsigned = image.mode == "I" and _sample_format(image) == _UNSIGNED
        pixels = np.asarray(_upright(image, image))
        pixels = pixels.view(np.uint32) if unsigned else pixels
    if not np.isfinite(pixels).all():
        raise ValueError("it holds values that are not finite")
    return pixels.reshape(*pixels.shape[:2], -1)


def _keeps_high_bytes(image) -> bool:
    """Whether Pillow reads only the high bytes of 16-bit channels."""
    is_colour = not image.mode.startswith("I")
    return is_colour and image.format in ("PNG", "TIFF") and ";16" in "".join(_raw_modes(image))


def _raw_modes(image) -> list[str]:
    """The layout of the pixels in the file, such as ``RGB;16B``."""
    return [tile.args if isinstance(tile.args, str) else tile.args[0] for tile in image.tile]


def _both_bytes(path: Path, image) -> np.ndarray:
    """16-bit colours: a second read with swapped bytes yields the low bytes."""
    if not set(_raw_modes(image)) <= set(_SWAPPED):
        raise ValueError("it has 16 bits a channel in a form that cannot be read in full")
    with _opened(path) as other:
        other.tile = [
            tile._replace(
                args=_SWAPPED[tile.args]
                if isinstance(tile.args, str)
                else (_SWAPPED[tile.args[0]], *tile.args[1:])
            )
            for tile in other.tile
        ]
        high, low = np.asarray(_upright(image, image)), np.asarray(_upright(other, other))
    pixels = high.astype(np.uint16) * 256 + low
    if pixels.shape[2] == 4 and pixels[..., 3].min() < 65535:
        raise ValueError("it is transparent, which only pictures of 8 bits may be")
    return pixels[..., :3]


def _of_shape(pixels: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    from PIL import Image

    # float32 represents 16-bit values exactly, but not 32-bit integers.
    is_long = pixels.dtype.kind in "iu" and pixels.itemsize > 2
    pixels = pixels.astype(np.float64 if is_long else np.float32)
    if pixels.shape[2] == 3 and shape[2] == 1:
        pixels = pixels @ _LUMINANCE[:, None].astype(pixels.dtype)
    if pixels.shape[:2] != shape[:2]:
        # Pillow resizes float32, so the common offset is removed meanwhile to keep precision.
        low = pixels.min()
        channels = [
            np.asarray(_resized(Image.fromarray((channel - low).astype(np.float32)), shape))
            for channel in np.moveaxis(pixels, -1, 0)
        ]
        pixels = np.stack(channels, axis=-1).astype(pixels.dtype) + low
    return np.broadcast_to(pixels, shape)


def _has_equal_channels(pixels: np.ndarray) -> bool:
    return bool((pixels == pixels[..., :1]).all())
