"""Nested draws of labelled examples, assigned to stratified cross-validation folds.

All functions are pure functions of the labels, the seed and the number of the repeat.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from kt_transfer.data.dataset import UNLABELLED
from kt_transfer.data.splits import draw_labels, single_classes
from kt_transfer.errors import UserError, named

# Few, and what usually settles it.
DEFAULT_BUDGETS = 50, 200


class Draw(NamedTuple):
    """Labelled rows in the order of the draw, and the fold of each.

    Every prefix is a smaller draw, in which each row keeps its fold. Copies of an example share a
    fold. The only example of a class has fold -1 and is never held out.
    """

    rows: np.ndarray
    folds: np.ndarray

    def split(self, fold: int, labels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Training rows and held-out rows among the first ``labels`` (default: all)."""
        rows, held = self.rows[:labels], self.folds[:labels] == fold
        return rows[~held], rows[held]


def derived_seed(*numbers: int) -> int:
    """Derive a seed from several numbers, such as seed, repeat and fold; 0 to 2**31 - 1."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0] >> 1)


def draw_folds(
    y: np.ndarray,
    labels: int,
    num_folds: int,
    seed: int,
    repeat: int = 0,
    copies: np.ndarray | None = None,
) -> Draw:
    """A stratified draw of labelled rows, assigned to folds.

    The rows of each class are assigned to folds in turn, with an offset from the previous class, so
    that the folds of every prefix are stratified and nearly equal in size.

    Args:
        y: Labels of the training split, shape ``(n,)``; ``-1`` for none.
        labels: Number of labels to draw.
        num_folds: Number of folds, at least 2.
        seed: Seed of the draw; repeat 0 equals :func:`~kt_transfer.data.draw_labels`.
        repeat: Number of the draw.
        copies: A number for each row, shared by equal examples, ``-1`` for rows excluded from
            training; ``None`` if all differ.

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


def training_order(
    y: np.ndarray, pool: np.ndarray, seed: int, copies: np.ndarray | None = None
) -> np.ndarray:
    """The rows that a fold leaves to learn from, in the order in which budgets draw them.

    Every prefix is stratified, and a smaller one is part of a larger one. Each fold has an order of
    its own, so that what few labels happen to be drawn is judged as often as there are folds.

    Args:
        y: Labels of the training split, shape ``(n,)``; ``-1`` for none.
        pool: The labelled rows that the fold does not hold out.
        seed: Seed of the order.
        copies: As for :func:`draw_folds`.

    Example:
        >>> training_order(np.array([0, 0, 1, 1, 1]), np.array([0, 2, 4]), seed=0)[:2]
        array([2, 0])
    """
    own = np.full(len(y), UNLABELLED)
    own[pool] = y[pool]
    return draw_labels(own, None, seed, copies)


def class_shares(
    y: np.ndarray, draw: Draw, num_folds: int, num_classes: int, labels: int | None = None
) -> np.ndarray:
    """The weight of each class's recall in the folds that hold it out.

    A class held out in F' of F folds has the weight F / (F' C) in each of these, with C the number
    of held-out classes. So the mean over folds is the mean of the classes' mean recalls, whether or
    not each class is in every fold. If each is, all weights are 1 / C, the usual balanced accuracy.
    Otherwise the score of a single fold may exceed 1, and its difference to another method depends
    on the classes it holds, which widens the interval.

    Args:
        y: Labels of the training split, shape ``(n,)``.
        draw: A draw of these labels.
        num_folds: Number of its folds.
        num_classes: Length of the result.
        labels: The label budget (default: the whole draw).

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


def default_budgets(num_labelled: int, num_folds: int) -> tuple[int | Literal["all"], ...]:
    """50 and 200 labels, as far as the folds leave so many to learn from; or else all there are.

    Args:
        num_labelled: Number of labelled examples.
        num_folds: Number of folds, of which one is held out.

    Example:
        >>> default_budgets(1438, 5), default_budgets(120, 5), default_budgets(40, 5)
        ((50, 200), (50, 'all'), ('all',))
    """
    left = num_labelled - -(-num_labelled // num_folds)
    fitting = tuple(budget for budget in DEFAULT_BUDGETS if budget <= left)
    return fitting if len(fitting) == len(DEFAULT_BUDGETS) else (*fitting, "all")


def resolve_budgets(
    y: np.ndarray,
    budgets: tuple[int | Literal["all"], ...],
    *,
    num_folds: int,
    repeats: int,
    seed: int,
    copies: np.ndarray | None = None,
    judge: Literal["all", "budget"] = "all",
) -> list[int]:
    """Convert label budgets to ascending numbers, and check that the folds can split the labels.

    Args:
        y: Labels of the training split, ``-1`` for none.
        budgets: Numbers of labelled examples, or ``"all"``.
        num_folds: Number of folds.
        repeats: Number of draws.
        seed: Seed of the draws.
        copies: As for :func:`draw_folds`.
        judge: Whether the folds split all labels, or those of a budget.

    Raises:
        UserError: If a budget exceeds the number of labels, or what the folds split leaves one of
            them empty, or contains fewer than two examples of a class, one to train on and one to
            hold out. A class with a single example in the data is never held out.
    """
    num_labelled = int(((y != UNLABELLED) & (True if copies is None else copies >= 0)).sum())
    numbers = sorted({num_labelled if budget == "all" else budget for budget in budgets})
    for budget in (numbers[0], numbers[-1]):
        draw_labels(y, budget, seed, copies)  # refuses more than there are, or too few
    options = (num_labelled if judge == "all" else numbers[-1], num_folds, seed)
    draws = [draw_folds(y, *options, repeat, copies) for repeat in range(repeats)]
    least = max(_least(y, draw, num_folds, copies) for draw in draws)
    expected = "an example for each fold and two of each class, one to train on and one to hold out"
    if least > options[0] and judge == "all":
        raise UserError(
            setting="folds",
            given=num_folds,
            expected=expected,
            but=f"the {num_labelled} labels have fewer",
            remedy=f"give fewer {named('folds')}, more labels, or leave the class out",
        )
    if judge == "budget" and numbers[0] < least:
        refused = {"setting": "labels", "when": f"with {named('folds', num_folds)}"}
        if least > numbers[-1]:
            raise UserError(
                **refused,
                given=numbers[-1],
                expected=expected,
                but="the draw has fewer",
                remedy=f"give more of the {num_labelled} labels, or leave the class out",
            )
        raise UserError(
            **refused, given=numbers[0], expected=expected, remedy=f"give at least {least}"
        )
    return numbers


def _least(y: np.ndarray, draw: Draw, num_folds: int, copies) -> float:
    """The shortest prefix with two of each class and one for each fold; ``inf`` if none has."""
    drawn, judged = y[draw.rows], draw.folds >= 0
    differs = np.zeros(len(drawn), bool)
    examples = draw.rows if copies is None else copies[draw.rows]
    differs[np.unique(examples, return_index=True)[1]] = True
    least = [_place(draw.folds == fold, 1) for fold in range(num_folds)]
    for label in np.unique(drawn[judged]):
        least.append(_place(differs & (drawn == label), 2))
    return max(least)


def _place(found: np.ndarray, count: int) -> float:
    """The length of the shortest prefix with ``count`` found; ``inf`` if there is none."""
    places = np.flatnonzero(found)
    return int(places[count - 1]) + 1 if len(places) >= count else float("inf")
