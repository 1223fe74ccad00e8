"""Whether the weights of a model are finite."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def why_not_finite(variables: Iterable) -> str | None:
    """Name the first variable that holds NaN or infinity.

    Args:
        variables: Variables of a Keras model or SavedModel.

    Returns:
        The end of a sentence that begins with "it"; ``None`` if every number is finite.

    Example:
        >>> layers = [keras.Input((2,)), keras.layers.Dense(1, name="head")]
        >>> model = keras.Sequential(layers, name="network")
        >>> variable = model.get_layer("head").bias.assign([np.nan])
        >>> why_not_finite(model.variables)
        'has weights that are not finite (network/head/bias)'
    """
    for variable in variables:
        values = variable.numpy()
        if values.dtype.kind not in "OSUb" and not np.isfinite(values).all():
            return f"has weights that are not finite ({getattr(variable, 'path', variable.name)})"
    return None
