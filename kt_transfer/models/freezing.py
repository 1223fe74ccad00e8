"""Which layers learn: locking by ``trainable=False``."""

from __future__ import annotations

import keras

from kt_transfer.errors import UserError


def freeze_layers(model: keras.Model, count: int | str) -> list[str]:
    """Lock the first layers of a model; the others learn.

    Only layers that have weights count. A locked BatchNormalization also stays in inference
    mode. Compile the model afterwards, as always in Keras.

    Args:
        model: A functional or sequential model, its layers in order.
        count: How many, from 0 to the number of layers with weights; or ``"all"``.

    Returns:
        Names of the locked layers.

    Raises:
        UserError: If ``count`` is beyond the depth.

    Example:
        >>> encoder = dense_autoencoder(784).get_layer("encoder")
        >>> freeze_layers(encoder, 2)
        ['hidden_1', 'hidden_2']
    """
    stacked = [layer for layer in model.layers if layer.weights]
    if count != "all" and not 0 <= count <= len(stacked):
        raise UserError(
            f"--freeze {count} was given, but the {model.name} has {len(stacked)} layers with "
            f"weights ({', '.join(layer.name for layer in stacked)}): give 0 to {len(stacked)}, "
            "or all."
        )
    num_locked = len(stacked) if count == "all" else count
    for position, layer in enumerate(stacked):
        layer.trainable = position >= num_locked
    return [layer.name for layer in stacked[:num_locked]]
