"""Checks and warnings about a data set before training."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kt_transfer.data.dataset import UNLABELLED, Dataset
from kt_transfer.data.findings import MOST_COLUMNS, column_findings
from kt_transfer.data.splits import single_classes
from kt_transfer.errors import UserError

_MOST_NAMES = 5
_ONE_GROUP = "labelled training examples in one group alone"


def require_variety(data: Dataset) -> None:
    """Require training examples that differ, and some that are not in the test part.

    Raises:
        UserError: If all are equal, or all occur in the test part.
    """
    train, _ = data.same
    if len(train) > 1 and (train == train[0]).all():
        raise UserError(
            setting="data",
            given=data.spec,
            when=f"with {len(train):,} training examples that are all the same",
            expected="examples that differ",
            remedy="correct the data",
        )
    if (data.copies < 0).all():
        raise UserError(
            setting="data",
            given=data.spec,
            when=f"with {len(train):,} training examples that are all in the test part as well",
            expected="others to learn from",
            remedy="correct the data",
        )


def remarks(data: Dataset, num_folds: int | None = None) -> Iterator[str]:
    """One line each about duplicates, contradictory labels, rare classes, and columns that give
    the label away or say the same as another.

    Args:
        data: The data set.
        num_folds: Number of cross-validation folds, if any.
    """
    yield from remarks_on_examples(data, num_folds)
    if data.input_dim <= MOST_COLUMNS:
        for finding in column_findings(data):
            yield f"{data.spec}: {finding.text}"


def remarks_on_examples(data: Dataset, num_folds: int | None = None) -> Iterator[str]:
    """The same without the columns."""
    yield from _copies(data)
    left_out = int((data.copies < 0).sum())
    if left_out:
        in_test = int(np.isin(data.same[1], data.same[0]).sum())
        yield (
            f"{data.spec}: {in_test:,} of {len(data.x_test):,} test examples are also training "
            f"examples: these {left_out:,} of {len(data.x):,} are left out of training"
        )
    yield from _classes_without_training_examples(data)
    yield from _rare_classes(data, num_folds)


def _copies(data: Dataset) -> Iterator[str]:
    numbers, y = np.concatenate(data.same), np.concatenate([data.y, data.y_test])
    _, of_row, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    repeated = counts[of_row] > 1
    if not repeated.any():
        return
    yield (
        f"{data.spec}: {repeated.sum():,} of {len(y):,} examples occur more than once: no split "
        "separates duplicates"
    )
    labelled = repeated & (y != UNLABELLED)
    pairs = np.unique(np.stack([of_row[labelled], y[labelled]], axis=1), axis=0)
    differ, labels = np.unique(pairs[:, 0], return_counts=True)
    contradicting = int((labelled & np.isin(of_row, differ[labels > 1])).sum())
    if contradicting:
        yield (
            f"{data.spec}: {contradicting:,} of these have duplicates with a different label: "
            "check the labels"
        )


def _classes_without_training_examples(data: Dataset) -> Iterator[str]:
    trained, tested = (np.unique(y[y != UNLABELLED]) for y in (data.y, data.y_test))
    missing = np.setdiff1d(tested, trained)
    if len(trained) and len(missing):
        they = "it" if len(missing) == 1 else "they"
        yield (
            f"{data.spec}: {_named(data, missing)} only in the test part: {they} cannot be "
            f"learned, so {np.isin(data.y_test, missing).sum():,} test examples count as errors"
        )


def _rare_classes(data: Dataset, num_folds: int | None) -> Iterator[str]:
    single = single_classes(data.y, data.copies)
    if len(single):
        yield (
            f"{data.spec}: {_named(data, single)} with "
            f"{'a single labelled training example' if data.groups is None else _ONE_GROUP}: it is "
            "used for training and never held out, so its recall is unknown"
        )
    if num_folds is None:
        return
    rare = [
        label
        for label in np.setdiff1d(np.unique(data.y[data.y != UNLABELLED]), single)
        if len(np.unique(data.copies[(data.y == label) & (data.copies >= 0)])) < num_folds
    ]
    if rare:
        yield (
            f"{data.spec}: {_named(data, rare)} with fewer labelled examples than the {num_folds} "
            "folds: it is missing from some folds"
        )


def _named(data: Dataset, labels) -> str:
    names = [data.class_names[label] for label in labels]
    shown = ", ".join(names[:_MOST_NAMES]) + (", …" if len(names) > _MOST_NAMES else "")
    return f"class {shown}" if len(names) == 1 else f"{len(names)} classes ({shown})"
