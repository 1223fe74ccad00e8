"""Who is test, who is validation, whose label is known."""

from __future__ import annotations

import numpy as np

from kt_transfer.data.dataset import UNLABELLED
from kt_transfer.errors import UserError

TEST_SHARE = 0.2


def split_test(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A stratified split into training and test rows that depends on the data alone.

    No seed enters it, so that no two runs of a chain disagree about what is test.

    Args:
        y: Labels of shape ``(n,)``; ``-1`` where there is none.

    Returns:
        Row numbers of the training and of the test part, each in ascending order.
    """
    num_test = max(1, round(TEST_SHARE * len(y)))
    order = stratified_order(y, np.random.default_rng(0))
    return np.sort(order[num_test:]), np.sort(order[:num_test])


def stratified_order(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random order of all rows whose every beginning is stratified.

    Each class is shuffled and spread evenly over the whole: the first n rows hold each class
    in proportion, and one example of every class comes before any second one.

    Args:
        y: Labels of shape ``(n,)``.
        rng: Source of the randomness.

    Returns:
        A permutation of ``range(n)``.
    """
    position = np.empty(len(y))
    for label in np.unique(y):
        members = rng.permutation(np.flatnonzero(y == label))
        place = (np.arange(len(members)) + rng.uniform(0, 1)) / len(members)
        place[:1] -= 1.0
        position[members] = place
    return np.argsort(position, kind="stable")


def draw_labels(y: np.ndarray, labels: int | None, seed: int) -> np.ndarray:
    """A stratified draw of labelled rows.

    It depends on ``labels`` and ``seed`` alone, and a larger draw contains the smaller.

    Args:
        y: Labels of the training split, shape ``(n,)``; ``-1`` where there is none.
        labels: How many to draw; ``None`` for all.
        seed: Seed of the draw.

    Returns:
        Row numbers, the first drawn first.

    Raises:
        UserError: If there are fewer labelled examples than that.

    Example:
        >>> rows = draw_labels(np.array([0, 0, 1, 1, -1]), 2, seed=0)
        >>> sorted(np.array([0, 0, 1, 1, -1])[rows])
        [0, 1]
    """
    labelled = np.flatnonzero(y != UNLABELLED)
    if labels is not None and labels > len(labelled):
        raise UserError(
            f"--labels {labels} was given, but the training split has {len(labelled)} labelled "
            f"examples: give at most {len(labelled)}."
        )
    num_classes = len(np.unique(y[labelled]))
    if labels is not None and labels < num_classes:
        raise UserError(
            f"--labels {labels} was given, expected at least one for each of the {num_classes} "
            f"classes: give at least {num_classes}."
        )
    order = stratified_order(y[labelled], np.random.default_rng(seed))
    return labelled[order[:labels]]


def hold_out(y: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A stratified split of rows into training and validation.

    Args:
        y: Labels of shape ``(n,)``.
        share: Share of the rows to hold out, from 0 to below 1.
        seed: Seed of the split.

    Returns:
        Positions of the training and of the validation rows; none for validation where the
        share is below one row.
    """
    num_validation = int(share * len(y))
    order = stratified_order(y, np.random.default_rng([seed, 1]))
    # From the end: the beginning holds one example of every class, which training needs.
    cut = len(y) - num_validation
    return np.sort(order[:cut]), np.sort(order[cut:])
