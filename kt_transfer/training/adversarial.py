"""Virtual adversarial training as a Keras model: one answer all around an unlabelled example."""

from __future__ import annotations

from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kt_transfer.training.losses import SoftTargetCrossEntropy, TemperatureKL
from kt_transfer.training.mean_teacher import MeanTeacher

# How far to look for the direction, as a share of how far to go in it: far enough that answers
# differ by more than rounding, near enough that their divergence is still quadratic.
PROBE = 0.04
# Of which the square is a float as well: XLA divides by the product of two divisors.
_TINY = 1e-15


class AdversarialModel(MeanTeacher):
    """Trains a network on a few labelled and many unlabelled examples, which it perturbs.

    The perturbation is that small one which changes the network's answer most, so the network
    learns to change its mind only where examples are few: virtual adversarial training with
    minimal entropy (Miyato et al., 2018, https://arxiv.org/abs/1704.03976). No view of the examples
    has to be known. With p(u) the network's probabilities, p̂(u) the same as constants, and H
    the entropy,

        L = mean CE(y, p(x)) over labelled examples
            + weight · mean [KL(p̂(u) ‖ p(u + r)) + H(p(u))] over unlabelled ones
        r = ε · g / ‖g‖, where g is the gradient of KL(p̂(u) ‖ p(u + d)) with respect to d,
            at a random d of the length 0.04 ε

    Inputs are perturbed after preprocessing, each example for itself. A perturbed pass sees the
    labelled examples too, as they are, and draws the same dropout masks, so that nothing but r
    makes a difference; it changes no state: batch normalization keeps the statistics of what was
    not perturbed.

    How examples are held and weights averaged: :class:`~.mean_teacher.MeanTeacher`. Everything
    random is a function of seed and step, so that a resumed fit continues exactly.

    Args:
        network: A built classifier from inputs to logits.
        preprocessing: From raw examples to its inputs.
        weight: Weight of the unlabelled examples' loss, 0 or more.
        averaging: Share that averages keep in each step, from 0 to below 1; less in the first ones.
        labelled_batch_size: Labelled examples per step, over all replicas.

    Example:
        >>> from kt_transfer import FusedModel
        >>> x, y = np.random.default_rng(0).normal(size=(64, 4)).astype("float32"), np.arange(8) % 2
        >>> network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> as_it_is = keras.Sequential([keras.Input((4,)), keras.layers.Identity()])
        >>> model = AdversarialModel(network, as_it_is)
        >>> model.compile("adam", metrics=["accuracy"])
        >>> model.hold(x[:8], y, epsilon=0.5)
        >>> model.begin(seed=0)
        >>> history = FusedModel(model).fit(x, np.full(64, -1), epochs=2, verbose=0)
        >>> sorted(history.history)
        ['accuracy', 'divergence', 'entropy', 'labelled_loss', 'loss']
    """

    in_training_only: ClassVar[tuple[str, ...]] = ("divergence", "entropy")

    def __init__(
        self,
        network: keras.Model,
        preprocessing: keras.Model,
        *,
        weight: float = 1.0,
        averaging: float = 0.999,
        labelled_batch_size: int = 64,
        name: str = "adversarial",
    ):
        super().__init__(
            network,
            preprocessing,
            weight=weight,
            averaging=averaging,
            labelled_batch_size=labelled_batch_size,
            name=name,
        )
        self._divergence, self._entropy = TemperatureKL(1.0), SoftTargetCrossEntropy()
        self._divergence_tracker = keras.metrics.Mean(name="divergence")
        self._entropy_tracker = keras.metrics.Mean(name="entropy")
        self.built = True
        self.begin(0)

    def hold(self, x, y, sample_weight=None, *, epsilon: float) -> None:
        """Keep the labelled examples, from which the next fits learn.

        Args:
            x: Raw examples, shape ``(n, ...)``, at least one.
            y: Labels, shape ``(n,)``.
            sample_weight: How much each counts beside the others; ``None`` for all alike.
            epsilon: Euclidean length of a perturbation, more than 0.
        """
        super().hold(x, y, sample_weight, epsilon=np.float32(epsilon))

    def pass_through(self, labelled, unlabelled, seeds) -> dict:
        """Logits of both, and of the unlabelled ones as perturbed."""
        labelled, unlabelled = self.preprocessing(labelled), self.preprocessing(unlabelled)
        size = ops.shape(labelled)[0]
        # Copied before the pass that moves it on: masks of dropout are drawn by it.
        state = [tf.identity(v.value) for v in self.network.non_trainable_variables]

        def perturbed(perturbation):
            weights = [v.value for v in self.network.trainable_variables]
            seen = ops.concatenate([labelled, unlabelled + perturbation])
            logits, _ = self.network.stateless_call(weights, state, seen, training=True)
            return logits[size:]

        logits = self.network(ops.concatenate([labelled, unlabelled]), training=True)
        constant = ops.stop_gradient(logits[size:])
        random = self.random_directions(unlabelled, seeds[1])
        return {
            "labelled": logits[:size],
            "unlabelled": logits[size:],
            "constant": constant,
            "perturbed": perturbed(self._adversarial(perturbed, constant, random)),
        }

    def random_directions(self, inputs, seed):
        """What the search for perturbations begins with, of any length, shaped as the inputs."""
        return ops.cast(tf.random.stateless_normal(tf.shape(inputs), seed), inputs.dtype)

    def _adversarial(self, perturbed, constant, random):
        """The perturbations of length ε that a gradient of the divergence points to."""
        epsilon = ops.cast(self._held()["epsilon"], random.dtype)
        direction = PROBE * epsilon * unit(random)
        with tf.GradientTape() as tape:
            tape.watch(direction)
            divergence = ops.sum(self._divergence.call(constant, perturbed(direction)))
        return epsilon * unit(ops.stop_gradient(tape.gradient(divergence, direction)))

    def unlabelled_loss(self, passed: dict, sample_weight):
        """How far perturbations change the answers, and how undecided these are."""
        logits = passed["unlabelled"]
        loss = 0.0
        for measure, tracker, given in (
            (self._divergence, self._divergence_tracker, (passed["constant"], passed["perturbed"])),
            (self._entropy, self._entropy_tracker, (logits, logits)),
        ):
            tracker.update_state(measure.call(*given))
            loss = loss + measure(*given, sample_weight)
        return loss


def unit(x):
    """Each example of a batch with the Euclidean length 1; what is 0 stays 0.

    Example:
        >>> unit(np.array([[3.0, 4.0], [0.0, 0.0], [1e-25, 0.0]], "float32")).numpy()
        array([[0.6, 0.8],
               [0. , 0. ],
               [1. , 0. ]], dtype=float32)
    """
    axes = tuple(range(1, len(x.shape)))
    # By the largest value first: squares of small ones would vanish.
    x = x / ops.maximum(ops.max(ops.abs(x), axis=axes, keepdims=True), _TINY)
    return x / ops.maximum(ops.sqrt(ops.sum(ops.square(x), axis=axes, keepdims=True)), _TINY)
