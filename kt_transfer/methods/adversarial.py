"""How a network learns to answer perturbed examples as it answers them unperturbed."""

from __future__ import annotations

import time

import keras
import numpy as np

from kt_transfer.data.rows import take_rows
from kt_transfer.errors import UserError
from kt_transfer.methods.learning import (
    Examples,
    Learned,
    Problem,
    Start,
    copy_of,
    labelled_among,
    start_fresh,
)
from kt_transfer.methods.propagated import Propagated
from kt_transfer.methods.unlabelled import fit_of
from kt_transfer.methods.vat import Vat
from kt_transfer.models.classifiers import classifier
from kt_transfer.models.freezing import freeze_layers, layers_with_weights
from kt_transfer.training.adversarial import AdversarialModel
from kt_transfer.training.neighbours import in_blocks, nearest_distance

# What labels that spread teach a network first. It is trained further, so a short while suffices.
FIRST = Propagated(augment="none", epochs=1000, max_steps=1000)
# Of the distance to the nearest neighbour. On MNIST, 2.5 of 4.9 was better than less or more.
EPSILON_SHARE = 0.5
# Distances are measured from some examples to others, as many as take a second.
_MOST_EXAMPLES = 20_000


class VatLearner:
    """A classifier that learns from labelled and perturbed unlabelled examples.

    Args:
        method: Its settings.
        problem: With ``encoder`` and ``preprocessing``.

    Example:
        >>> from kt_transfer import load_data
        >>> from kt_transfer.models.classifiers import dense_encoder
        >>> from kt_transfer.models.preprocessing import preprocessing_model
        >>> data = load_data("digits")
        >>> scaled = preprocessing_model(data.input_shape, data.scaling_range, data.x.dtype)
        >>> problem = Problem(10, 500, dense_encoder(64, [32]), scaled)
        >>> learner = Vat(epochs=2, first="fresh").prepare(problem)
        >>> labels = np.where(np.arange(500) < 100, data.y[:500], -1)
        >>> learned = learner.learn(Examples(data.x[:500], labels), seed=0)
        >>> learned.logits(data.x_test[:5]).shape
        (5, 10)
    """

    def __init__(self, method: Vat, problem: Problem):
        self.method, self.problem = method, problem
        self.preprocessing = problem.preprocessing
        encoder = copy_of(problem.encoder)
        freeze_layers(encoder, 0)
        self._first = None
        if method.first == Propagated.name:
            self._first = FIRST.prepare(problem._replace(augment=None))
        self._model = AdversarialModel(
            classifier(encoder, problem.num_classes),
            problem.preprocessing,
            weight=method.unlabelled_weight,
            averaging=method.averaging,
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

    def initialize(self, seed: int, start: Start | None = None) -> None:
        """Give the network fresh weights, with which what comes first begins as well."""
        start_fresh(self._model.network, seed)
        self._model.begin(seed)

    def learn(
        self, examples: Examples, *, seed: int, start: Start | None = None, callbacks=()
    ) -> Learned:
        """Learn by the first method, and then from perturbed examples.

        What comes first is learned again where an interrupted fit is resumed, to the same weights.

        Args:
            examples: Labelled or not, at least one labelled.
            seed: Of the initial weights, the perturbations and the order of examples.
            start: Nothing is taken from it.
            callbacks: Keras callbacks that watch the second fit.
        """
        began, notes = time.perf_counter(), []
        self.initialize(seed)
        labelled = labelled_among(examples)
        epsilon = self.method.epsilon
        if epsilon is None:
            epsilon = self.typical_epsilon(examples.x, seed)
            notes.append(f"perturbations have the length {epsilon:g} (epsilon)")
        if self._first is not None:
            first = self._first.learn(examples._replace(validation=None), seed=seed)
            self._model.network.set_weights(first.network.get_weights())
            self._model.begin(seed)
            notes.insert(0, first.note)
        self._model.hold(labelled.x, labelled.y, labelled.sample_weight, epsilon=epsilon)
        before = time.perf_counter() - began
        fitted = self._fit.fit(examples, seed=seed, callbacks=callbacks)
        return Learned(
            self.network,
            self.preprocessing,
            before + fitted.seconds,
            fitted.steps,
            fitted.curve,
            head_seconds=before,
            execution=self._fit.fused.execution,
            note="; ".join(notes) or None,
        )

    def typical_epsilon(self, x, seed: int) -> float:
        """Half the median distance of scaled examples to their nearest neighbours.

        It is rounded to three digits, so that it can be given again, and does not depend on the
        order of a sum.

        Args:
            x: Raw examples, ``(n, ...)``, labelled or not.
            seed: Of those that are looked at.
        """
        some = np.sort(np.random.default_rng([seed, 5]).permutation(len(x))[:_MOST_EXAMPLES])
        scaled = in_blocks(
            take_rows(x, some), lambda x: self.preprocessing(x).numpy().reshape(len(x), -1)
        )
        distance = nearest_distance(scaled, seed=seed)
        if not distance:
            raise UserError(
                setting="epsilon",
                given=None,
                expected="examples that differ",
                but="all that were looked at are equal",
                remedy="give a length, or other data",
            )
        return float(f"{EPSILON_SHARE * distance:.3g}")
