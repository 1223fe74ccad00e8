"""How each way of transferring learns from one part of the labels.

Each is compiled once, and learns again and again from fresh weights: folds and repeats share
its program. What it learns is a pure function of its examples and a seed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np

from kt_transfer.data.overlap import same_examples
from kt_transfer.engine.fused_model import FusedModel, predict_raw, scaling
from kt_transfer.models.autoencoders import (
    num_active_units,
    tie_initial_weights,
    transferable_encoder,
)
from kt_transfer.models.classifiers import classifier, fit_logistic_regression
from kt_transfer.training.distiller import Distiller
from kt_transfer.training.diverging import StopOnDivergence
from kt_transfer.training.k_sparse import with_falling_k
from kt_transfer.training.losses import ReconstructionLoss

# What was transferred, head and all, is only tuned: with larger steps it is soon forgotten.
TRANSFERRED_RATE = 0.1
# How often in a fit the held-out examples are looked at, for the report alone.
LOOKS = 20
# A student sees all unlabelled examples in an epoch: of many, it takes fewer epochs.
MAX_STUDENT_STEPS = 3000


class Learned(NamedTuple):
    """A classifier that has learned, valid until its learner learns again; and what it took.

    Attributes:
        network: From inputs to logits.
        preprocessing: From raw examples to inputs.
        seconds: Of learning, without what it stands on (pretraining, a teacher).
        steps: Of the optimizer; 0 for logistic regression.
        curve: Accuracy on the watched examples, by epoch; empty if none were watched.
        head_seconds: Of these seconds, those before the first epoch: the regression that a head
            starts from.
    """

    network: keras.Model
    preprocessing: keras.Model
    seconds: float
    steps: int
    curve: dict[int, float]
    head_seconds: float = 0.0

    def logits(self, x) -> np.ndarray:
        """What it says of raw examples, ``(n, ...)`` to ``(n, classes)``."""
        return predict_raw(self.network, self.preprocessing, x)


class Schedule(NamedTuple):
    """How long to train, and with what steps."""

    epochs: int
    batch_size: int
    learning_rate: float


class NetworkLearner:
    """A classifier that is trained as a whole: from scratch, or from a source's parameters.

    Args:
        encoder: Functional model; its architecture is what counts.
        preprocessing: From raw examples to its inputs.
        num_classes: Classes to tell apart.
        schedule: How long and with what steps it is trained.
        num_examples: About as many as it will learn from each time.

    Example:
        >>> learner = NetworkLearner(dense_encoder(64, [32]), preprocessing, 10, schedule)
        >>> learner.learn(x, y, seed=0).logits(x_new)
    """

    def __init__(
        self,
        encoder: keras.Model,
        preprocessing: keras.Model,
        num_classes: int,
        schedule: Schedule,
        num_examples: int,
    ):
        self.preprocessing = preprocessing
        self.network = classifier(encoder, num_classes)
        self.network.compile(
            keras.optimizers.Adam(schedule.learning_rate),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        transform = scaling(preprocessing)
        self._fits = _Fits(self.network, self.network, transform, schedule, num_examples)

    def learn(
        self,
        x,
        y,
        *,
        seed: int,
        sample_weight=None,
        encoder_weights=None,
        head_weights=None,
        watched=None,
        callbacks=(),
    ) -> Learned:
        """Learn from raw examples and labels.

        Args:
            x: Shape ``(n, ...)``.
            y: Shape ``(n,)``.
            seed: Of the initial weights and the order of examples.
            sample_weight: How much each example counts beside the others; ``None`` for all alike.
            encoder_weights: What the encoder starts from; ``None`` for fresh weights.
            head_weights: The same for the head. Where they are given, steps are
                ``TRANSFERRED_RATE`` times as large.
            watched: Examples and labels to draw the learning curve by; they teach nothing.
            callbacks: Keras callbacks.
        """

        def begin() -> None:
            for name, weights in (("encoder", encoder_weights), ("head", head_weights)):
                if weights is not None:
                    self.network.get_layer(name).set_weights(weights)

        took = self._fits.fit(
            x,
            y,
            seed=seed,
            sample_weight=sample_weight,
            begin=begin,
            rate=1.0 if head_weights is None else TRANSFERRED_RATE,
            watched=watched,
            callbacks=callbacks,
        )
        return Learned(self.network, self.preprocessing, *took)


class AutoencoderLearner:
    """Pretraining: an autoencoder that learns from examples without labels.

    Args:
        autoencoder: Functional model with the layers ``"encoder"`` and ``"decoder"``.
        preprocessing: From raw examples to its inputs.
        schedule: How long and with what steps it is trained.
        num_examples: About as many as it will learn from each time.
    """

    def __init__(
        self,
        autoencoder: keras.Model,
        preprocessing: keras.Model,
        schedule: Schedule,
        num_examples: int,
    ):
        self.autoencoder = autoencoder
        self.preprocessing = preprocessing
        k = num_active_units(autoencoder)
        self._begin = (lambda: tie_initial_weights(autoencoder)) if k else (lambda: None)
        trained, self._callbacks = with_falling_k(autoencoder, k, schedule.epochs)
        trained.compile(keras.optimizers.Adam(schedule.learning_rate), loss=ReconstructionLoss())

        def reconstruct(x, y, sample_weight):
            features = preprocessing(x)
            return features, features, sample_weight

        self._fits = _Fits(trained, autoencoder, reconstruct, schedule, num_examples)

    @property
    def encoder_weights(self) -> list[np.ndarray]:
        """What it hands on, without the penalty of its pretraining."""
        return transferable_encoder(self.autoencoder).get_weights()

    @property
    def schedule(self) -> Schedule:
        """How long and with what steps it is trained."""
        return self._fits.schedule

    def learn(self, x, *, seed: int, sample_weight=None, callbacks=()) -> float:
        """Learn from raw examples, each by its weight if given; the seconds that it took."""
        # Keras drops the weights of examples that have no targets.
        targets = None if sample_weight is None else np.zeros(len(x), np.float32)
        took = self._fits.fit(
            x,
            targets,
            seed=seed,
            sample_weight=sample_weight,
            begin=self._begin,
            callbacks=[*self._callbacks, *callbacks],
        )
        return took.seconds


class StudentLearner:
    """A small network that learns from a teacher's soft targets, and from labels where it may.

    Args:
        student: Functional model from inputs to logits.
        teacher: Functional model to logits of the same classes.
        preprocessing: From raw examples to the student's inputs.
        schedule: How long and with what steps it is trained; the epochs are over all
            examples, labelled or not, and end after ``MAX_STUDENT_STEPS`` steps.
        num_examples: About as many as it will learn from each time.
    """

    def __init__(
        self,
        student: keras.Model,
        teacher: keras.Model,
        preprocessing: keras.Model,
        schedule: Schedule,
        num_examples: int,
    ):
        self.student = student
        self.preprocessing = preprocessing
        distiller = Distiller(teacher=teacher, student=student)
        distiller.compile(keras.optimizers.Adam(schedule.learning_rate), metrics=["accuracy"])
        self._fits = _Fits(
            distiller, student, scaling(preprocessing), schedule, num_examples, MAX_STUDENT_STEPS
        )

    def epochs(self, num_examples: int) -> int:
        """Passes over so many examples."""
        return self._fits.epochs(num_examples)

    def learn(
        self, x, labels, soft_targets, *, seed: int, sample_weight=None, callbacks=()
    ) -> Learned:
        """Learn from raw examples.

        Args:
            x: Shape ``(n, ...)``.
            labels: Shape ``(n,)``; -1 for none.
            soft_targets: The teacher's logits, ``(n, classes)``.
            seed: Of the initial weights and the order of examples.
            sample_weight: How much each example counts beside the others; ``None`` for all alike.
            callbacks: Keras callbacks.
        """
        took = self._fits.fit(
            x,
            (labels, soft_targets),
            seed=seed,
            sample_weight=sample_weight,
            callbacks=callbacks,
        )
        return Learned(self.student, self.preprocessing, *took)


def learn_features(
    encoder: keras.Model,
    preprocessing: keras.Model,
    x,
    y,
    num_classes: int,
    *,
    seed: int,
    sample_weight=None,
) -> Learned:
    """Logistic regression on the features of a frozen encoder, as a network with a dense head.

    Its regularization is chosen by folds of the given examples alone.

    Args:
        encoder: Functional model, ``(batch, ...)`` to ``(batch, width)``; one without layers
            makes it logistic regression on the inputs.
        preprocessing: From raw examples to its inputs.
        x: Raw examples.
        y: Their labels.
        num_classes: Classes to tell apart.
        seed: Of the folds that choose the regularization.
        sample_weight: How much each example counts beside the others; ``None`` for all alike.
    """
    began = time.perf_counter()
    features = predict_raw(encoder, preprocessing, x)
    network = classifier(encoder, num_classes)
    kernel, bias, _ = fit_logistic_regression(
        features,
        y,
        num_classes,
        seed=seed,
        copies=same_examples(x)[0],
        sample_weight=sample_weight,
    )
    network.get_layer("head").set_weights([kernel, bias])
    return Learned(network, preprocessing, time.perf_counter() - began, 0, {})


def start_fresh(network: keras.Model, seed: int) -> None:
    """Give a network the initial weights and random states that belong to a seed.

    Keras draws the seed of what has none from Python's generator. TensorFlow's own is left
    alone: setting it makes every compiled program be prepared anew.
    """
    state = random.getstate()
    random.seed(seed)
    fresh = type(network).from_config(network.get_config())
    random.setstate(state)
    for variable, value in zip(network.variables, fresh.variables, strict=True):
        variable.assign(value.numpy())


class _Took(NamedTuple):
    seconds: float
    steps: int
    curve: dict[int, float]


class _Fits:
    """One compiled model that is fitted again and again from fresh weights."""

    def __init__(
        self,
        model: keras.Model,
        network: keras.Model,
        transform: Any,
        schedule: Schedule,
        num_examples: int,
        max_steps: int | None = None,
    ):
        self.network = network
        self.schedule = schedule
        self.max_steps = max_steps
        # By their usual number: how a fold is executed must not depend on which came first.
        expected = self.epochs(num_examples) * self._steps(num_examples)
        self.fused = FusedModel(model, transform=transform, expected_steps=expected)

    def epochs(self, num_examples: int) -> int:
        """Passes over so many examples."""
        if self.max_steps is None:
            return self.schedule.epochs
        return min(self.schedule.epochs, max(1, self.max_steps // self._steps(num_examples)))

    def fit(
        self,
        x,
        y,
        *,
        seed: int,
        sample_weight=None,
        begin: Callable = lambda: None,
        rate: float = 1.0,
        watched=None,
        callbacks=(),
    ) -> _Took:
        epochs = self.epochs(len(x))
        if sample_weight is not None:  # such that steps are as large as without
            sample_weight = (sample_weight / np.mean(sample_weight)).astype(np.float32)
        start_fresh(self.network, seed)
        begin()
        self.fused.reset()
        self.fused.optimizer.learning_rate = rate * self.schedule.learning_rate
        self.fused.seed = seed
        frequency = max(1, epochs // LOOKS)
        began = time.perf_counter()
        history = self.fused.fit(
            x,
            y,
            sample_weight=sample_weight,
            batch_size=self.schedule.batch_size,
            epochs=epochs,
            validation_data=watched,
            validation_batch_size=1024,
            validation_freq=frequency,
            callbacks=[*callbacks, StopOnDivergence(self.network)],
            verbose=0,
        ).history
        seconds = time.perf_counter() - began
        looks = history.get("val_accuracy", [])
        curve = {frequency * number: value for number, value in enumerate(looks, 1)}
        return _Took(seconds, self._steps(len(x)) * epochs, curve)

    def _steps(self, num_examples: int) -> int:
        return -(-num_examples // self.schedule.batch_size)
