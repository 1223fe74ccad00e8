"""Who is test, who is validation, whose label is known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kt_transfer.data.dataset import UNLABELLED
from kt_transfer.errors import UserError

TEST_SHARE = 0.2


class _Groups(NamedTuple):
    """Equal examples as one: the label, the number of rows, and for each row its group."""

    labels: np.ndarray
    sizes: np.ndarray
    of_row: np.ndarray


def split_test(y: np.ndarray, copies: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A stratified split into training and test rows that depends on the data alone.

    No seed enters it, so that no two runs of a chain disagree about what is test. Equal examples
    are on one side, and the only example of a class is for training.

    Args:
        y: Labels of shape ``(n,)``; ``-1`` where there is none.
        copies: A number for each row, shared by those that hold equal examples, as from
            :func:`~.overlap.same_examples`; ``None`` where all differ.

    Returns:
        Row numbers of the training and of the test part, each in ascending order.
    """
    num_test = max(1, round(TEST_SHARE * len(y)))
    groups = _groups(y, copies)
    if len(groups.sizes) == 1:  # nothing can be told apart: whoever trains on it says so
        groups = _groups(y, None)
    order = stratified_order(groups.labels, np.random.default_rng(0))
    several = order[~np.isin(groups.labels[order], single_classes(y, copies))]
    test = np.isin(groups.of_row, _filling(several if len(several) else order, groups, num_test))
    return np.flatnonzero(~test), np.flatnonzero(test)


def single_classes(y: np.ndarray, copies: np.ndarray | None = None) -> np.ndarray:
    """The classes that have one labelled example, or one and its copies."""
    labels, counts = np.unique(_labelled_pairs(y, copies)[1], return_counts=True)
    return labels[counts == 1]


def _labelled_pairs(y, copies) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labelled rows that differ in example or label: the first of each, their labels, and for
    each labelled row its place among them."""
    rows = _labelled(y, copies)
    if copies is None:
        return rows, y[rows], np.arange(len(rows))
    pairs = copies[rows].astype(np.int64) * (1 + int(y.max(initial=0))) + y[rows]
    _, first, place = np.unique(pairs, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return rows[first[order]], y[rows[first[order]]], np.argsort(order)[place]


def _labelled(y, copies) -> np.ndarray:
    """Rows that have a label and may teach."""
    return np.flatnonzero((y != UNLABELLED) & (True if copies is None else copies >= 0))


def _groups(y: np.ndarray, copies: np.ndarray | None) -> _Groups:
    if copies is None:
        return _Groups(y, np.ones(len(y), int), np.arange(len(y)))
    _, first, of_row, sizes = np.unique(
        copies, return_index=True, return_inverse=True, return_counts=True
    )
    # In the order in which they come: where none is equal, these are the rows as they are.
    by_place = np.argsort(first)
    of_row, sizes = np.argsort(by_place)[of_row], sizes[by_place]
    # The label of the first that has one.
    order = np.lexsort((y == UNLABELLED, of_row))
    return _Groups(y[order][np.cumsum(sizes) - sizes], sizes, of_row)


def _filling(order: np.ndarray, groups: _Groups, room: int) -> np.ndarray:
    """The groups, in this order, that fit into so many rows; the smallest where none does."""
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


def draw_labels(
    y: np.ndarray, labels: int | None, seed: int, copies: np.ndarray | None = None
) -> np.ndarray:
    """A stratified draw of labelled rows.

    It depends on ``labels`` and ``seed`` alone, and a larger draw contains the smaller. A copy of
    an example is drawn only after all that differ.

    Args:
        y: Labels of the training split, shape ``(n,)``; ``-1`` where there is none.
        labels: How many to draw; ``None`` for all.
        seed: Seed of the draw.
        copies: As for :func:`split_test`; ``-1`` for rows that must not teach.

    Returns:
        Row numbers, the first drawn first.

    Raises:
        UserError: If there are fewer labelled examples than that.

    Example:
        >>> rows = draw_labels(np.array([0, 0, 1, 1, -1]), 2, seed=0)
        >>> sorted(np.array([0, 0, 1, 1, -1])[rows].tolist())
        [0, 1]
    """
    labelled = _labelled(y, copies)
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
    first, its_label, place = _labelled_pairs(y, copies)
    order = stratified_order(its_label, np.random.default_rng(seed))
    again = np.setdiff1d(np.arange(len(labelled)), np.searchsorted(labelled, first))
    when = np.argsort(order)[place[again]]
    return np.concatenate([first[order], labelled[again[np.argsort(when, kind="stable")]]])[:labels]


def hold_out(
    y: np.ndarray, share: float, seed: int, copies: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """A stratified split of rows into training and validation, equal examples on one side.

    Args:
        y: Labels of shape ``(n,)``.
        share: Share of the rows to hold out, from 0 to below 1.
        seed: Seed of the split.
        copies: As for :func:`draw_labels`.

    Returns:
        Positions of the training and of the validation rows; none for validation where the
        share is below one row.
    """
    rows = np.arange(len(y)) if copies is None else np.flatnonzero(copies >= 0)
    groups = _groups(y[rows], None if copies is None else copies[rows])
    order = stratified_order(groups.labels, np.random.default_rng([seed, 1]))
    if groups.sizes.max(initial=1) > 1:
        order = order[_beyond_the_first(groups.labels[order])]
    # From the end: the beginning holds one example of every class, which training needs.
    held = np.isin(groups.of_row, _filling(order[::-1], groups, int(share * len(rows))))
    return rows[~held], rows[held]


def without_copies_of(rows: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """All rows that may teach beside some held out: neither those nor copies of theirs.

    Args:
        rows: The rows held out.
        copies: As for :func:`draw_labels`.

    Example:
        >>> without_copies_of(np.array([0]), copies=np.array([0, 1, 0, -1]))
        array([1])
    """
    return np.flatnonzero((copies >= 0) & ~np.isin(copies, copies[rows]))


def _beyond_the_first(labels: np.ndarray) -> np.ndarray:
    """The places of all but the first of each class."""
    return np.setdiff1d(np.arange(len(labels)), np.unique(labels, return_index=True)[1])
