"""Freezing layers with ``trainable=False``."""

from __future__ import annotations

from collections.abc import Iterator

import keras

from kt_transfer.errors import UserError
from kt_transfer.models.classifiers import after_encoder


def freeze_layers(model: keras.Model, count: int | str) -> list[str]:
    """Freeze the first layers of a model and unfreeze the others.

    Only layers with weights count, those of a nested model individually. A frozen
    BatchNormalization also runs in inference mode. Compile the model afterwards, as always in
    Keras.

    Args:
        model: A functional or sequential model.
        count: How many, from 0 to the number of layers with weights; or ``"all"``.

    Returns:
        Names of the frozen layers.

    Raises:
        UserError: If ``count`` exceeds the number of layers.

    Example:
        >>> from kt_transfer.models.autoencoders import dense_autoencoder
        >>> encoder = dense_autoencoder(784).get_layer("encoder")
        >>> freeze_layers(encoder, 2)
        ['hidden_1', 'hidden_2']
    """
    stacked = list(layers_with_weights(model).values())
    if count != "all" and not 0 <= count <= len(stacked):
        raise UserError(
            setting="count",
            given=count,
            but=f"the {model.name} has {len(stacked)} layers with weights "
            f"({', '.join(layer.name for layer in stacked)})",
            remedy=f"give 0 to {len(stacked)}, or all",
        )
    num_frozen = len(stacked) if count == "all" else count
    for layer in model.layers:
        layer.trainable = True  # also for a nested model, which would freeze its layers
    for layer in stacked[:num_frozen]:
        layer.trainable = False
    return [layer.name for layer in stacked[:num_frozen]]


def layers_with_weights(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """The layers with weights by name, in order, including those of nested models.

    Duplicate names are prefixed with the name of the model that holds the layer.

    Example:
        >>> from kt_transfer.models.autoencoders import dense_autoencoder
        >>> list(layers_with_weights(dense_autoencoder(784, (16,), 4)))
        ['encoder/hidden_1', 'bottleneck', 'decoder/hidden_1', 'reconstruction']
    """
    found = list(_weighted(model))
    names = [layer.name for _, layer in found]
    return {
        layer.name if names.count(layer.name) == 1 else f"{holder.name}/{layer.name}": layer
        for holder, layer in found
    }


def _weighted(model: keras.Model) -> Iterator[tuple[keras.Model, keras.layers.Layer]]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _weighted(layer)
        elif layer.weights:
            yield model, layer


def split_frozen(model: keras.Model) -> tuple[keras.Model, keras.Model] | None:
    """Split a classifier into its frozen first layers and the rest, as models over the same layers.

    The frozen features of an example never change, so they can be computed once and the rest
    trained on them.

    Args:
        model: A classifier with the layers ``"encoder"`` and ``"head"``, as from
            :func:`~kt_transfer.models.classifiers.classifier`.

    Returns:
        Models from the input to the last frozen layer, and from there to the logits; ``None`` if
        no layer is frozen, a frozen layer is random, or the layers do not form a plain chain
        (unless all of them are frozen).
    """
    encoder = model.get_layer("encoder")
    inner = [layer for layer in encoder.layers if not isinstance(layer, keras.layers.InputLayer)]
    num_frozen = _num_frozen(inner)
    if not num_frozen or _is_random(inner[:num_frozen]):
        return None
    if _is_chain(encoder, inner):
        features = inner[num_frozen - 1].output
    elif not encoder.trainable_weights and not _is_random(inner):
        features = encoder.output
    else:
        return None
    rest = keras.Model(features, after_encoder(model, encoder.output), name="trained_part")
    return keras.Model(encoder.input, features), rest


def _num_frozen(inner: list) -> int:
    learning = [n for n, layer in enumerate(inner) if layer.trainable_weights]
    frozen = [n for n, layer in enumerate(inner) if layer.weights and not layer.trainable_weights]
    before = learning[0] if learning else len(inner)
    return max((n + 1 for n in frozen if n < before), default=0)


def _is_chain(encoder: keras.Model, inner: list) -> bool:
    if any(isinstance(layer, keras.Model) for layer in inner):
        return False  # has an input and output of its own graph
    tensors = [encoder.input, *(layer.output for layer in inner)]
    follows = all(layer.input is before for layer, before in zip(inner, tensors, strict=False))
    return follows and encoder.output is tensors[-1]


def _is_random(layers: list) -> bool:
    """Whether a layer is random, as the generator that it holds shows."""
    return any(
        getattr(layer, name, None) is not None
        for layer in layers
        for name in ("seed_generator", "generator")
    )
