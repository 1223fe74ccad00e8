"""What each source promises before anything is trained on a label of the target."""

from __future__ import annotations

import keras
import numpy as np

from kt_transfer.comparison.comparison import Comparison
from kt_transfer.comparison.transferability import linear_cka, logme
from kt_transfer.engine.fused_model import predict_raw
from kt_transfer.sources.bodies import features_from

# Layers are compared on so many examples, and of a deep network on so many layers.
_MOST_EXAMPLES = 1000
_MOST_LAYERS = 12


def guesses(comparison: Comparison) -> list[dict]:
    """Scores of each source at each budget, means over the first repeat's training parts.

    They see what ``features`` sees: the encoder as it is transferred, and the labels of the part
    that is learned from.

    Args:
        comparison: One whose cells are trained, so that what they pretrained is at hand.

    Returns:
        ``source``, ``labels``, ``logme`` and ``cka`` (linear CKA between the encoder's last layer
        and the target's last as it should be, one unit a class); nothing where no method
        transfers.
    """
    if not _transfers(comparison):
        return []
    found: dict[tuple[str, int], list] = {}
    for part in comparison.parts(1, comparison.num_trained):
        labels = comparison.y[part.train]
        for source in comparison.sources:
            features = comparison.features(source, part)
            features = features.reshape(len(features), -1)
            wanted = labels[:, None] == np.unique(labels)
            scores = logme(features, labels), linear_cka(features, wanted)
            found.setdefault((source, part.labels), []).append(scores)
    return [
        {"source": source, "labels": labels, "logme": each[0], "cka": each[1]}
        for (source, labels), scores in found.items()
        for each in [np.mean(scores, axis=0).tolist()]
    ]


def layer_similarities(comparison: Comparison) -> list[dict]:
    """Linear CKA between the layers of each source and those of the target's own network.

    The target's network is what ``scratch`` learns of the first fold at the largest budget; both
    see examples that this fold may see.

    Args:
        comparison: As for :func:`guesses`.

    Returns:
        One entry for each source: ``source``, ``source_layers`` and ``target_layers`` (names, from
        the input on; of more than 12 layers, 12 evenly chosen) and ``cka``, a row for each source
        layer; nothing where no method transfers.
    """
    if not _transfers(comparison):
        return []
    part = next(p for p in comparison.parts(1) if p.labels == comparison.budgets[-1])
    learned = comparison.scratch(part)
    rng = np.random.default_rng(comparison.seed)
    some = rng.permutation(part.seen)[:_MOST_EXAMPLES]
    x = comparison.examples(part, np.sort(some))
    target = _by_layer(learned.network.get_layer("encoder"), learned.preprocessing, x)
    return [
        _similarity(
            name, _by_layer(comparison.encoder(name, part), source.preprocessing, x), target
        )
        for name, source in comparison.sources.items()
    ]


def _transfers(comparison: Comparison) -> bool:
    return any(map(comparison.transfers, comparison.methods))


def _by_layer(encoder: keras.Model, preprocessing: keras.Model, x) -> dict[str, np.ndarray]:
    """What each layer that has weights makes of examples, or some of many layers."""
    names = [layer.name for layer in encoder.layers if layer.weights]
    chosen = np.unique(np.linspace(0, len(names) - 1, _MOST_LAYERS).round().astype(int))
    return {
        names[number]: predict_raw(features_from(encoder, names[number]), preprocessing, x)
        for number in chosen
    }


def _similarity(name: str, source: dict, target: dict) -> dict:
    return {
        "source": name,
        "source_layers": list(source),
        "target_layers": list(target),
        "cka": [[linear_cka(own, other) for other in target.values()] for own in source.values()],
    }
