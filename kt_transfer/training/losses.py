"""The objectives. Each is a ``keras.losses.Loss``, which scales itself under tf.distribute."""

from __future__ import annotations

import keras
from keras import ops


@keras.saving.register_keras_serializable("kt_transfer")
class ReconstructionLoss(keras.losses.Loss):
    """‖x − x̂‖²: squared error, summed over the features, averaged over the batch.

    Example:
        >>> loss = ReconstructionLoss()
        >>> float(loss(np.array([[1.0, 2.0]]), np.array([[0.0, 0.0]])))
        5.0
    """

    def __init__(self, name="reconstruction_loss", reduction="sum_over_batch_size", dtype=None):
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def call(self, y_true, y_pred):
        """Squared error of each example, ``(batch, ...)`` twice to ``(batch,)``."""
        squared = ops.square(y_true - y_pred)
        return ops.sum(ops.reshape(squared, (ops.shape(squared)[0], -1)), axis=-1)


class TemperatureKL(keras.losses.Loss):
    """T² · KL(softmax(t/T) ‖ softmax(s/T)) of teacher logits t and student logits s.

    The factor T² keeps the gradients' size as T changes (Hinton, Vinyals & Dean, 2015,
    https://arxiv.org/abs/1503.02531).

    Args:
        temperature: T, more than 0; a ``keras.Variable`` may change during training.

    Example:
        >>> loss = TemperatureKL(temperature=1.0)
        >>> round(float(loss(np.array([[2.0, 0.0]]), np.array([[0.0, 0.0]]))), 4)
        0.3278
    """

    def __init__(self, temperature, name="distillation_loss"):
        super().__init__(name=name)
        self.temperature = temperature

    def call(self, y_true, y_pred):
        """Loss of each example from logits, ``(batch, classes)`` twice to ``(batch,)``."""
        temperature = ops.convert_to_tensor(self.temperature, dtype=y_pred.dtype)
        teacher = ops.log_softmax(y_true / temperature)
        student = ops.log_softmax(y_pred / temperature)
        divergence = ops.sum(ops.exp(teacher) * (teacher - student), axis=-1)
        return ops.square(temperature) * divergence


class SoftTargetCrossEntropy(keras.losses.Loss):
    """H(softmax(t), softmax(s)) of teacher logits t and student logits s, no temperature.

    Example:
        >>> loss = SoftTargetCrossEntropy()
        >>> round(float(loss(np.array([[2.0, 0.0]]), np.array([[0.0, 0.0]]))), 4)
        0.6931
    """

    def __init__(self, name="distillation_loss"):
        super().__init__(name=name)

    def call(self, y_true, y_pred):
        """Loss of each example from logits, ``(batch, classes)`` twice to ``(batch,)``."""
        return -ops.sum(ops.softmax(y_true) * ops.log_softmax(y_pred), axis=-1)
