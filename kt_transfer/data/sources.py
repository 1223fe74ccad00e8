"""Data specs: which module reads which kind of source."""

from __future__ import annotations

import os
from pathlib import Path

from kt_transfer.data import digits, idx, npz, tfds
from kt_transfer.data.dataset import Dataset
from kt_transfer.errors import UserError

_EXPECTED = "digits, tfds:NAME[:VERSION], idx:DIR or npz:FILE"


def load_data(spec: str, *, data_dir: str | os.PathLike | None = None) -> Dataset:
    """Load a data set.

    Args:
        spec: ``digits`` (the UCI digits that scikit-learn carries: 1,797 images of 8 × 8),
            ``tfds:NAME[:VERSION]``, ``idx:DIR`` (the four MNIST-format files, ``.gz`` or
            not) or ``npz:FILE`` (arrays ``x``, ``y``, optional ``x_test``, ``y_test``).
        data_dir: TensorFlow Datasets directory, for ``tfds:``.

    Returns:
        The :class:`Dataset`; examples as they came, not scaled.

    Raises:
        UserError: If the spec is unknown, or what it names is missing or malformed.

    Example:
        >>> data = load_data("digits")
        >>> data.x.shape, data.x.dtype, data.value_range
        ((1438, 8, 8), dtype('uint8'), (0.0, 16.0))
    """
    kind, _, where = spec.partition(":")
    if kind == "digits" and not where:
        return digits.load(spec)
    if kind == "tfds" and where:
        return tfds.load(spec, where, data_dir)
    if kind == "idx" and where:
        return idx.load(spec, Path(where).expanduser())
    if kind == "npz" and where:
        return npz.load(spec, Path(where).expanduser())
    raise UserError(f"--data {spec} was given, expected {_EXPECTED}: give one of these.")
