"""Stratified splits into training, validation and test, and draws of labels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kt_transfer.data.dataset import UNLABELLED
from kt_transfer.errors import UserError

TEST_SHARE = 0.2


class _Groups(NamedTuple):
    """Groups of equal examples: label and size of each, and the group of each row."""

    labels: np.ndarray
    sizes: np.ndarray
    of_row: np.ndarray


def split_test(y: np.ndarray, copies: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A stratified split into training and test rows that depends on the data alone.

    It uses no seed, so that all runs of a chain agree on the test part. Equal examples are never
    split, and the only example of a class is for training.

    Args:
        y: Labels of shape ``(n,)``; ``-1`` for none.
        copies: A number for each row, shared by equal examples, as from
            :func:`~.overlap.same_examples`; ``None`` if all differ.

    Returns:
        Row numbers of the training and of the test part, each in ascending order.
    """
    num_test = max(1, round(TEST_SHARE * len(y)))
    groups = _groups(y, copies)
    if len(groups.sizes) == 1:  # all are equal, which is reported before training
        groups = _groups(y, None)
    order = stratified_order(groups.labels, np.random.default_rng(0))
    several = order[~np.isin(groups.labels[order], single_classes(y, copies))]
    test = np.isin(groups.of_row, _filling(several if len(several) else order, groups, num_test))
    return np.flatnonzero(~test), np.flatnonzero(test)


def single_classes(y: np.ndarray, copies: np.ndarray | None = None) -> np.ndarray:
    """The classes with a single labelled example, not counting copies."""
    labels, counts = np.unique(_labelled_pairs(y, copies)[1], return_counts=True)
    return labels[counts == 1]


