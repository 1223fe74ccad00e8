"""Random augmentation of raw examples: pure functions of a batch and a seed, for XLA."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from kt_transfer.data.ranges import Range, is_by_column


def augmentation(kind: str, strength: float, value_range: Range) -> Callable:
    """The ``augment`` of a :class:`~kt_transfer.FusedModel`.

    Args:
        kind: ``"shift"`` or ``"noise"``.
        strength: For :func:`random_shift`, the largest shift in pixels; for :func:`add_noise`, the
            standard deviation relative to values scaled to [-1, 1].
        value_range: Smallest and largest raw value, or the ranges of the columns. Shifted images
            are filled with the smallest.

    Returns:
        A function ``(x, seed)`` from raw examples to raw examples.
    """
    low, high = value_range
    if kind == "shift":
        return lambda x, seed: random_shift(x, seed, pixels=int(strength), fill=low)
    deviation = strength * (high - low) / 2.0
    return lambda x, seed: add_noise(x, seed, deviation=deviation, value_range=value_range)


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
