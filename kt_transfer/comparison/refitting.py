"""Preprocessing that goes by another range in every fold, within one compiled program.

Where a source states no range, a fold must go by what it may see alone. A model of its own for
each fold would be compiled anew; here the numbers of its layers are variables.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from kt_transfer.data.ranges import column_ranges, middle_and_reach, observed_range

_ROWS_AT_ONCE = 2**14


class _Line(keras.layers.Layer):
    """What a Rescaling layer does, with numbers that can be set."""

    def __init__(self, like: keras.layers.Rescaling, value_range: tuple[float, float]):
        super().__init__(name=like.name, dtype=like.compute_dtype, trainable=False)
        self.ends = tuple(value * like.scale + like.offset for value in value_range)
        self.scale, self.offset = (
            keras.Variable(np.asarray(number), dtype=like.compute_dtype, trainable=False)
            for number in np.broadcast_arrays(like.scale, like.offset)
        )

    def call(self, x):
        return ops.cast(x, self.compute_dtype) * self.scale + self.offset

    def compute_output_shape(self, input_shape):
        return input_shape


def refittable(preprocessing: keras.Model, value_range: tuple[float, float]) -> keras.Model:
    """A preprocessing model whose range :func:`refit` can set.

    Args:
        preprocessing: As from :func:`~kt_transfer.models.preprocessing.preprocessing_model` or
            :func:`~kt_transfer.sources.adapting.adapting_model`.
        value_range: Smallest and largest of the values that it was made for.
    """

    def replaced(layer):
        if layer.name in ("center", "scale", "seen"):
            return _Line(layer, value_range)
        return type(layer).from_config(layer.get_config())

    return keras.models.clone_model(preprocessing, clone_function=replaced)


def refit(preprocessing: keras.Model, x) -> None:
    """Let a :func:`refittable` model go by the range of given examples; others stay as they are.

    Args:
        preprocessing: The model.
        x: Raw examples that may be seen.
    """
    lines = {layer.name: layer for layer in preprocessing.layers if isinstance(layer, _Line)}
    if "center" in lines:
        center, scale = lines["center"], lines["scale"]
        by_column = len(center.offset.shape) > 0
        middle, reach = middle_and_reach((column_ranges if by_column else observed_range)(x))
        center.offset.assign(-middle)
        scale.scale.assign(1 / reach)
        if "seen" in lines:
            _note_seen(preprocessing, lines["seen"], x)
    elif "scale" in lines:
        line, (low, high) = lines["scale"], observed_range(x)
        slope = (line.ends[1] - line.ends[0]) / (high - low)
        line.scale.assign(slope)
        line.offset.assign(line.ends[0] - low * slope)


def _note_seen(preprocessing: keras.Model, line: _Line, x) -> None:
    """Let the flags of a table that the examples never raise be 0 for all."""
    flags = keras.Model(preprocessing.input, line.input)
    seen = np.zeros(line.scale.shape, bool)
    for start in range(0, len(x), _ROWS_AT_ONCE):
        block = flags(x[start : start + _ROWS_AT_ONCE])
        seen |= (ops.convert_to_numpy(block) != 0).any(axis=0)
    line.scale.assign(seen)


def fixed(preprocessing: keras.Model) -> keras.Model:
    """A :func:`refittable` model as it is now, of stock layers that load anywhere."""
    if not any(isinstance(layer, _Line) for layer in preprocessing.layers):
        return preprocessing

    def replaced(layer):
        if isinstance(layer, _Line):
            # Arrays: Keras makes float32 of lists, whatever the layer's type.
            numbers = (ops.convert_to_numpy(v) for v in (layer.scale, layer.offset))
            return keras.layers.Rescaling(*numbers, name=layer.name, dtype=layer.compute_dtype)
        return type(layer).from_config(layer.get_config())

    return keras.models.clone_model(preprocessing, clone_function=replaced)
