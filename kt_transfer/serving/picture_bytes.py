"""Pictures as they stand in files, JPEG or PNG, at the entrance of what is served.

A graph that does what ``data/pictures.py`` does with Pillow: turns a picture upright, puts what is
transparent on white, makes it grey or coloured, and resizes it to ``uint8`` values. These are
Pillow's but for resizing, where Pillow rounds once more in between: a value then differs by 1 at
most (measured in ``benchmarks/results/picture_bytes.md``).
"""

from __future__ import annotations

import tensorflow as tf

# Below this contrast, a shape is invisible on white (as in data/pictures.py).
_LEAST_CONTRAST = 32
# What Pillow weighs colours with, in whole numbers of so many bits after the point.
_LUMINANCE_BITS = 16
_LUMINANCE = (19595, 38470, 7471)
_ORIENTATION, _IS_SHORT = 0x0112, 3
_START_OF_SCAN, _APP1 = 0xDA, 0xE1
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"


def decode_pictures(image_bytes, shape: tuple[int, ...]):
    """Raw examples from the contents of picture files, within a graph.

    Args:
        image_bytes: Strings, shape ``(n,)``: JPEG or 8-bit PNG, of any size; of an animated PNG
            the first picture is read. PNG of 16 bits and other formats, GIF among them, are
            refused, since they would be read in another way than in training.
        shape: Of one raw example: height, width and, unless it is 1, the channels (1 or 3).

    Returns:
        ``uint8`` of shape ``(n, *shape)``; no examples for no strings.

    Raises:
        tf.errors.InvalidArgumentError: In the graph, if one of them is no such picture.

    Example:
        >>> png = tf.io.encode_png(np.full((4, 6, 3), 200, "uint8"))
        >>> decode_pictures(tf.stack([png, png]), (2, 3)).numpy()[0]
        array([[200, 200, 200],
               [200, 200, 200]], dtype=uint8)
    """
    channels = shape[2] if len(shape) == 3 else 1

    def decode(content):
        flat = _turned(_decoded(content), _orientation(content))
        if channels == 1:
            flat = _grey(flat)
        return tf.reshape(_resized(flat, shape[0], shape[1]), shape)

    # One after the other: a large picture takes many times its size while it is resized.
    spec = tf.TensorSpec(shape, tf.uint8)
    return tf.map_fn(decode, image_bytes, parallel_iterations=1, fn_output_signature=spec)


def _decoded(content):
    """Colours of a JPEG or PNG file on white, ``uint8`` of shape ``(height, width, 3)``."""
    is_jpeg = tf.equal(tf.strings.substr(content, 0, len(_JPEG)), _JPEG)
    is_png = tf.equal(tf.strings.substr(content, 0, len(_PNG)), _PNG)
    known = tf.debugging.Assert(
        is_jpeg | is_png, ["image_bytes holds what is neither a JPEG nor a PNG file"]
    )
    with tf.control_dependencies([known]):
        return tf.cond(is_jpeg, lambda: _of_jpeg(content), lambda: _of_png(content))


def _of_jpeg(content):
    # As accurate as Pillow, which other software's faster ways are not.
    return tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")


def _of_png(content):
    bits = tf.io.decode_raw(tf.strings.substr(content, 24, 1), tf.uint8)
    narrow = tf.debugging.Assert(
        tf.reduce_all(bits <= 8),
        ["image_bytes holds a PNG file of 16 bits, and the model was trained on 8-bit pictures"],
    )
    with tf.control_dependencies([narrow]):
        picture = tf.io.decode_png(content, channels=4)
    colours, opacity = tf.cast(picture[..., :3], tf.int32), tf.cast(picture[..., 3:], tf.int32)
    on_white, on_black = _over(colours, opacity, 255), _over(colours, opacity, 0)
    # What is equally transparent has the same contrast on every ground.
    is_even = tf.reduce_max(opacity) <= tf.reduce_min(opacity)
    other = tf.where(is_even, colours, on_black)
    seen = _contrast(on_white)
    is_lost = (seen < _LEAST_CONTRAST) & (_contrast(other) > seen)
    return tf.cast(tf.where(is_lost, other, on_white), tf.uint8)


def _over(colours, opacity, ground: int):
    """A picture on a ground of one grey, rounded as Pillow's ``alpha_composite``."""
    mixed = colours * opacity + ground * (255 - opacity)
    mixed = mixed * 128 + 128 * 128
    mixed = tf.bitwise.right_shift(tf.bitwise.right_shift(mixed, 8) + mixed, 15)
    return tf.where(opacity > 0, mixed, ground)


def _contrast(picture):
    """The largest difference in a channel."""
    ends = tf.reduce_max(picture, axis=(0, 1)) - tf.reduce_min(picture, axis=(0, 1))
    return tf.reduce_max(ends)


