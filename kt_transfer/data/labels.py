"""Labels of a source, numbers or names, and the classes that they denote."""

from __future__ import annotations

import numpy as np

from kt_transfer.data.dataset import UNLABELLED
from kt_transfer.errors import UserError


def has_label(y: np.ndarray) -> np.ndarray:
    """Which examples are labelled: not -1 (``"-1"`` among names) and not missing.

    Args:
        y: Numbers or names, shape ``(n,)``; NaN, ``None`` and ``pandas.NA`` are missing.

    Example:
        >>> has_label(np.array(["cat", "dog", "-1"])).tolist()
        [True, True, False]
    """
    if y.dtype.kind == "O":
        import pandas as pd

        missing = pd.isna(y)
        return np.array(
            [
                not (absent or value == UNLABELLED or value == str(UNLABELLED))
                for value, absent in zip(y, missing, strict=True)
            ],
            bool,
        )
    if y.dtype.kind in "US":
        return y != np.array(str(UNLABELLED), y.dtype.kind)
    return (y != UNLABELLED) & (y == y)  # NaN is not equal to itself


def number_classes(
    spec: str, y: np.ndarray, y_test: np.ndarray
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Number the classes that occur; the labels become their names.

    Args:
        spec: The data spec, for messages.
        y: Training labels of shape ``(n,)``: integers of any type, integral floats, booleans or
            names; ``-1``, ``"-1"`` or NaN for none.
        y_test: Test labels of the same kind.

    Returns:
        Both as ``int32``, ``-1`` for none, and the class names, in the order of the sorted labels.

    Raises:
        UserError: If the labels are of another kind.

    Example:
        >>> number_classes("npz:years", np.array([2001, 1999]), np.array([1999, -1]))[2]
        ('1999', '2001')
    """
    (values, numbers), (test_values, test_numbers) = (
        _distinct(spec, "y", y),
        _distinct(spec, "y_test", y_test),
    )
    if len({type(value) for value in (*values, *test_values)}) > 1:
        raise UserError(
            setting="data",
            given=spec,
            when=f"with y of type {y.dtype} but y_test of type {y_test.dtype}",
            expected="the same kind of labels in both",
            remedy="convert them",
        )
    classes = sorted({*values, *test_values})
    number_of = {value: number for number, value in enumerate(classes)}
    return (
        _numbered(values, numbers, number_of),
        _numbered(test_values, test_numbers, number_of),
        tuple(map(str, classes)),
    )


def _distinct(spec: str, name: str, y: np.ndarray) -> tuple[list, np.ndarray]:
    """The distinct labels as Python objects, and the index of each example's label."""
    if y.dtype.kind not in "biufUS":
        raise _not_labels(spec, name, f"of type {y.dtype}")
    known = has_label(y)
    if y.dtype.kind == "f":
        whole = np.isfinite(y) & (np.trunc(y) == y)
        if not whole[known].all():
            row = int(np.flatnonzero(known & ~whole)[0])
            raise _not_labels(spec, name, f"{y[row]} in row {row}")
    numbers = np.full(len(y), UNLABELLED, np.int32)
    values, numbers[known] = np.unique(y[known], return_inverse=True)
    if y.dtype.kind == "S":
        try:
            values = np.char.decode(values, "utf-8")
        except UnicodeDecodeError as error:
            raise _not_labels(spec, name, "of bytes that are no UTF-8") from error
    as_python = values.tolist()
    return (list(map(int, as_python)) if y.dtype.kind == "f" else as_python), numbers


def _numbered(values: list, numbers: np.ndarray, number_of: dict) -> np.ndarray:
    # -1 indexes the last entry.
    return np.array([*(number_of[value] for value in values), UNLABELLED], np.int32)[numbers]


def _not_labels(spec: str, name: str, received: str) -> UserError:
    return UserError(
        setting="data",
        given=spec,
        when=f"with {name} {received}",
        expected="whole numbers or names of classes, -1 for no label",
        remedy="correct the labels",
    )
