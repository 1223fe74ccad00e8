"""Models to start from: run folders, Keras files and applications; and teachers."""

from __future__ import annotations

import zipfile

import keras
import numpy as np

from kt_transfer.data import Dataset
from kt_transfer.errors import UserError
from kt_transfer.models.adapting import Expected, why_not
from kt_transfer.models.applications import (
    expected_by,
    fetch_application,
    find_application,
    smallest_side,
)
from kt_transfer.models.autoencoders import transferable_encoder
from kt_transfer.models.bodies import body, scales_itself, single_input
from kt_transfer.models.preprocessing import as_image
from kt_transfer.runs import APPLICATION, Run
from kt_transfer.training.steps import predict_raw


def load_source(
    source: str,
    run: Run | None,
    data: Dataset,
    value_range: tuple[float, float] | None = None,
) -> tuple[keras.Model, Expected]:
    """The encoder of a source, and what it expects of an example.

    Args:
        source: A run folder, ``FILE.keras`` or ``keras_applications:NAME``.
        run: The run folder, as from :func:`~kt_transfer.runs.open_source`; ``None`` for others.
        data: The target's examples, which must be such as can be adapted to it.
        value_range: What the smallest and largest raw value become for a file (default: -1
            and 1, or as they are where the model begins with a scaling of its own).

    Raises:
        UserError: If it cannot be had, or does not fit; before anything is trained.
    """
    if run is not None:
        encoder, expected = _from_run(run)
    elif source.startswith(APPLICATION):
        encoder, expected = _from_application(source, data)
    else:
        encoder, expected = _from_file(source, data, value_range)
    if reason := why_not(data.input_shape, expected):
        raise _misfit(source, data, reason)
    return encoder, expected


def _from_run(run: Run) -> tuple[keras.Model, Expected]:
    """The encoder of a run as it is, without the penalty of its pretraining."""
    model = run.load_model()
    if "encoder" not in [layer.name for layer in model.layers]:
        raise UserError(
            f"--source {run.path} was given, expected a model with a layer 'encoder', but it "
            f"has {', '.join(layer.name for layer in model.layers)}: give a pretrained run."
        )
    encoder = transferable_encoder(model)
    if note := run.read_json("run.json").get("expects"):
        return encoder, Expected.from_note(note)
    raw = run.load_model("preprocessing.keras").input_shape[1:]
    image = tuple(raw) if as_image(raw) else None
    return encoder, Expected(tuple(encoder.input_shape[1:]), image)


def _from_file(source: str, data: Dataset, value_range) -> tuple[keras.Model, Expected]:
    model = _load_file(source)
    try:
        given = single_input(model)
        if "float" not in given.dtype and given.dtype != "uint8":
            raise ValueError(f"takes {given.dtype}, such as the numbers of words, expected values")
        shape = _without_gaps(given.shape[1:], data.input_shape)
        encoder = body(model, shape)
    except ValueError as error:
        raise UserError(
            f"--source {source} was given, expected a model of which a body can be transferred to "
            f"{data.spec}, but it {_sentence(error)}: give a functional or sequential model of "
            "stock layers that takes such examples."
        ) from error
    values = value_range or (None if scales_itself(encoder) else (-1.0, 1.0))
    return encoder, Expected(shape, values=values)


def _from_application(source: str, data: Dataset) -> tuple[keras.Model, Expected]:
    application = find_application(source.removeprefix(APPLICATION))
    image, least = as_image(data.input_shape), smallest_side(application)
    if image is None:
        raise _misfit(source, data, f"a row of {data.input_dim} values cannot become an image")
    if 2 * min(image[:2]) < least:
        raise _misfit(
            source,
            data,
            f"images of {image[0]}x{image[1]} would be blown up more than twofold to the "
            f"{least}x{least} that it takes at least",
        )
    expected = expected_by(application, image)
    if reason := why_not(data.input_shape, expected):
        raise _misfit(source, data, reason)
    return body(fetch_application(application, expected.shape)), expected


def _load_file(source: str) -> keras.Model:
    """A saved model, as data: what would run code of its own is refused."""
    try:
        if not zipfile.is_zipfile(source):
            raise ValueError("it is not a file that Keras wrote")
        return keras.saving.load_model(source, compile=False, safe_mode=True)
    except Exception as error:
        raise UserError(
            f"--source {source} was given, expected a complete Keras file that needs no code but "
            f"Keras, but it does not load ({_sentence(error)}): save the model with stock layers."
        ) from error


def _without_gaps(shape: tuple, input_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a network's input, with the target's size where it takes any."""
    if None not in shape:
        return tuple(shape)
    image = as_image(input_shape)
    if image is None or len(shape) != len(image):
        raise ValueError(f"takes examples of shape {tuple(shape)}")
    return tuple(there if own is None else own for own, there in zip(shape, image, strict=True))


def _misfit(source: str, data: Dataset, reason: str) -> UserError:
    return UserError(
        f"--source {source} was given, expected one that examples of {data.spec} can be made to "
        f"fit, but {reason}: give a source for examples like these, or other --data."
    )


def _sentence(error: Exception) -> str:
    """What Keras has to say, without its advice and the configurations that it quotes."""
    reason = str(error).split("Exception encountered: ")[-1].strip()
    return reason.split("\n")[0].split(". ")[0].rstrip(".")


def teacher_logits(teacher: Run, data: Dataset, x: np.ndarray) -> np.ndarray:
    """A teacher's logits for raw examples, ``(n, ...)`` to ``(n, classes)``.

    Raises:
        UserError: If the run is no classifier, or one for other classes or examples.
    """
    if teacher.is_autoencoder:
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
