"""Knowledge distillation as a Keras model: a student learns from a teacher's soft targets."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from kt_transfer.rows import empty_rows
from kt_transfer.training import feeds
from kt_transfer.training.losses import SoftTargetCrossEntropy, TemperatureKL


class Distiller(keras.Model):
    """Trains a student on a teacher's soft targets, and on labels where there are some.

    With mᵢ = 1 where example i has a label, else 0, t and s the logits of teacher and
    student, the loss of one example is

        Lᵢ = mᵢ·α·CE(yᵢ, sᵢ) + (1 − mᵢ·α)·Sᵢ

    where S is T²·KL(softmax(t/T) ‖ softmax(s/T)) for ``loss="kl"`` (Hinton, Vinyals & Dean,
    2015, https://arxiv.org/abs/1503.02531) and H(softmax(t), softmax(s)), without a
    temperature, for ``loss="cross_entropy"``.

    Labels are integers, ``-1`` for none; metrics leave out examples without a label. For
    arrays, ``fit`` computes the teacher's logits once and finds them again by row; targets may
    also be given as ``(labels, logits)``. With a ``tf.data.Dataset`` of labels the teacher runs
    in every step. Only the student is trained and saved; the teacher runs in inference
    mode and stays what it is.

    Args:
        teacher: A Keras model that emits logits.
        student: A Keras model that emits logits of the same classes.
        temperature: T, more than 0 (``"kl"``).
        alpha: α, weight of the hard-label loss, 0 to 1.
        loss: ``"kl"`` or ``"cross_entropy"``.

    Raises:
        ValueError: If the classes differ, or a number is out of range.

    Example:
        >>> distiller = Distiller(teacher=teacher, student=student, temperature=4.0)
        >>> distiller.compile(keras.optimizers.Adam(1e-3), metrics=["accuracy"])
        >>> distiller.fit(x, y, epochs=10)
        >>> distiller.student.save("student.keras")
    """

    def __init__(
        self, *, teacher, student, temperature=4.0, alpha=0.1, loss="kl", name="distiller"
    ):
        super().__init__(name=name)
        if teacher.output_shape[-1] != student.output_shape[-1]:
            raise ValueError(
                f"a teacher of {teacher.output_shape[-1]} and a student of "
                f"{student.output_shape[-1]} classes were given, expected the same classes"
            )
        if loss not in ("kl", "cross_entropy"):
            raise ValueError(f"loss {loss!r} was given, expected 'kl' or 'cross_entropy'")
        self.student = student
        # In a closure, where Keras does not track it: not trained, not saved, not counted.
        self._teacher = lambda: teacher
        # Variables, so that a callback can change them while a compiled program runs.
        self._temperature = _setting("temperature")
        self._alpha = _setting("alpha")
        self.temperature, self.alpha = temperature, alpha
        self._hard_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        if loss == "kl":
            self._soft_loss = TemperatureKL(self._temperature)
        else:
            self._soft_loss = SoftTargetCrossEntropy()
        self._hard_tracker = keras.metrics.Mean(name="student_loss")
        self._soft_tracker = keras.metrics.Mean(name="distillation_loss")

    @property
    def teacher(self) -> keras.Model:
        """The teacher."""
        return self._teacher()

    @property
    def temperature(self) -> float:
        """T; may be set during training."""
        return float(ops.convert_to_numpy(self._temperature))

    @temperature.setter
    def temperature(self, value: float) -> None:
        if not value > 0:
            raise ValueError(f"temperature {value} was given, expected more than 0")
        self._temperature.assign(value)

    @property
    def alpha(self) -> float:
        """α; may be set during training."""
        return float(ops.convert_to_numpy(self._alpha))

    @alpha.setter
    def alpha(self, value: float) -> None:
        if not 0 <= value <= 1:
            raise ValueError(f"alpha {value} was given, expected a weight from 0 to 1")
        self._alpha.assign(value)

    def compile(self, optimizer="adam", metrics=None, **kwargs) -> None:
        """Configure training.

        Args:
            optimizer: As in ``keras.Model.compile``.
            metrics: Metrics of the student's logits against the labels.
            **kwargs: Passed on; ``loss`` and ``weighted_metrics`` are the distiller's own.
        """
        if taken := sorted({"loss", "weighted_metrics"} & set(kwargs)):
            raise ValueError(
                f"{', '.join(taken)} was given to Distiller.compile, expected optimizer and "
                "metrics: the loss is set by Distiller(loss=...)"
            )
        # Weighted ones, since examples without a label weigh nothing in them.
        super().compile(optimizer=optimizer, loss=None, weighted_metrics=metrics, **kwargs)

    def call(self, inputs, training=None):
        """The student's logits."""
        return self.student(inputs, training=training)

    def fit(self, x=None, y=None, **kwargs):
        """As ``keras.Model.fit``, with the soft targets of arrays computed once."""
        return super().fit(x, self.complete_targets(x, y, self.teacher.predict_on_batch), **kwargs)

    def complete_targets(self, x, y, ask: Callable, memory_budget: int | None = None):
        """``(labels, soft_targets)`` for arrays; anything else is returned as it is.

        Args:
            x: Examples.
            y: Labels of shape ``(n,)``, ``None``, or already both.
            ask: Function from a batch of examples to the teacher's logits.
            memory_budget: Bytes that soft targets may take in memory; more go to disk.
        """
        if isinstance(y, (tuple, list)) or not feeds.is_arrays(x):
            return y
        num = feeds.num_rows(x)
        labels = np.full(num, -1, np.int32) if y is None else y
        soft_targets = empty_rows((num, self.student.output_shape[-1]), memory_budget)
        start = 0
        for batch in feeds.batches_of(x, 1024):
            logits = ops.convert_to_numpy(ask(batch))
            soft_targets[start : start + len(logits)] = logits
            start += len(logits)
        return labels, soft_targets

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The mean of Lᵢ, plus the student's regularizers."""
        labels, soft_targets = self._targets(x, y, y_pred)
        has_label = ops.cast(labels >= 0, y_pred.dtype)
        hard_share = has_label * ops.cast(self._alpha, y_pred.dtype)
        weight = 1.0 if sample_weight is None else ops.reshape(sample_weight, (-1,))
        known = ops.maximum(labels, 0)
        loss = self._hard_loss(known, y_pred, sample_weight=hard_share * weight)
        loss = loss + self._soft_loss(
            soft_targets, y_pred, sample_weight=(1.0 - hard_share) * weight
        )
        self._hard_tracker.update_state(
            self._hard_loss.call(known, y_pred), sample_weight=has_label
        )
        self._soft_tracker.update_state(self._soft_loss.call(soft_targets, y_pred))
        if self.losses:
            loss = loss + super().compute_loss(x=x, training=training)
        return loss

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """The metrics over the examples that have a label."""
        labels, _ = self._targets(x, y, y_pred, ask=False)
        has_label = ops.cast(labels >= 0, y_pred.dtype)
        return super().compute_metrics(x, ops.maximum(labels, 0), y_pred, has_label)

    def save(self, filepath, *args, **kwargs) -> None:
        """Save the student, alone."""
        self.student.save(filepath, *args, **kwargs)

    def _targets(self, x, y, y_pred, ask: bool = True):
        """Labels of shape ``(batch,)`` and the teacher's logits."""
        labels, soft_targets = y if isinstance(y, (tuple, list)) else (y, None)
        if labels is None:
            labels = ops.full(ops.shape(y_pred)[:1], -1, dtype="int32")
        if soft_targets is None and ask:
            soft_targets = self.teacher(x, training=False)
        labels = ops.reshape(ops.cast(labels, "int32"), (-1,))
        return labels, None if soft_targets is None else ops.stop_gradient(soft_targets)


def _setting(name: str) -> keras.Variable:
    return keras.Variable(1.0, trainable=False, name=name, dtype="float32")
