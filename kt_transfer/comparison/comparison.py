"""The comparison: every method, from every source, on every fold of every draw and budget."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from kt_transfer.comparison.folds import Draw, class_shares, derived_seed, draw_folds
from kt_transfer.comparison.refitting import refit
from kt_transfer.comparison.scoring import scores
from kt_transfer.comparison.table import NO_SOURCE, Cell, Table
from kt_transfer.data.overlap import same_examples
from kt_transfer.data.rows import take_rows
from kt_transfer.data.splits import without_copies_of
from kt_transfer.engine.fused_model import predict_raw
from kt_transfer.errors import TrainingFailed
from kt_transfer.files.writing import replacing
from kt_transfer.methods.learners import (
    AutoencoderLearner,
    Learned,
    NetworkLearner,
    Schedule,
    StudentLearner,
    learn_features,
)
from kt_transfer.models.classifiers import classifier, dense_encoder

# What transfers nothing, and what transfers from a source.
BASELINES = ("scratch", "linear")
TRANSFERS = ("parameters", "distilled", "features")
METHODS = (*BASELINES, *TRANSFERS)


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


class StandsOn(NamedTuple):
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
        methods: Of :data:`METHODS`.
        sources: What to transfer from; the first one's architecture is that of ``scratch``.
        schedule: How long and with what steps networks are trained.
        student_units: Widths of the student's hidden layers.
        folder: Where pretrained autoencoders are kept in between.
        sample_weight: How much each training example counts beside the others, in everything
            that learns from it; ``None`` for all alike.
        copies: A number for each example, shared by equal ones, ``-1`` for those that must not
            teach (default: found here).

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
        methods: tuple[str, ...],
        sources: list[Source],
        schedule: Schedule,
        student_units: tuple[int, ...],
        folder: Path,
        sample_weight: np.ndarray | None = None,
        copies: np.ndarray | None = None,
    ):
        self.x, self.y, self.num_classes = x, y, num_classes
        self.copies = same_examples(x)[0] if copies is None else copies
        self.preprocessing = preprocessing
        self.budgets, self.num_folds, self.seed = budgets, num_folds, seed
        self.sources = {source.name: source for source in sources}
        self.schedule, self.student_units = schedule, student_units
        self.folder = Path(folder)
        self.sample_weight = sample_weight
        self.first = sources[0]
        self.candidates = [(name, NO_SOURCE) for name in BASELINES if name in methods]
        self.candidates += [
            (name, source.name) for source in sources for name in TRANSFERS if name in methods
        ]
        self._range_of: tuple[int, int] | None = None
        # Callbacks of every fit but the refit of the winner.
        self.watch: tuple = ()
        # What each candidate costs where it is served, once it is known.
        self.served: dict | None = None
        # Folds to look at beyond the table; fewer where the time allowed fewer.
        self.num_trained = num_folds
        self._networks: dict[tuple, NetworkLearner] = {}
        self._student: StudentLearner | None = None
        self._encoders = {source.name: _copy(source.encoder) for source in sources}
        # The inputs as they are: what linear finds its features in.
        self.nothing = dense_encoder(preprocessing.output_shape[-1], ())
        self._teacher: tuple[Cell, Learned] | None = None
        self._regression: tuple[Cell, Learned] | None = None
        self._pretrained: tuple[str, list, float] | None = None

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
            draw = self._draw(repeat)
            # What the largest budget holds out, so that one pretraining serves all.
            seen = without_copies_of(draw.split(fold)[1], self.copies)
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
        cell = Cell("scratch", NO_SOURCE, part.labels, part.repeat, part.fold)
        return self._train(cell, part, None)

    def refit(
        self, method: str, source: str, *, repeat: int = 0, callbacks=()
    ) -> tuple[Learned, np.ndarray]:
        """Learn from all labels of the largest budget, and from all examples.

        Args:
            method: Of :data:`METHODS`.
            source: Name of its source.
            repeat: Which draw of the labels.
            callbacks: Keras callbacks.

        Returns:
            What was learned, and the labelled rows.
        """
        labels, after_last = self.budgets[-1], self.num_folds
        draw, nothing = self._draw(repeat), np.arange(0)
        everything = without_copies_of(nothing, self.copies)
        part = Part(labels, repeat, after_last, draw.rows, nothing, everything)
        cell = Cell(method, source, labels, repeat, after_last)
        return self._learn(cell, part, callbacks)[0], draw.rows

    def _draw(self, repeat: int) -> Draw:
        """The labels of the largest budget, dealt to folds."""
        options = (self.budgets[-1], self.num_folds, self.seed)
        return draw_folds(self.y, *options, repeat, self.copies)

    def model_of(self, method: str, source: str) -> tuple[keras.Model, keras.Model]:
        """A network of a candidate and its preprocessing, whatever its weights."""
        if method == "linear":
            return classifier(self.nothing, self.num_classes), self.preprocessing
        if method == "distilled":
            return self.student.student, self.preprocessing
        learner = self.network(source, self.budgets[-1])
        return learner.network, learner.preprocessing

    def measure(self, table: Table, cell: Cell, part: Part) -> None:
        """Train one cell, measure it on what was held out, and add its row."""
        learned, stands_on = self._learn(cell, part, self.watch)
        seconds = learned.seconds + stands_on.pretraining + stands_on.teacher
        answers = learned.logits(self.examples(part, part.held_out))
        table.add(
            cell,
            learned.curve,
            **scores(self.y[part.held_out], answers, part.shares),
            seconds=round(seconds, 4),
            pretrain_seconds=round(stands_on.pretraining, 4),
            fit_seconds=round(learned.seconds, 4),
            head_seconds=round(learned.head_seconds, 4),
            steps=learned.steps,
            num_parameters=learned.network.count_params(),
            num_train=len(part.train),
            num_held_out=len(part.held_out),
            num_labelled=int(((self.y >= 0) & (self.copies >= 0)).sum()),
        )

    def _learn(self, cell: Cell, part: Part, callbacks=()) -> tuple[Learned, StandsOn]:
        """What a candidate learns of a part, and what it stands on."""
        try:
            return self._learn_by_method(cell, part, callbacks)
        except TrainingFailed as error:
            source = f" of {cell.source}" if cell.source != NO_SOURCE else ""
            raise TrainingFailed(
                f"{cell.method}{source} with {cell.labels} labels: {error}"
            ) from error

    def _learn_by_method(self, cell: Cell, part: Part, callbacks) -> tuple[Learned, StandsOn]:
        if cell.method == "linear":
            return self.regress(self.nothing, self.preprocessing, part), StandsOn()
        if cell.method == "scratch":
            return self._train(cell, part, None, callbacks), StandsOn()
        weights, seconds = self._encoder_weights(cell.source, part)
        if cell.method == "features":
            return self._on_features(cell, part), StandsOn(seconds)
        if cell.method == "parameters":
            return self._train(cell, part, weights, callbacks), StandsOn(seconds)
        teacher = self._train(cell._replace(method="parameters"), part, weights, self.watch)
        stands_on = StandsOn(seconds, teacher.seconds)
        return self._distil(cell, part, teacher, callbacks), stands_on

    def _on_features(self, cell: Cell, part: Part) -> Learned:
        """Logistic regression on what is transferred; what was fitted last is at hand."""
        cell = cell._replace(method="features")
        if self._regression is None or self._regression[0] != cell:
            encoder = self.encoder(cell.source, part)
            scaled = self.sources[cell.source].preprocessing
            self._regression = cell, self.regress(encoder, scaled, part)
        return self._regression[1]

    def regress(self, encoder: keras.Model, preprocessing: keras.Model, part: Part) -> Learned:
        """Logistic regression on what an encoder makes of a part."""
        x, y = self.examples(part, part.train), self.y[part.train]
        seed = self._seed(part)
        return learn_features(
            encoder,
            preprocessing,
            x,
            y,
            self.num_classes,
            seed=seed,
            sample_weight=self._weights(part.train),
        )

    def _weights(self, rows: np.ndarray) -> np.ndarray | None:
        return None if self.sample_weight is None else self.sample_weight[rows]

    def _seed(self, part: Part) -> int:
        """The seed of what learns the labels of a part, the same for every method."""
        return derived_seed(self.seed, part.repeat, part.fold, part.labels, 1)

    def _train(self, cell: Cell, part: Part, encoder_weights, callbacks=()) -> Learned:
        """Train a network as a whole; what was trained last is at hand as a teacher.

        On what is transferred the head starts from logistic regression.
        """
        if self._teacher and self._teacher[0] == cell:
            return self._teacher[1]
        head, seconds = None, 0.0
        if encoder_weights is not None:
            regression = self._on_features(cell, part)
            head, seconds = regression.network.get_layer("head").get_weights(), regression.seconds
        held_out = self.examples(part, part.held_out), self.y[part.held_out]
        learned = self.network(cell.source, part.labels).learn(
            self.examples(part, part.train),
            self.y[part.train],
            seed=self._seed(part),
            sample_weight=self._weights(part.train),
            encoder_weights=encoder_weights,
            head_weights=head,
            watched=held_out if len(part.held_out) else None,
            callbacks=callbacks,
        )
        learned = learned._replace(seconds=seconds + learned.seconds, head_seconds=seconds)
        self._teacher = cell, learned
        return learned

    def _distil(self, cell: Cell, part: Part, teacher: Learned, callbacks) -> Learned:
        """Teach a student on everything that may be seen, with the labels of the part alone."""
        x = self.examples(part, part.seen)
        labels = np.where(np.isin(part.seen, part.train), self.y[part.seen], -1)
        seed = derived_seed(self.seed, part.repeat, part.fold, part.labels, 2)
        return self.student.learn(
            x,
            labels,
            teacher.logits(x),
            seed=seed,
            sample_weight=self._weights(part.seen),
            callbacks=callbacks,
        )

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
            x, weights = self.examples(part, part.seen), self._weights(part.seen)
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

    def network(self, source: str, labels: int) -> NetworkLearner:
        """The learner of one architecture and budget: its folds share a program."""
        found = self.first if source == NO_SOURCE else self.sources[source]
        key = found.name, labels
        if key not in self._networks:
            self._networks[key] = NetworkLearner(
                _copy(found.encoder),
                found.preprocessing,
                self.num_classes,
                self.schedule,
                num_examples=labels,
            )
        return self._networks[key]

    @property
    def student(self) -> StudentLearner:
        """The learner of the student, one for all sources and budgets."""
        if self._student is None:
            encoder = dense_encoder(self.preprocessing.output_shape[-1], self.student_units)
            self._student = StudentLearner(
                classifier(encoder, self.num_classes, name="student"),
                self.network(self.first.name, self.budgets[-1]).network,
                self.preprocessing,
                self.schedule,
                num_examples=len(self.x),
            )
        return self._student


def _copy(model: keras.Model) -> keras.Model:
    """A model of the same architecture with weights of its own, equal to begin with."""
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    return copy
