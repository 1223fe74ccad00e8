"""What the formats that converters write have in common: one file a version, checked in its own
runtime before it appears."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from kt_transfer.data.schema import Schema
from kt_transfer.errors import UserError
from kt_transfer.files.reading import read_json
from kt_transfer.serving.signatures import require_same_answers
from kt_transfer.serving.versions import publish_version

# Other runtimes add up float32 in an order of their own: a convolution by 1.001e-5 in LiteRT.
_TOLERANCE = 1e-4


def publish_file(
    folder: Path,
    name: str,
    content: bytes,
    check: Callable[[Path], tuple[float, dict]],
    metadata: dict,
    keep: int | None = None,
) -> Path:
    """Write the next version of a format that is one file, verified before it appears.

    Args:
        folder: Where its versions are, such as ``saved_models/NAME/onnx``.
        name: Name of the file.
        content: The file.
        check: Compares the file at a path with Keras; returns the largest difference and the
            figures that were measured with it, and raises if they are not what they should be.
        metadata: Content of ``metadata.json``.
        keep: How many versions to keep (default: all).

    Returns:
        The folder of the new version.
    """
    metadata = dict(metadata)

    def write(unfinished: Path) -> float:
        (unfinished / name).write_bytes(content)
        difference, figures = check(unfinished / name)
        if figures:
            metadata["test_as_served"] = figures
        return difference

    return publish_version(folder, write, metadata, keep=keep)


def check_exactly(
    what: str, answers: Callable, wanted: Callable, examples: np.ndarray, prove: Callable | None
) -> tuple[float, dict]:
    """Whether a file answers as Keras does, and has the run's figure on the test split.

    Args:
        what: What it is, for messages.
        answers: The outputs of the file by name, for raw examples.
        wanted: Those of the Keras models.
        examples: Raw examples.
        prove: As for :func:`~kt_transfer.serving.saved_model.export_saved_model`.

    Returns:
        The largest difference, and the figures.
    """
    asked = {"all": answers(examples), "one": answers(examples[:1])}
    given = {
        f"serving_default/{output}/{size}": value
        for size, outputs in asked.items()
        for output, value in outputs.items()
    }
    functions = {"serving_default": wanted}
    difference = require_same_answers(what, functions, examples, given, _TOLERANCE)
    return difference, {} if prove is None else prove(lambda _, x: answers(x))


def of_classes(models: dict) -> dict:
    """The models of a file: of a classifier it alone.

    An autoencoder beside it may be a hundred times as large as a student for a small device.
    """
    if models.get("classifier") is None:
        return models
    return {**models, "autoencoder": None, "autoencoder_preprocessing": None}


def numeric_function(functions: dict[str, Callable]) -> Callable:
    """The outputs of ``serving_default`` that are numbers; names of classes are in the metadata."""

    def answer(raw):
        answers = functions["serving_default"](raw)
        return {name: value for name, value in answers.items() if value.dtype != tf.string}

    return answer


def require_installed(module: str, setting: str, given: object, extra: str = "formats"):
    """A module of an extra.

    Raises:
        UserError: If it is not installed.
    """
    try:
        with contextlib.redirect_stderr(None):
            return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            setting=setting,
            given=given,
            expected=f"the package {module.split('.')[0]} beside kt_transfer",
            but=f"it cannot be imported ({error})",
            remedy=f"install it with pip install 'kt-transfer[{extra}]'",
        ) from error


def read_metadata(path: Path) -> tuple[dict, Schema | None]:
    """The metadata beside a converted file, and the columns that it takes.

    Raises:
        ValueError: If they are missing or damaged; the message completes "it cannot be read".
    """
    metadata = read_json(path.parent / "metadata.json")
    labels = metadata.get("labels")
    if not isinstance(labels, list) or not all(isinstance(name, str) for name in labels):
        raise ValueError("metadata.json beside it has no list 'labels' of names")
    if not isinstance(metadata.get("data"), str):
        raise ValueError("metadata.json beside it does not name its 'data'")
    note = metadata.get("schema")
    return metadata, None if note is None else Schema.from_note(note)
