"""Models to start from: run folders, Keras files and applications."""

from __future__ import annotations

import zipfile
from collections.abc import Callable

import keras
import numpy as np

from kt_transfer.data import Dataset, Like
from kt_transfer.data.made_for import MadeFor, why_not_cast, why_unlike
from kt_transfer.errors import UserError
from kt_transfer.files.reading import require_plausible_zip
from kt_transfer.models.autoencoders import transferable_encoder
from kt_transfer.models.classifiers import classifier
from kt_transfer.models.finite import why_not_finite
from kt_transfer.models.preprocessing import as_image
from kt_transfer.models.scaling import raw_range, usual_values
from kt_transfer.runs.checks import damaged
from kt_transfer.runs.folder import APPLICATION, Run
from kt_transfer.sources.adapting import Expected, why_incompatible
from kt_transfer.sources.applications import (
    expected_by,
    fetch_application,
    find_application,
    smallest_side,
)
from kt_transfer.sources.bodies import body, head_of, single_input


def load_source(
    source: str,
    run: Run | None,
    data: Dataset,
    value_range: tuple[float, float] | None = None,
) -> tuple[keras.Model, Expected]:
    """The encoder of a source, and what it expects of an example.

    Args:
        source: A run folder, ``FILE.keras`` or ``keras_applications:NAME``.
        run: The run folder, as from :func:`~kt_transfer.runs.folder.open_source`; ``None`` for
            others.
        data: The target's examples, which must be such as can be adapted to it.
        value_range: What the smallest and largest raw value become for a file (default: -1
            and 1, or as they are where the model scales by itself).

    Raises:
        UserError: If it cannot be had, or does not fit; before anything is trained.
    """
    if run is not None:
        encoder, expected = _from_run(run)
    elif source.startswith(APPLICATION):
        encoder, expected = _from_application(source, data)
    else:
        encoder, expected, _ = _from_file(source, data, value_range)
    if reason := why_incompatible(data.input_shape, expected):
        raise misfit(source, data, reason)
    return encoder, expected


def _from_run(run: Run) -> tuple[keras.Model, Expected]:
    """The encoder of a run as it is, without the penalty of its pretraining."""
    model, preprocessing = run.load_models()
    if "encoder" not in [layer.name for layer in model.layers]:
        raise UserError(
            f"--source {run.path} was given, expected a model with a layer 'encoder', but it "
            f"has {', '.join(layer.name for layer in model.layers)}: give a pretrained run."
        )
    encoder = transferable_encoder(model)
    if note := run.read_json("run.json").get("expects"):
        try:
            return encoder, Expected.from_note(note)
        except TypeError as error:
            raise damaged(run.path, "run.json", f"its 'expects': {error}") from error
    raw = preprocessing.input_shape[1:]
    image = tuple(raw) if as_image(raw) else None
    made = examples_of(run)
    by_column = made is not None and made.columns is not None
    return encoder, Expected(tuple(encoder.input_shape[1:]), image, by_column=by_column)


def load_student(
    path, data: Dataset, value_range: tuple[float, float] | None = None
) -> tuple[keras.Model, Expected]:
    """A classifier of the data's classes with the layers of a Keras file, and what it expects.

    The weights of the file are where the student starts from. Its last Dense layer is kept too
    where it has as many units as there are classes (without its activation, since a student
    emits logits); otherwise the student gets a new one.

    Args:
        path: ``FILE.keras``, a functional or sequential model of stock layers.
        data: Examples and classes.
        value_range: As in :func:`load_source`.

    Raises:
        UserError: If it cannot be had, or does not fit.
    """
    encoder, expected, model = _from_file(path, data, value_range, "--student")
    if reason := why_incompatible(data.input_shape, expected):
        raise misfit(path, data, reason, "--student")
    student, head = classifier(encoder, data.num_classes, name="student"), head_of(model)
    if head is not None and head.kernel.shape == student.get_layer("head").kernel.shape:
        weights = head.get_weights()
        bias = weights[1] if head.use_bias else np.zeros(data.num_classes, "float32")
        student.get_layer("head").set_weights([weights[0], bias])
    return student, expected


def _from_file(
    source, data: Dataset, value_range, flag: str = "--source"
) -> tuple[keras.Model, Expected, keras.Model]:
    """The body of a file, what it expects, and the whole model."""
    model = load_file(source, flag)
    try:
        given = single_input(model)
        shape = shape_for(given, data)
        encoder = body(model, shape)
    except ValueError as error:
        raise UserError(
            f"{flag} {source} was given, expected a model of which a body can be transferred to "
            f"{data.spec}, but it {in_a_sentence(error)}: give a functional or sequential model of "
            "stock layers that takes such examples."
        ) from error
    try:
        values = values_for(encoder, data, value_range)
    except ValueError as error:
        raise UserError(
            f"{flag} {source} was given, expected a model that tells which values it takes, but it "
            f"{error}: say with {flag}-range what the smallest and the largest are to become."
        ) from error
    return encoder, Expected(shape, values=values), model


def values_for(model: keras.Model, data: Dataset, value_range):
    """What the smallest and the largest raw value become for the model of a file.

    Args:
        model: The model.
        data: Examples.
        value_range: What was asked for.

    Returns:
        Two values; ``None`` for raw values as they are, where the model scales them itself and was
        made for such.

    Raises:
        ValueError: As :func:`~kt_transfer.models.scaling.usual_values`.
    """
    values = value_range or usual_values(model, data.value_range)
    expected = raw_range(model)
    if values is not None or expected is None:
        return values
    made = MadeFor("float32", expected, True, expected[1] >= 2, expected)
    return expected if why_unlike(made, data) else None


