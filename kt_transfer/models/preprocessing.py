"""Preprocessing of raw examples: the one place where they are scaled."""

from __future__ import annotations

import math

import keras
import numpy as np

from kt_transfer.data.ranges import WITHIN, Range, is_by_column, middle_and_reach, raw_rows
from kt_transfer.data.table_features import Layout
from kt_transfer.models.table_features import table_features


def preprocessing_model(
    input_shape: tuple[int, ...],
    value_range: Range,
    dtype: str = "uint8",
    *,
    flatten: bool = True,
    layout: Layout | None = None,
) -> keras.Model:
    """Scale raw values from their range to [-1, 1], as flat features or as an image.

    The same model runs inside training, prediction and the exported graph.

    Args:
        input_shape: Shape of one raw example.
        value_range: Smallest and largest raw value, which become -1 and 1; or two arrays with the
            range of each column, as for :func:`scaled`.
        dtype: Type of the raw values.
        flatten: Whether to flatten each example; otherwise it becomes an image of shape
            :func:`image_shape`.
        layout: For the rows of a table with a schema, the features that they become, as by
            :func:`~kt_transfer.models.table_features.table_features`.

    Returns:
        A functional model, ``(batch, *input_shape)`` to ``(batch, features)`` or
        ``(batch, height, width, channels)``.

    Raises:
        ValueError: If an image is asked for and the examples are not images.

    Example:
        >>> scale = preprocessing_model((2, 2), (0.0, 255.0))
        >>> scale(np.array([[[0, 255], [255, 0]]], "uint8")).numpy()
        array([[-1.,  1.,  1., -1.]], dtype=float32)
    """
    raw = keras.Input(input_shape, dtype=str(dtype), name="raw")
    x = scaled(raw, value_range, has_missing=layout is not None)
    if layout is not None:
        return keras.Model(raw, table_features(raw, x, layout), name="preprocessing")
    # Not Flatten, whose output dimension is unknown for shape (1,).
    shape = (math.prod(input_shape),) if flatten else image_shape(input_shape)
    shaped = keras.layers.Reshape(shape, name="flatten" if flatten else "image")(x)
    return keras.Model(raw, shaped, name="preprocessing")


def scaled(
    raw,
    value_range: Range,
    wanted: tuple[float, float] = (-1.0, 1.0),
    *,
    has_missing: bool = False,
):
    """Scale raw values to the wanted range with stock layers.

    If each column has its own range, this range is mapped to the inner ``WITHIN`` of the wanted
    one, and values outside are compressed monotonically into the rest.

    Args:
        raw: Symbolic input.
        value_range: Smallest and largest raw value, or the ranges of the columns.
        wanted: The values that they become.
        has_missing: Whether values may be NaN, which becomes the middle of its column's range.
    """
    low, high = value_range
    if not is_by_column(value_range) and (raw.dtype == "uint8" or (low, high) == wanted):
        scale = (wanted[1] - wanted[0]) / (high - low)
        return keras.layers.Rescaling(scale, offset=wanted[0] - low * scale, name="scale")(raw)
    # Subtract first, at full precision: values far from 0 may lie close together.
    middle, reach = middle_and_reach(value_range)
    in_float32 = raw.dtype == "float32" and not is_by_column(value_range) and 1e-30 < reach < 1e30
    exact = "float32" if in_float32 else "float64"
    # As arrays, since Keras converts plain numbers to float32 whatever the layer's dtype.
    offset, scale = np.array(-middle), np.array(1 / reach)
    x = keras.layers.Rescaling(1.0, offset, dtype=exact, name="center")(raw)
    if has_missing:
        x = keras.ops.nan_to_num(x)
    x = keras.layers.Rescaling(scale, dtype=exact, name="scale")(x)
    if is_by_column(value_range):
        x = _with_ends_compressed(x)
    half = (wanted[1] - wanted[0]) / 2
    return keras.layers.Rescaling(half, wanted[0] + half, dtype="float32", name="values")(x)


def _with_ends_compressed(x):
    """x · WITHIN for x in [-1, 1]; values outside approach ±1 monotonically."""

    def activation(name, label):
        return keras.layers.Activation(name, dtype="float64", name=label)

    within = activation("hard_tanh", "within")(x)
    beyond = keras.layers.Subtract(dtype="float64", name="beyond")([x, within])
    beyond = activation("softsign", "compressed")(beyond)
    shares = [
        keras.layers.Rescaling(share, dtype="float64", name=name)(part)
        for share, name, part in (
            (WITHIN, "within_share", within),
            (1 - WITHIN, "beyond_share", beyond),
        )
    ]
    return keras.layers.Add(dtype="float64", name="together")(shares)


def as_image(shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """Height, width and channels of examples of that shape; ``None`` if they are not images.

    Example:
        >>> as_image((8, 8)), as_image((32, 32, 3)), as_image((30,))
        ((8, 8, 1), (32, 32, 3), None)
    """
    if len(shape) == 2:
        return (*shape, 1)
    return tuple(shape) if len(shape) == 3 else None


def image_shape(input_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Height, width and channels of one raw example, with one channel by default.

    Raises:
        ValueError: If it is not an image.

    Example:
        >>> image_shape((8, 8))
        (8, 8, 1)
    """
    image = as_image(input_shape)
    if image is None:
        raise ValueError(f"input_shape {input_shape}, expected (height, width[, channels])")
    return image


def takes_images(model: keras.Model) -> bool:
    """Whether a model takes images rather than flat features."""
    return len(model.input_shape) > 2


def can_take(model: keras.Model, input_shape: tuple[int, ...]) -> bool:
    """Whether a model takes raw examples of that shape, flattened or as images."""
    if takes_images(model):
        return as_image(input_shape) == tuple(model.input_shape[1:])
    return model.input_shape[-1] == math.prod(input_shape)


def raw_values(features, input_shape: tuple[int, ...], value_range: Range) -> np.ndarray:
    """The inverse of :func:`preprocessing_model`: map values in [-1, 1] to raw ones.

    Args:
        features: Array or tensor of shape ``(batch, features)`` or
            ``(batch, height, width, channels)``.
        input_shape: Shape of one raw example.
        value_range: Smallest and largest raw value, or the ranges of the columns.

    Returns:
        Floats of shape ``(batch, *input_shape)``.
    """
    x = np.reshape(keras.ops.convert_to_numpy(features), (-1, *input_shape))
    if is_by_column(value_range):
        return raw_rows(x, value_range)
    middle, reach = middle_and_reach(value_range)
    return middle + x.astype(np.float64) * reach
