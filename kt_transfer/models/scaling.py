"""Whether a model scales its own input, and which values it expects otherwise."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops

# Operations such as `inputs / 255.`, of which the applications' preprocess_input consists. By name,
# since Keras does not export their classes.
_ARITHMETIC = ("Add", "Subtract", "Multiply", "Divide", "TrueDivide")
SCALED = (-1.0, 1.0)


def usual_values(model: keras.Model, value_range: tuple[float, float]):
    """The values that a model expects for the smallest and the largest raw value.

    Args:
        model: A functional or sequential model with one input.
        value_range: Smallest and largest raw value.

    Returns:
        ``None`` for unscaled raw values, if the model scales its input by a Rescaling or
        Normalization layer or arithmetic before its first layer with weights, nested or not, or if
        that layer is a BatchNormalization with the statistics of raw values. Otherwise -1 and 1.

    Raises:
        ValueError: If it begins with a BatchNormalization whose statistics fit neither; the
            message completes a sentence that begins with "it".

    Example:
        >>> x = keras.Input((4,))
        >>> print(usual_values(keras.Model(x, keras.layers.Dense(2)(x / 255.0)), (0, 255)))
        None
        >>> usual_values(keras.Model(x, keras.layers.Dense(2)(x)), (0, 255))
        (-1.0, 1.0)
    """
    first = _first_scaling_or_weighted(model)
    if isinstance(first, layers.BatchNormalization):
        return _values_averaged_by(first, value_range)
    return None if _scales(first) else SCALED


def scales_itself(model: keras.Model) -> bool:
    """Whether a model scales its input before its first layer with weights."""
    return _scales(_first_scaling_or_weighted(model))


def raw_range(model: keras.Model) -> tuple[float, float] | None:
    """The raw values that a model's own Rescaling layer maps to [0, 1] or [-1, 1].

    Returns:
        The smallest and the largest; ``None`` if there is no such layer.

    Example:
        >>> raw_range(keras.Sequential([keras.Input((8,)), keras.layers.Rescaling(1 / 255)]))
        (0.0, 255.0)
    """
    layer = _first_scaling_or_weighted(model)
    if not isinstance(layer, layers.Rescaling):
        return None
    if np.ndim(layer.scale) or np.ndim(layer.offset) or not layer.scale > 0:
        return None
    width = {0.0: 1.0, -1.0: 2.0}.get(float(layer.offset))
    return None if width is None else (0.0, float(width / layer.scale))


def _first_scaling_or_weighted(model: keras.Model):
    """The first operation on the input that scales it or has weights."""
    # Not model.layers, which omits operations; rebuilt, since a Sequential has no graph.
    for operation in keras.Model(model.inputs, model.outputs).operations:
        if isinstance(operation, keras.Model) and getattr(operation, "inputs", None):
            if (inner := _first_scaling_or_weighted(operation)) is not None:
                return inner
        elif _scales(operation) or getattr(operation, "weights", ()):
            return operation
    return None


def _scales(operation) -> bool:
    if isinstance(operation, (layers.Rescaling, layers.Normalization)):
        return True
    # An operation on several tensors merges two paths.
    is_arithmetic = type(operation).__name__ in _ARITHMETIC and not isinstance(
        operation, layers.Layer
    )
    return is_arithmetic and not isinstance(operation.input, (list, tuple))


def _values_averaged_by(layer: layers.BatchNormalization, value_range):
    mean = ops.convert_to_numpy(layer.moving_mean)
    deviation = np.sqrt(ops.convert_to_numpy(layer.moving_variance))
    for values in (SCALED, None):
        low, high = values or value_range
        slack = 0.01 * (high - low)
        inside = (mean >= low - slack).all() and (mean <= high + slack).all()
        if inside and (deviation <= (high - low) / 2 + slack).all():
            return values
    raise ValueError(
        f"begins with a BatchNormalization of values from {mean.min():.4g} to {mean.max():.4g} on "
        f"average, which are neither raw ({value_range[0]:g} to {value_range[1]:g}) nor scaled to "
        "[-1, 1]"
    )
