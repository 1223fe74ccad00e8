"""From the arrays of a source to a checked :class:`Dataset`."""

from __future__ import annotations

import numpy as np

from kt_transfer.data.dataset import UNLABELLED, Dataset
from kt_transfer.data.splits import split_test
from kt_transfer.errors import UserError
from kt_transfer.rows import take_rows


def dataset_from_arrays(
    spec: str,
    x: np.ndarray,
    y: np.ndarray | None,
    x_test: np.ndarray | None = None,
    y_test: np.ndarray | None = None,
    *,
    class_names: tuple[str, ...] | None = None,
    value_range: tuple[float, float] | None,
) -> Dataset:
    """Check the arrays and give the set a test split if it has none.

    Args:
        spec: The data spec, for messages.
        x: Examples of shape ``(n, ...)``.
        y: Integer labels of shape ``(n,)``, ``-1`` where there is none; or ``None``.
        x_test: Test examples, if the source has some.
        y_test: Their labels.
        class_names: Names of the classes (default: the numbers).
        value_range: Smallest and largest value that a raw number can have; ``None`` where the
            source does not say, for those that the training examples span.

    Raises:
        UserError: If examples and labels do not fit together, or values are not finite.
    """
    y = _checked(spec, "x", x, "y", y)
    if x_test is None:
        rows, rows_test = split_test(y)
        x, x_test = take_rows(x, rows), take_rows(x, rows_test)
        y, y_test = y[rows], y[rows_test]
    else:
        y_test = _checked(spec, "x_test", x_test, "y_test", y_test)
        rows, rows_test = np.arange(len(x)), np.arange(len(x_test))
    if x.shape[1:] != x_test.shape[1:]:
        raise UserError(
            f"--data {spec} was given with examples of shape {x.shape[1:]} but test examples of "
            f"shape {x_test.shape[1:]}, expected one shape: mend the data."
        )
    if x.dtype != x_test.dtype:
        raise UserError(
            f"--data {spec} was given with examples of type {x.dtype} but test examples of type "
            f"{x_test.dtype}, expected one type, since they are scaled as one: convert them."
        )
    num_classes = int(max(y.max(initial=-1), y_test.max(initial=-1))) + 1
    names = class_names or tuple(str(number) for number in range(num_classes))
    if num_classes > len(names):
        raise UserError(
            f"--data {spec} was given with the label {num_classes - 1}, expected labels from 0 to "
            f"{len(names) - 1}: mend the labels."
        )
    return Dataset(
        spec=spec,
        x=x,
        y=y,
        x_test=x_test,
        y_test=y_test,
        class_names=names,
        value_range=value_range or observed_range(x),
        has_observed_range=value_range is None,
        rows=rows,
        rows_test=rows_test,
    )


def observed_range(x: np.ndarray) -> tuple[float, float]:
    """The smallest and the largest value of examples, never equal."""
    low, high = float(x.min()), float(x.max())
    return (low, high) if high > low else (low, low + 1.0)


def _checked(spec, x_name, x, y_name, y) -> np.ndarray:
    if x.ndim < 2 or len(x) < 2:
        raise UserError(
            f"--data {spec} was given with {x_name} of shape {x.shape}, expected (examples, ...) "
            "with at least 2 examples: mend the data."
        )
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        bad = int(np.argmin(np.isfinite(x.reshape(len(x), -1)).all(axis=1)))
        raise UserError(
            f"--data {spec} was given with a value in row {bad} of {x_name} that is not finite, "
            "expected numbers: replace or drop it."
        )
    if y is None:
        return np.full(len(x), UNLABELLED, np.int32)
    if y.shape != (len(x),):
        raise UserError(
            f"--data {spec} was given with {y_name} of shape {y.shape}, expected ({len(x)},), one "
            f"label for each row of {x_name}: mend the data."
        )
    if y.dtype.kind not in "iu" or y.min() < UNLABELLED:
        smallest = f" and smallest value {y.min()}" if y.dtype.kind in "iuf" else ""
        raise UserError(
            f"--data {spec} was given with {y_name} of type {y.dtype}{smallest}, expected whole "
            "numbers from 0 on, -1 for no label: mend the labels."
        )
    return y.astype(np.int32)
