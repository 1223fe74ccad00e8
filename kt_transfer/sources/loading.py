"""Models to start from: run folders, Keras files and applications."""

from __future__ import annotations

import zipfile
from collections.abc import Callable

import keras
import numpy as np

from kt_transfer.data import Dataset, Like
from kt_transfer.data.example_summary import ExampleSummary, why_not_cast, why_unlike
from kt_transfer.data.schema import Schema
from kt_transfer.data.table_features import Feature
from kt_transfer.errors import UserError, named
from kt_transfer.files.reading import require_plausible_zip
from kt_transfer.models.autoencoders import transferable_encoder
from kt_transfer.models.classifiers import classifier
from kt_transfer.models.finite import why_not_finite
from kt_transfer.models.preprocessing import as_image
from kt_transfer.models.scaling import raw_range, usual_values
from kt_transfer.runs.checks import damaged
from kt_transfer.runs.folder import APPLICATION, Run
from kt_transfer.sources.adapting import Expected, why_incompatible, with_own_features
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
    """Load the encoder of a source, and the input that it expects.

    Args:
        source: A run folder, ``FILE.keras`` or ``keras_applications:NAME``.
        run: The run folder, as from :func:`~kt_transfer.runs.folder.open_source`; ``None`` for
            others.
        data: The target's examples, to adapt to the source.
        value_range: The values that the smallest and largest raw value become for a file
            (default: -1 and 1, or unscaled if the model scales its own input).

    Raises:
        UserError: If it cannot be loaded, or the examples cannot be adapted to it.
    """
    if run is not None:
        encoder, expected = _from_run(run)
    elif source.startswith(APPLICATION):
        encoder, expected = _from_application(source, data)
    else:
        encoder, expected, _ = _from_file(source, data, value_range)
    if reason := why_incompatible(data.input_shape, expected, data.schema):
        raise misfit(source, data, reason)
    return encoder, expected


def _from_run(run: Run) -> tuple[keras.Model, Expected]:
    """The encoder of a run, without sparsity penalty, and its input."""
    model, preprocessing = run.load_models()
    if "encoder" not in [layer.name for layer in model.layers]:
        raise UserError(
            setting="source",
            given=run.path,
            expected="a model with a layer 'encoder'",
            but=f"it has {', '.join(layer.name for layer in model.layers)}",
            remedy="give a pretrained run",
        )
    encoder = transferable_encoder(model)
    if note := run.read_json("run.json").get("expects"):
        try:
            return encoder, Expected.from_note(note)
        except TypeError as error:
            raise damaged(run.path, "run.json", f"its 'expects': {error}") from error
    raw = preprocessing.input_shape[1:]
    image = tuple(raw) if as_image(raw) else None
    summary = examples_of(run)
    by_column = summary is not None and summary.columns is not None
    features = run.features and tuple(Feature(*feature) for feature in run.features)
    shape = tuple(encoder.input_shape[1:])
    return encoder, Expected(shape, image, by_column=by_column, features=features)


def load_student(
    path, data: Dataset, value_range: tuple[float, float] | None = None
) -> tuple[keras.Model, Expected]:
    """A classifier of the data's classes from a Keras file, and the input that it expects.

    The student starts from the weights of the file. A final Dense layer with as many units as
    classes is kept, without activation, since a student outputs logits; otherwise the head is new.

    Args:
        path: ``FILE.keras``, a functional or sequential model of stock layers.
        data: Examples and classes.
        value_range: As in :func:`load_source`.

    Raises:
        UserError: If it cannot be loaded, or the examples cannot be adapted to it.
    """
    encoder, expected, model = _from_file(path, data, value_range, "student")
    if reason := why_incompatible(data.input_shape, expected, data.schema):
        raise misfit(path, data, reason, "student")
    student, head = classifier(encoder, data.num_classes, name="student"), head_of(model)
    if head is not None and head.kernel.shape == student.get_layer("head").kernel.shape:
        weights = head.get_weights()
        bias = weights[1] if head.use_bias else np.zeros(data.num_classes, "float32")
        student.get_layer("head").set_weights([weights[0], bias])
    return student, expected


