"""Losses. Each is a ``keras.losses.Loss``, which is scaled correctly under tf.distribute."""

from __future__ import annotations

import keras
from keras import ops

from kt_transfer.models.autoencoders import category_sizes_of

# Of a word, so that its logarithm is finite.
_LEAST_PROBABILITY = 1e-7
# Added to the deviation that logits are divided by, as in the code of the paper.
_LEAST_DEVIATION = 1e-7


@keras.saving.register_keras_serializable("kt_transfer")
class ReconstructionLoss(keras.losses.Loss):
    """‖x − x̂‖²: squared error, summed over the features, averaged over the batch.

    Of a category of a table it is the cross-entropy −log p of its word instead, p being the
    probability that the reconstruction gives it.

    Args:
        num_categorical: How many of the features, the last ones, belong to categories.

    Example:
        >>> loss = ReconstructionLoss()
        >>> float(loss(np.array([[1.0, 2.0]]), np.array([[0.0, 0.0]])))
        5.0
        >>> loss = ReconstructionLoss(num_categorical=2)
        >>> round(float(loss(np.array([[1.0, 1.0, 0.0]]), np.array([[0.0, 0.5, 0.5]]))), 4)
        1.6931
    """

    def __init__(
        self,
        name="reconstruction_loss",
        reduction="sum_over_batch_size",
        dtype=None,
        num_categorical=0,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.num_categorical = num_categorical

    def call(self, y_true, y_pred):
        """Loss of each example, shape ``(batch,)``."""
        num_examples, entropy = ops.shape(y_pred)[0], 0.0
        if self.num_categorical:
            start = y_pred.shape[-1] - self.num_categorical
            probabilities = ops.maximum(y_pred[:, start:], _LEAST_PROBABILITY)
            entropy = -ops.sum(y_true[:, start:] * ops.log(probabilities), axis=-1)
            y_true, y_pred = y_true[:, :start], y_pred[:, :start]
        squared = ops.square(y_true - y_pred)
        return ops.sum(ops.reshape(squared, (num_examples, -1)), axis=-1) + entropy

    def get_config(self):
        """What a saved loss is made again from."""
        return {**super().get_config(), "num_categorical": self.num_categorical}


def reconstruction_loss(autoencoder: keras.Model) -> ReconstructionLoss:
    """The loss of what a model with a layer ``"decoder"`` reconstructs, categories among it."""
    return ReconstructionLoss(num_categorical=sum(category_sizes_of(autoencoder)))


class TemperatureKL(keras.losses.Loss):
    """T² · KL(softmax(t/T) ‖ softmax(s/T)) of teacher logits t and student logits s.

    The factor T² keeps the magnitude of the gradients as T changes (Hinton, Vinyals & Dean, 2015,
    https://arxiv.org/abs/1503.02531).

    Args:
        temperature: T, more than 0; a ``keras.Variable`` may change during training.

    Example:
        >>> loss = TemperatureKL(temperature=1.0)
        >>> round(float(loss(np.array([[2.0, 0.0]]), np.array([[0.0, 0.0]]))), 4)
        0.3278
    """

    def __init__(self, temperature, name="distillation_loss", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.temperature = temperature

    def call(self, y_true, y_pred):
        """Loss of each example, ``(batch,)``, from logits of shape ``(batch, classes)``."""
        temperature = ops.convert_to_tensor(self.temperature, dtype=y_pred.dtype)
        teacher = ops.log_softmax(y_true / temperature)
        student = ops.log_softmax(y_pred / temperature)
        return ops.square(temperature) * _divergence(teacher, student)


class SoftTargetCrossEntropy(keras.losses.Loss):
    """H(softmax(t), softmax(s)) of teacher logits t and student logits s, without temperature.

    Example:
        >>> loss = SoftTargetCrossEntropy()
        >>> round(float(loss(np.array([[2.0, 0.0]]), np.array([[0.0, 0.0]]))), 4)
        0.6931
    """

    def __init__(self, name="distillation_loss", dtype=None):
        super().__init__(name=name, dtype=dtype)

    def call(self, y_true, y_pred):
        """Loss of each example, ``(batch,)``, from logits of shape ``(batch, classes)``."""
        return -ops.sum(ops.softmax(y_true) * ops.log_softmax(y_pred), axis=-1)


class DecoupledKL(keras.losses.Loss):
    """T² · (α·TCKD + β·NCKD): separate terms for the target class and the other classes.

    TCKD is the divergence of the binary distributions "target class or not"; NCKD that of the
    renormalized distributions over the other classes. Plain KL weights NCKD by 1 − p(target),
    which nearly vanishes for a confident teacher (Zhao et al., 2022,
    https://arxiv.org/abs/2203.08679). With α = 1 and β = 1 − p(target) it is
    :class:`TemperatureKL`.

    The target is the example's label or, for unlabelled examples, the teacher's prediction.

    Args:
        temperature: T, more than 0; a ``keras.Variable`` may change during training.
        alpha: Weight of the target class.
        beta: Weight of the other classes. α = 1 and β = 8 are the paper's choice for most pairs
            of networks.

    Example:
        >>> loss = DecoupledKL(temperature=1.0, beta=2.0)
        >>> teacher, student = np.array([[2.0, 1.0, 0.0]]), np.array([[0.0, 0.0, 0.0]])
        >>> round(float(loss((teacher, np.array([0])), student)), 4)
        0.451
    """

    def __init__(self, temperature, alpha=1.0, beta=8.0, name="distillation_loss", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.temperature, self.alpha, self.beta = temperature, alpha, beta

    def call(self, y_true, y_pred):
        """Loss of each example.

        Args:
            y_true: The teacher's logits, ``(batch, classes)``, and labels, ``(batch,)``, -1 for
                none.
            y_pred: The student's logits, ``(batch, classes)``.

        Returns:
            Shape ``(batch,)``.
        """
        logits, labels = y_true
        temperature = ops.convert_to_tensor(self.temperature, dtype=y_pred.dtype)
        labels = ops.cast(labels, "int32")
        target = ops.where(labels >= 0, labels, ops.argmax(logits, axis=-1))
        is_target = ops.one_hot(target, ops.shape(logits)[-1], dtype=y_pred.dtype)
        teacher, student = (_decoupled(x / temperature, is_target) for x in (logits, y_pred))
        tckd, nckd = (_divergence(t, s) for t, s in zip(teacher, student, strict=True))
        return ops.square(temperature) * (self.alpha * tckd + self.beta * nckd)


class StandardizedKL(keras.losses.Loss):
    """weight · τ² · KL(softmax(Z(t)/τ) ‖ softmax(Z(s)/τ)) of standardized logits.

    Z(z) = (z − mean(z)) / (std(z) + 1e-7) over the classes of an example, with the deviation of a
    sample (the sum of squares divided by classes − 1), as the authors' code computes it (Sun et
    al., 2024, https://arxiv.org/abs/2403.01427). The student learns in which proportions the
    teacher's logits differ, not how large they are: this loss alone leaves the scale of its
    logits, and with it the confidence of its answers, undetermined.

    Of two classes, Z is always (c, −c) or (−c, c): there is nothing to learn from it, so that at
    least three are needed. Logits that are all equal stay 0 and have the gradient of the loss with
    Z(z) = z − mean(z), which is finite.

    Args:
        temperature: τ, more than 0; a ``keras.Variable`` may change during training. The paper
            has 2 for most pairs of networks.
        weight: Factor of the loss; 9 in the paper.

    Example:
        >>> loss = StandardizedKL(temperature=2.0)
        >>> teacher, student = np.array([[2.0, 1.0, 0.0]]), np.array([[0.0, 0.0, 0.0]])
        >>> round(float(loss(teacher, student)), 4)
        2.8232
        >>> abs(float(loss(teacher, 5 * teacher + 1))) < 1e-5
        True
    """

    def __init__(self, temperature, weight=9.0, name="distillation_loss", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.temperature, self.weight = temperature, weight

    def call(self, y_true, y_pred):
        """Loss of each example, ``(batch,)``, from logits of shape ``(batch, classes)``.

        Raises:
            ValueError: If there are fewer than three classes.
        """
        if y_pred.shape[-1] < 3:
            raise ValueError(
                f"logits of {y_pred.shape[-1]} classes were given, expected at least 3: of fewer, "
                "standardized ones are always the same"
            )
        temperature = ops.convert_to_tensor(self.temperature, dtype=y_pred.dtype)
        teacher, student = (
            ops.log_softmax(_standardized(logits) / temperature) for logits in (y_true, y_pred)
        )
        return self.weight * ops.square(temperature) * _divergence(teacher, student)


class CosineDistance(keras.losses.Loss):
    """1 − cos(t, s) of two feature vectors: 0 for equal directions, 2 for opposite ones.

    Example:
        >>> float(CosineDistance()(np.array([[1.0, 0.0]]), np.array([[0.0, 3.0]])))
        1.0
    """

    def __init__(self, name="hint_loss", dtype=None):
        super().__init__(name=name, dtype=dtype)

    def call(self, y_true, y_pred):
        """Distance of each example, shape ``(batch,)``."""
        return 1.0 - ops.sum(ops.normalize(y_true) * ops.normalize(y_pred), axis=-1)


def _standardized(logits):
    """Logits with mean 0 and deviation 1 over the classes; 0 where all are equal."""
    # Of equal logits without their common part, the mean is exact, and so the deviation exactly 0.
    logits = logits - ops.stop_gradient(ops.max(logits, axis=-1, keepdims=True))
    logits = logits - ops.mean(logits, axis=-1, keepdims=True)
    variance = ops.sum(ops.square(logits), axis=-1, keepdims=True) / (logits.shape[-1] - 1)
    differ = variance > 0
    # The gradient of a root at 0 is infinite, also where its value is not used.
    deviation = ops.sqrt(ops.where(differ, variance, 1.0)) + _LEAST_DEVIATION
    return logits / ops.where(differ, deviation, 1.0)


def _decoupled(logits, is_target):
    """Log-probabilities of the target class and the rest, and of each class within the rest."""
    log_p = ops.log_softmax(logits)
    own = ops.sum(is_target * log_p, axis=-1, keepdims=True)
    others = log_p - 1e9 * is_target  # excludes the target: its probability is exactly zero
    rest = ops.logsumexp(others, axis=-1, keepdims=True)
    return ops.concatenate([own, rest], axis=-1), others - rest


def _divergence(teacher, student):
    """KL divergence of log-probabilities over the last axis."""
    return ops.sum(ops.exp(teacher) * (teacher - student), axis=-1)
