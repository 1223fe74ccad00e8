"""Views of raw examples, from which an autoencoder reconstructs the originals."""

from __future__ import annotations

from collections.abc import Callable

import keras


def beside_the_original(views: Callable) -> Callable:
    """An ``augment`` of ``FusedModel`` by which a model sees views and reconstructs the original.

    Args:
        views: Function ``(x, seed) -> x``.
    """
    return lambda x, seed: (views(x, seed), x)


def inputs_and_targets(preprocessing: keras.Model, x) -> tuple:
    """The inputs of an autoencoder, and what it is to reconstruct.

    Args:
        preprocessing: From raw examples to features.
        x: Raw examples; in training with :func:`beside_the_original`, views and originals.
    """
    if isinstance(x, tuple):
        return tuple(preprocessing(part) for part in x)
    features = preprocessing(x)
    return features, features
