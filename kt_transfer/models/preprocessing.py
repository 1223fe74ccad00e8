"""From raw examples to the numbers that a network sees: the one place where they are scaled."""

from __future__ import annotations

import math

import keras


def preprocessing_model(
    input_shape: tuple[int, ...], value_range: tuple[float, float], dtype: str = "uint8"
) -> keras.Model:
    """Scale raw values from their range to [-1, 1] and flatten each example.

    The same model runs inside training, prediction and the exported graph.

    Args:
        input_shape: Shape of one raw example.
        value_range: Smallest and largest raw value; they become -1 and 1.
        dtype: Type of the raw values.

    Returns:
        A functional model, ``(batch, *input_shape)`` to ``(batch, features)``.

    Example:
        >>> scale = preprocessing_model((2, 2), (0.0, 255.0))
        >>> scale(np.array([[[0, 255], [255, 0]]], "uint8")).numpy()
        array([[-1.,  1.,  1., -1.]], dtype=float32)
    """
    low, high = value_range
    scale = 2.0 / (high - low)
    raw = keras.Input(input_shape, dtype=dtype, name="raw")
    scaled = keras.layers.Rescaling(scale, offset=-1.0 - low * scale, name="scale")(raw)
    # Reshape, not Flatten: Flatten gives a dimension that is unknown for shape (1,).
    flat = keras.layers.Reshape((math.prod(input_shape),), name="flatten")(scaled)
    return keras.Model(raw, flat, name="preprocessing")


def raw_values(features, input_shape: tuple[int, ...], value_range: tuple[float, float]):
    """The inverse of :func:`preprocessing_model`: features in [-1, 1] back to raw values.

    Args:
        features: Array or tensor of shape ``(batch, features)``.
        input_shape: Shape of one raw example.
        value_range: Smallest and largest raw value.

    Returns:
        Floats of shape ``(batch, *input_shape)``.
    """
    low, high = value_range
    shaped = keras.ops.reshape(features, (-1, *input_shape))
    return (shaped + 1.0) * ((high - low) / 2.0) + low
