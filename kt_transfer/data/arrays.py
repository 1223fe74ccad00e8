"""Build a checked :class:`Dataset` from the arrays of a source."""

from __future__ import annotations

import numpy as np

from kt_transfer.data.dataset import UNLABELLED, Dataset, Like
from kt_transfer.data.labels import number_classes
from kt_transfer.data.overlap import same_examples
from kt_transfer.data.ranges import observed_range
from kt_transfer.data.rows import take_rows
from kt_transfer.data.splits import split_test
from kt_transfer.errors import UserError

# Channels of a picture: grey, with colours, with transparency besides; and its least side.
_CHANNELS, _LEAST_SIDE = (1, 3, 4), 8


def dataset_from_arrays(
    spec: str,
    x: np.ndarray,
    y: np.ndarray | None,
    x_test: np.ndarray | None = None,
    y_test: np.ndarray | None = None,
    *,
    class_names: tuple[str, ...] | None = None,
    value_range: tuple[float, float] | None,
    like: Like | None = None,
) -> Dataset:
    """Check the arrays, and split off a test part if there is none.

    Args:
        spec: The data spec, for messages.
        x: Examples of shape ``(n, ...)``.
        y: Labels of shape ``(n,)``, ``-1`` for none; or ``None``. Class numbers if
            ``class_names`` are given; otherwise any integers or names.
        x_test: Test examples, if the source has any.
        y_test: Their labels.
        class_names: Names of the classes (default: the labels that occur).
        value_range: Smallest and largest possible raw value; ``None`` for the range of the
            training examples, if the source states none.
        like: The examples that a model takes, if these are new ones for it, which may be few.

    Raises:
        UserError: If examples and labels do not match, or values are not finite.
    """
    least = 2 if like is None else like.least
    # For predictions, test examples alone suffice.
    y = _checked(spec, "x", x, "y", y, 0 if least == 1 and x_test is not None else least)
    if x_test is None:
        require_shapes(spec, "x_test", None, "y_test", None if y_test is None else y_test.shape)
        y_test = y[:0]
    else:
        y_test = _checked(spec, "x_test", x_test, "y_test", y_test, least)
    _require_channels_last(spec, x.shape)
    if class_names is None:
        y, y_test, class_names = number_classes(spec, y, y_test)
    largest = int(max(y.max(initial=-1), y_test.max(initial=-1)))
    if largest >= len(class_names):
        raise UserError(
            setting="data",
            given=spec,
            when=f"with the label {largest}",
            expected=f"labels from 0 to {len(class_names) - 1}",
            remedy="correct the labels",
        )
    if x_test is None:
        rows, rows_test = split_test(y, *same_examples(x))
        x, x_test = take_rows(x, rows), take_rows(x, rows_test)
        y, y_test = y[rows], y[rows_test]
    else:
        rows, rows_test = np.arange(len(x)), np.arange(len(x_test))
    if x.shape[1:] != x_test.shape[1:]:
        raise UserError(
            setting="data",
            given=spec,
            when=f"with examples of shape {x.shape[1:]} but test examples of shape "
            f"{x_test.shape[1:]}",
            expected="one shape",
            remedy="correct the data",
        )
    if x.dtype != x_test.dtype:
        raise UserError(
            setting="data",
            given=spec,
            when=f"with examples of type {x.dtype} but test examples of type {x_test.dtype}",
            expected="one type, since they are scaled as one",
            remedy="convert them",
        )
    return Dataset(
        spec=spec,
        x=x,
        y=y.astype(np.int32),
        x_test=x_test,
        y_test=y_test.astype(np.int32),
        class_names=class_names,
        value_range=value_range or observed_range(x if len(x) else x_test),
        has_observed_range=value_range is None,
        rows=rows,
        rows_test=rows_test,
    )


def require_shapes(
    spec: str,
    x_name: str,
    x: tuple[int, ...] | None,
    y_name: str,
    y: tuple[int, ...] | None,
    least: int = 2,
) -> None:
    """Check the shapes of examples and labels before they are read.

    Args:
        spec: The data spec, for messages.
        x_name: The source's name for the examples.
        x: Their shape; ``None`` if there are none.
        y_name: The source's name for the labels.
        y: Their shape; ``None`` if there are none.
        least: Minimum number of examples.

    Raises:
        UserError: If there are too few examples, they are empty, or labels do not match them.
    """
    if x is not None and (len(x) < 2 or x[0] < least or 0 in x[1:]):
        s = "s" if least != 1 else ""
        raise UserError(
            setting="data",
            given=spec,
            when=f"with {x_name} of shape {x}",
            expected=f"(examples, ...) with at least {least} example{s} of at least one value",
            remedy="correct the data",
        )
    if y is not None and x is None:
        raise UserError(
            setting="data",
            given=spec,
            when=f"with {y_name} but without {x_name}",
            expected="both or neither",
            remedy=f"add {x_name}, or leave {y_name} out",
        )
    if y is not None and y != x[:1]:
        raise UserError(
            setting="data",
            given=spec,
            when=f"with {y_name} of shape {y}",
            expected=f"{x[:1]}, one label for each row of {x_name}",
            remedy="correct the data",
        )


def _require_channels_last(spec: str, shape: tuple[int, ...]) -> None:
    """Refuse pictures as PyTorch has them, whose first rows would be taken for pictures."""
    if len(shape) != 4:
        return
    _, first, *sides, last = shape
    if first in _CHANNELS and last not in _CHANNELS and min(*sides, last) >= _LEAST_SIDE:
        raise UserError(
            setting="data",
            given=spec,
            when=f"with examples of shape {shape[1:]}",
            expected="(height, width, channels)",
            but=f"these look like {first} channels of {sides[0]} x {last} pixels",
            remedy="move the channels to the end, as numpy.moveaxis(x, 1, -1) does",
        )


def _checked(spec, x_name, x, y_name, y, least: int) -> np.ndarray:
    require_shapes(spec, x_name, x.shape, y_name, None if y is None else y.shape, least)
    require_finite(spec, x_name, x)
    return np.full(len(x), UNLABELLED, np.int32) if y is None else y


def require_finite(spec: str, name: str, x: np.ndarray, first: int = 0) -> None:
    """Refuse NaN and infinity among numbers.

    Args:
        spec: The data spec, for messages.
        name: The source's name for the examples.
        x: Examples, shape ``(n, ...)``.
        first: The row of the first one.

    Raises:
        UserError: For the first row that has one.
    """
    if x.dtype.kind != "f" or np.isfinite(x).all():
        return
    bad = first + int(np.argmin(np.isfinite(x.reshape(len(x), -1)).all(axis=1)))
    raise UserError(
        setting="data",
        given=spec,
        when=f"with a value in row {bad} of {name} that is not finite",
        expected="numbers",
        remedy="replace or drop it",
    )
