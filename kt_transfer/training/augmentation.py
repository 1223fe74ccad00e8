"""Random augmentation of raw examples: pure functions of a batch and a seed, for XLA."""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf

from kt_transfer.data.ranges import Range, is_by_column

# Affine views of strength 1: at most so many degrees, and shares of scale and size.
ROTATION, SCALE, SHEAR, SHIFT = 15.0, 0.1, 8.0, 0.07


def augmentation(kind: str, strength: float, value_range: Range) -> Callable:
    """The ``augment`` of a :class:`~kt_transfer.FusedModel`.

    Args:
        kind: ``"affine"``, ``"shift"``, ``"resample"`` or ``"noise"``.
        strength: For :func:`random_affine`, what all of its default strengths are multiplied by;
            for :func:`random_shift`, the largest shift in pixels; for :func:`resample`, the share
            of the values; for :func:`add_noise`, the standard deviation relative to values scaled
            to [-1, 1].
        value_range: Smallest and largest raw value, or the ranges of the columns. Images are
            filled with the smallest.

    Returns:
        A function ``(x, seed)`` from raw examples to raw examples.
    """
    low, high = value_range
    if kind == "affine":
        largest = {"rotation": ROTATION, "scale": SCALE, "shear": SHEAR, "shift": SHIFT}
        options = {name: strength * value for name, value in largest.items()}
        return lambda x, seed: random_affine(x, seed, **options, fill=low)
    if kind == "shift":
        return lambda x, seed: random_shift(x, seed, pixels=int(strength), fill=low)
    if kind == "resample":
        return lambda x, seed: resample(x, seed, share=strength)
    deviation = strength * (high - low) / 2.0
    return lambda x, seed: add_noise(x, seed, deviation=deviation, value_range=value_range)


def random_affine(
    x,
    seed,
    *,
    rotation: float = ROTATION,
    scale: float = SCALE,
    shear: float = SHEAR,
    shift: float = SHIFT,
    fill: float = 0.0,
):
    """Rotate, stretch, shear and shift each image at random, about its centre.

    Such views of a labelled image belong to its class (Simard, Steinkraus & Platt, 2003,
    https://doi.org/10.1109/ICDAR.2003.1227801). Each number is uniform within ± its largest value;
    that of the scale is an exponent, so that an image is as often halved as it is doubled.

    Args:
        x: Images of shape ``(batch, height, width[, channels])``.
        seed: Two integers.
        rotation: Largest rotation in degrees.
        scale: Largest stretching, of height and width independently: 0.1 is a factor from
            1 / 1.1 to 1.1.
        shear: Largest angle in degrees by which vertical lines are slanted, below 90.
        shift: Largest shift, as a share of height and of width.
        fill: Value around the image.

    Returns:
        Images of the same shape and type; exactly ``x`` if all strengths are 0.

    Example:
        >>> x = np.zeros((100, 9, 9), "uint8")
        >>> x[:, 4, 1:8] = 200  # a horizontal bar
        >>> none = {"scale": 0.0, "shear": 0.0, "shift": 0.0}
        >>> turned = random_affine(x, (0, 1), rotation=90.0, **none).numpy()
        >>> bool((turned[:, 4, 4] >= 199).all())  # the centre stays where it is
        True
        >>> sorted({int((image > 99).any(axis=1).sum()) for image in turned})
        [1, 3, 5, 7]
    """
    x = tf.convert_to_tensor(x)
    size = tf.constant([x.shape[1], x.shape[2]], tf.float32)
    drawn = tf.random.stateless_uniform((6, tf.shape(x)[0]), seed, -1.0, 1.0)
    angle, slant = (math.radians(most) * drawn[n] for n, most in enumerate((rotation, shear)))
    down, right = (tf.pow(1.0 + scale, drawn[n]) for n in (2, 3))
    cos, sin, slant = tf.cos(angle), tf.sin(angle), tf.tan(slant)
    # A rotation of a shear of a stretched image, in coordinates (row, column).
    rows = [[(cos - sin * slant) * down, -sin * right], [(sin + cos * slant) * down, cos * right]]
    matrices = tf.stack([tf.stack(row, axis=1) for row in rows], axis=1)
    centre = (size - 1.0) / 2.0
    moved = shift * size * tf.transpose(drawn[4:])
    return affine(x, matrices, centre + moved - tf.linalg.matvec(matrices, centre), fill=fill)


