"""What every method is given and gives back, and one compiled model fitted again and again."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np

from kt_transfer.data.overlap import same_examples
from kt_transfer.data.rows import take_rows
from kt_transfer.engine.fused_model import FusedModel, is_faster_compiled, predict_raw
from kt_transfer.methods.steps import Steps
from kt_transfer.models.classifiers import fit_logistic_regression
from kt_transfer.training.fitting import fit
from kt_transfer.training.schedules import learning_rate_callbacks


class Problem(NamedTuple):
    """What a method is prepared for; the same for all folds of one size.

    Attributes:
        num_classes: Number of classes.
        num_examples: About as many as it will learn from each time.
        encoder: Functional model from inputs to features; its architecture is what counts.
        preprocessing: From raw examples to its inputs.
        flat: From raw examples to flat inputs, which ``linear`` and students see.
        teacher: From raw examples to what a teacher emits (distillation); ``None`` where that is
            given with the examples.
        student: From inputs to logits, which ``flat`` makes; instead of a new dense student.
        augment: As :class:`~kt_transfer.FusedModel` takes it, for methods that take steps.
        jit_compile: The same.
    """

    num_classes: int
    num_examples: int
    encoder: keras.Model | None = None
    preprocessing: keras.Model | None = None
    flat: keras.Model | None = None
    teacher: keras.Model | None = None
    student: keras.Model | None = None
    augment: Any = None
    jit_compile: bool | str = "auto"


class Examples(NamedTuple):
    """What a method learns from.

    Attributes:
        x: Raw examples, shape ``(n, ...)``.
        y: Labels, shape ``(n,)``, ``-1`` for none.
        sample_weight: How much each example counts beside the others; ``None`` for all alike.
        validation: Raw examples and labels that are evaluated while training; ``None`` for none.
        evaluations: How often in a fit they are evaluated; ``None`` for every epoch.
        together: A number for each example, shared by those that no fold may separate; ``None``
            for equal examples.
    """

    x: Any
    y: Any
    sample_weight: np.ndarray | None = None
    validation: tuple | None = None
    evaluations: int | None = None
    together: np.ndarray | None = None

    def through(self, model: keras.Model, preprocessing: keras.Model) -> Examples:
        """The same with what a model makes of them, ``(n, ...)`` to ``(n, width)``."""

        def features(x):
            return predict_raw(model, preprocessing, x)

        held_out = self.validation and (features(self.validation[0]), self.validation[1])
        return self._replace(x=features(self.x), validation=held_out)


def labels_of(y: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """The labels of the given rows, and -1 for all others."""
    labels = np.full_like(y, -1)
    labels[labelled] = y[labelled]
    return labels


def labelled_among(examples: Examples) -> Examples:
    """Those that have a label, without what is held out."""
    rows = np.flatnonzero(examples.y >= 0)
    weights, together = (
        None if each is None else each[rows] for each in (examples.sample_weight, examples.together)
    )
    x = take_rows(examples.x, rows)
    return Examples(x, examples.y[rows], weights, together=together)


def held_out(x, y: np.ndarray, rows: np.ndarray) -> tuple | None:
    """Examples and labels of the held-out rows, as validation data; ``None`` without any."""
    return (take_rows(x, rows), y[rows]) if len(rows) else None


class Regression(NamedTuple):
    """Logistic regression on features: kernel, bias, inverse regularization strength, seconds."""

    kernel: np.ndarray
    bias: np.ndarray
    strength: float
    seconds: float


class Graphs(NamedTuple):
    """Graphs of the same examples, which fits with other labels of them share.

    Attributes:
        seed: Of the random choices in making them.
        made: The graphs and the seconds that each took, by what they are made by.
    """

    seed: int
    made: dict[tuple, tuple[Any, float]]


@dataclasses.dataclass
class Start:
    """What is transferred; methods that start from the same share what they compute of it.

    Attributes:
        encoder_weights: Of the pretrained encoder; ``None`` keeps fresh ones.
        regressions: Logistic regressions on its features, by which features they are.
        graphs: Of the examples; ``None`` where each fit makes its own.
    """

    encoder_weights: list[np.ndarray] | None = None
    regressions: dict[str, Regression] = dataclasses.field(default_factory=dict)
    graphs: Graphs | None = None


class Learned(NamedTuple):
    """A classifier that has learned, valid until its learner learns again.

    Attributes:
        network: From inputs to logits.
        preprocessing: From raw examples to inputs.
        seconds: To fit, without pretraining and teacher.
        steps: Of the optimizer; 0 for logistic regression.
        curve: Validation accuracy by epoch; empty without validation examples.
        head_seconds: Of these seconds, those before the first step: of the regression that a head
            starts from, or of a graph.
        strength: Inverse regularization strength of that regression; ``None`` without one.
        execution: How the steps were executed; ``None`` without steps.
        note: What else is to be said of it, in one sentence.
        choice: What was chosen, of a method that searches its settings: ``settings``, their mean
            ``score`` in the folds that chose them, that of the settings ``as_given``, and the
            number of ``trials``.
    """

    network: keras.Model
    preprocessing: keras.Model
    seconds: float
    steps: int
    curve: dict[int, float]
    head_seconds: float = 0.0
    strength: float | None = None
    execution: str | None = None
    note: str | None = None
    choice: dict | None = None

    def logits(self, x) -> np.ndarray:
        """Logits of raw examples, ``(n, ...)`` to ``(n, classes)``."""
        return predict_raw(self.network, self.preprocessing, x)


def jit_choice(problem: Problem, *models: keras.Model) -> bool | str:
    """Not "auto" where one of the models that run in a step is slower with XLA."""
    if problem.jit_compile == "auto" and not all(map(is_faster_compiled, models)):
        return False
    return problem.jit_compile


def regress(
    start: Start,
    encoder: keras.Model,
    preprocessing: keras.Model,
    examples: Examples,
    num_classes: int,
    *,
    seed: int,
    features_from: str = "bottleneck",
) -> Regression:
    """Logistic regression on the features of an encoder, computed once for a start.

    Its regularization is chosen by folds of the given examples alone.
    """
    if features_from not in start.regressions:
        began = time.perf_counter()
        together = examples.together
        fitted = fit_logistic_regression(
            predict_raw(encoder, preprocessing, examples.x),
            examples.y,
            num_classes,
            seed=seed,
            copies=same_examples(examples.x)[0] if together is None else together,
            sample_weight=examples.sample_weight,
        )
        start.regressions[features_from] = Regression(*fitted, time.perf_counter() - began)
    return start.regressions[features_from]


def copy_of(model: keras.Model) -> keras.Model:
    """A model of the same architecture with weights of its own, equal to begin with."""
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    return copy


def on_raw(network: keras.Model, preprocessing: keras.Model) -> keras.Model:
    """A network as a model of raw examples, over the same layers."""
    return keras.Model(preprocessing.input, network(preprocessing.output), name=network.name)


@contextlib.contextmanager
def initial_weights_of(seed: int) -> Iterator[None]:
    """What is built within has the initial weights that belong to a seed.

    Keras draws the seed of what has none from Python's generator. TensorFlow's own is left
    alone: setting it makes every compiled program be prepared anew.
    """
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


def start_fresh(network: keras.Model, seed: int) -> None:
    """Give a network the initial weights and random states that belong to a seed."""
    with initial_weights_of(seed):
        fresh = type(network).from_config(network.get_config())
    for variable, value in zip(network.variables, fresh.variables, strict=True):
        variable.assign(value.numpy())


class Fitted(NamedTuple):
    """What a fit took: seconds, steps, and the validation accuracy by epoch."""

    seconds: float
    steps: int
    curve: dict[int, float]


class RepeatedFit:
    """One compiled model that is fitted again and again, each time with a fresh optimizer.

    Args:
        model: The compiled model.
        network: Whose weights the fit changes (of a distiller, the student).
        settings: How long and with what steps it is trained.
        num_examples: About as many as it will learn from each time.
        transform: As for :class:`~kt_transfer.FusedModel`.
        max_steps: Steps after which whole epochs end; ``None`` for no limit.
        first: Epoch that the fit begins with, where it is a later stage of one fit.
        end: Epoch before which it ends (default: all).
        **options: Further arguments of ``FusedModel``.
    """

    def __init__(
        self,
        model: keras.Model,
        network: keras.Model,
        settings: Steps,
        num_examples: int,
        transform: Any = None,
        *,
        max_steps: int | None = None,
        first: int = 0,
        end: int | None = None,
        **options,
    ):
        self.network, self.settings, self.max_steps = network, settings, max_steps
        self.first, self.end = first, end
        # By their usual number: how a fold is executed must not depend on which came first.
        expected = self.epochs(num_examples) * self._steps(num_examples)
        self.fused = FusedModel(model, transform=transform, expected_steps=expected, **options)

    def epochs(self, num_examples: int) -> int:
        """Epoch before which a fit of so many examples ends."""
        if self.end is not None:
            return self.end
        epochs = self.settings.epochs
        if self.max_steps is None:
            return epochs
        return min(epochs, max(1, self.max_steps // self._steps(num_examples)))

    def fit(self, examples: Examples, *, seed: int, callbacks=()) -> Fitted:
        """Fit from the present weights.

        Args:
            examples: Inputs and targets of the model, as ``model.fit`` takes them.
            seed: Of the order of examples.
            callbacks: Keras callbacks that watch the fit.
        """
        settings, num = self.settings, len(examples.x)
        epochs = self.epochs(num)
        weights = examples.sample_weight
        if weights is not None:  # such that steps are as large as without
            weights = (weights / np.mean(weights)).astype(np.float32)
        self.fused.reset()
        self.fused.optimizer.learning_rate = settings.learning_rate
        self.fused.seed = seed
        frequency = max(1, epochs // examples.evaluations) if examples.evaluations else 1
        began = time.perf_counter()
        history = fit(
            self.fused,
            self.network,
            examples.x,
            examples.y,
            sample_weight=weights,
            batch_size=settings.batch_size,
            first_epoch=self.first,
            epochs=epochs,
            validation_data=examples.validation,
            validation_freq=frequency,
            # Only the last stage may end early: those before are not there to be the best.
            patience=settings.patience if self.end in (None, settings.epochs) else None,
            schedule=learning_rate_callbacks(
                settings.lr_decay,
                settings.learning_rate,
                self._scheduled_epochs(num),
                settings.warmup_epochs,
            ),
            callbacks=callbacks,
        )
        seconds = time.perf_counter() - began
        values = history.get("val_accuracy", [])
        curve = {self.first + frequency * n: value for n, value in enumerate(values, 1)}
        return Fitted(seconds, self._steps(num) * (epochs - self.first), curve)

    def _scheduled_epochs(self, num_examples: int) -> int:
        """Epochs over which the learning rate falls: of all stages, but no more than are taken."""
        if self.max_steps is None:
            return self.settings.epochs
        return max(self.epochs(num_examples), self.settings.warmup_epochs + 1)

    def _steps(self, num_examples: int) -> int:
        return -(-num_examples // self.settings.batch_size)
