"""What steps give, as stock Keras gives it to callbacks and callers."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from keras import tree


def as_numbers(logs: dict) -> dict:
    """Logs as floats, and as they are where they are no numbers; nested ones in line."""
    numbers = {}
    for name, value in sorted(logs.items()):
        if isinstance(value, dict):
            numbers |= as_numbers(value)
        else:
            value = np.asarray(value)
            numbers[name] = float(value) if value.ndim == 0 else value
    return numbers


def to_numpy(output):
    """An output as an array; a sparse or ragged one stays a tensor, as in stock Keras."""
    return output.numpy() if isinstance(output, tf.Tensor) else output


def joined(pieces: list):
    """The outputs of all batches, one structure each, as one."""
    return tree.map_structure(lambda *parts: _joined(parts), *pieces)


def _joined(parts):
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
