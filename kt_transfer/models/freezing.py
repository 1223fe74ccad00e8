"""Which layers learn: locking by ``trainable=False``."""

from __future__ import annotations

from collections.abc import Iterator

import keras

from kt_transfer.errors import UserError
from kt_transfer.models.classifiers import after_encoder


def freeze_layers(model: keras.Model, count: int | str) -> list[str]:
    """Lock the first layers of a model; the others learn.

    Only layers that have weights count, those of a nested model one by one. A locked
    BatchNormalization also stays in inference mode. Compile the model afterwards, as always in
    Keras.

    Args:
        model: A functional or sequential model, its layers in order.
        count: How many, from 0 to the number of layers with weights; or ``"all"``.

    Returns:
        Names of the locked layers.

    Raises:
        UserError: If ``count`` is beyond the depth.

    Example:
        >>> from kt_transfer.models.autoencoders import dense_autoencoder
        >>> encoder = dense_autoencoder(784).get_layer("encoder")
        >>> freeze_layers(encoder, 2)
        ['hidden_1', 'hidden_2']
    """
    stacked = list(layers_with_weights(model).values())
    if count != "all" and not 0 <= count <= len(stacked):
        raise UserError(
            f"--freeze {count} was given, but the {model.name} has {len(stacked)} layers with "
            f"weights ({', '.join(layer.name for layer in stacked)}): give 0 to {len(stacked)}, "
            "or all."
        )
    num_locked = len(stacked) if count == "all" else count
    for layer in model.layers:
        layer.trainable = True  # a nested model too: locked as a whole, it would lock its layers
    for layer in stacked[:num_locked]:
        layer.trainable = False
    return [layer.name for layer in stacked[:num_locked]]


def layers_with_weights(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """The layers that have weights by name, in order, those of nested models among them.

    Where two have one name, the name of the model that holds them comes before it.

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
    """A classifier's locked beginning, and the rest of it, as two models over the same layers.

    What a locked beginning makes of an example never changes, so it can be computed once and
    the rest trained on that.

    Args:
        model: A classifier with the layers ``"encoder"`` and ``"head"``, as from
            :func:`~kt_transfer.models.classifiers.classifier`.

    Returns:
        Models from the input to the last locked layer, and from there to the logits; ``None``
        where nothing is locked, a locked beginning draws random numbers, or layers do not
        follow one another in a plain chain (unless all of them are locked).
    """
    encoder = model.get_layer("encoder")
    inner = [layer for layer in encoder.layers if not isinstance(layer, keras.layers.InputLayer)]
    num_locked = _num_locked(inner)
    if not num_locked or _is_random(inner[:num_locked]):
        return None
    if _is_chain(encoder, inner):
        features = inner[num_locked - 1].output
    elif not encoder.trainable_weights and not _is_random(inner):
        features = encoder.output
    else:
        return None
    rest = keras.Model(features, after_encoder(model, encoder.output), name="trained_part")
    return keras.Model(encoder.input, features), rest


def _num_locked(inner: list) -> int:
    learning = [n for n, layer in enumerate(inner) if layer.trainable_weights]
    locked = [n for n, layer in enumerate(inner) if layer.weights and not layer.trainable_weights]
    before = learning[0] if learning else len(inner)
    return max((n + 1 for n in locked if n < before), default=0)


def _is_chain(encoder: keras.Model, inner: list) -> bool:
    if any(isinstance(layer, keras.Model) for layer in inner):
        return False  # its input and output are those of its own graph
    tensors = [encoder.input, *(layer.output for layer in inner)]
    follows = all(layer.input is before for layer, before in zip(inner, tensors, strict=False))
    return follows and encoder.output is tensors[-1]


def _is_random(layers: list) -> bool:
    """Whether one draws random numbers: dropout and noise hold a seed, augmentation another."""
    return any(
        getattr(layer, name, None) is not None
        for layer in layers
        for name in ("seed_generator", "generator")
    )
