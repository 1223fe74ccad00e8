"""Histograms of oriented gradients: a fixed description of pictures that needs no training."""

from __future__ import annotations

import math

import tensorflow as tf

NUM_ORIENTATIONS = 16
# Cells along the smaller side, so that pictures of all sizes are described by about as much.
_CELLS = 8


def cell_size(height: int, width: int) -> int:
    """Pixels along a cell, by the size of the pictures.

    Example:
        >>> cell_size(28, 28), cell_size(8, 8), cell_size(224, 300)
        (4, 2, 28)
    """
    return min(height, width, max(2, round(min(height, width) / _CELLS)))


def oriented_gradients(images):
    """Describe pictures by histograms of the orientations of their gradients (HOG).

    In each cell, the orientations of the gradients are counted, weighted by their magnitudes.
    After Dalal & Triggs (2005, "Histograms of oriented gradients for human detection"): a gradient
    votes for the two nearest of 16 orientations from 0 to 360 degrees and for the cells around it,
    in proportion, so that a stroke that moves a little changes little. Of the counts the square
    roots are taken (Arandjelović & Zisserman, 2012, "Three things everyone should know to improve
    object retrieval"), which all together have the norm 1, so that neither brightness nor contrast
    matters. Normalizing blocks of cells, as the former do, costs a third more errors on digits:
    it amplifies what is faint.

    Args:
        images: Numbers of any range, ``(batch, height, width, channels)``; of each pixel, the
            channel with the largest gradient counts. Cells are of :func:`cell_size`; what is left
            over at the right and the bottom is ignored.

    Returns:
        ``float32`` of shape ``(batch, cells * 16)``.

    Example:
        >>> image = np.zeros((1, 8, 8, 1))
        >>> image[:, :, 4:] = 1  # bright on the right: all gradients point there, at 0 degrees
        >>> found = oriented_gradients(image).numpy().reshape(4, 4, 16)
        >>> found.sum(axis=(0, 1)).round(1)[:4]
        array([2.7, 0. , 0. , 0. ], dtype=float32)
    """
    images = tf.cast(images, tf.float32)
    cell = cell_size(*images.shape[1:3])
    magnitude, angle = _gradients(images)
    position = angle * (NUM_ORIENTATIONS / (2 * math.pi))
    lower = tf.floor(position)
    votes = sum(
        tf.one_hot(tf.cast(orientation, tf.int32) % NUM_ORIENTATIONS, NUM_ORIENTATIONS)
        * (share * magnitude)[..., None]
        for orientation, share in ((lower, 1 - (position - lower)), (lower + 1, position - lower))
    )
    # A mean over a cell's neighbourhood, then over the cell: weights that fall with the distance.
    spread = tf.nn.avg_pool2d(votes, cell, 1, "SAME")
    counts = tf.nn.avg_pool2d(spread, cell, cell, "VALID")
    roots = tf.sqrt(tf.reshape(counts, (-1, math.prod(counts.shape[1:]))))
    norm = tf.norm(roots, axis=1, keepdims=True)
    return tf.math.divide_no_nan(roots, norm)


def _gradients(images):
    """Magnitude and angle, 0 to 2 π, of the gradient of each pixel, ``(batch, height, width)``."""
    # Differences of the neighbours on both sides; none at the border.
    down = tf.pad(images[:, 2:] - images[:, :-2], [[0, 0], [1, 1], [0, 0], [0, 0]])
    right = tf.pad(images[:, :, 2:] - images[:, :, :-2], [[0, 0], [0, 0], [1, 1], [0, 0]])
    magnitude = tf.sqrt(down**2 + right**2)
    if images.shape[-1] > 1:
        strongest = tf.argmax(magnitude, axis=-1)
        down, right, magnitude = (
            tf.gather(values, strongest[..., None], batch_dims=3)
            for values in (down, right, magnitude)
        )
    down, right, magnitude = (values[..., 0] for values in (down, right, magnitude))
    return magnitude, tf.math.floormod(tf.atan2(down, right), 2 * math.pi)
