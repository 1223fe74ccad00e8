"""Which labelled examples teach, and which judge: nested draws, dealt to stratified folds.

All of it is a pure function of the labels, the seed and the number of the repeat.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from kt_transfer.data.dataset import UNLABELLED
from kt_transfer.data.splits import draw_labels, single_classes
from kt_transfer.errors import UserError


class Draw(NamedTuple):
    """Labelled rows in the order in which they were drawn, and the fold of each.

    Every beginning of it is a smaller draw, in which each row keeps its fold. Copies of an example
    share one. A fold of -1 is never held out: the only example of a class.
    """

    rows: np.ndarray
    folds: np.ndarray

    def split(self, fold: int, labels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Rows to learn from and rows held out, of the first ``labels`` (default: of all)."""
        rows, held = self.rows[:labels], self.folds[:labels] == fold
        return rows[~held], rows[held]


def derived_seed(*numbers: int) -> int:
    """One seed from several numbers, such as seed, repeat and fold; 0 to 2**31 - 1."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0] >> 1)


def draw_folds(
    y: np.ndarray,
    labels: int,
    num_folds: int,
    seed: int,
    repeat: int = 0,
    copies: np.ndarray | None = None,
) -> Draw:
    """A stratified draw of labelled rows, dealt to folds.

    Within the draw each class is dealt in turn, beginning some folds after the class before it:
    so the folds of every beginning are stratified, and of nearly one size.

    Args:
        y: Labels of the training split, shape ``(n,)``; ``-1`` where there is none.
        labels: How many to draw.
        num_folds: Number of folds, at least 2.
        seed: Seed of the draw; repeat 0 is what :func:`~kt_transfer.data.draw_labels` draws.
        repeat: Number of the draw.
        copies: A number for each row, shared by those that hold equal examples, ``-1`` for rows
            that must not teach; ``None`` where all differ.

    Example:
        >>> draw = draw_folds(np.array([0, 1] * 10), 10, num_folds=5, seed=0)
        >>> train, held_out = draw.split(0)
        >>> len(train), len(held_out)
        (8, 2)
    """
    rows = draw_labels(y, labels, derived_seed(seed, repeat) if repeat else seed, copies)
    drawn = y[rows]
    _, first, example = np.unique(
        rows if copies is None else copies[rows], return_index=True, return_inverse=True
    )
    is_first = np.zeros(len(rows), bool)
    is_first[first] = True
    folds = np.empty(len(rows), int)
    classes = np.unique(drawn)
    apart = -(-num_folds // len(classes))
    for number, label in enumerate(classes):
        members = is_first & (drawn == label)
        folds[members] = (np.arange(members.sum()) + number * apart) % num_folds
    alone = np.isin(example, example[np.isin(drawn, single_classes(y, copies))])
    return Draw(rows, np.where(alone, -1, folds[first][example]))


def class_shares(
    y: np.ndarray, draw: Draw, num_folds: int, num_classes: int, labels: int | None = None
) -> np.ndarray:
    """What the recall of each class counts in the folds that hold it out.

    A class that F' of F folds hold out counts F / F' times a C-th in each of these, C the number of
    classes that are held out: so the mean over the folds is the mean over the classes of their mean
    recalls, whether or not a class is in every fold. Where each is, all shares are 1 / C, and a
    fold's balanced accuracy is the usual one. Elsewhere a single fold may exceed 1, and its
    difference to another method varies with what it holds, which widens the interval.

    Args:
        y: Labels of the training split, shape ``(n,)``.
        draw: Of these.
        num_folds: Folds that it is dealt to.
        num_classes: Length of the result.
        labels: The budget (default: the whole draw).

    Returns:
        Shape ``(num_classes,)``; 0 for classes that are never held out.

    Example:
        >>> y = np.array([0, 0, 1, 0, 1, 0])
        >>> draw = Draw(np.arange(6), np.array([0, 1, 0, 2, 1, 2]))
        >>> class_shares(y, draw, num_folds=3, num_classes=2)
        array([0.5 , 0.75])
    """
    rows, folds = draw.rows[:labels], draw.folds[:labels]
    held = np.unique(np.stack([y[rows], folds])[:, folds >= 0], axis=1)[0]
    in_folds = np.bincount(held, minlength=num_classes)
    there = in_folds > 0
    return np.where(there, num_folds / (there.sum() * np.maximum(in_folds, 1)), 0.0)


def resolve_budgets(
    y: np.ndarray,
    budgets: tuple[int | Literal["all"], ...],
    *,
    num_folds: int,
    repeats: int,
    seed: int,
    copies: np.ndarray | None = None,
) -> list[int]:
    """Label budgets as numbers, ascending; one that the folds cannot split is refused.

    Args:
        y: Labels of the training split, ``-1`` where there is none.
        budgets: Numbers of labelled examples, or ``"all"``.
        num_folds: Folds that split each.
        repeats: Draws of each.
        seed: Seed of the draws.
        copies: As for :func:`draw_folds`.

    Raises:
        UserError: If a budget is larger than what there is, gives a fold no example, or holds
            fewer than two examples of a class: one could not be held out and learned from. A
            class of which there is one example in all is never held out.
    """
    num_labelled = int(((y != UNLABELLED) & (True if copies is None else copies >= 0)).sum())
    numbers = sorted({num_labelled if budget == "all" else budget for budget in budgets})
    options = (numbers[-1], num_folds, seed)
    draws = [draw_folds(y, *options, repeat, copies) for repeat in range(repeats)]
    least = max(_least(y, draw, num_folds, copies) for draw in draws)
    if least > numbers[-1]:
        raise UserError(
            f"--labels {numbers[-1]} was given with --folds {num_folds}, expected an example for "
            "each fold and two of each class, one to learn from and one to be judged by, but the "
            f"draw has fewer: give more of the {num_labelled} labels, or leave the class out."
        )
    if numbers[0] < least:
        raise UserError(
            f"--labels {numbers[0]} was given with --folds {num_folds}, expected an example for "
            "each fold and two of each class, one to learn from and one to be judged by: give at "
            f"least {least}."
        )
    return numbers


def _least(y: np.ndarray, draw: Draw, num_folds: int, copies) -> float:
    """The shortest beginning with two of each class and one for each fold; ``inf`` for none."""
    drawn, judged = y[draw.rows], draw.folds >= 0
    differs = np.zeros(len(drawn), bool)
    examples = draw.rows if copies is None else copies[draw.rows]
    differs[np.unique(examples, return_index=True)[1]] = True
    least = [_place(draw.folds == fold, 1) for fold in range(num_folds)]
    for label in np.unique(drawn[judged]):
        least.append(_place(differs & (drawn == label), 2))
    return max(least)


def _place(found: np.ndarray, count: int) -> float:
    """How long a beginning holds so many."""
    places = np.flatnonzero(found)
    return int(places[count - 1]) + 1 if len(places) >= count else float("inf")
