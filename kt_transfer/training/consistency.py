"""Consistency training as a Keras model: one answer for all views of an unlabelled example."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kt_transfer.engine.replicas import share_of_batch
from kt_transfer.training.mean_teacher import MeanTeacher

# Of the class shares among the teacher's answers, which are averaged over steps as well.
SHARES_DECAY = 0.99
_LEAST_SHARE = 1e-6


class ConsistencyModel(MeanTeacher):
    """Trains a network on a few labelled and many unlabelled examples.

    A teacher, whose weights are averages of the network's over the steps (Tarvainen & Valpola,
    2017, https://arxiv.org/abs/1703.01780), classifies each unlabelled example as it is. Where it
    is confident, the network learns this class from a random view of the example, as in FixMatch
    (Sohn et al., 2020, https://arxiv.org/abs/2001.07685). With p the teacher's probabilities, s the
    network's logits, and a prime for a random view,

        L = mean CE(y, s(x′)) over labelled examples
            + weight · mean [max p ≥ threshold] · CE(argmax p, s(u′)) over unlabelled ones

    Distribution alignment (Berthelot et al., 2020, https://arxiv.org/abs/1911.09785) multiplies p
    by the ratio of the classes' prior to the running mean of p, and normalizes it.

    How examples are held and weights averaged: :class:`~.mean_teacher.MeanTeacher`. Everything
    random is a function of seed and step, so that a resumed fit continues exactly.

    Args:
        network: A built classifier from inputs to logits.
        preprocessing: From raw examples to its inputs.
        views: Function ``(x, seed)`` from raw examples to random views of them, see
            :func:`~kt_transfer.training.augmentation.augmentation`.
        threshold: Probability from which on the teacher is trusted, from 0 to 1.
        weight: Weight of the unlabelled examples' loss, 0 or more.
        averaging: Share that averages keep in each step, from 0 to below 1; less in the first ones.
        align: Whether to align the distribution of the answers.
        labelled_batch_size: Labelled examples per step, over all replicas.

    Example:
        >>> from kt_transfer import FusedModel
        >>> x, y = np.random.default_rng(0).normal(size=(64, 4)).astype("float32"), np.arange(8) % 2
        >>> network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> as_it_is = keras.Sequential([keras.Input((4,)), keras.layers.Identity()])
        >>> model = ConsistencyModel(network, as_it_is, views=lambda x, seed: 2 * x)
        >>> model.compile("adam", metrics=["accuracy"])
        >>> model.hold(x[:8], y, prior=[0.5, 0.5])
        >>> model.begin(seed=0)
        >>> history = FusedModel(model).fit(x, np.full(64, -1), epochs=2, verbose=0)
        >>> sorted(history.history)
        ['accuracy', 'consistency_loss', 'labelled_loss', 'loss', 'trusted']
    """

    in_training_only: ClassVar[tuple[str, ...]] = ("consistency_loss", "trusted")

    def __init__(
        self,
        network: keras.Model,
        preprocessing: keras.Model,
        *,
        views: Callable,
        threshold: float = 0.9,
        weight: float = 1.0,
        averaging: float = 0.999,
        align: bool = True,
        labelled_batch_size: int = 64,
        name: str = "consistency",
    ):
        super().__init__(
            network,
            preprocessing,
            weight=weight,
            averaging=averaging,
            labelled_batch_size=labelled_batch_size,
            name=name,
        )
        self.views, self.threshold, self.align = views, threshold, align
        num_classes = network.output_shape[-1]
        self.shares = self.add_weight(
            (num_classes,), initializer="ones", trainable=False, name="shares"
        )
        self._consistency_tracker = keras.metrics.Mean(name="consistency_loss")
        self._trusted_tracker = keras.metrics.Mean(name="trusted")
        self.built = True
        self.begin(0)

    def begin(self, seed: int) -> None:
        """Begin anew from the network's weights."""
        super().begin(seed)
        num_classes = self.shares.shape[0]
        self.shares.assign(np.full(num_classes, 1 / num_classes, np.float32))

    def hold(self, x, y, sample_weight=None, *, prior=None) -> None:
        """Keep the labelled examples, from which the next fits learn.

        Args:
            x: Raw examples, shape ``(n, ...)``, at least one.
            y: Labels, shape ``(n,)``.
            sample_weight: How much each counts beside the others; ``None`` for all alike.
            prior: Share of each class, shape ``(classes,)``, needed for alignment.
        """
        prior = np.ones(self.shares.shape) if prior is None else prior
        super().hold(x, y, sample_weight, prior=np.asarray(prior, np.float32))

    def pass_through(self, labelled, unlabelled, seeds) -> dict:
        """Logits of views of both, and what the teacher says of the unlabelled ones."""
        answers = ops.softmax(self.teacher(self.preprocessing(unlabelled), training=False))
        if self.align:
            answers = self._aligned(answers)
        seen = ops.concatenate(
            [
                self.preprocessing(self.views(x, seed))
                for x, seed in zip((labelled, unlabelled), seeds, strict=True)
            ]
        )
        logits, size = self.network(seen, training=True), ops.shape(labelled)[0]
        return {
            "labelled": logits[:size],
            "unlabelled": logits[size:],
            "classes": ops.argmax(answers, axis=-1),
            "trusted": ops.cast(ops.max(answers, axis=-1) >= self.threshold, "float32"),
        }

    def unlabelled_loss(self, passed: dict, sample_weight):
        """Cross-entropy of the classes that the teacher is confident of."""
        trusted, classes, logits = (passed[name] for name in ("trusted", "classes", "unlabelled"))
        counted = trusted
        if sample_weight is not None:
            counted = trusted * ops.cast(sample_weight, trusted.dtype)
        each = self._cross_entropy.call(classes, logits)
        self._consistency_tracker.update_state(each * trusted)
        self._trusted_tracker.update_state(trusted)
        return self._cross_entropy(classes, logits, counted)

    def _aligned(self, answers):
        """Probabilities with the class shares of the prior, as far as they are known."""
        context = tf.distribute.get_replica_context()
        own = ops.mean(answers, axis=0) * ops.cast(share_of_batch(), answers.dtype)
        mean = context.all_reduce(tf.distribute.ReduceOp.SUM, own)
        self.shares.assign(SHARES_DECAY * self.shares + (1 - SHARES_DECAY) * mean)
        prior = self._held()["prior"]
        aligned = answers * (prior / ops.maximum(self.shares, _LEAST_SHARE))
        return aligned / ops.sum(aligned, axis=-1, keepdims=True)