def _from_application(source: str, data: Dataset) -> tuple[keras.Model, Expected]:
    application = find_application(source.removeprefix(APPLICATION))
    image, least = as_image(data.input_shape), smallest_side(application)
    if image is None:
        raise misfit(source, data, f"a row of {data.input_dim} values cannot become an image")
    if 2 * min(image[:2]) < least:
        raise misfit(
            source,
            data,
            f"images of {image[0]}x{image[1]} would be blown up more than twofold to the "
            f"{least}x{least} that it takes at least",
        )
    expected = expected_by(application, image)
    if reason := why_incompatible(data.input_shape, expected):
        raise misfit(source, data, reason)
    return body(fetch_application(application, expected.shape)), expected


def load_file(source, flag: str = "--source") -> keras.Model:
    """A saved model, as data: what would run code of its own is refused."""
    try:
        if not zipfile.is_zipfile(source):
            raise ValueError("it is not a file that Keras wrote")
        require_plausible_zip(source)
        model = keras.saving.load_model(source, compile=False, safe_mode=True)
    except Exception as error:
        raise UserError(
            f"{flag} {source} was given, expected a complete Keras file that needs no code but "
            f"Keras, but it does not load ({in_a_sentence(error)}): save the model with stock "
            "layers."
        ) from error
    if reason := why_not_finite(model.variables):
        raise UserError(
            f"{flag} {source} was given, expected a model whose training went well, but it "
            f"{reason}: give another one."
        )
    return model


def shape_for(given, data: Dataset) -> tuple[int, ...]:
    """The shape of a network's symbolic input, with the target's size where it takes any.

    Raises:
        ValueError: If it takes something else than values of that kind.
    """
    if "float" not in given.dtype and given.dtype != "uint8":
        raise ValueError(f"takes {given.dtype}, such as the numbers of words, expected values")
    return fill_shape(given.shape[1:], data)


def fill_shape(shape: tuple, data: Dataset) -> tuple[int, ...]:
    """A shape with unknown sizes as one of the data's; ``ValueError`` where that cannot be."""
    if None not in shape:
        return tuple(shape)
    known = data.input_shape
    if len(shape) != len(known):
        known = as_image(known)
    if known is None or len(shape) != len(known):
        raise ValueError(f"takes examples of shape {tuple(shape)}")
    return tuple(there if own is None else own for own, there in zip(shape, known, strict=True))


def misfit(
    source, data: Dataset, reason: str, flag: str = "--source", wanted: str = "one"
) -> UserError:
    """What to say of a model that the examples cannot be made to fit."""
    return UserError(
        f"{flag} {source} was given, expected {wanted} that examples of {data.spec} can be made "
        f"to fit, but {reason}: give a {flag[2:]} for examples like these, or other --data."
    )


def in_a_sentence(error: Exception) -> str:
    """What Keras has to say, without its advice and the configurations that it quotes."""
    reason = str(error).split("Exception encountered: ")[-1].strip()
    return reason.split("\n")[0].split(". ")[0].rstrip(".")


def like(preprocessing: keras.Model, least: int = 1) -> Like:
    """What raw examples a run takes, to read new ones in the same way."""
    raw = preprocessing.input
    return Like(tuple(raw.shape[1:]), keras.backend.standardize_dtype(raw.dtype), least)


def examples_of(run: Run) -> MadeFor | None:
    """What examples a run was made for; ``None`` for one that was written before this was noted."""
    return MadeFor.from_note(run.read_json("run.json").get("made_for"))


def preprocessing_for_new(
    run: Run, preprocessing: keras.Model, data: Dataset, say: Callable[[str], None]
) -> keras.Model:
    """The preprocessing of a run, for examples that it was not made for but that are of its kind.

    Args:
        run: The run.
        preprocessing: Its preprocessing.
        data: New examples; their type may be another, if the run's holds their values.
        say: What to tell of it.

    Returns:
        A model from these examples to what the run's network takes.

    Raises:
        UserError: If their shape, type or range is not what the run was made for.
    """
    expected, dtype = tuple(preprocessing.input_shape[1:]), preprocessing.input.dtype
    if expected != data.input_shape:
        raise UserError(
            f"{data.spec} was given with examples of shape {data.input_shape}, but {run.path} "
            f"expects {expected}: give data of that shape."
        )
    if told := adaptation_to(run.path, examples_of(run), dtype, data):
        say(told)
    return with_cast(preprocessing, data.x.dtype)


def adaptation_to(path, made: MadeFor | None, dtype: str, data: Dataset) -> str | None:
    """What to say of examples that are cast for a model; ``None`` where they need not be.

    Args:
        path: Of the model, for the message.
        made: What it was made for, as far as is known.
        dtype: The type that it takes.
        data: The examples.

    Raises:
        UserError: If these are not what it was made for.
    """
    reason = why_not_cast(data, dtype) if made is None else why_unlike(made, data)
    if reason:
        raise UserError(
            f"{data.spec} was given with examples of type {data.x.dtype}, but {path} was made for "
            f"{reason}: convert the values to those that it was made for, or train on these."
        )
    if dtype == data.x.dtype:
        return None
    return f"{data.spec}: values of type {data.x.dtype} are taken as {dtype}, as {path} expects"


def with_cast(preprocessing: keras.Model, dtype) -> keras.Model:
    """A model of raw examples, for examples of another type that holds the same values."""
    if preprocessing.input.dtype == dtype:
        return preprocessing
    raw = keras.Input(preprocessing.input_shape[1:], dtype=str(dtype), name="raw")
    return keras.Model(raw, preprocessing(keras.ops.cast(raw, preprocessing.input.dtype)))
