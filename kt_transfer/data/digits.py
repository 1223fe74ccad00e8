"""``digits``: the UCI handwritten digits that scikit-learn ships; no download."""

from __future__ import annotations

import numpy as np

from kt_transfer.data.arrays import dataset_from_arrays
from kt_transfer.data.dataset import Dataset


def load(spec: str) -> Dataset:
    """1,797 images of 8 × 8 pixels, values 0 to 16, ten classes."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return dataset_from_arrays(
        spec, digits.images.astype(np.uint8), digits.target, value_range=(0.0, 16.0)
    )
