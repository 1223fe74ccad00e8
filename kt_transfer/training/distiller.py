"""Knowledge distillation as a Keras model: a student learns from a teacher's soft targets."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
from keras import ops, tree

from kt_transfer.data.rows import empty_rows
from kt_transfer.engine import feeds
from kt_transfer.engine.fused_model import FusedModel
from kt_transfer.models.classifier_output import classifier_output
from kt_transfer.models.python_function import model_of
from kt_transfer.training.hints import find_layer, last_hidden, layers_of, with_layer_output
from kt_transfer.training.labels import as_labels
from kt_transfer.training.losses import (
    CosineDistance,
    DecoupledKL,
    SoftTargetCrossEntropy,
    StandardizedKL,
    TemperatureKL,
)

_SOFT_LOSSES = {
    "kl": lambda dtype, temperature, beta: TemperatureKL(temperature, dtype=dtype),
    "cross_entropy": lambda dtype, temperature, beta: SoftTargetCrossEntropy(dtype=dtype),
    "decoupled": lambda dtype, temperature, beta: DecoupledKL(temperature, beta=beta, dtype=dtype),
    "standardized": lambda dtype, temperature, beta: StandardizedKL(temperature, dtype=dtype),
    "none": lambda dtype, temperature, beta: None,
}
_HINT_LOSSES = {
    "mse": lambda dtype: keras.losses.MeanSquaredError(dtype=dtype),
    "cosine": lambda dtype: CosineDistance(dtype=dtype),
}


class _Setting:
    """A number stored in a variable, so that a callback can change it in a compiled program."""

    def __init__(self, expected: str, fits: Callable[[float], bool]):
        self.expected, self.fits = expected, fits

    def __set_name__(self, owner, name: str) -> None:
        self.name = name

    def __get__(self, model, owner=None):
        if model is None:  # accessed on the class
            return self
        return float(ops.convert_to_numpy(model.settings[self.name]))

    def __set__(self, model, value: float) -> None:
        if not self.fits(value):
            raise ValueError(f"{self.name} {value} was given, expected {self.expected}")
        model.settings[self.name].assign(value)


class Distiller(keras.Model):
    """Trains a student on a teacher's soft targets and on labels, where available.

    With mᵢ = 1 if example i has a label and 0 otherwise, and t and s the logits of teacher and
    student, the loss of one example is

        Lᵢ = mᵢ·α·CE(yᵢ, sᵢ) + (1 − mᵢ·α)·Sᵢ

    where S is T²·KL(softmax(t/T) ‖ softmax(s/T)) for ``loss="kl"`` (Hinton, Vinyals & Dean,
    2015, https://arxiv.org/abs/1503.02531), H(softmax(t), softmax(s)), without a
    temperature, for ``"cross_entropy"``, :class:`~kt_transfer.training.losses.DecoupledKL`
    for ``"decoupled"`` and :class:`~kt_transfer.training.losses.StandardizedKL` for
    ``"standardized"``. With a hint, λ·H(features of the teacher, W·features of the student) is
    added (FitNets, Romero et al., 2015, https://arxiv.org/abs/1412.6550): W is learned, and
    not part of the student. ``loss="none"`` omits S, so that a teacher of other classes can
    provide hints alone.

    A teacher that cannot be asked, since it is no model, may have answered before: with
    ``teacher=None`` targets are ``(labels, logits)``. Where these logits are NaN it said nothing;
    there Lᵢ = mᵢ·CE(yᵢ, sᵢ), and nothing at all without a label.

    Labels are integers, ``-1`` for unlabelled examples, which metrics leave out; arrays and lists
    may also be one-hot. For arrays, ``fit`` computes the teacher's outputs once and looks them up
    by row; targets may also be given as ``(labels, logits)``. With a ``tf.data.Dataset`` of labels
    the teacher runs in every step. ``sample_weight`` and ``class_weight`` apply to all of Lᵢ. Only
    the student is trained and saved; the teacher runs in inference mode and does not change.

    Teacher and student may output probabilities, whose logarithms serve as logits. For two
    classes they may output one number, z or sigmoid(z), equivalent to the logits 0 and z. Which of
    these it is follows from the last layer. Metrics and ``predict`` always use logits. In mixed
    precision the losses are computed in ``float32``.

    ``temperature``, ``alpha``, ``hint_weight`` and ``distillation_weight`` (the weight of Lᵢ
    without the hint: 1, or 0 to train on hints alone) may be set during training, for instance by
    :class:`~kt_transfer.training.schedules.SettingSchedule`.

    Args:
        teacher: A built Keras model that outputs logits or probabilities; functional, sequential
            or subclassed. Or any function from a batch of the student's inputs, an array, to an
            array ``(batch, classes)`` of either; it runs in Python, once for each example where
            the examples are arrays, and must not run a TensorFlow function itself, which may wait
            for the thread that it is called in. ``None`` if targets hold its logits.
        student: A model of the same kind and classes.
        temperature: T, more than 0 (``"kl"``, ``"decoupled"`` and ``"standardized"``).
        alpha: α, weight of the hard-label loss, 0 to 1.
        loss: ``"kl"``, ``"cross_entropy"``, ``"decoupled"``, ``"standardized"`` (three classes or
            more) or ``"none"``; or a ``keras.losses.Loss`` of teacher and student logits.
        beta: Weight of the non-target classes (``"decoupled"``).
        hint: Name of a layer of the teacher, nested or not; ``None`` for no hint.
        hint_student: Name of the student's layer (default: the last hidden one).
        hint_weight: λ, 0 or more.
        hint_loss: ``"mse"``, the mean over the features, or ``"cosine"``, 1 − cos.

    Raises:
        ValueError: If the classes differ, a layer does not exist, a number is out of range, or a
            model is not built or its kind of output cannot be determined.

    Example:
        >>> x, y = np.ones((8, 4)), np.array([0, 1, 2, -1] * 2)  # two have no label
        >>> teacher = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> student = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> distiller = Distiller(teacher=teacher, student=student, temperature=4.0)
        >>> distiller.compile(keras.optimizers.Adam(1e-3), metrics=["accuracy"])
        >>> history = distiller.fit(x, y, epochs=2, verbose=0)
        >>> distiller.student.save("student.keras")
    """

    temperature = _Setting("more than 0", lambda value: value > 0)
    alpha = _Setting("a weight from 0 to 1", lambda value: 0 <= value <= 1)
    hint_weight = _Setting("0 or more", lambda value: value >= 0)
    distillation_weight = _Setting("0 or more", lambda value: value >= 0)

    def __init__(
        self,
        *,
        teacher,
        student,
        temperature=4.0,
        alpha=0.1,
        loss="kl",
        beta=8.0,
        hint=None,
        hint_student=None,
        hint_weight=1.0,
        hint_loss="mse",
        name="distiller",
    ):
        # Each model casts its own inputs; a float16 policy makes Keras scale the loss.
        super().__init__(name=name, dtype=_policy_of(student), autocast=False)
        if teacher is None and hint is not None:
            raise ValueError(f"hint {hint!r} was given without a teacher, expected one")
        if not isinstance(teacher, keras.Model | None):
            teacher = _as_model(teacher, student)
        self._loss_dtype = "float64" if self.compute_dtype == "float64" else "float32"
        self._student_output = classifier_output(student)
        self._teacher_output = None
        if loss != "none" and teacher is not None:
            self._teacher_output = classifier_output(teacher)
        if self._teacher_output is not None:
            num_classes = [self._teacher_output.num_classes, self._student_output.num_classes]
            if num_classes[0] != num_classes[1]:
                raise ValueError(
                    f"a teacher of {num_classes[0]} and a student of {num_classes[1]} classes were "
                    "given, expected the same classes"
                )
        # Variables, so that a callback can change them while a compiled program runs.
        self.settings = {
            key: keras.Variable(1.0, trainable=False, name=key, dtype="float32")
            for key in ("temperature", "alpha", "hint_weight", "distillation_weight")
        }
        self.temperature, self.alpha, self.hint_weight = temperature, alpha, hint_weight
        self.student = student
        dtype = self._loss_dtype
        self._hard_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, dtype=dtype)
        arguments = dtype, self.settings["temperature"], beta
        self._soft_loss = _chosen("loss", loss, _SOFT_LOSSES, *arguments)
        self._hard_tracker = keras.metrics.Mean(name="student_loss")
        if self._soft_loss is not None:
            self._soft_tracker = keras.metrics.Mean(name="distillation_loss")
        target_model, student_model, self.projection = teacher, student, None
        if hint is not None:
            target_model = with_layer_output(teacher, find_layer(teacher, hint))
            own = find_layer(student, hint_student) if hint_student else last_hidden(student)
            student_model = with_layer_output(student, own)
            width = target_model.output_shape[1][-1]
            self.projection = keras.layers.Dense(width, name="projection", dtype=dtype)
            self.projection.build(student_model.output_shape[1])
            self._hint_loss = _chosen("hint_loss", hint_loss, _HINT_LOSSES, dtype)
            self._hint_tracker = keras.metrics.Mean(name="hint_loss")
        # In closures, so that Keras does not track them: they are not trained, saved or counted.
        self._teacher, self._target_model = lambda: teacher, lambda: target_model
        self._student_model = lambda: student_model

    @property
    def teacher(self) -> keras.Model | None:
        """The teacher; ``None`` if its logits are given."""
        return self._teacher()

    @property
    def target_model(self) -> keras.Model | None:
        """The model that computes targets: the teacher, with a hint extended by its features."""
        return self._target_model()

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
        # Weighted metrics, so that unlabelled examples have a weight of zero.
        super().compile(optimizer=optimizer, loss=None, weighted_metrics=metrics, **kwargs)

    def call(self, inputs, training=None):
        """The student's logits; with a hint, ``[logits, features]``."""
        outputs = self._student_model()(inputs, training=training)
        if self.projection is None:
            return self._student_output.as_logits(outputs, self._loss_dtype)
        return [self._student_output.as_logits(outputs[0], self._loss_dtype), outputs[1]]

    def predict_step(self, data):
        """The student's logits."""
        return self._logits_of(super().predict_step(data))

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        validation_split=0.0,
        validation_data=None,
        shuffle=True,
        class_weight=None,
        sample_weight=None,
        **kwargs,
    ):
        """As ``keras.Model.fit``; for arrays, the teacher's targets are computed once."""
        if feeds.is_arrays(x):
            predict = None if self.teacher is None else FusedModel(self.target_model).answers
            y = self.complete_targets(x, y, predict)
            data = feeds.pack(x, y, sample_weight)
            if validation_split and validation_data is None:
                # Split first, since class weights depend on the training examples alone.
                data, validation_data = feeds.split_tail(data, validation_split)
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
            if class_weight is not None:
                if sample_weight is not None:
                    raise ValueError(
                        "class_weight and sample_weight were given, expected one of them: "
                        "multiply them into sample_weight"
                    )
                sample_weight = feeds.class_weights(y, class_weight)
            class_weight, validation_split = None, 0.0
        if isinstance(validation_data, (tuple, list)) and feeds.is_arrays(validation_data[0]):
            x_held, y_held, weights = keras.utils.unpack_x_y_sample_weight(tuple(validation_data))
            validation_data = keras.utils.pack_x_y_sample_weight(
                x_held, self.as_targets(y_held), weights
            )
        return super().fit(
            x,
            y,
            batch_size,
            epochs,
            verbose,
            callbacks,
            validation_split,
            validation_data,
            shuffle,
            class_weight,
            sample_weight,
            **kwargs,
        )

    def evaluate(self, x=None, y=None, *args, **kwargs):
        """As ``keras.Model.evaluate``."""
        return super().evaluate(x, self.as_targets(y), *args, **kwargs)

    def train_on_batch(self, x, y=None, *args, **kwargs):
        """As ``keras.Model.train_on_batch``."""
        return super().train_on_batch(x, self.as_targets(y), *args, **kwargs)

    def test_on_batch(self, x, y=None, *args, **kwargs):
        """As ``keras.Model.test_on_batch``."""
        return super().test_on_batch(x, self.as_targets(y), *args, **kwargs)

    def as_targets(self, y):
        """Labels as integers of shape ``(n,)``, alone or the first of several targets.

        Args:
            y: Labels, as an array or list of integers, or one-hot, ``(n, classes)``;
                ``(labels, logits)``, with a hint ``(labels, logits, features)``; or ``None``.

        Raises:
            ValueError: If the labels are not integers from -1 to the number of classes - 1.
        """
        if y is None:
            return None
        if _are_targets(y):
            return self.as_targets(y[0]), *y[1:]
        return as_labels(y, self._student_output.num_classes)

    def complete_targets(self, x, y, predict: Callable | None, memory_budget: int | None = None):
        """``(labels, soft_targets)`` for arrays; for any other ``x``, ``y`` unchanged.

        Args:
            x: Examples.
            y: Labels as for :meth:`as_targets`, or complete targets.
            predict: Function from a batch of examples to the outputs of :attr:`target_model`;
                ``None`` without a teacher, where targets are complete.
            memory_budget: Bytes that each target may take in memory; larger ones go to disk.

        Returns:
            With a hint, ``(labels, soft_targets, features)``.

        Raises:
            ValueError: If there is neither a teacher nor its logits.
        """
        if not feeds.is_arrays(x):
            return y
        if _are_targets(y):
            return self.as_targets(y)
        if predict is None:
            raise _no_logits()
        num = feeds.num_rows(x)
        labels = np.full(num, -1, np.int32) if y is None else self.as_targets(y)
        targets, start = [], 0
        for batch in feeds.batches_of(x, 1024):
            outputs = [ops.convert_to_numpy(output) for output in self._as_targets(predict(batch))]
            if not targets:
                targets = [empty_rows((num, *o.shape[1:]), memory_budget) for o in outputs]
            for target, output in zip(targets, outputs, strict=True):
                target[start : start + len(output)] = output
            start += len(outputs[0])
        return labels, *targets

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The mean of Lᵢ, plus the student's regularizers."""
        logits = self._logits_of(y_pred)
        labels, *targets = self._targets(x, y, logits)
        has_label = ops.cast(labels >= 0, logits.dtype)
        if isinstance(sample_weight, (tuple, list)):  # stock Keras repeats it per target
            sample_weight = sample_weight[0]
        weight = 1.0
        if sample_weight is not None:
            weight = ops.cast(ops.reshape(sample_weight, (-1,)), logits.dtype)
        counted = weight * self._setting("distillation_weight", logits.dtype)
        hard_share = has_label * self._setting("alpha", logits.dtype)
        is_taught = ops.ones_like(has_label)
        if self.teacher is None:
            is_taught = 1 - ops.cast(ops.any(ops.isnan(targets[0]), axis=-1), logits.dtype)
            targets[0] = ops.where(is_taught[:, None] > 0, targets[0], 0.0)
            # Of an example that has nothing else, the label counts in full.
            hard_share = ops.where(is_taught > 0, hard_share, has_label)
        soft_share = is_taught * (1 - hard_share)
        known = ops.maximum(labels, 0)
        loss = self._hard_loss(known, logits, sample_weight=hard_share * counted)
        self._hard_tracker.update_state(
            self._hard_loss.call(known, logits), sample_weight=has_label
        )
        if self._soft_loss is not None:
            decoupled = isinstance(self._soft_loss, DecoupledKL)
            soft_targets = (targets[0], labels) if decoupled else targets[0]
            soft = self._soft_loss(soft_targets, logits, sample_weight=soft_share * counted)
            loss += ops.cast(soft, loss.dtype)
            self._soft_tracker.update_state(
                self._soft_loss.call(soft_targets, logits), sample_weight=is_taught
            )
        if self.projection is not None:
            features = self.projection(ops.cast(y_pred[1], logits.dtype))
            hint_weight = weight * self._setting("hint_weight", logits.dtype)
            each = ops.ones_like(logits[:, 0])
            hint = self._hint_loss(targets[1], features, sample_weight=hint_weight * each)
            loss += ops.cast(hint, loss.dtype)
            self._hint_tracker.update_state(self._hint_loss.call(targets[1], features))
        if self.losses:
            loss = loss + ops.cast(super().compute_loss(x=x, training=training), loss.dtype)
        return loss

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Metrics over the labelled examples."""
        logits = self._logits_of(y_pred)
        labels, *_ = self._targets(x, y, logits, run_teacher=False)
        has_label = ops.cast(labels >= 0, logits.dtype)
        return super().compute_metrics(x, ops.maximum(labels, 0), logits, has_label)

    def save(self, filepath, *args, **kwargs) -> None:
        """Save the student alone."""
        self.student.save(filepath, *args, **kwargs)

    def _logits_of(self, outputs):
        return outputs if self.projection is None else outputs[0]

    def _setting(self, name: str, dtype):
        return ops.cast(self.settings[name], dtype)

    def _targets(self, x, y, logits, run_teacher: bool = True) -> list:
        """Labels of shape ``(batch,)``, teacher logits and, with a hint, teacher features."""
        labels, *targets = y if isinstance(y, (tuple, list)) else (y,)
        if labels is None:
            labels = ops.full(ops.shape(logits)[:1], -1, dtype="int32")
        if len(labels.shape) > 1 and labels.shape[-1] != 1:
            raise ValueError(
                f"labels of shape {tuple(labels.shape)} were given, expected integers of shape "
                "(batch,): make integers of one-hot ones with tf.argmax(y, -1) in the dataset"
            )
        if not targets and run_teacher:
            if self.teacher is None:
                raise _no_logits()
            targets = self._as_targets(self.target_model(x, training=False))
        labels = ops.reshape(ops.cast(labels, "int32"), (-1,))
        targets = [ops.cast(target, logits.dtype) for target in targets]
        return [labels, *map(ops.stop_gradient, targets)]

    def _as_targets(self, outputs) -> list:
        """Logits and, with a hint, features from the outputs of the target model."""
        logits, *features = tree.flatten(outputs)
        if self._teacher_output is not None:
            logits = self._teacher_output.as_logits(logits, self._loss_dtype)
        return [logits, *features]


def _as_model(teacher: Callable, student: keras.Model) -> keras.Model:
    """A Python function that answers for the examples of the student, as a model."""
    if not callable(teacher) or not getattr(student, "inputs", None):
        raise ValueError(
            f"teacher {teacher!r} was given, expected a built Keras model, or a function of the "
            "inputs of a functional or sequential student"
        )
    raw, width = student.inputs[0], classifier_output(student).num_classes
    return model_of(teacher, tuple(raw.shape[1:]), width, raw.dtype)


def _no_logits() -> ValueError:
    return ValueError(
        "labels alone were given to a Distiller without a teacher, expected (labels, logits): give "
        "what the teacher said, or a teacher"
    )


def _chosen(flag: str, name, known: dict, *arguments) -> keras.losses.Loss | None:
    if isinstance(name, keras.losses.Loss):
        return name
    if name not in known:
        raise ValueError(f"{flag} {name!r} was given, expected {', '.join(map(repr, known))}")
    return known[name](*arguments)


def _are_targets(y) -> bool:
    """Whether ``y`` is a tuple of target arrays rather than labels."""
    return isinstance(y, (tuple, list)) and all(getattr(part, "shape", ()) for part in y)


def _policy_of(student: keras.Model) -> str:
    """The dtype policy that the loss needs for this student."""
    types = {layer.compute_dtype for layer in layers_of(student) if layer.weights}
    if "float16" in types:
        return "mixed_float16"
    return "float64" if "float64" in types else "float32"
