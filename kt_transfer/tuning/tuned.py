"""A method that chooses its own settings, from the labels that it learns from."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from kt_transfer.comparison.folds import derived_seed, draw_folds
from kt_transfer.data.dataset import UNLABELLED
from kt_transfer.data.overlap import same_examples
from kt_transfer.data.rows import take_rows
from kt_transfer.methods.learning import Examples, Graphs, Learned, Problem, Start
from kt_transfer.methods.reusing import Learners
from kt_transfer.tuning.oracles import Search
from kt_transfer.tuning.searching import search_settings
from kt_transfer.tuning.spaces import space_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tuned:
    """Another method, the settings of which are searched anew whenever it learns.

    Where it is cross-validated, each fold has a search of its own that sees what the fold learns
    from and nothing else, so that its score is that of searching and learning together (nested
    cross-validation: Varma & Simon, 2006, https://doi.org/10.1186/1471-2105-7-91).

    Attributes:
        method: The method with the settings to search around; the first trial has these.
        folds: Folds of the given labels that judge each trial.
        search: As for :func:`~.oracles.oracle_of`.
        max_trials: Trials at most.
        space: Function ``(hp, method) -> method``; ``None`` for the method's own.
    """

    method: Any
    folds: int = 5
    search: Search = "random"
    max_trials: int = 10
    space: Any = None

    name: ClassVar[str] = "tuned"

    @property
    def description(self) -> str:
        """What it is, for the report."""
        return f"{self.method.description}; its settings searched in {self.folds} folds"

    @property
    def needs_source(self) -> bool:
        """As the method."""
        return self.method.needs_source

    @property
    def sees_unlabelled(self) -> bool:
        """As the method."""
        return self.method.sees_unlabelled

    @property
    def teacher(self):
        """As the method's."""
        return self.method.teacher

    @property
    def is_network(self) -> bool:
        """As the method."""
        return self.method.is_network

    @property
    def takes_steps(self) -> bool:
        """As the method."""
        return self.method.takes_steps

    @property
    def regresses(self) -> bool:
        """As the method."""
        return self.method.regresses

    @property
    def epochs(self) -> int:
        """Those of the settings as given."""
        return self.method.epochs

    @property
    def augment(self) -> str | None:
        """As the method's."""
        return getattr(self.method, "augment", None)

    def to_json(self, of_method) -> dict:
        """As a candidate's entry; ``of_method`` makes that of the method within."""
        own = {"folds": self.folds, "search": self.search, "max_trials": self.max_trials}
        return {"method": self.name, "searched": of_method(self.method), **own}

    def prepare(self, problem: Problem) -> TunedLearner:
        """A learner of this method."""
        return TunedLearner(self, problem)


class TunedLearner:
    """Searches settings by folds of what it is given, then learns all of it with the best.

    Args:
        tuned: The method.
        problem: What it is prepared for.

    Example:
        >>> from kt_transfer import load_data
        >>> from kt_transfer.methods import Scratch
        >>> from kt_transfer.models.classifiers import dense_encoder
        >>> from kt_transfer.models.preprocessing import preprocessing_model
        >>> data = load_data("digits")
        >>> scaled = preprocessing_model(data.input_shape, data.scaling_range, data.x.dtype)
        >>> problem = Problem(10, 60, dense_encoder(64, [16]), scaled)
        >>> learner = Tuned(method=Scratch(epochs=2), folds=2, max_trials=2).prepare(problem)
        >>> learned = learner.learn(Examples(data.x[:60], data.y[:60]), seed=0)
        >>> sorted(learned.choice)
        ['as_given', 'score', 'settings', 'trials']
    """

    def __init__(self, tuned: Tuned, problem: Problem):
        self.tuned, self.problem = tuned, problem
        self._learners = Learners(lambda method: method.prepare(problem))
        # Before anything is chosen, what is asked is what the settings as given are.
        self._last = self._learners.learner(tuned.method)

    @property
    def network(self):
        """The network with the settings chosen last."""
        return self._last.network

    @property
    def preprocessing(self):
        """From raw examples to its inputs."""
        return self._last.preprocessing

    def learn(
        self, examples: Examples, *, seed: int, start: Start | None = None, callbacks=()
    ) -> Learned:
        """Choose the settings, and learn with them.

        Args:
            examples: As the method takes them.
            seed: Of the search, of its folds and of what is learned.
            start: What is transferred.
            callbacks: Keras callbacks that watch the last fit, not those of the search.
        """
        folds = list(self._folds(examples, seed, start))
        suggest = self.tuned.space or space_of(self.tuned.method.name)

        def scores(method, trial: str) -> Iterator[float]:
            learner = self._learners.learner(method)
            for number, (own, judging, own_start) in enumerate(folds):
                inner = derived_seed(seed, number, 5)
                learned = learner.learn(own, seed=inner, start=own_start)
                answers = learned.logits(take_rows(examples.x, judging)).argmax(axis=1)
                yield float(np.mean(answers == examples.y[judging]))

        with tempfile.TemporaryDirectory(prefix="kt_transfer-search-") as folder:
            trials = search_settings(
                Path(folder) / "tuner",
                suggest=suggest,
                base=self.tuned.method,
                scores=scores,
                num_folds=len(folds),
                metric="accuracy",
                direction="max",
                search=self.tuned.search,
                max_trials=self.tuned.max_trials,
                seed=seed,
                say=lambda line: None,
            )
        done = [trial for trial in trials if trial["score"] is not None]
        best = max(done, key=lambda trial: trial["score"], default=None)
        method = self.tuned.method if best is None else best["suggested"]
        self._last = self._learners.learner(method)
        learned = self._last.learn(examples, seed=seed, start=start, callbacks=callbacks)
        if best is None:
            return learned
        choice = {
            "settings": best["settings"],
            "score": best["score"],
            "as_given": trials[0]["score"],
            "trials": len(trials),
        }
        return learned._replace(
            seconds=learned.seconds + sum(trial["seconds"] or 0.0 for trial in trials),
            choice=choice,
        )

    def _folds(self, examples: Examples, seed: int, start: Start | None):
        """What each fold learns from, the rows that judge it, and where it starts from.

        Of a method that sees unlabelled examples, those that judge are among these.
        """
        together = examples.together
        copies = same_examples(examples.x)[0] if together is None else together
        labelled = np.flatnonzero(examples.y != UNLABELLED)
        draw = draw_folds(examples.y, len(labelled), self.tuned.folds, seed, copies=copies)
        # All folds have the same examples, so that they have the same graphs.
        graphs = Graphs(derived_seed(seed, 6), {})
        for fold in range(self.tuned.folds):
            train, judging = draw.split(fold)
            if not len(judging):
                continue
            rows = np.arange(len(examples.y)) if self.tuned.sees_unlabelled else train
            labels = np.full_like(examples.y, UNLABELLED)
            labels[train] = examples.y[train]
            own = Examples(
                take_rows(examples.x, rows),
                labels[rows],
                None if examples.sample_weight is None else examples.sample_weight[rows],
                together=None if together is None else together[rows],
            )
            weights = None if start is None else start.encoder_weights
            yield own, judging, Start(weights, graphs=graphs)
