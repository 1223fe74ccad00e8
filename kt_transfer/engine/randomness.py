"""The same random numbers with XLA as without, drawn several times as fast.

TensorFlow and XLA draw the same random bits (Philox; Salmon et al., 2011,
https://doi.org/10.1145/2063384.2063405) but turn them into different numbers, so that dropout
masks differ between XLA and plain graphs. If the algorithm is not named, XLA also spends most of a
step on it: on two cores 3.4 ms for a mask of 64 × 784, and 0.5 ms if it is.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import tensorflow as tf


@contextlib.contextmanager
def graph_random_numbers() -> Iterator[None]:
    """Within this context, programs traced for XLA draw the numbers that a graph draws.

    Keras has no setting for this, so TensorFlow's public functions are replaced meanwhile.
    """
    with contextlib.ExitStack() as stack:
        for module, name, draw in (
            (tf.random, "stateless_uniform", _uniform),
            (tf.random, "stateless_normal", _normal),
            (tf.nn.experimental, "stateless_dropout", _dropout),
        ):
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, draw)
        yield


_stock_uniform, _stock_normal = tf.random.stateless_uniform, tf.random.stateless_normal


def _uniform(shape, seed, minval=0, maxval=None, dtype=tf.float32, name=None):
    if dtype != tf.float32:
        return _stock_uniform(shape, seed, minval, maxval, dtype, name, alg="philox")
    high = 1.0 if maxval is None else maxval
    return _to_floats(_bits(shape, seed)) * (high - minval) + minval


def _normal(shape, seed, mean=0.0, stddev=1.0, dtype=tf.float32, name=None):
    """Box-Muller pairs, the sine first, as in TensorFlow's kernel."""
    if dtype != tf.float32:
        return _stock_normal(shape, seed, mean, stddev, dtype, name, alg="philox")
    size = tf.reduce_prod(shape)
    bits = tf.reshape(_bits([(size + 1) // 2 * 2], seed), (-1, 2))
    radius = tf.sqrt(-2.0 * tf.math.log(tf.maximum(_to_floats(bits[:, 0]), 1e-7)))
    angle = 2.0 * math.pi * _to_floats(bits[:, 1])
    pairs = tf.stack([radius * tf.sin(angle), radius * tf.cos(angle)], axis=1)
    return tf.reshape(tf.reshape(pairs, (-1,))[:size], shape) * stddev + mean


def _dropout(x, rate, seed, noise_shape=None):
    shape = tf.shape(x) if noise_shape is None else noise_shape
    kept = _uniform(shape, seed) >= rate
    return tf.where(kept, x * tf.cast(1.0 / (1.0 - rate), x.dtype), tf.zeros((), x.dtype))


def _bits(shape, seed) -> tf.Tensor:
    return _stock_uniform(shape, seed, None, None, tf.uint32, alg="philox")


def _to_floats(bits: tf.Tensor) -> tf.Tensor:
    """Floats in [0, 1): the lowest 23 bits are the mantissa, where XLA takes the highest."""
    mantissa = tf.bitwise.bitwise_and(bits, tf.constant(0x7FFFFF, tf.uint32))
    one = tf.constant(0x3F800000, tf.uint32)
    return tf.bitcast(tf.bitwise.bitwise_or(mantissa, one), tf.float32) - 1.0
