"""Run folders as sources and teachers: read, and checked against the target's data."""

from __future__ import annotations

import keras
import numpy as np

from kt_transfer.data import Dataset
from kt_transfer.errors import UserError
from kt_transfer.models.autoencoders import transferable_encoder
from kt_transfer.models.preprocessing import can_take
from kt_transfer.runs import Run
from kt_transfer.training.steps import predict_raw


def source_encoder(source: Run, data: Dataset) -> keras.Model:
    """The encoder of a run, if it fits the target's examples.

    Raises:
        UserError: If the run has no encoder, or one for other examples.
    """
    model = source.load_model()
    if "encoder" not in [layer.name for layer in model.layers]:
        raise UserError(
            f"--source {source.path} was given, expected a model with a layer 'encoder', but it "
            f"has {', '.join(layer.name for layer in model.layers)}: give a pretrained run."
        )
    encoder = transferable_encoder(model)
    if not can_take(encoder, data.input_shape):
        raise UserError(
            f"--source {source.path} was given, whose encoder takes {encoder.input_shape[1:]}, but "
            f"an example of {data.spec} has the shape {data.input_shape}: pretrain on data of that "
            "shape."
        )
    return encoder


def teacher_logits(teacher: Run, data: Dataset, x: np.ndarray) -> np.ndarray:
    """A teacher's logits for raw examples, ``(n, ...)`` to ``(n, classes)``.

    Raises:
        UserError: If the run is no classifier, or one for other classes or examples.
    """
    if teacher.command == "pretrain":
        raise UserError(
            f"--teacher {teacher.path} was given, expected a classifier, but it is an autoencoder: "
            f"run `python -m kt_transfer.finetune --source {teacher.path}` first."
        )
    names = teacher.label_names
    if names != list(data.class_names):
        raise UserError(
            f"--teacher {teacher.path} was given with {_classes(names)}, but {data.spec} has "
            f"{_classes(data.class_names)}: teacher and student need the same classes; give "
            "data or a teacher that has them."
        )
    preprocessing = teacher.load_model("preprocessing.keras")
    require_examples(teacher, preprocessing, data)
    return predict_raw(teacher.load_model(), preprocessing, x)


def require_examples(source: Run, preprocessing: keras.Model, data: Dataset) -> None:
    """Refuse data whose examples have another shape than those that the run was trained on."""
    expected = tuple(preprocessing.input_shape[1:])
    if expected != data.input_shape:
        raise UserError(
            f"{data.spec} was given with examples of shape {data.input_shape}, but "
            f"{source.path} expects {expected}: give data of that shape."
        )


def average_in_probability(all_logits: list[np.ndarray]) -> np.ndarray:
    """Logits of the mean of several teachers' probabilities."""
    if len(all_logits) == 1:
        return all_logits[0]
    mean = np.mean([keras.ops.convert_to_numpy(keras.ops.softmax(x)) for x in all_logits], axis=0)
    return np.log(np.maximum(mean, 1e-12)).astype(np.float32)


def _classes(names) -> str:
    shown = ", ".join(list(names)[:10]) + (", …" if len(names) > 10 else "")
    return f"{len(names)} classes ({shown})"
