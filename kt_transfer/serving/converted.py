"""What the formats that converters write have in common: one file a version, checked in its own
runtime before it appears."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from kt_transfer.errors import UserError
from kt_transfer.serving.metadata import in_a_line
from kt_transfer.serving.signatures import require_same_answers
from kt_transfer.serving.versions import publish_version

# Other runtimes add up float32 in an order of their own: a convolution by 1.001e-5 in LiteRT.
_TOLERANCE = 1e-4


@contextlib.contextmanager
def refused_with_a_reason(format: str, runtime: str, instead: str) -> Iterator[None]:
    """Tell whatever fails in the block, in which a model is converted and checked, in a sentence.

    Args:
        format: The format that was asked for.
        runtime: What runs it.
        instead: Formats to give instead.

    Raises:
        UserError: For any error but those of the disk: what converters and runtimes raise has no
            common base class.
    """
    try:
        yield
    except (UserError, OSError):
        raise
    except Exception as error:
        raise UserError(
            setting="format",
            given=format,
            expected=f"a model that {runtime} can hold, with the answers that it has in Keras",
            but=f"it is not written ({in_a_line(error)})",
            remedy=f"give {instead}",
        ) from error


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
