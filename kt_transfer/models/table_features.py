"""From the matrix of a table to the features of a network, with stock layers."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from kt_transfer.data.table_features import MISSING, OTHER, VALUE, WORD, Layout


def table_features(raw, values, layout: Layout):
    """The features of a layout, in its order.

    A column that the table lacks counts as missing.

    Args:
        raw: Symbolic matrix, ``(batch, columns)``, NaN where a value is missing.
        values: The same columns scaled, 0 where a value is missing.
        layout: The features, and the schema of the columns of ``raw``.

    Returns:
        Symbolic ``float32``, ``(batch, features)``.
    """
    columns = {column.name: column for column in layout.schema.columns}
    place = {name: number for number, name in enumerate(columns)}
    features, absent = layout.features, len(columns)

    def placed(chosen) -> np.ndarray:
        return np.array([place.get(feature.column, absent) for feature in chosen])

    numbers = [feature for feature in features if feature.kind == VALUE]
    flags = [feature for feature in features if feature.kind != VALUE]
    parts = []
    if numbers:
        nothing = ops.zeros_like(values[:, :1])
        with_absent = ops.concatenate([values, nothing], axis=1)
        parts.append(ops.take(with_absent, placed(numbers), axis=1))
    if flags:
        missing = ops.full_like(raw[:, :1], np.nan)
        cells = ops.take(ops.concatenate([raw, missing], axis=1), placed(flags), axis=1)
        parts.append(_flags(cells, flags, columns))
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=1)


def _flags(cells, flags, columns):
    """1 or 0 for each flag, from the cell of its column."""
    codes = np.array([_code(flag, columns) for flag in flags])
    is_missing = ops.cast(ops.isnan(cells), "float32")
    found = ops.cast(ops.equal(cells, codes), "float32")
    found = ops.add(found, ops.multiply(is_missing, _where(flags, MISSING)))
    others = _where(flags, OTHER)
    if others.any():
        # Any word but those that have a feature, also where the table knows words that a network
        # of another table does not.
        of_category = np.array(
            [
                [flag.kind == WORD and flag.column == other.column for other in flags]
                for flag in flags
            ],
            "float32",
        )
        known = ops.matmul(found, of_category)
        rest = ops.subtract(ops.subtract(1.0, is_missing), known)
        found = ops.add(found, ops.multiply(rest, others))
    # What does not occur in the training rows of a fold stays 0 (comparison/refitting.py).
    return keras.layers.Rescaling(np.ones(len(flags)), name="seen", dtype="float32")(found)


def _code(flag, columns) -> float:
    """The code that the flag stands for; NaN, which equals nothing, for none."""
    column = columns.get(flag.column)
    if flag.kind != WORD or column is None or flag.word not in column.vocabulary:
        return np.nan
    return float(column.vocabulary.index(flag.word))


def _where(flags, kind: str) -> np.ndarray:
    return np.array([flag.kind == kind for flag in flags], "float32")
