"""Which labelled examples teach, and which judge: nested draws, dealt to stratified folds.

All of it is a pure function of the labels, the seed and the number of the repeat.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from kt_transfer.data.dataset import UNLABELLED
from kt_transfer.data.splits import draw_labels
from kt_transfer.errors import UserError


class Draw(NamedTuple):
    """Labelled rows in the order in which they were drawn, and the fold of each.

    Every beginning of it is a smaller draw, in which each row keeps its fold.
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


def draw_folds(y: np.ndarray, labels: int, num_folds: int, seed: int, repeat: int = 0) -> Draw:
    """A stratified draw of labelled rows, dealt to folds.

    Within the draw each class is dealt in turn, beginning some folds after the class before it:
    so the folds of every beginning are stratified, and of nearly one size.

    Args:
        y: Labels of the training split, shape ``(n,)``; ``-1`` where there is none.
        labels: How many to draw.
        num_folds: Number of folds, at least 2.
        seed: Seed of the draw; repeat 0 is what :func:`~kt_transfer.data.draw_labels` draws.
        repeat: Number of the draw.

    Example:
        >>> draw = draw_folds(np.array([0, 1] * 10), 10, num_folds=5, seed=0)
        >>> train, held_out = draw.split(0)
        >>> len(train), len(held_out)
        (8, 2)
    """
    rows = draw_labels(y, labels, derived_seed(seed, repeat) if repeat else seed)
    drawn = y[rows]
    folds = np.empty(len(rows), int)
    classes = np.unique(drawn)
    apart = -(-num_folds // len(classes))
    for number, label in enumerate(classes):
        members = drawn == label
        folds[members] = (np.arange(members.sum()) + number * apart) % num_folds
    return Draw(rows, folds)


def resolve_budgets(
    y: np.ndarray,
    budgets: tuple[int | Literal["all"], ...],
    *,
    num_folds: int,
    repeats: int,
    seed: int,
) -> list[int]:
    """Label budgets as numbers, ascending; one that the folds cannot split is refused.

    Args:
        y: Labels of the training split, ``-1`` where there is none.
        budgets: Numbers of labelled examples, or ``"all"``.
        num_folds: Folds that split each.
        repeats: Draws of each.
        seed: Seed of the draws.

    Raises:
        UserError: If a budget is larger than what there is, gives a fold no example, or holds
            fewer than two examples of a class: one could not be held out and learned from.
    """
    num_labelled = int((y != UNLABELLED).sum())
    numbers = sorted({num_labelled if budget == "all" else budget for budget in budgets})
    draws = [draw_folds(y, numbers[-1], num_folds, seed, repeat) for repeat in range(repeats)]
    least = max(_least(y[draw.rows], draw.folds, num_folds) for draw in draws)
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


def _least(drawn: np.ndarray, folds: np.ndarray, num_folds: int) -> float:
    """The shortest beginning with two of each class and one for each fold; ``inf`` for none."""
    seconds = [_place(drawn == label, 2) for label in np.unique(drawn)]
    return max(seconds + [_place(folds == fold, 1) for fold in range(num_folds)])


def _place(found: np.ndarray, count: int) -> float:
    """How long a beginning holds so many."""
    places = np.flatnonzero(found)
    return int(places[count - 1]) + 1 if len(places) >= count else float("inf")
