"""The comparison: every method, from every source, on every fold of every draw and budget."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from kt_transfer.comparison.costs import costs
from kt_transfer.comparison.folds import (
    Draw,
    class_shares,
    derived_seed,
    draw_folds,
    training_order,
)
from kt_transfer.comparison.held_out import HeldOut
from kt_transfer.comparison.refitting import refit
from kt_transfer.comparison.scoring import scores
from kt_transfer.comparison.shifting import Shift
from kt_transfer.comparison.table import NO_SOURCE, Cell, Table
from kt_transfer.data.overlap import same_examples
from kt_transfer.data.rows import take_rows
from kt_transfer.data.splits import draw_labels, without_copies_of
from kt_transfer.engine.fused_model import predict_raw
from kt_transfer.errors import TrainingFailed
from kt_transfer.files.writing import replacing
from kt_transfer.methods import Scratch
from kt_transfer.methods.learning import (
    Examples,
    Graphs,
    Learned,
    Problem,
    Start,
    copy_of,
    on_raw,
)
from kt_transfer.methods.reconstruction import AutoencoderLearner
from kt_transfer.methods.views import views_of

# How often in a fit the held-out examples are looked at, and how many, for the report alone.
EVALUATIONS, MOST_WATCHED = 20, 200


@dataclasses.dataclass(frozen=True)
class Source:
    """An encoder to transfer from: as it is, or pretrained anew where it must not have seen.

    Attributes:
        name: What the table calls it.
        encoder: Functional model; it is copied, never changed.
        preprocessing: From the target's raw examples to its inputs.
        pretraining: Trains the autoencoder that the encoder belongs to; ``None`` takes the
            encoder's weights as they are.
        x: Examples to pretrain on, of another set; ``None`` for the target's own training
            examples, without those that a fold holds out.
    """

    name: str
    encoder: keras.Model
    preprocessing: keras.Model
    pretraining: AutoencoderLearner | None = None
    x: np.ndarray | None = None


class Part(NamedTuple):
    """What one cell may use: rows with a label to learn from, rows it is judged by, and rows
    that may be seen without their label; and what each class counts in this fold."""

    labels: int
    repeat: int
    fold: int
    train: np.ndarray
    held_out: np.ndarray
    seen: np.ndarray
    shares: np.ndarray | None = None


class Prerequisites(NamedTuple):
    """Seconds of what a method needs before its own training."""

    pretraining: float = 0.0
    teacher: float = 0.0


class Comparison:
    """Trains and measures cells: one method from one source on one fold of a draw.

    Everything random is a pure function of seed, repeat, fold and budget, so that an
    interrupted comparison goes on to the identical table.

    Args:
        x: Raw training examples of the target, shape ``(n, ...)``.
        y: Their labels, ``-1`` for none; only those of a cell's training part are looked at
            to learn, those held out to judge.
        num_classes: Classes to tell apart.
        preprocessing: From raw examples to flat inputs, what ``linear`` and students see.
        budgets: Label budgets, ascending, as from :func:`~.folds.resolve_budgets`.
        num_folds: Folds that split each.
        seed: Seed of all.
        methods: The candidates by name, such as ``{"parameters": Parameters()}``.
        sources: What to transfer from; the first one's architecture is that of ``scratch``.
        folder: Where pretrained autoencoders are kept in between.
        sample_weight: How much each training example counts beside the others, in everything
            that learns from it; ``None`` for all alike.
        copies: A number for each example, shared by equal ones, ``-1`` for those that must not
            teach (default: found here).
        value_range: Of the raw values, for random views of them (``augment``).
        has_groups: Whether ``copies`` are shared by more than equal examples.
        judge: ``"all"`` lets the folds split all labelled examples, and a budget draw its own from
            what a fold leaves; ``"budget"`` lets the folds split what a budget draws.

    Preprocessing that is :func:`~.refitting.refittable` goes, in each fold, by the range of what
    the fold may see.
    """

    def __init__(
        self,
        x,
        y: np.ndarray,
        *,
        num_classes: int,
        preprocessing: keras.Model,
        budgets: list[int],
        num_folds: int,
        seed: int,
        methods: dict[str, Any],
        sources: list[Source],
        folder: Path,
        sample_weight: np.ndarray | None = None,
        copies: np.ndarray | None = None,
        value_range=None,
        has_groups: bool = False,
        judge: str = "all",
    ):
        self.x, self.y, self.num_classes = x, y, num_classes
        self.copies = same_examples(x)[0] if copies is None else copies
        self.preprocessing = preprocessing
        self.budgets, self.num_folds, self.seed = budgets, num_folds, seed
        self.sources = {source.name: source for source in sources}
        self.methods = methods
        self.folder = Path(folder)
        self.sample_weight, self.value_range = sample_weight, value_range
        self.has_groups, self.judge = has_groups, judge
        self.first = sources[0]
        for method in methods.values():
            self._views(method)  # refused before anything is trained
        self.candidates = [(name, NO_SOURCE) for name in methods if not self.transfers(name)]
        self.candidates += [
            (name, source.name) for source in sources for name in methods if self.transfers(name)
        ]
        self._range_of: tuple[int, int] | None = None
        # Callbacks of every fit but the refit of the winner.
        self.watch: tuple = ()
        self.served: dict[tuple[str, str], dict] = {}  # as from `serving_costs`
        # Folds to look at beyond the table; fewer where the time allowed fewer.
        self.num_trained = num_folds
        # Asks what was learned with the most labels about other examples, if that is wanted.
        self.shift: Shift | None = None
        self._learners: dict[tuple, Any] = {}
        self._encoders = {source.name: copy_of(source.encoder) for source in sources}
        self._starts: tuple[tuple, dict[str, Start]] = ((), {})
        self._graphs: tuple[tuple, Graphs] = ((), Graphs(0, {}))
        self._teachers: dict[tuple, tuple[tuple, Learned]] = {}
        self._pretrained: tuple[str, list, float] | None = None

    def transfers(self, name: str) -> bool:
        """Whether the candidate of that name transfers from a source."""
        return self.methods[name].needs_source

    def cells(self, repeats: int, num_folds: int | None = None) -> Iterator[tuple[Cell, Part]]:
        """Every cell in the order in which they are trained, and what it may use.

        Args:
            repeats: Draws of each budget.
            num_folds: Only so many folds, of all repeats together (default: all).
        """
        for part in self.parts(repeats, num_folds):
            for method, source in self.candidates:
                yield Cell(method, source, part.labels, part.repeat, part.fold), part

    def parts(self, repeats: int, num_folds: int | None = None) -> Iterator[Part]:
        """What the cells may use, the same for all candidates."""
        pairs = [(repeat, fold) for repeat in range(repeats) for fold in range(self.num_folds)]
        for repeat, fold in pairs[:num_folds]:
            if fold == 0:
                draw = self._draw(repeat)
            pool, held_out = draw.split(fold)
            # What the largest budget holds out, so that one pretraining serves all.
            seen = without_copies_of(held_out, self.copies)
            if self.judge == "all":
                seed = derived_seed(self.seed, repeat, fold, 0, 4)
                order = training_order(self.y, pool, seed, self.copies)
                shares = class_shares(self.y, draw, self.num_folds, self.num_classes)
                for labels in self.budgets:
                    # Where a budget takes all, they stay in the order of the draw.
                    train = order[:labels] if labels < len(pool) else pool
                    yield Part(labels, repeat, fold, train, held_out, seen, shares)
                continue
            for labels in self.budgets:
                shares = class_shares(self.y, draw, self.num_folds, self.num_classes, labels)
                yield Part(labels, repeat, fold, *draw.split(fold, labels), seen, shares)

    def encoder(self, source: str, part: Part) -> keras.Model:
        """A source's encoder as it is transferred, valid until another part asks for it."""
        encoder = self._encoders[source]
        encoder.set_weights(self._encoder_weights(source, part)[0])
        return encoder

    def features(self, source: str, part: Part) -> np.ndarray:
        """What a source's encoder, as it is transferred, makes of the examples to learn from."""
        preprocessing = self.sources[source].preprocessing
        x = self.examples(part, part.train)
        return predict_raw(self.encoder(source, part), preprocessing, x)

    def examples(self, part: Part, rows: np.ndarray):
        """Raw examples; the preprocessing goes by what the part may see from here on."""
        self._refit(part)
        return take_rows(self.x, rows)

    def _refit(self, part: Part) -> None:
        if (part.repeat, part.fold) == self._range_of:
            return
        own = [source.pretraining for source in self.sources.values() if source.x is None]
        models = [self.preprocessing, *(source.preprocessing for source in self.sources.values())]
        models += [learner.preprocessing for learner in own if learner is not None]
        seen = take_rows(self.x, part.seen)
        for preprocessing in models:
            refit(preprocessing, seen)
        self._range_of = part.repeat, part.fold

    def scratch(self, part: Part) -> Learned:
        """What a network of the first source's architecture learns of a part by itself."""
        given = [method for method in self.methods.values() if isinstance(method, Scratch)]
        method = given[0] if given else Scratch()
        return self._fit(method, NO_SOURCE, part)

    def refit(
        self, method: str, source: str, *, repeat: int = 0, callbacks=()
    ) -> tuple[Learned, np.ndarray]:
        """Learn from all labels of the largest budget, and from all examples.

        Its seed is that of the comparison, so that ``finetune`` and ``distill`` with the same
        seed, labels and settings, and no example held out, give the same weights.

        Args:
            method: Name of the candidate.
            source: Name of its source.
            repeat: Which draw of the labels.
            callbacks: Keras callbacks.

        Returns:
            What was learned, and the labelled rows.
        """
        labels, after_last = self.budgets[-1], self.num_folds
        seed = derived_seed(self.seed, repeat) if repeat else self.seed
        rows, nothing = draw_labels(self.y, labels, seed, self.copies), np.arange(0)
        everything = without_copies_of(nothing, self.copies)
        part = Part(labels, repeat, after_last, rows, nothing, everything)
        cell = Cell(method, source, labels, repeat, after_last)
        return self._learn(cell, part, callbacks, self.seed)[0], rows

    @property
    def labels_judged(self) -> np.ndarray:
        """The labels of all examples that may teach or judge."""
        return self.y[(self.y >= 0) & (self.copies >= 0)]

    @property
    def num_labelled(self) -> int:
        """How many they are."""
        return len(self.labels_judged)

    def _draw(self, repeat: int) -> Draw:
        """The labels that folds split, dealt to them."""
        split = self.num_labelled if self.judge == "all" else self.budgets[-1]
        return draw_folds(self.y, split, self.num_folds, self.seed, repeat, self.copies)

    def serving_costs(self) -> dict[tuple[str, str], dict[str, float]]:
        """What each candidate costs where it is served, measured once."""
        if not self.served:
            self.served = {candidate: self.costs_of(*candidate) for candidate in self.candidates}
        return self.served

    def costs_of(self, method: str, source: str) -> dict[str, float]:
        """What a candidate costs where it is served, as :func:`~.costs.costs` measures it."""
        learner = self.learner(self.methods[method], source, self.budgets[-1])
        example, num_bytes = take_rows(self.x, np.arange(1)), None
        if not self.methods[method].is_network:
            if not learner.is_fitted:  # it has no size before
                *_, largest = self.parts(repeats=1, num_folds=1)
                self._fit(self.methods[method], source, largest)
            num_bytes = learner.num_bytes
        return costs(learner.network, learner.preprocessing, example, num_bytes)

    def students(self) -> dict[tuple[str, str], tuple[str, str]]:
        """Of each candidate that is no network, the candidate that is its student."""
        return {
            (name, NO_SOURCE): (student, NO_SOURCE)
            for name, method in self.methods.items()
            for student, taught in self.methods.items()
            if not method.is_network and taught.teacher == method
        }

    def measure(self, table: Table, cell: Cell, part: Part) -> None:
        """Train one cell, measure it on what was held out, and add its row."""
        learned, before = self._learn(cell, part, self.watch)
        seconds = learned.seconds + before.pretraining + before.teacher
        answers = learned.logits(self.examples(part, part.held_out))
        if self.shift is not None and part.labels == self.budgets[-1]:
            # Before the row is there that marks the cell as finished.
            self.shift.measure(cell, part, learned, answers, self)
        table.add(
            cell,
            learned.curve,
            HeldOut(part.held_out, self.y[part.held_out], answers, part.shares),
            learned.choice,
            **scores(self.y[part.held_out], answers, part.shares),
            seconds=round(seconds, 4),
            pretrain_seconds=round(before.pretraining, 4),
            fit_seconds=round(learned.seconds, 4),
            head_seconds=round(learned.head_seconds, 4),
            steps=learned.steps,
            num_parameters=learned.network.count_params(),
            num_train=len(part.train),
            num_held_out=len(part.held_out),
            num_labelled=self.num_labelled,
        )

    def _learn(self, cell: Cell, part: Part, callbacks=(), seed: int | None = None):
        """What a candidate learns of a part, and the seconds of what it needs before."""
        method, weights_seconds = self.methods[cell.method], 0.0
        try:
            if method.needs_source:
                weights_seconds = self._encoder_weights(cell.source, part)[1]
            teacher_seconds = 0.0
            if method.teacher is not None:
                teacher_seconds = self._teach(method.teacher, cell.source, part, seed).seconds
            learned = self._fit(method, cell.source, part, callbacks, seed)
        except TrainingFailed as error:
            source = f" of {cell.source}" if cell.source != NO_SOURCE else ""
            raise TrainingFailed(
                f"{cell.method}{source} with {cell.labels} labels: {error}"
            ) from error
        return learned, Prerequisites(weights_seconds, teacher_seconds)

    def _fit(
        self, method, source: str, part: Part, callbacks=(), seed: int | None = None
    ) -> Learned:
        """What a method learns of a part; what may be a teacher is kept."""
        learner, key = self.learner(method, source, part.labels), (method, source, part.labels)
        self._teachers.pop(key, None)
        seed = self._seed(part, method) if seed is None else seed
        examples = self.examples_of(method, part)
        start = self._start(source, part, seed) if method.needs_source else self._graphs_of(part)
        learned = learner.learn(examples, seed=seed, start=start, callbacks=callbacks)
        self._teachers[key] = (part.repeat, part.fold), learned
        return learned

    def examples_of(self, method, part: Part) -> Examples:
        """What a method may see of a part."""
        rows = part.seen if method.sees_unlabelled else part.train
        labels, held_out = self.y[rows], None
        if method.sees_unlabelled:
            labels = np.where(np.isin(rows, part.train), labels, -1)
        elif len(part.held_out):
            # A random draw, of which each prefix is one.
            watched = part.held_out[:MOST_WATCHED]
            held_out = self.examples(part, watched), self.y[watched]
        weights = None if self.sample_weight is None else self.sample_weight[rows]
        together = self.copies[rows] if self.has_groups else None
        x = self.examples(part, rows)
        return Examples(x, labels, weights, held_out, EVALUATIONS, together)

    def _teach(self, method, source: str, part: Part, seed: int | None) -> Learned:
        """A teacher of a part: what its learner has learned last, where that was this part."""
        fold, learned = self._teachers.get((method, source, part.labels), (None, None))
        if fold == (part.repeat, part.fold):
            return learned
        return self._fit(method, source, part, self.watch, seed)

    def _start(self, source: str, part: Part, seed: int) -> Start:
        """What is transferred: one for all methods, which share what they compute of it."""
        key = part.labels, part.repeat, part.fold, seed
        if self._starts[0] != key:
            self._starts = key, {}
        if source not in self._starts[1]:
            self._starts[1][source] = Start(self._encoder_weights(source, part)[0])
        return self._starts[1][source]

    def _graphs_of(self, part: Part) -> Start | None:
        """Graphs of what a fold may see, which are the same for all budgets."""
        key = part.repeat, part.fold
        if part.fold == self.num_folds:  # the refit, which is that of finetune
            return None
        if self._graphs[0] != key:
            self._graphs = key, Graphs(derived_seed(self.seed, *key, 0, 2), {})
        return Start(graphs=self._graphs[1])

    def _seed(self, part: Part, method) -> int:
        """The seed of what learns the labels of a part; another with the unlabelled examples."""
        number = 2 if method.sees_unlabelled else 1
        return derived_seed(self.seed, part.repeat, part.fold, part.labels, number)

    def _encoder_weights(self, name: str, part: Part) -> tuple[list[np.ndarray], float]:
        """The weights to transfer, and the seconds of their pretraining."""
        source = self.sources[name]
        if source.pretraining is None:
            return source.encoder.get_weights(), 0.0
        numbers = (part.repeat, part.fold) if source.x is None else (part.repeat,)
        key = "-".join(map(str, (list(self.sources).index(name), *numbers)))
        if self._pretrained is None or self._pretrained[0] != key:
            self._pretrained = key, *self._pretrain(source, part, numbers, key)
        return self._pretrained[1:]

    def _pretrain(self, source: Source, part: Part, numbers: tuple, key: str):
        """Pretrain without the examples that the fold holds out; or read what was kept."""
        kept, autoencoder = self.folder / f"{key}.npz", source.pretraining.autoencoder
        if kept.is_file():
            # Of what is damaged nothing is lost: it is trained again, to the same.
            with contextlib.suppress(Exception):
                with np.load(kept) as arrays:
                    *weights, seconds = (arrays[name] for name in arrays.files)
                autoencoder.set_weights(weights)
                return source.pretraining.encoder_weights, float(seconds)
        x, weights = source.x, None
        if x is None:
            x = self.examples(part, part.seen)
            weights = None if self.sample_weight is None else self.sample_weight[part.seen]
        seed = derived_seed(self.seed, *numbers, 3)
        options = {"seed": seed, "callbacks": self.watch}
        seconds = source.pretraining.learn(x, sample_weight=weights, **options)
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(kept) as unfinished, open(unfinished, "wb") as file:
            np.savez(file, *autoencoder.get_weights(), np.array(seconds))
        return source.pretraining.encoder_weights, seconds

    def pretraining_examples(self, source: Source, part: Part):
        """What a source is pretrained on for a part."""
        return self.examples(part, part.seen) if source.x is None else source.x

    def learner(self, method, source: str, labels: int):
        """The learner of a method, source and budget: its folds share a program."""
        key = method, source, labels
        if key not in self._learners:
            self._learners[key] = method.prepare(self._problem(method, source, labels))
        return self._learners[key]

    def _problem(self, method, source: str, labels: int) -> Problem:
        found = self.first if source == NO_SOURCE else self.sources[source]
        teacher = None
        if method.teacher is not None:
            learner = self.learner(method.teacher, source, labels)
            teacher = on_raw(learner.network, learner.preprocessing)
        return Problem(
            self.num_classes,
            len(self.x) if method.sees_unlabelled else labels,
            found.encoder,
            found.preprocessing,
            flat=self.preprocessing,
            teacher=teacher,
            augment=self._views(method),
        )

    def _views(self, method):
        """What makes the views that a method asks for; ``None`` for none."""
        return views_of(getattr(method, "augment", None), self.x.shape[1:], self.value_range)
