"""What each source promises before anything is trained on a label of the target."""

from __future__ import annotations

import numpy as np

from kt_transfer.selection.comparison import TRANSFERS, Comparison
from kt_transfer.selection.transferability import linear_cka, logme


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
    if not any(method in TRANSFERS for method, _ in comparison.candidates):
        return []
    found: dict[tuple[str, int], list] = {}
    for part in comparison.parts(repeats=1):
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
