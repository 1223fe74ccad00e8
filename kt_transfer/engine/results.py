"""Logs and predictions in the form in which Keras returns them."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from keras import tree


def to_python(logs: dict) -> dict:
    """Logs with scalars as floats and other values as arrays; nested dicts are flattened."""
    numbers = {}
    for name, value in sorted(logs.items()):
        if isinstance(value, dict):
            numbers |= to_python(value)
        else:
            value = np.asarray(value)
            numbers[name] = float(value) if value.ndim == 0 else value
    return numbers


def to_numpy(output):
    """An output as an array; sparse and ragged tensors stay tensors, as in Keras."""
    return output.numpy() if isinstance(output, tf.Tensor) else output


def concatenate(outputs: list):
    """The outputs of several batches, each a structure of arrays, as one structure."""
    return tree.map_structure(lambda *parts: _concatenate(parts), *outputs)


def _concatenate(parts):
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], tf.SparseTensor):
        return tf.sparse.concat(0, parts)
    if isinstance(parts[0], tf.RaggedTensor):
        return tf.concat(parts, 0)
    if parts[0].ndim == 0:
        return np.stack(parts)
    if len({part.shape[1:] for part in parts}) == 1:
        return np.concatenate(parts)
    rows = [row for part in parts for row in part]
    return tf.ragged.stack([tf.convert_to_tensor(row) for row in rows])