def _from_file(
    source, data: Dataset, value_range, setting: str = "source"
) -> tuple[keras.Model, Expected, keras.Model]:
    """The body of a file, what it expects, and the whole model."""
    model = load_file(source, setting)
    try:
        given = single_input(model)
        shape = shape_for(given, data)
        encoder = body(model, shape)
    except ValueError as error:
        raise UserError(
            setting=setting,
            given=source,
            expected=f"a model of which a body can be transferred to {data.spec}",
            but=f"it {in_a_sentence(error)}",
            remedy="give a functional or sequential model of stock layers that takes such examples",
        ) from error
    try:
        values = values_for(encoder, data, value_range)
    except ValueError as error:
        raise UserError(
            setting=setting,
            given=source,
            expected="a model that tells which values it takes",
            but=f"it {error}",
            remedy=f"say with {named(f'{setting}_range')} what the smallest and the largest are to "
            "become",
        ) from error
    return encoder, with_own_features(Expected(shape, values=values), data), model


def values_for(model: keras.Model, data: Dataset, value_range):
    """The values that the smallest and the largest raw value become for the model of a file.

    Args:
        model: The model.
        data: Examples.
        value_range: The user's choice, which takes precedence.

    Returns:
        Two values; ``None`` for unscaled raw values, if the model scales its own input and was
        trained on values like these.

    Raises:
        ValueError: As :func:`~kt_transfer.models.scaling.usual_values`.
    """
    values = value_range or usual_values(model, data.value_range)
    expected = raw_range(model)
    if values is not None or expected is None:
        return values
    summary = ExampleSummary("float32", expected, True, expected[1] >= 2, expected)
    return expected if why_unlike(summary, data) else None


def _from_application(source: str, data: Dataset) -> tuple[keras.Model, Expected]:
    application = find_application(source.removeprefix(APPLICATION))
    image, least = as_image(data.input_shape), smallest_side(application)
    if image is None:
        raise misfit(source, data, f"a row of {data.num_features} values cannot become an image")
    if 2 * min(image[:2]) < least:
        raise misfit(
            source,
            data,
            f"images of {image[0]}x{image[1]} would be blown up more than twofold to the "
            f"{least}x{least} that it takes at least",
        )
    expected = expected_by(application, image)
    if reason := why_incompatible(data.input_shape, expected, data.schema):
        raise misfit(source, data, reason)
    return body(fetch_application(application, expected.shape)), expected


def load_file(source, setting: str = "source") -> keras.Model:
    """A saved model, as data: what would run code of its own is refused."""
    try:
        if not zipfile.is_zipfile(source):
            raise ValueError("it is not a file that Keras wrote")
        require_plausible_zip(source)
        model = keras.saving.load_model(source, compile=False, safe_mode=True)
    except Exception as error:
        raise UserError(
            setting=setting,
            given=source,
            expected="a complete Keras file that needs no code but Keras",
            but=f"it does not load ({in_a_sentence(error)})",
            remedy="save the model with stock layers",
        ) from error
    if reason := why_not_finite(model.variables):
        raise UserError(
            setting=setting,
            given=source,
            expected="a model whose training went well",
            but=f"it {reason}",
            remedy="give another one",
        )
    return model


def shape_for(given, data: Dataset) -> tuple[int, ...]:
    """The shape of a network's symbolic input, with unknown sizes taken from the data.

    Raises:
        ValueError: If it takes other types or shapes.
    """
    if "float" not in given.dtype and given.dtype != "uint8":
        raise ValueError(f"takes {given.dtype}, such as the numbers of words, expected values")
    return fill_shape(given.shape[1:], data)


