"""Validate the parameters of :class:`~.estimator.TransferClassifier`, as plain Python types.

scikit-learn's searches set parameters to NumPy scalars, which Keras does not accept.
"""

from __future__ import annotations

import math
import numbers
import os
from collections import Counter

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_memory

from kt_transfer.errors import UserError
from kt_transfer.files.writing import require_writable
from kt_transfer.methods.views import augmentation_of


def whole_number(name: str, value) -> int:
    """A positive integer of any integer type; ``ValueError`` otherwise."""
    if not isinstance(value, numbers.Integral) or isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} {value!r} was given, expected a whole number above 0")
    if not value > 0:
        raise ValueError(f"{name} {value!r} was given, expected more than 0")
    return int(value)


def rate(name: str, value) -> float:
    """A positive finite number of any real type; ``ValueError`` otherwise."""
    value = _number(name, value, "a number above 0")
    if not value > 0:
        raise ValueError(f"{name} {value!r} was given, expected more than 0")
    return value


def share(name: str, value) -> float:
    """A number in [0, 1) of any real type; ``ValueError`` otherwise."""
    value = _number(name, value, "a number from 0 to below 1")
    if not 0 <= value < 1:
        raise ValueError(f"{name} {value!r} was given, expected from 0 to below 1")
    return value


def widths(name: str, value) -> tuple[int, ...]:
    """Layer widths, from a list, tuple or array; ``ValueError`` otherwise."""
    if not isinstance(value, (list, tuple, np.ndarray)) or np.ndim(value) != 1:
        raise ValueError(
            f"{name} {value!r} was given, expected a list of widths: one layer is "
            f"{name}=(16,), for example"
        )
    return tuple(whole_number(f"a width in {name}", width) for width in value)


def views(name: str, value) -> str | None:
    """Random views, as ``--augment`` names them, or ``None``; ``ValueError`` otherwise."""
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} {value!r} was given, expected words such as 'affine'")
    try:
        augmentation_of(value)
    except UserError as error:
        raise ValueError(str(error)) from error
    return value


def image_shape(name: str, value) -> tuple[int, ...] | None:
    """Height, width and perhaps channels, or ``None``; ``ValueError`` otherwise."""
    if value is None:
        return None
    if not isinstance(value, (list, tuple, np.ndarray)) or len(value) not in (2, 3):
        raise ValueError(f"{name} {value!r} was given, expected (height, width[, channels])")
    return tuple(whole_number(f"a size in {name}", size) for size in value)


def seed_from(random_state) -> int:
    """Draw a seed from a NumPy generator, old or new; an integer always gives the same seed."""
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    return int(check_random_state(random_state).randint(2**31))


def weights_of(sample_weight, num_examples: int) -> np.ndarray:
    """Non-negative sample weights, not all zero; ``ValueError`` otherwise."""
    if sample_weight is None:
        return np.ones(num_examples)
    weights = np.asarray(sample_weight, np.float64)
    if weights.ndim == 0:
        weights = np.full(num_examples, weights)
    if weights.shape != (num_examples,):
        raise ValueError(
            f"sample_weight of shape {weights.shape} was given, expected ({num_examples},), one "
            "for each example"
        )
    if not (np.isfinite(weights) & (weights >= 0)).all():
        row = int(np.argmin(np.isfinite(weights) & (weights >= 0)))
        raise ValueError(
            f"sample_weight {weights[row]} was given in row {row}, expected finite numbers from 0"
        )
    if not weights.any():
        raise ValueError("every sample_weight given is zero, expected some above zero")
    return weights


def missing_labels(y) -> np.ndarray:
    """Which labels are missing: ``None``, NaN or ``pandas.NA``.

    Args:
        y: A list, array or pandas column.

    Returns:
        Booleans of shape ``(n,)``; of shape ``(0,)`` if ``y`` is not one-dimensional.
    """
    # For a list of names, NumPy would convert NaN to "nan".
    values = np.array(y, object) if isinstance(y, (list, tuple)) else np.asarray(y)
    if values.ndim != 1 or values.dtype.kind not in "fO":
        return np.zeros(0, bool)
    if values.dtype.kind == "f":
        return np.isnan(values)
    import pandas as pd

    return pd.isna(values)


def _number(name: str, value, expected: str) -> float:
    is_number = isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))
    if not is_number or not math.isfinite(value):
        raise ValueError(f"{name} {value!r} was given, expected {expected}")
    return float(value)


def named_frame(X):
    """A data frame whose columns have names of text, each another; ``ValueError`` if two are one.

    scikit-learn takes no note of other names, and a schema knows columns by name alone.
    """
    names = [str(name) for name in X.columns]
    twice, count = Counter(names).most_common(1)[0] if names else ("", 0)
    if count > 1:
        raise ValueError(
            f"a data frame with two columns {twice!r} was given, expected names that differ: "
            "rename one."
        )
    return X.set_axis(names, axis=1)


def is_table(X) -> bool:
    """Whether features are a data frame that is no matrix of numbers: words, dates or gaps."""
    if not hasattr(X, "dtypes") or not hasattr(X, "columns"):
        return False
    are_numbers = all(getattr(dtype, "kind", "O") in "iuf" for dtype in X.dtypes)
    return not are_numbers or bool(np.asarray(X.isna()).any())


def memory_of(given):
    """A folder, or what caches as ``joblib.Memory`` does; ``ValueError`` for what is neither."""
    if isinstance(given, str | os.PathLike):
        try:
            require_writable(given, "memory")
        except UserError as error:
            raise ValueError(str(error)) from error
        given = os.fspath(given)
    return check_memory(given)