def affine(x, matrices, offsets, *, fill: float = 0.0):
    """Resample each image by a transform of its own, bilinearly.

    The value of pixel p, as (row, column), becomes that at matrix · p + offset, as with
    ``scipy.ndimage.affine_transform(order=1, mode="grid-constant")``.

    Args:
        x: Images of shape ``(batch, height, width[, channels])``.
        matrices: Shape ``(batch, 2, 2)``, ``float32``.
        offsets: Shape ``(batch, 2)``, ``float32``, in pixels.
        fill: Value around the image.

    Returns:
        Images of the same shape and type, rounded for integer types.

    Example:
        >>> x = np.array([[[1.0, 2.0], [3.0, 4.0]]], "float32")
        >>> affine(x, np.eye(2, dtype="float32")[None], np.array([[0.0, 0.5]], "float32")).numpy()
        array([[[1.5, 1. ],
                [3.5, 2. ]]], dtype=float32)
    """
    x = tf.convert_to_tensor(x)
    return _resampled(x, matrices, offsets, tf.cast(fill, x.dtype))


# Compiled wherever it is called: views of 356 images of 28 × 28 take 3 ms of a core, and five times
# as much in a graph; a step of 784-1000-500-250-10 on them takes 30 ms.
@tf.function(autograph=False, jit_compile=True)
def _resampled(x, matrices, offsets, fill):
    num, (height, width) = tf.shape(x)[0], x.shape[1:3]
    # Surrounded by one pixel of the fill, where everything outside is looked up.
    around = [[0, 0], [1, 1], [1, 1]] + [[0, 0]] * (x.shape.rank - 3)
    pixels = tf.reshape(tf.pad(x, around, constant_values=fill), (num, -1, *x.shape[3:]))
    below, beside = tf.range(height, dtype=tf.float32), tf.range(width, dtype=tf.float32)

    def looked_up(axis: int, size: int):
        """Where each pixel is read: the pixel before, and how far behind it, (batch, h, w)."""
        down, right = (matrices[:, axis, n, None] for n in (0, 1))
        along = (down * below + offsets[:, axis, None])[:, :, None] + (right * beside)[:, None]
        place = tf.clip_by_value(along, -1.0, float(size)) + 1.0
        before = tf.minimum(tf.floor(place), float(size))
        return tf.cast(before, tf.int32), place - before

    (row, past_row), (column, past_column) = looked_up(0, height), looked_up(1, width)
    corner = tf.reshape(row * (width + 2) + column, (num, -1))
    exact = tf.float64 if x.dtype == tf.float64 else tf.float32

    def at(step: int):
        # Image by image, which XLA does several times faster than from all pixels together.
        found = tf.gather(pixels, corner + step, batch_dims=1)
        return tf.cast(tf.reshape(found, tf.shape(x)), exact)

    if x.shape.rank == 4:
        past_row, past_column = past_row[..., None], past_column[..., None]
    past_row, past_column = tf.cast(past_row, exact), tf.cast(past_column, exact)
    upper, right, lower, opposite = (at(step) for step in (0, 1, width + 2, width + 3))
    upper += past_column * (right - upper)
    lower += past_column * (opposite - lower)
    values = upper + past_row * (lower - upper)
    return tf.saturate_cast(tf.round(values) if x.dtype.is_integer else values, x.dtype)


def random_shift(x, seed, *, pixels: int, fill: float = 0.0):
    """Shift each image vertically and horizontally by up to ``pixels``.

    Shifts are uniform from -pixels to pixels, as in the jitter of Hinton, Vinyals & Dean
    (2015, https://arxiv.org/abs/1503.02531).

    Args:
        x: Images of shape ``(batch, height, width[, channels])``.
        seed: Two integers.
        pixels: Largest shift.
        fill: Value of the pixels that are shifted in.

    Returns:
        Images of the same shape and type.

    Example:
        >>> moved = random_shift(np.ones((100, 8, 8)), (0, 1), pixels=2)
        >>> sorted({int(image.any(axis=1).sum()) for image in moved.numpy()})
        [6, 7, 8]
    """
    x = tf.convert_to_tensor(x)
    around = [[0, 0], [pixels, pixels], [pixels, pixels]] + [[0, 0]] * (x.shape.rank - 3)
    padded = tf.pad(x, around, constant_values=tf.cast(fill, x.dtype))
    starts = tf.random.stateless_uniform((2, tf.shape(x)[0]), seed, 0, 2 * pixels + 1, tf.int32)
    for axis in (1, 2):
        wanted = starts[axis - 1][:, None] + tf.range(x.shape[axis])
        padded = tf.gather(padded, wanted, axis=axis, batch_dims=1)
    return padded