def fill_shape(shape: tuple, data: Dataset) -> tuple[int, ...]:
    """Fill in unknown sizes from the data; ``ValueError`` if the rank differs."""
    if None not in shape:
        return tuple(shape)
    known = data.input_shape
    if len(shape) != len(known):
        known = as_image(known)
    if known is None or len(shape) != len(known):
        raise ValueError(f"takes examples of shape {tuple(shape)}")
    return tuple(there if own is None else own for own, there in zip(shape, known, strict=True))


def misfit(
    source, data: Dataset, reason: str, setting: str = "source", wanted: str = "one"
) -> UserError:
    """The error for a model that the examples cannot be adapted to."""
    return UserError(
        setting=setting,
        given=source,
        expected=f"{wanted} that examples of {data.spec} can be made to fit",
        but=reason,
        remedy=f"give a {setting} for examples like these, or other {named('data')}",
    )


def in_a_sentence(error: Exception) -> str:
    """The first sentence of an error of Keras, without advice and quoted configurations."""
    reason = str(error).split("Exception encountered: ")[-1].strip()
    return reason.split("\n")[0].split(". ")[0].rstrip(".")


def like(preprocessing: keras.Model, least: int = 1, schema: Schema | None = None) -> Like:
    """The form of raw examples that a run takes, to read new ones in the same form."""
    raw = preprocessing.input
    dtype = keras.backend.standardize_dtype(raw.dtype)
    return Like(tuple(raw.shape[1:]), dtype, least, schema)


def examples_of(run: Run) -> ExampleSummary | None:
    """The training examples of a run; ``None`` for runs of versions that did not record them."""
    return ExampleSummary.from_note(run.read_json("run.json").get("made_for"))


def preprocessing_for_new(
    run: Run, preprocessing: keras.Model, data: Dataset, say: Callable[[str], None]
) -> keras.Model:
    """The preprocessing of a run for new examples, cast if they have another type.

    Args:
        run: The run.
        preprocessing: Its preprocessing.
        data: New examples, of a type whose values the run's type can represent.
        say: Function that prints a message.

    Returns:
        A model from these examples to the input of the run's network.

    Raises:
        UserError: If their shape, type or range does not match the run's.
    """
    expected, dtype = tuple(preprocessing.input_shape[1:]), preprocessing.input.dtype
    if expected != data.input_shape:
        raise UserError(
            given=data.spec,
            when=f"with examples of shape {data.input_shape}",
            but=f"{run.path} expects {expected}",
            remedy="give data of that shape",
        )
    if message := adaptation_to(run.path, examples_of(run), dtype, data):
        say(message)
    return with_cast(preprocessing, data.x.dtype)


def adaptation_to(path, summary: ExampleSummary | None, dtype: str, data: Dataset) -> str | None:
    """Check new examples for a model, and describe the cast that they need, if any.

    Args:
        path: The model, for messages.
        summary: Summary of its training examples, if known.
        dtype: The type that it takes.
        data: The new examples.

    Returns:
        A message about the cast; ``None`` if there is none.

    Raises:
        UserError: If the examples are not in the units that the model was trained on.
    """
    reason = why_not_cast(data, dtype) if summary is None else why_unlike(summary, data)
    if reason:
        raise UserError(
            given=data.spec,
            when=f"with examples of type {data.x.dtype}",
            but=f"{path} was made for {reason}",
            remedy="convert the values to those that it was made for, or train on these",
        )
    # The cells of a table have no such type: their matrix is of float64 whatever the columns hold.
    if dtype == data.x.dtype or data.schema is not None:
        return None
    return f"{data.spec}: values of type {data.x.dtype} are taken as {dtype}, as {path} expects"


def with_cast(preprocessing: keras.Model, dtype) -> keras.Model:
    """Extend a model of raw examples to take another type with the same values."""
    if preprocessing.input.dtype == dtype:
        return preprocessing
    raw = keras.Input(preprocessing.input_shape[1:], dtype=str(dtype), name="raw")
    return keras.Model(raw, preprocessing(keras.ops.cast(raw, preprocessing.input.dtype)))
