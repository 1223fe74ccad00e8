"""What trains on a few labelled and many unlabelled examples, and answers with averaged weights."""

from __future__ import annotations

from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kt_transfer.engine.replicas import bounds_of_share, share_of_batch

# What the chief of several workers can send the others as the first value of a variable.
_SENT_TO_WORKERS = ("bool", "float16", "float32", "float64", "int32", "int64")


class MeanTeacher(keras.Model):
    """A network beside its teacher, whose weights are averages of the network's over the steps.

    Such averages answer better than the network itself (Tarvainen & Valpola, 2017,
    https://arxiv.org/abs/1703.01780). The labelled examples are few: :meth:`hold` keeps them in the
    model, and each step takes the next ones in turn. The batches of ``fit`` are unlabelled; their
    targets are ignored. What is evaluated and predicted is what the teacher says.

    A subclass says what is learned: :meth:`pass_through` and :meth:`unlabelled_loss`.

    Args:
        network: A built classifier from inputs to logits.
        preprocessing: From raw examples to its inputs.
        weight: Weight of the unlabelled examples' loss, 0 or more; the labelled ones' is 1.
        averaging: Share that averages keep in each step, from 0 to below 1; less in the first ones.
        labelled_batch_size: Labelled examples per step, over all replicas.
    """

    # Metrics of the unlabelled examples, which an evaluation has none of.
    in_training_only: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        network: keras.Model,
        preprocessing: keras.Model,
        *,
        weight: float,
        averaging: float,
        labelled_batch_size: int,
        name: str,
    ):
        super().__init__(name=name)
        self.network, self.preprocessing = network, preprocessing
        self.teacher = type(network).from_config(network.get_config())
        self.weight, self.averaging = weight, averaging
        self.labelled_batch_size = labelled_batch_size
        self.seed = keras.Variable(0, trainable=False, dtype="int64", name="seed")
        self._cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self._labelled_tracker = keras.metrics.Mean(name="labelled_loss")
        # In a closure, so that a checkpoint does not repeat the examples.
        self._held = lambda: None

    @property
    def trainable_weights(self):
        """Those of the network: the teacher's are averages."""
        return self.network.trainable_weights

    def begin(self, seed: int) -> None:
        """Begin anew from the network's weights."""
        self.seed.assign(seed)
        self.teacher.set_weights(self.network.get_weights())

    def hold(self, x, y, sample_weight=None, **further: np.ndarray) -> None:
        """Keep the labelled examples, from which the next fits learn.

        Args:
            x: Raw examples, shape ``(n, ...)``, at least one.
            y: Labels, shape ``(n,)``.
            sample_weight: How much each counts beside the others; ``None`` for all alike.
            **further: What else the next fits need, by its name.
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
        values |= {"count": np.int64(len(y)), **further}
        held = self._held()
        if held is None or held["x"].shape != values["x"].shape:
            strategy = self.distribute_strategy
            with strategy.scope():
                held = {
                    name: keras.Variable(
                        value, trainable=False, dtype=_dtype_held(value, strategy), name=name
                    )
                    for name, value in values.items()
                }
            self._held, self._dtype = lambda: held, x.dtype
        for name, value in values.items():
            held[name].assign(value)

    def pass_through(self, labelled, unlabelled, seeds) -> dict:
        """What the network makes of both kinds of examples in a step.

        Args:
            labelled: Raw examples, ``(size, ...)``.
            unlabelled: Others, ``(batch, ...)``.
            seeds: Two, ``(2,)`` each, functions of seed, step and replica.

        Returns:
            The logits ``"labelled"``, ``(size, classes)``, and what :meth:`unlabelled_loss` needs.
        """
        raise NotImplementedError

    def unlabelled_loss(self, passed: dict, sample_weight):
        """The unlabelled examples' loss, by a ``keras.losses.Loss``; it updates its metrics.

        Args:
            passed: As from :meth:`pass_through`.
            sample_weight: How much each counts, ``(batch,)``; ``None`` for all alike.
        """
        raise NotImplementedError

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
        size = self.labelled_batch_size
        if size % num_replicas == 0:
            first, own = replica * (size // num_replicas), size // num_replicas
        else:
            first, end = bounds_of_share(size, replica, num_replicas)
            own = end - first
        rows = (step * size + first + tf.range(own)) % tf.cast(held["count"].value, tf.int32)
        x, labels, weights = (tf.gather(held[name].value, rows) for name in ("x", "y", "weights"))
        x = tf.cast(x, self._dtype)
        if num_replicas > 1:
            # The loss of a replica counts by its share of the unlabelled examples.
            share_of_labelled = tf.cast(own, "float32") / size
            weights = weights * tf.cast(share_of_labelled / share_of_batch(), weights.dtype)
        seeds = [tf.stack([seed, 2 * share + number]) for number in range(2)]
        return {"labels": labels, "weights": weights, **self.pass_through(x, inputs, seeds)}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Both losses and the regularizers; in evaluation, the cross-entropy of the labels."""
        if not isinstance(y_pred, dict):
            self._labelled_tracker.update_state(self._cross_entropy.call(y, y_pred))
            return self._cross_entropy(y, y_pred, sample_weight)
        labels, logits = y_pred["labels"], y_pred["labelled"]
        loss = self._cross_entropy(labels, logits, y_pred["weights"])
        self._labelled_tracker.update_state(self._cross_entropy.call(labels, logits))
        if sample_weight is not None:
            sample_weight = ops.cast(ops.reshape(sample_weight, (-1,)), logits.dtype)
        loss = loss + self.weight * self.unlabelled_loss(y_pred, sample_weight)
        if self.losses:
            loss = loss + ops.cast(super().compute_loss(x=x, training=training), loss.dtype)
        return loss

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Metrics of the labelled examples of a step, or of those that are evaluated."""
        if isinstance(y_pred, dict):
            return super().compute_metrics(x, y_pred["labels"], y_pred["labelled"])
        found = super().compute_metrics(x, y, y_pred, sample_weight)
        return {k: v for k, v in found.items() if k not in self.in_training_only}

    def train_step(self, data):
        """A step of the network, which then counts in the teacher's averages."""
        logs = super().train_step(data)
        step = ops.cast(self.optimizer.iterations, "float32")  # 1 after the first
        kept = ops.minimum(self.averaging, step / (9.0 + step))
        for average, variable in zip(self.teacher.variables, self.network.variables, strict=True):
            if "float" in variable.dtype:  # others are states of random layers
                average.assign(average + (1 - kept) * (variable - average))
        return logs


def _dtype_held(value: np.ndarray, strategy: tf.distribute.Strategy) -> str:
    """The type of the variable that holds these values."""
    several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    return "int32" if several and value.dtype.name not in _SENT_TO_WORKERS else value.dtype.name