def add_noise(x, seed, *, deviation, value_range: Range):
    """Add Gaussian noise to every value, rounded for integer types and clipped to the range.

    Args:
        x: Examples of shape ``(batch, ...)``.
        seed: Two integers.
        deviation: Standard deviation of the noise in raw values, one for all or one per column.
        value_range: Smallest and largest raw value, or the ranges of the columns.

    Returns:
        Examples of the same shape and type.

    Example:
        >>> x = np.full((1, 4), 9, "uint8")
        >>> noisy = add_noise(x, (0, 1), deviation=1e3, value_range=(0, 16))
        >>> set(noisy.numpy().ravel().tolist()) <= {0, 16}
        True
    """
    x = tf.convert_to_tensor(x)
    noise = tf.random.stateless_normal(tf.shape(x), seed)
    exact = tf.float64 if is_by_column(value_range) or x.dtype == tf.float64 else tf.float32
    values, (low, high) = tf.cast(x, exact), (tf.constant(end, exact) for end in value_range)
    noisy = values + tf.constant(deviation, exact) * tf.cast(noise, exact)
    # A value outside its column's range may not move further out.
    noisy = tf.clip_by_value(noisy, tf.minimum(values, low), tf.maximum(values, high))
    return tf.saturate_cast(tf.round(noisy) if x.dtype.is_integer else noisy, x.dtype)


def cut_out(x, seed, *, share: float = 0.5, fill: float = 0.0):
    """Cover a square of each image at random (DeVries & Taylor, 2017).

    https://arxiv.org/abs/1708.04552: its centre is uniform over the pixels, so that it may lie
    partly outside.

    Args:
        x: Images of shape ``(batch, height, width[, channels])``.
        seed: Two integers.
        share: Its side, as a share of height and of width, from 0 to 1.
        fill: Value of the pixels that it covers.

    Returns:
        Images of the same shape and type.

    Example:
        >>> covered = cut_out(np.ones((100, 8, 8)), (0, 1), share=0.5).numpy() == 0
        >>> sorted({int(image.any(axis=1).sum()) for image in covered})
        [2, 3, 4]
    """
    x = tf.convert_to_tensor(x)
    drawn = tf.random.stateless_uniform((2, tf.shape(x)[0]), seed)
    within = []
    for axis in (1, 2):
        size = x.shape[axis]
        half = round(share * size) / 2
        centre = tf.floor(drawn[axis - 1] * size)
        place = tf.range(size, dtype=tf.float32) - centre[:, None]
        within.append((place >= -half) & (place < half))
    covered = within[0][:, :, None] & within[1][:, None, :]
    covered = tf.reshape(covered, [*tf.unstack(tf.shape(covered)), *[1] * (x.shape.rank - 3)])
    return tf.where(covered, tf.cast(fill, x.dtype), x)


def resample(x, seed, *, share: float):
    """Replace values at random by those of another example of the batch in the same column.

    So each column keeps its distribution, whatever kind of number it holds, as in SCARF (Bahri et
    al., 2022, https://arxiv.org/abs/2106.15147).

    Args:
        x: Examples of shape ``(batch, columns)``.
        seed: Two integers.
        share: Share of the values that are replaced, from 0 to 1.

    Returns:
        Examples of the same shape and type.

    Example:
        >>> x = np.arange(2000).reshape(1000, 2)
        >>> changed = resample(x, (0, 1), share=0.3).numpy()
        >>> bool((changed % 2 == x % 2).all()), round(float((changed != x).mean()), 1)
        (True, 0.3)
    """
    x = tf.convert_to_tensor(x)
    drawn = tf.random.stateless_uniform((2, *x.shape[1:], tf.shape(x)[0]), seed)
    # The first number decides whether, the second from which example.
    others = tf.cast(tf.transpose(drawn[1]) * tf.cast(tf.shape(x)[0], tf.float32), tf.int32)
    flat = others * x.shape[1] + tf.range(x.shape[1])
    replaced = tf.gather(tf.reshape(x, (-1,)), flat)
    return tf.where(tf.transpose(drawn[0]) < share, replaced, x)
