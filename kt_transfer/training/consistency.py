"""Consistency training as a Keras model: one answer for all views of an unlabelled example."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from keras import ops

# Of the class shares among the teacher's answers, which are averaged over steps as well.
SHARES_DECAY = 0.99
_LEAST_SHARE = 1e-6


class ConsistencyModel(keras.Model):
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

    The labelled examples are few: :meth:`hold` keeps them in the model, and each step takes the
    next ones in turn. The batches of ``fit`` are unlabelled; their targets are ignored. Everything
    random is a function of seed and step, so that a resumed fit continues exactly. What is
    evaluated and predicted is what the teacher says.

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
        super().__init__(name=name)
        self.network, self.preprocessing = network, preprocessing
        self.teacher = type(network).from_config(network.get_config())
        self.views, self.threshold, self.weight = views, threshold, weight
        self.averaging, self.align = averaging, align
        self.labelled_batch_size = labelled_batch_size
        num_classes = network.output_shape[-1]
        self.shares = self.add_weight(
            (num_classes,), initializer="ones", trainable=False, name="shares"
        )
        self.seed = keras.Variable(0, trainable=False, dtype="int64", name="seed")
        self._cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self._labelled_tracker = keras.metrics.Mean(name="labelled_loss")
        self._consistency_tracker = keras.metrics.Mean(name="consistency_loss")
        self._trusted_tracker = keras.metrics.Mean(name="trusted")
        # In a closure, so that a checkpoint does not repeat the examples.
        self._held = lambda: None
        self.built = True
        self.begin(0)

    @property
    def trainable_weights(self):
        """Those of the network: the teacher's are averages."""
        return self.network.trainable_weights

    def begin(self, seed: int) -> None:
        """Begin anew from the network's weights."""
        self.seed.assign(seed)
        self.teacher.set_weights(self.network.get_weights())
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
        x, y = np.asarray(x[:]), np.asarray(y, np.int64)
        weights = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight)
        weights = (weights / weights.mean()).astype(np.float32)
        # Folds of nearly one size share a program.
        rows = 1 << max(len(y) - 1, 0).bit_length()
        values = {
            name: np.resize(value, (rows, *value.shape[1:]))
            for name, value in (("x", x), ("y", y), ("weights", weights))
        }
        values["count"] = np.int64(len(y))
        values["prior"] = np.asarray(
            np.ones(self.shares.shape) if prior is None else prior, np.float32
        )
        held = self._held()
        if held is None or held["x"].shape != values["x"].shape:
            with self.distribute_strategy.scope():
                held = {
                    name: keras.Variable(value, trainable=False, dtype=str(value.dtype), name=name)
                    for name, value in values.items()
                }
            self._held = lambda: held
        for name, value in values.items():
            held[name].assign(value)

    def call(self, inputs, training=None):
        """The teacher's logits; in training, everything that the loss is made of."""
        if not training:
            return self.teacher(self.preprocessing(inputs), training=False)
        context = tf.distribute.get_replica_context()
        num_replicas, replica = context.num_replicas_in_sync, context.replica_id_in_sync_group
        step = tf.cast(self.optimizer.iterations.value, tf.int32)
        share = step * num_replicas + replica
        seed = tf.cast(self.seed.value, tf.int32)
        held = self._held()
        size = -(-self.labelled_batch_size // num_replicas)
        rows = (share * size + tf.range(size)) % tf.cast(held["count"].value, tf.int32)
        x, labels, weights = (tf.gather(held[name].value, rows) for name in ("x", "y", "weights"))
        answers = ops.softmax(self.teacher(self.preprocessing(inputs), training=False))
        if self.align:
            answers = self._aligned(answers)
        seen = ops.concatenate(
            [
                self.preprocessing(self.views(given, tf.stack([seed, 2 * share + number])))
                for number, given in enumerate((x, inputs))
            ]
        )
        logits = self.network(seen, training=True)
        return {
            "labelled": logits[:size],
            "labels": labels,
            "weights": weights,
            "unlabelled": logits[size:],
            "classes": ops.argmax(answers, axis=-1),
            "trusted": ops.cast(ops.max(answers, axis=-1) >= self.threshold, "float32"),
        }

    def _aligned(self, answers):
        """Probabilities with the class shares of the prior, as far as they are known."""
        context = tf.distribute.get_replica_context()
        mean = context.all_reduce(tf.distribute.ReduceOp.MEAN, ops.mean(answers, axis=0))
        self.shares.assign(SHARES_DECAY * self.shares + (1 - SHARES_DECAY) * mean)
        prior = self._held()["prior"]
        aligned = answers * (prior / ops.maximum(self.shares, _LEAST_SHARE))
        return aligned / ops.sum(aligned, axis=-1, keepdims=True)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """L, plus the network's regularizers; in evaluation, the cross-entropy of the labels."""
        if not isinstance(y_pred, dict):
            self._labelled_tracker.update_state(self._cross_entropy.call(y, y_pred))
            return self._cross_entropy(y, y_pred, sample_weight)
        labels, logits = y_pred["labels"], y_pred["labelled"]
        loss = self._cross_entropy(labels, logits, y_pred["weights"])
        self._labelled_tracker.update_state(self._cross_entropy.call(labels, logits))
        trusted, classes, logits = (y_pred[name] for name in ("trusted", "classes", "unlabelled"))
        counted = trusted
        if sample_weight is not None:
            counted = trusted * ops.cast(ops.reshape(sample_weight, (-1,)), trusted.dtype)
        loss = loss + self.weight * self._cross_entropy(classes, logits, counted)
        each = self._cross_entropy.call(classes, logits)
        self._consistency_tracker.update_state(each * trusted)
        self._trusted_tracker.update_state(trusted)
        if self.losses:
            loss = loss + ops.cast(super().compute_loss(x=x, training=training), loss.dtype)
        return loss

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Metrics of the labelled examples of a step, or of those that are evaluated."""
        if isinstance(y_pred, dict):
            return super().compute_metrics(x, y_pred["labels"], y_pred["labelled"])
        found = super().compute_metrics(x, y, y_pred, sample_weight)
        return {k: v for k, v in found.items() if k not in ("consistency_loss", "trusted")}

    def train_step(self, data):
        """A step of the network, which then counts in the teacher's averages."""
        logs = super().train_step(data)
        step = ops.cast(self.optimizer.iterations, "float32")  # 1 after the first
        kept = ops.minimum(self.averaging, step / (9.0 + step))
        for average, variable in zip(self.teacher.variables, self.network.variables, strict=True):
            if "float" in variable.dtype:  # others are states of random layers
                average.assign(average + (1 - kept) * (variable - average))
        return logs
