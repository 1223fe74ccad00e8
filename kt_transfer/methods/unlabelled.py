"""How a network learns from its own answers to unlabelled examples."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np

from kt_transfer.data.rows import take_rows
from kt_transfer.methods.consistency import Consistency
from kt_transfer.methods.learning import (
    Examples,
    Learned,
    Problem,
    RepeatedFit,
    Start,
    copy_of,
    jit_choice,
    labelled_among,
    regress,
    start_fresh,
)
from kt_transfer.methods.views import RESAMPLED_SHARE
from kt_transfer.models.classifiers import classifier
from kt_transfer.models.freezing import freeze_layers, layers_with_weights
from kt_transfer.reporting.classification import softmax
from kt_transfer.training.augmentation import resample
from kt_transfer.training.consistency import ConsistencyModel
from kt_transfer.training.mean_teacher import MeanTeacher


class ConsistencyLearner:
    """A classifier that learns from labelled and unlabelled examples at once.

    Args:
        method: Its settings.
        problem: With ``encoder``, ``preprocessing`` and ``augment``.

    Example:
        >>> from kt_transfer import load_data
        >>> from kt_transfer.methods.views import views_of
        >>> from kt_transfer.models.classifiers import dense_encoder
        >>> from kt_transfer.models.preprocessing import preprocessing_model
        >>> data = load_data("digits")
        >>> scaled = preprocessing_model(data.input_shape, data.scaling_range, data.x.dtype)
        >>> views = views_of("affine", data.input_shape, data.scaling_range)
        >>> problem = Problem(10, 500, dense_encoder(64, [32]), scaled, augment=views)
        >>> learner = Consistency(epochs=2).prepare(problem)
        >>> labels = np.where(np.arange(500) < 100, data.y[:500], -1)
        >>> learned = learner.learn(Examples(data.x[:500], labels), seed=0)
        >>> learned.logits(data.x_test[:5]).shape
        (5, 10)
    """

    def __init__(self, method: Consistency, problem: Problem):
        self.method, self.problem = method, problem
        self.preprocessing = problem.preprocessing
        encoder = copy_of(problem.encoder)
        freeze_layers(encoder, 0)
        network = classifier(encoder, problem.num_classes)
        self._model = ConsistencyModel(
            network,
            problem.preprocessing,
            views=problem.augment or resampled,
            threshold=method.threshold,
            weight=method.unlabelled_weight,
            averaging=method.averaging,
            align=method.alignment != "none",
            labelled_batch_size=method.batch_size,
        )
        self._fit = fit_of(self._model, method, problem)

    @property
    def network(self) -> keras.Model:
        """The averaged network, which is what has learned."""
        return self._model.teacher

    @property
    def learning_rates(self) -> tuple[float, dict[str, float]]:
        """The initial learning rate, and its factor by layer."""
        return self.method.learning_rate, dict.fromkeys(layers_with_weights(self.network), 1.0)

    def epochs(self, num_examples: int) -> int:
        """Passes over so many examples."""
        return self._fit.epochs(num_examples)

    def initialize(self, seed: int, start: Start) -> None:
        """Give the network the weights that it starts from; the head has fresh ones."""
        network = self._model.network
        start_fresh(network, seed)
        if self.method.needs_source and start.encoder_weights is not None:
            network.get_layer("encoder").set_weights(start.encoder_weights)
        self._model.begin(seed)

    def learn(
        self, examples: Examples, *, seed: int, start: Start | None = None, callbacks=()
    ) -> Learned:
        """Learn from fresh weights, or from what is transferred.

        Args:
            examples: Labelled or not, at least one labelled.
            seed: Of the initial weights, the views and the order of examples.
            start: What is transferred.
            callbacks: Keras callbacks that watch the fit.
        """
        start, regression = start or Start(), None
        self.initialize(seed, start)
        labelled = labelled_among(examples)
        network = self._model.network
        if self.method.regresses:
            given = (network.get_layer("encoder"), self.preprocessing, labelled)
            regression = regress(start, *given, self.problem.num_classes, seed=seed)
            network.get_layer("head").set_weights([regression.kernel, regression.bias])
            self._model.begin(seed)
        self._model.hold(
            labelled.x, labelled.y, labelled.sample_weight, prior=self._prior(labelled)
        )
        fitted = self._fit.fit(examples, seed=seed, callbacks=callbacks)
        head_seconds = regression.seconds if regression else 0.0
        learned = Learned(
            self.network,
            self.preprocessing,
            fitted.seconds + head_seconds,
            fitted.steps,
            fitted.curve,
            head_seconds,
            regression.strength if regression else None,
            self._fit.fused.execution,
        )
        return learned._replace(note=self._note(learned, examples))

    def _note(self, learned: Learned, examples: Examples) -> str | None:
        """How many unlabelled examples were not learned from in the end."""
        rows = np.flatnonzero(examples.y < 0)
        if not len(rows):
            return None
        answers = softmax(learned.logits(take_rows(examples.x, rows)))
        doubted = int((answers.max(axis=1) < self.method.threshold).sum())
        return (
            f"of {len(rows):,} unlabelled examples, {doubted:,} were in doubt to the end: no class "
            f"had a probability of {self.method.threshold:g}"
        )

    def _prior(self, labelled: Examples) -> np.ndarray | None:
        """The shares of the classes that answers are aligned with; ``None`` for no alignment."""
        num_classes = self.problem.num_classes
        if self.method.alignment == "none":
            return None
        if self.method.alignment == "uniform":
            return np.full(num_classes, 1 / num_classes)
        counts = np.bincount(labelled.y, labelled.sample_weight, num_classes)
        return counts / counts.sum()


def fit_of(model: MeanTeacher, method, problem: Problem) -> RepeatedFit:
    """Compile such a model, and make its fit, the batches of which are unlabelled examples.

    Args:
        model: What learns, the labelled examples of which are its own.
        method: With the settings of steps, ``unlabelled_ratio`` and ``max_steps``.
        problem: What it is prepared for.
    """
    model.compile(keras.optimizers.Adam(method.learning_rate), metrics=["accuracy"])
    return RepeatedFit(
        model,
        model,
        dataclasses.replace(method, batch_size=method.batch_size * method.unlabelled_ratio),
        problem.num_examples,
        max_steps=method.max_steps,
        jit_compile=jit_choice(problem, model.network, problem.preprocessing),
    )


def resampled(x, seed):
    """Views of the rows of a table, where no others are given."""
    return resample(x, seed, share=RESAMPLED_SHARE)
