"""A classifier whose logits are divided by a temperature, of the same layers."""

from __future__ import annotations

import keras


def with_temperature(network: keras.Model, temperature: float) -> keras.Model:
    """Divide the logits of a classifier by a temperature.

    The weights of its head are divided, so that the model has the layers that it had, and is saved,
    loaded and transferred from as before.

    Args:
        network: Functional model whose last layer is a ``Dense`` without activation.
        temperature: Above 0; above 1 for less confidence. The most probable class stays.

    Returns:
        A copy with other weights in its last layer.

    Raises:
        ValueError: If the last layer is another one.

    Example:
        >>> x = keras.Input((3,))
        >>> network = keras.Model(x, keras.layers.Dense(2, bias_initializer="ones")(x))
        >>> with_temperature(network, 4.0)(np.zeros((1, 3))).numpy()
        array([[0.25, 0.25]], dtype=float32)
    """
    head = network.layers[-1]
    is_linear = isinstance(head, keras.layers.Dense) and head.activation is keras.activations.linear
    if not is_linear:
        raise ValueError(f"a network that ends in {head.name!r} was given, expected linear units")
    cooler = type(network).from_config(network.get_config())
    cooler.set_weights(network.get_weights())
    cooler.layers[-1].set_weights([values / temperature for values in head.get_weights()])
    return cooler
