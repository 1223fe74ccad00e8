"""From raw examples to the numbers that a network sees: the one place where they are scaled."""

from __future__ import annotations

import math

import keras


def preprocessing_model(
    input_shape: tuple[int, ...],
    value_range: tuple[float, float],
    dtype: str = "uint8",
    *,
    flatten: bool = True,
) -> keras.Model:
    """Scale raw values from their range to [-1, 1], as flat features or as an image.

    The same model runs inside training, prediction and the exported graph.

    Args:
        input_shape: Shape of one raw example.
        value_range: Smallest and largest raw value; they become -1 and 1.
        dtype: Type of the raw values.
        flatten: Whether each example becomes flat; otherwise it stays an image, of the shape
            that :func:`image_shape` tells.

    Returns:
        A functional model, ``(batch, *input_shape)`` to ``(batch, features)`` or
        ``(batch, height, width, channels)``.

    Raises:
        ValueError: If it should stay an image and is none.

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
    shape = (math.prod(input_shape),) if flatten else image_shape(input_shape)
    shaped = keras.layers.Reshape(shape, name="flatten" if flatten else "image")(scaled)
    return keras.Model(raw, shaped, name="preprocessing")


def as_image(shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """Height, width and channels of examples of that shape; ``None`` if they are no images.

    Example:
        >>> as_image((8, 8)), as_image((32, 32, 3)), as_image((30,))
        ((8, 8, 1), (32, 32, 3), None)
    """
    if len(shape) == 2:
        return (*shape, 1)
    return tuple(shape) if len(shape) == 3 else None


def image_shape(input_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Height, width and channels of one raw example; where no channels are named it has one.

    Raises:
        ValueError: If it is no image.

    Example:
        >>> image_shape((8, 8))
        (8, 8, 1)
    """
    image = as_image(input_shape)
    if image is None:
        raise ValueError(f"input_shape {input_shape}, expected (height, width[, channels])")
    return image


def takes_images(model: keras.Model) -> bool:
    """Whether a model's input is images, not flat features."""
    return len(model.input_shape) > 2


def can_take(model: keras.Model, input_shape: tuple[int, ...]) -> bool:
    """Whether raw examples of that shape, flat or as images, are what a model takes."""
    if takes_images(model):
        return as_image(input_shape) == tuple(model.input_shape[1:])
    return model.input_shape[-1] == math.prod(input_shape)


def raw_values(features, input_shape: tuple[int, ...], value_range: tuple[float, float]):
    """The inverse of :func:`preprocessing_model`: values in [-1, 1] back to raw ones.

    Args:
        features: Array or tensor of shape ``(batch, features)`` or
            ``(batch, height, width, channels)``.
        input_shape: Shape of one raw example.
        value_range: Smallest and largest raw value.

    Returns:
        Floats of shape ``(batch, *input_shape)``.
    """
    low, high = value_range
    shaped = keras.ops.reshape(features, (-1, *input_shape))
    return (shaped + 1.0) * ((high - low) / 2.0) + low