def _orientation(content):
    """The orientation that the metadata of a JPEG or PNG file state, 1 to 8; 1 where none do."""
    # Metadata stand at the beginning: a segment of a JPEG file has 64 KiB at most.
    values = tf.cast(tf.io.decode_raw(tf.strings.substr(content, 0, 2**19), tf.uint8), tf.int32)
    values = tf.concat([values, [0]], axis=0)  # that of an empty string has a first one, too
    is_jpeg = values[0] == _JPEG[0]
    start = tf.cond(is_jpeg, lambda: _exif_of_jpeg(values), lambda: _exif_of_png(values))
    return tf.cond(start < 0, lambda: tf.constant(1), lambda: _from_exif(values, start))


def _exif_of_jpeg(values):
    """Where the TIFF header within the Exif segment is; -1 where there is none."""
    size = tf.size(values)

    def is_exif(place):
        return (_at(values, place + 1) == _APP1) & _is_word(values, place + 4, b"Exif\0\0")

    def goes_on(place):
        is_segment = (_at(values, place) == 0xFF) & (_at(values, place + 1) != _START_OF_SCAN)
        return (place + 4 < size) & is_segment & ~is_exif(place)

    def following(place):
        # A marker may be preceded by further 0xFF.
        is_fill = _at(values, place + 1) == 0xFF
        return (tf.where(is_fill, place + 1, place + 2 + _whole(values, place + 2, 2, True)),)

    (place,) = tf.while_loop(goes_on, following, (tf.constant(2),))
    found = (place + 4 < size) & is_exif(place)
    return tf.where(found, place + 10, -1)


def _exif_of_png(values):
    """Where the TIFF header within the eXIf chunk is; -1 where there is none before the pixels."""
    size = tf.size(values)

    def is_one_of(place, *words):
        return tf.reduce_any([_is_word(values, place + 4, word) for word in words])

    def goes_on(place):
        return (place + 8 < size) & ~is_one_of(place, b"eXIf", b"IDAT", b"IEND")

    def following(place):
        # No longer than what is looked at, so that the place cannot overflow.
        return (place + 12 + tf.clip_by_value(_whole(values, place, 4, True), 0, size),)

    (place,) = tf.while_loop(goes_on, following, (tf.constant(len(_PNG)),))
    return tf.where((place + 8 < size) & is_one_of(place, b"eXIf"), place + 8, -1)


def _from_exif(values, start):
    """The orientation in the first directory of a TIFF structure."""
    is_big = _is_word(values, start, b"MM")
    offset = tf.clip_by_value(_whole(values, start + 4, 4, is_big), 0, tf.size(values))
    count = _whole(values, start + offset, 2, is_big)
    entries = start + offset + 2 + 12 * tf.range(count)
    is_wanted = (_whole(values, entries, 2, is_big) == _ORIENTATION) & (
        _whole(values, entries + 2, 2, is_big) == _IS_SHORT
    )
    stated = tf.where(is_wanted, _whole(values, entries + 8, 2, is_big), 0)
    largest = tf.reduce_max(tf.concat([[0], stated], axis=0))
    return tf.where((largest >= 1) & (largest <= 8), largest, 1)


def _at(values, places):
    """The bytes at these places, 0 beyond the end."""
    size = tf.size(values)
    inside = (places >= 0) & (places < size)
    return tf.where(inside, tf.gather(values, tf.clip_by_value(places, 0, size - 1)), 0)


def _whole(values, place, length: int, is_big):
    """A whole number of so many bytes at each place."""
    read = [_at(values, place + number) for number in range(length)]
    big = little = tf.zeros_like(read[0])
    for byte, other in zip(read, reversed(read), strict=True):
        big, little = big * 256 + byte, little * 256 + other
    return tf.where(is_big, big, little)


def _is_word(values, place, word: bytes):
    found = _at(values, place + tf.range(len(word)))
    return tf.reduce_all(found == tf.constant(list(word)))


def _turned(picture, orientation):
    """A picture turned upright, by its orientation as Exif numbers them."""

    def among(*numbers):
        return tf.reduce_any(tf.equal(orientation, list(numbers)))

    picture = tf.cond(orientation >= 5, lambda: tf.transpose(picture, (1, 0, 2)), lambda: picture)
    picture = tf.cond(among(2, 3, 6, 7), lambda: picture[:, ::-1], lambda: picture)
    return tf.cond(among(3, 4, 7, 8), lambda: picture[::-1], lambda: picture)


def _grey(picture):
    """Luminance, rounded as Pillow does."""
    weighed = tf.reduce_sum(tf.cast(picture, tf.int32) * tf.constant(_LUMINANCE), -1, keepdims=True)
    half = 1 << (_LUMINANCE_BITS - 1)
    return tf.cast(tf.bitwise.right_shift(weighed + half, _LUMINANCE_BITS), tf.uint8)


def _resized(picture, height: int, width: int):
    """A picture resized by the filter that training uses, which looks at every pixel."""
    resized = tf.image.resize(picture, (height, width), antialias=True)
    return tf.cast(tf.round(resized), tf.uint8)
