"""Settings of a method, judged by folds of the labels that are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from kt_transfer.comparison.folds import derived_seed, draw_folds, resolve_budgets
from kt_transfer.data import Dataset
from kt_transfer.data.rows import take_rows
from kt_transfer.data.splits import hold_out, without_copies_of
from kt_transfer.methods.learning import (
    Examples,
    Graphs,
    Problem,
    Start,
    held_out,
    labels_of,
)
from kt_transfer.methods.reusing import Learners

# Of what a fold learns from, the share that says when to stop, where something has to.
INNER_SHARE = 0.2
# Graphs of more examples are made anew for all settings, rather than kept for every fold.
_MOST_IN_GRAPHS = 5_000


class Folds:
    """Folds of the given labels, in each of which settings of a method are trained and judged.

    Folds, initial weights and the order of examples are the same for all settings, so that their
    scores are paired. How long a network is trained is either given or, with ``patience``, decided
    by a part of what the fold learns from: never by the examples that judge it. The test split is
    not looked at.

    Args:
        data: The target.
        labels: How many labels are drawn; ``None`` for all.
        num_folds: Folds that split them.
        seed: Of the draw, the folds and the weights.
        problem_of: Function of a method and the number of examples it will learn from that gives
            its :class:`~kt_transfer.methods.learning.Problem`.
        encoder_weights: What is transferred; ``None`` without a source.
        targets_of: Function of the rows and the labels that may be seen of them that gives the
            ``y`` of the examples; the labels by themselves by default.
        rows: Rows to draw labels from; all that are labelled by default.
        usable: Rows that may be learned from without a label; all by default.
    """

    def __init__(
        self,
        data: Dataset,
        *,
        labels: int | None,
        num_folds: int,
        seed: int,
        problem_of: Callable[[object, int], Problem],
        encoder_weights: list[np.ndarray] | None = None,
        targets_of: Callable[[np.ndarray, np.ndarray], object] | None = None,
        rows: np.ndarray | None = None,
        usable: np.ndarray | None = None,
    ):
        self.data, self.num_folds, self.seed = data, num_folds, seed
        self.y = data.y if rows is None else labels_of(data.y, rows)
        (self.num_labels,) = resolve_budgets(
            self.y,
            (labels or "all",),
            num_folds=num_folds,
            repeats=1,
            seed=seed,
            copies=data.copies,
            judge="budget",
        )
        self._draw = draw_folds(self.y, self.num_labels, num_folds, seed, copies=data.copies)
        self._learners = Learners(
            lambda method: method.prepare(problem_of(method, self._num_examples(method)))
        )
        self._usable = np.arange(len(data.x)) if usable is None else usable
        self._targets_of = targets_of or (lambda rows, labels: labels)
        # What methods that start from the same compute of it, once for all settings.
        keeps_graphs = len(data.x) <= _MOST_IN_GRAPHS
        self._starts = {
            fold: Start(
                encoder_weights,
                graphs=Graphs(derived_seed(seed, fold, 2), {}) if keeps_graphs else None,
            )
            for fold in range(num_folds)
        }

    def scores(self, method) -> Iterator[float]:
        """The accuracy of a method on what each fold holds out, one fold after the other."""
        learner = self._learners.learner(method)
        for fold in range(self.num_folds):
            train, judging = self._draw.split(fold)
            examples = self._examples(method, train, judging)
            seed = derived_seed(self.seed, fold, 1)
            learned = learner.learn(examples, seed=seed, start=self._starts[fold])
            answers = learned.logits(take_rows(self.data.x, judging)).argmax(axis=1)
            yield float(np.mean(answers == self.data.y[judging]))

    def _num_examples(self, method) -> int:
        if method.sees_unlabelled:
            return len(self.data.x)
        return self.num_labels - self.num_labels // self.num_folds

    def _examples(self, method, train: np.ndarray, judging: np.ndarray) -> Examples:
        """What the method may see of a fold."""
        data, inner = self.data, np.arange(0)
        if getattr(method, "patience", None):
            copies = data.copies[train]
            kept, stopping = hold_out(data.y[train], INNER_SHARE, self.seed, copies)
            train, inner = train[kept], train[stopping]
        rows = train
        if method.sees_unlabelled:
            unseen = np.concatenate([judging, inner])
            rows = without_copies_of(unseen, data.copies)
            rows = rows[np.isin(rows, self._usable) | np.isin(rows, train)]
        watched = held_out(data.x, data.y, inner)
        if watched is not None:
            watched = watched[0], self._targets_of(inner, data.y[inner])
        return Examples(
            take_rows(data.x, rows),
            self._targets_of(rows, labels_of(data.y, train)[rows]),
            validation=watched,
            together=None if data.groups is None else data.copies[rows],
        )