def _labelled_pairs(y, copies) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct pairs of an example and a label: the first row and the label of each, and the index
    of each labelled row's pair."""
    rows = _labelled(y, copies)
    if copies is None:
        return rows, y[rows], np.arange(len(rows))
    pairs = copies[rows].astype(np.int64) * (1 + int(y.max(initial=0))) + y[rows]
    _, first, place = np.unique(pairs, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return rows[first[order]], y[rows[first[order]]], np.argsort(order)[place]


def _labelled(y, copies) -> np.ndarray:
    """Labelled rows that may be used for training."""
    return np.flatnonzero((y != UNLABELLED) & (True if copies is None else copies >= 0))


def _groups(y: np.ndarray, copies: np.ndarray | None) -> _Groups:
    if copies is None:
        return _Groups(y, np.ones(len(y), int), np.arange(len(y)))
    _, first, of_row, sizes = np.unique(
        copies, return_index=True, return_inverse=True, return_counts=True
    )
    # In order of first occurrence: if all examples differ, these are the rows themselves.
    by_place = np.argsort(first)
    of_row, sizes = np.argsort(by_place)[of_row], sizes[by_place]
    # The label of the first labelled row of each group.
    order = np.lexsort((y == UNLABELLED, of_row))
    return _Groups(y[order][np.cumsum(sizes) - sizes], sizes, of_row)


def _filling(order: np.ndarray, groups: _Groups, room: int) -> np.ndarray:
    """The groups, in this order, that fit into ``room`` rows; the smallest if none does."""
    sizes = groups.sizes[order]
    if room == 0 or sizes.max(initial=1) == 1:
        return order[:room]
    taken = []
    for group, size in zip(order, sizes, strict=True):
        if size <= room:
            taken.append(group)
            room -= size
    return np.array(taken or [order[np.argmin(sizes)]])


def stratified_order(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random order of all rows in which every prefix is stratified.

    Each class is shuffled and spread evenly: the first n rows contain the classes in proportion,
    and one example of every class precedes any second one.

    Args:
        y: Labels of shape ``(n,)``.
        rng: Random generator.

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


def draw_labels(
    y: np.ndarray, labels: int | None, seed: int, copies: np.ndarray | None = None
) -> np.ndarray:
    """A stratified draw of labelled rows.

    It depends on ``labels`` and ``seed`` alone, and a larger draw contains a smaller one. Copies
    are drawn only after all distinct examples.

    Args:
        y: Labels of the training split, shape ``(n,)``; ``-1`` for none.
        labels: Number of labels to draw; ``None`` for all.
        seed: Seed of the draw.
        copies: As for :func:`split_test`; ``-1`` for rows excluded from training.

    Returns:
        Row numbers in the order of the draw.

    Raises:
        UserError: If there are fewer labelled examples.

    Example:
        >>> rows = draw_labels(np.array([0, 0, 1, 1, -1]), 2, seed=0)
        >>> sorted(np.array([0, 0, 1, 1, -1])[rows].tolist())
        [0, 1]
    """
    labelled = _labelled(y, copies)
    if labels is not None and labels > len(labelled):
        raise UserError(
            setting="labels",
            given=labels,
            but=f"the training split has {len(labelled)} labelled examples",
            remedy=f"give at most {len(labelled)}",
        )
    num_classes = len(np.unique(y[labelled]))
    if labels is not None and labels < num_classes:
        raise UserError(
            setting="labels",
            given=labels,
            expected=f"at least one for each of the {num_classes} classes",
            remedy=f"give at least {num_classes}",
        )
    first, its_label, place = _labelled_pairs(y, copies)
    order = stratified_order(its_label, np.random.default_rng(seed))
    again = np.setdiff1d(np.arange(len(labelled)), np.searchsorted(labelled, first))
    when = np.argsort(order)[place[again]]
    return np.concatenate([first[order], labelled[again[np.argsort(when, kind="stable")]]])[:labels]


def hold_out(
    y: np.ndarray, share: float, seed: int, copies: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """A stratified split of rows into training and validation that never splits equal examples.

    Args:
        y: Labels of shape ``(n,)``.
        share: Share of the rows to hold out, from 0 to below 1.
        seed: Seed of the split.
        copies: As for :func:`draw_labels`.

    Returns:
        Positions of the training and validation rows; no validation rows if the share is below
        one row.
    """
    rows = np.arange(len(y)) if copies is None else np.flatnonzero(copies >= 0)
    groups = _groups(y[rows], None if copies is None else copies[rows])
    order = stratified_order(groups.labels, np.random.default_rng([seed, 1]))
    if groups.sizes.max(initial=1) > 1:
        order = order[_beyond_the_first(groups.labels[order])]
    # From the end, since the beginning has one example of every class, which training needs.
    held = np.isin(groups.of_row, _filling(order[::-1], groups, int(share * len(rows))))
    return rows[~held], rows[held]


def draw_and_hold_out(
    y: np.ndarray, labels: int | None, share: float, seed: int, copies: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Draw labelled rows, and split a validation part off them.

    Args:
        y: Labels, ``-1`` for none.
        labels: As for :func:`draw_labels`.
        share: As for :func:`hold_out`.
        seed: Seed of both.
        copies: As for both.

    Returns:
        Rows for training, and rows for validation.
    """
    drawn = draw_labels(y, labels, seed, copies)
    train, validation = hold_out(y[drawn], share, seed, copies[drawn])
    return drawn[train], drawn[validation]


def without_copies_of(rows: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """All training rows except the held-out ones and their copies.

    Args:
        rows: The held-out rows.
        copies: As for :func:`draw_labels`.

    Example:
        >>> without_copies_of(np.array([0]), copies=np.array([0, 1, 0, -1]))
        array([1])
    """
    return np.flatnonzero((copies >= 0) & ~np.isin(copies, copies[rows]))


def _beyond_the_first(labels: np.ndarray) -> np.ndarray:
    """The positions of all but the first of each class."""
    return np.setdiff1d(np.arange(len(labels)), np.unique(labels, return_index=True)[1])


def of_every_class(y: np.ndarray, count: int = 10, most: int = 24) -> np.ndarray:
    """Rows to show: the first of each class, then the second, as far as ``count`` goes.

    Args:
        y: Class numbers, shape ``(n,)``; what has no label counts as a class.
        count: How many rows, where there are no more classes.
        most: How many at most.

    Example:
        >>> of_every_class(np.array([0, 0, 0, 2, 1, 1]), 4)
        array([0, 4, 3, 1])
    """
    by_class = np.argsort(y, kind="stable")
    _, starts, counts = np.unique(y[by_class], return_index=True, return_counts=True)
    turn = np.empty(len(y), int)
    turn[by_class] = np.arange(len(y)) - np.repeat(starts, counts)
    return np.lexsort((y, turn))[: min(max(count, len(counts)), most)]
