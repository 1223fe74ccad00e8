"""How a network learns from labels that are propagated along a graph of all examples."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import keras
import numpy as np

from kt_transfer.data.overlap import same_examples
from kt_transfer.data.rows import take_rows
from kt_transfer.data.splits import stratified_order
from kt_transfer.engine.fused_model import FusedModel, scaling
from kt_transfer.errors import UserError
from kt_transfer.methods.learning import (
    Examples,
    Graphs,
    Learned,
    Problem,
    RepeatedFit,
    Start,
    copy_of,
    start_fresh,
)
from kt_transfer.methods.propagated import Propagated
from kt_transfer.models.classifiers import classifier, compile_classifier
from kt_transfer.models.freezing import freeze_layers
from kt_transfer.models.preprocessing import as_image
from kt_transfer.training.graph import (
    neighbour_graph,
    propagate,
    with_class_masses,
)
from kt_transfer.training.neighbours import (
    in_blocks,
    nearest_by_views,
    nearest_neighbours,
    principal_components,
)
from kt_transfer.training.oriented_gradients import oriented_gradients

# What is tried for a setting that is not given; of equals, the first is taken.
ALPHAS, CLASS_MASSES = (0.99, 0.9), (False, True)
NUM_COMPONENTS = 100
# So many times the neighbours are looked at for those that are nearest by views.
CANDIDATES = 10
# Random halves of the labels that these are judged by.
NUM_SPLITS = 5


class Choice(NamedTuple):
    """What a graph is made by, and how labels spread on it, as the settings of the method."""

    graph_features: str
    alpha: float
    class_mass: bool


class Spread(NamedTuple):
    """What a graph says of all examples.

    Attributes:
        labels: The class of each example, ``(n,)``; ``-1`` where no label reaches.
        choice: The settings that were given or chosen.
        accuracy: Of these on held-out labels; ``None`` where nothing was held out.
    """

    labels: np.ndarray
    choice: Choice
    accuracy: float | None


class PropagatedLearner:
    """A network that is trained on the labels that a graph propagates to all examples.

    Args:
        method: Its settings.
        problem: With ``encoder`` and ``preprocessing``.

    Example:
        >>> from kt_transfer import load_data
        >>> from kt_transfer.models.classifiers import dense_encoder
        >>> from kt_transfer.models.preprocessing import preprocessing_model
        >>> data = load_data("digits")
        >>> scaled = preprocessing_model(data.input_shape, data.scaling_range, data.x.dtype)
        >>> problem = Problem(10, len(data.x), dense_encoder(64, [32]), scaled)
        >>> few = np.where(np.arange(len(data.x)) < 50, data.y, -1)
        >>> learner = Propagated(epochs=2).prepare(problem)
        >>> spread = learner.spread(Examples(data.x, few), seed=0)
        >>> float(np.mean(spread.labels == data.y)) > 0.8
        True
    """

    def __init__(self, method: Propagated, problem: Problem):
        self.method, self.problem = method, problem
        self.preprocessing = problem.preprocessing
        self._choices()  # refused before anything is trained
        self._source, self._shared_seconds = copy_of(problem.encoder), 0.0
        encoder = copy_of(problem.encoder)
        freeze_layers(encoder, 0)
        self.network = classifier(encoder, problem.num_classes, dropout=method.dropout)
        compile_classifier(self.network, keras.optimizers.Adam(method.learning_rate))
        self._fit = RepeatedFit(
            self.network,
            self.network,
            method,
            problem.num_examples,
            scaling(self.preprocessing),
            max_steps=method.max_steps,
            augment=problem.augment,
            jit_compile=problem.jit_compile,
        )

    @property
    def learning_rates(self) -> tuple[float, dict[str, float]]:
        """The initial learning rate; no layer has a factor of its own."""
        return self.method.learning_rate, {}

    def epochs(self, num_examples: int) -> int:
        """Passes over so many examples."""
        return self._fit.epochs(num_examples)

    def initialize(self, seed: int, start: Start | None = None) -> None:
        """Give the network the fresh weights that it starts from."""
        start_fresh(self.network, seed)

    def learn(
        self, examples: Examples, *, seed: int, start: Start | None = None, callbacks=()
    ) -> Learned:
        """Propagate the labels, and learn from what every example is given.

        Args:
            examples: Labelled or not.
            seed: Of the splits that choose settings, initial weights and the order of examples.
            start: The encoder's weights, for a graph of its features.
            callbacks: Keras callbacks that watch the fit.
        """
        began, self._shared_seconds = time.perf_counter(), 0.0
        spread = self.spread(examples, seed=seed, start=start)
        rows = np.flatnonzero(spread.labels >= 0)
        weights = None if examples.sample_weight is None else examples.sample_weight[rows]
        # No copy where all are reached, as nearly always.
        x = examples.x if len(rows) == len(examples.x) else take_rows(examples.x, rows)
        reached = examples._replace(x=x, y=spread.labels[rows], sample_weight=weights)
        self.initialize(seed)
        # As if no other fit had made the graphs.
        before = time.perf_counter() - began + self._shared_seconds
        fitted = self._fit.fit(reached, seed=seed, callbacks=callbacks)
        return Learned(
            self.network,
            self.preprocessing,
            before + fitted.seconds,
            fitted.steps,
            fitted.curve,
            head_seconds=before,
            execution=self._fit.fused.execution,
            note=described(spread, examples.y),
        )

    def spread(self, examples: Examples, *, seed: int, start: Start | None = None) -> Spread:
        """What the graph says of all examples, by the best of the settings that are not given.

        Args:
            examples: Labelled or not.
            seed: Of the splits that choose settings.
            start: The encoder's weights, for a graph of its features; and graphs to share.
        """
        if start is not None and start.encoder_weights is not None:
            self._source.set_weights(start.encoder_weights)
        known = np.flatnonzero(examples.y >= 0)
        graphs = None if start is None else start.graphs
        choice, graph, accuracy = self._best(examples, known, seed, graphs)
        num_views = 0 if self.problem.augment is None else self.method.graph_views
        if graph is None or num_views:
            # Of what was chosen alone: views take most of the time.
            graph = self._graph(choice.graph_features, examples.x, seed, graphs, num_views)
        scores = self._scores(graph, choice.alpha, examples, known)
        if choice.class_mass:
            scores = self._with_class_masses(scores, examples, known)
        reached = scores.max(axis=1) > 0
        labels = np.where(reached, scores.argmax(axis=1), -1)
        labels[known] = examples.y[known]
        return Spread(labels, choice, accuracy)

    def _best(self, examples: Examples, known, seed: int, graphs: Graphs | None):
        """The settings that held-out labels choose, their graph without views, and their accuracy.

        The first of all, no graph and no accuracy where there is nothing to choose, or nothing
        can be held out.
        """
        kinds, alphas, masses = self._choices()
        splits = []
        if len(kinds) * len(alphas) * len(masses) > 1:
            copies = same_examples(take_rows(examples.x, known))[0]
            splits = half_splits(examples.y[known], copies, seed)
        best = Choice(kinds[0], alphas[0], masses[0]), None, None
        for kind in kinds if splits else ():
            graph = self._graph(kind, examples.x, seed, graphs)
            for alpha in alphas:
                found = self._accuracies(graph, alpha, masses, examples, known, splits)
                for class_mass, accuracy in zip(masses, found, strict=True):
                    if best[2] is None or accuracy > best[2]:
                        best = Choice(kind, alpha, class_mass), graph, accuracy
        return best

    def graph(self, kind: str, x, seed: int, num_views: int = 0):
        """The graph of examples by one kind of features.

        Args:
            kind: One of the choices of ``graph_features``.
            x: Raw examples, ``(n, ...)``.
            seed: Of components, lists of neighbours and views.
            num_views: Random views of each that its distances allow for.

        Returns:
            As from :func:`~kt_transfer.training.graph.neighbour_graph`.
        """
        describe = principal_components(x, self._describe(kind), NUM_COMPONENTS, seed=seed)
        features, num = in_blocks(x, describe), self.method.neighbours
        if not num_views:
            return neighbour_graph(*nearest_neighbours(features, num, seed=seed))

        def views(start: int, stop: int) -> Iterator[np.ndarray]:
            for number in range(num_views):
                seeds = [seed, start * num_views + number]
                yield describe(self.problem.augment(x[start:stop], seeds).numpy())

        candidates, _ = nearest_neighbours(features, CANDIDATES * num, seed=seed)
        return neighbour_graph(*nearest_by_views(features, candidates, views, num))

    def _graph(self, kind: str, x, seed: int, graphs: Graphs | None, num_views: int = 0):
        """The graph of :meth:`graph`, once for all fits that share graphs."""
        if graphs is None or kind == "encoder":  # which is of one source
            return self.graph(kind, x, seed, num_views)
        key = kind, num_views, self.method.neighbours, num_views and self.method.augment
        if key in graphs.made:
            self._shared_seconds += graphs.made[key][1]
        else:
            began = time.perf_counter()
            graph = self.graph(kind, x, graphs.seed, num_views)
            graphs.made[key] = graph, time.perf_counter() - began
        return graphs.made[key][0]

    def _choices(self) -> tuple[tuple, tuple, tuple]:
        """What is tried: features, alphas and class masses; of what is given, that alone."""
        method, kinds = self.method, (self.method.graph_features,)
        is_picture = as_image(self.problem.preprocessing.input_shape[1:]) is not None
        if method.graph_features == "gradients" and not is_picture:
            raise UserError(
                setting="graph_features",
                given="gradients",
                expected="pictures",
                but=f"an example has the shape {self.problem.preprocessing.input_shape[1:]}",
                remedy="give raw, or leave it out",
            )
        if method.graph_features is None:
            kinds = ("gradients", "raw") if is_picture else ("raw",)
        alphas = ALPHAS if method.alpha is None else (method.alpha,)
        masses = CLASS_MASSES if method.class_mass is None else (method.class_mass,)
        return kinds, alphas, masses

    def _describe(self, kind: str) -> Callable:
        """A function from raw examples to what they are compared by."""
        if kind == "encoder":
            return FusedModel(self._source, transform=scaling(self.preprocessing)).answers
        if kind == "gradients":
            shape = as_image(self.preprocessing.input_shape[1:])
            return lambda x: oriented_gradients(x.reshape(-1, *shape)).numpy()
        scaled = self.problem.flat or self.preprocessing
        return lambda x: scaled(x).numpy().reshape(len(x), -1)

    def _accuracies(self, graph, alpha: float, masses, examples: Examples, known, splits):
        """On labels that are held out, without and with class masses."""
        right = np.zeros((len(splits), len(masses)))
        for number, (train, held) in enumerate(splits):
            scores = self._scores(graph, alpha, examples, known[train])
            for column, class_mass in enumerate(masses):
                if class_mass:
                    scores = self._with_class_masses(scores, examples, known[train])
                answers = scores[known[held]].argmax(axis=1)
                right[number, column] = np.mean(answers == examples.y[known[held]])
        return right.mean(axis=0).tolist()

    def _scores(self, graph, alpha: float, examples: Examples, taught) -> np.ndarray:
        """What spreads from some labelled rows, ``(n, classes)``."""
        return propagate(graph, self._targets(examples, taught), alpha=alpha)

    def _with_class_masses(self, scores: np.ndarray, examples: Examples, taught) -> np.ndarray:
        return with_class_masses(scores, self._targets(examples, taught).sum(axis=0))

    def _targets(self, examples: Examples, taught) -> np.ndarray:
        targets = np.zeros((len(examples.y), self.problem.num_classes), np.float32)
        weights = examples.sample_weight
        targets[taught, examples.y[taught]] = 1.0 if weights is None else weights[taught]
        return targets


def half_splits(
    labels: np.ndarray, copies: np.ndarray, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Stratified halves of labelled examples, five times.

    Args:
        labels: Shape ``(n,)``.
        copies: A number for each example, shared by equal ones, which are never split.
        seed: Of the splits.

    Returns:
        Rows to learn from, one of every class among them, and rows held out; no pairs if nothing
        can be held out.

    Example:
        >>> splits = half_splits(np.array([0, 0, 1, 1]), np.arange(4), seed=0)
        >>> len(splits), {(len(train), len(held)) for train, held in splits}
        (5, {(2, 2)})
    """
    first = np.unique(copies, return_index=True)[1]
    kept = max(-(-len(first) // 2), len(np.unique(labels)))
    rng, splits = np.random.default_rng([seed, 4]), []
    for _ in range(NUM_SPLITS if kept < len(first) else 0):
        held = np.isin(copies, copies[first[stratified_order(labels[first], rng)[kept:]]])
        splits.append((np.flatnonzero(~held), np.flatnonzero(held)))
    return splits


def described(spread: Spread, given: np.ndarray) -> str:
    """How many examples the labels reached, and how right they were, in one sentence."""
    unlabelled = given < 0
    num, reached = int(unlabelled.sum()), int((spread.labels[unlabelled] >= 0).sum())
    names = {"raw": "values", "gradients": "gradients", "encoder": "the source's features"}
    choice = spread.choice
    judged = "" if spread.accuracy is None else f", {spread.accuracy:.1%} right where held out"
    return (
        f"labels spread along a graph of {names[choice.graph_features]} (alpha {choice.alpha:g}"
        f"{', class masses as among the labels' if choice.class_mass else ''}{judged}) to "
        f"{reached:,} of {num:,} unlabelled examples"
    )
