"""Versioned SavedModels with raw inputs, named classes and several signatures."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kt_transfer.data.schema import Schema
from kt_transfer.errors import UserError
from kt_transfer.models.finite import why_not_finite
from kt_transfer.serving.inspection import require_harmless
from kt_transfer.serving.metadata import read_metadata, reading_export
from kt_transfer.serving.named_columns import (
    column_specs,
    served_names,
    to_columns,
    to_matrix,
)
from kt_transfer.serving.picture_bytes import decode_pictures
from kt_transfer.serving.requests import (
    as_json,
    predict_request,
    rest_answer,
    rest_request,
    write_warmup,
)
from kt_transfer.serving.signatures import require_same_answers, served_functions
from kt_transfer.serving.versions import publish_version

# A request with the content of picture files, and what they are called in it.
OF_PICTURE_FILES, IMAGE_BYTES = "serving_image_bytes", "image_bytes"
# In the folder of a version: what REST is asked, and what it answers.
REQUEST, ANSWER = "request.json", "answer.json"
_ROWS_AT_ONCE = 1024
# Numbers of examples in the requests that a server warms up with, of each signature.
_WARMED_UP = (1, 8)


class Served(NamedTuple):
    """What a SavedModel takes and gives.

    Attributes:
        signatures: For each signature the specs of its inputs and of its outputs, by name.
        request: A request with a real example, as TF Serving's REST interface takes it.
        answer: The answer to it.
    """

    signatures: dict[str, tuple[dict, dict]]
    request: dict
    answer: dict


def export_saved_model(
    folder: Path,
    *,
    metadata: dict,
    examples: np.ndarray,
    schema: Schema | None = None,
    picture_files: bool = False,
    keep: int | None = None,
    prove: Callable[[Callable], dict] | None = None,
    describe: Callable[[Path, Path, Served], str] | None = None,
    **models,
) -> Path:
    """Write the next version under ``folder``, verified before it appears.

    Beside the graph and ``metadata.json`` it holds requests for TF Serving to warm up with, and a
    request with its answer in JSON; beside the versions there is the configuration of a server.

    Args:
        folder: ``saved_models/NAME``; the version is the next free number.
        metadata: Content of ``metadata.json``.
        examples: Raw examples on which the outputs must match those of the Keras models; the first
            ones become requests.
        schema: The columns of a table, which the signatures then take by name.
        picture_files: Whether the examples are pictures with values from 0 to 255, so that there is
            a signature ``serving_image_bytes``, which takes JPEG and PNG files (``image_bytes``).
        keep: How many versions to keep (default: all).
        prove: Given the saved model as a function of a signature and raw examples, raises if it
            does not do what it should; gives the figures that it found, for the metadata.
        describe: Given the complete folder, the version that it becomes and what is served, the
            text of the version's ``README.md``.
        **models: Models and class names, as for
            :func:`~kt_transfer.serving.signatures.served_functions`, whose functions become the
            signatures.

    Returns:
        The folder of the new version.

    Raises:
        OSError: If the folder cannot be written.
        RuntimeError: If the outputs differ.
    """
    module, functions, raw = served_functions(**models)
    functions = {name: _on_any_batch(function) for name, function in functions.items()}
    takes = _Takes(raw, schema)
    signatures = {name: _signature(function, takes) for name, function in functions.items()}
    if picture_files:
        functions[OF_PICTURE_FILES] = functions["serving_default"]
        signatures[OF_PICTURE_FILES] = _of_picture_files(functions["serving_default"], raw)
    metadata, served = dict(metadata), []

    def write(unfinished: Path) -> float:
        tf.saved_model.save(module, os.fspath(unfinished), signatures=signatures)
        inputs = [takes.inputs(name, examples) for name in signatures]
        inputs = {name: array for of_one in inputs for name, array in of_one.items()}
        difference = check_saved_model(unfinished, functions, examples, inputs)
        model = tf.saved_model.load(os.fspath(unfinished))

        def ask(name: str, x: np.ndarray) -> dict[str, np.ndarray]:
            return _answers(model.signatures[name], takes.inputs(name, x))

        if prove is not None and (figures := prove(ask)):
            metadata["test_as_served"] = figures
        served.append(_with_requests(unfinished, folder.name, signatures, takes, examples, ask))
        return difference

    def write_card(unfinished: Path, version: Path) -> None:
        if describe is not None:
            (unfinished / "README.md").write_text(describe(unfinished, version, served[0]))

    return publish_version(folder, write, metadata, keep=keep, describe=write_card)


class _Takes(NamedTuple):
    """How signatures take raw examples: as one array, or the columns of a table by name."""

    raw: tf.TensorSpec
    schema: Schema | None

    @property
    def specs(self) -> dict[str, tf.TensorSpec]:
        return {self.raw.name: self.raw} if self.schema is None else column_specs(self.schema)

    def inputs(self, signature: str, x: np.ndarray) -> dict[str, np.ndarray]:
        """What a signature is asked with."""
        if signature == OF_PICTURE_FILES:
            return {IMAGE_BYTES: as_png(x)}
        return {self.raw.name: x} if self.schema is None else to_columns(x, self.schema)

    def raw_of(self, inputs: dict):
        """The raw examples, within the graph."""
        return inputs[self.raw.name] if self.schema is None else to_matrix(inputs, self.schema)


def _signature(function: Callable, takes: _Takes):
    def of_inputs(**inputs):
        return function(takes.raw_of(inputs))

    return tf.function(of_inputs, autograph=False).get_concrete_function(**takes.specs)


def _of_picture_files(function: Callable, raw: tf.TensorSpec):
    shape = tuple(raw.shape[1:])

    # By name alone, as what takes columns, or it would have no named inputs.
    def of_bytes(*, image_bytes):
        return function(decode_pictures(image_bytes, shape))

    spec = tf.TensorSpec([None], tf.string, name=IMAGE_BYTES)
    return tf.function(of_bytes, autograph=False).get_concrete_function(image_bytes=spec)


def _with_requests(
    unfinished: Path,
    name: str,
    signatures: dict,
    takes: _Takes,
    examples: np.ndarray,
    ask: Callable[[str, np.ndarray], dict],
) -> Served:
    """Write requests to warm up with, and one with its answer, beside the graph."""
    # The default first: it is what those who try the file see.
    requests = [
        predict_request(name, signature, takes.inputs(signature, examples[:count]))
        for signature in sorted(signatures, key=lambda signature: signature != "serving_default")
        for count in _WARMED_UP
    ]
    write_warmup(unfinished, requests)
    shown = OF_PICTURE_FILES if OF_PICTURE_FILES in signatures else "serving_default"
    request = rest_request(shown, takes.inputs(shown, examples[:1]))
    answer = rest_answer(ask(shown, examples[:1]))
    for file, content in ((REQUEST, request), (ANSWER, answer)):
        (unfinished / file).write_text(as_json(content) + "\n")
    return Served(_specs_of(signatures), request, answer)


def as_png(x: np.ndarray) -> np.ndarray:
    """Pictures as the contents of files, which lose nothing."""
    pictures = x if x.ndim == 4 else x[..., None]
    return np.array([tf.io.encode_png(picture).numpy() for picture in pictures])


def _answers(signature, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    given = {name: tf.constant(array) for name, array in inputs.items()}
    return {name: value.numpy() for name, value in sorted(signature(**given).items())}


def _specs_of(signatures: dict) -> dict[str, tuple[dict, dict]]:
    return {
        name: (signature.structured_input_signature[1], signature.structured_outputs)
        for name, signature in signatures.items()
    }


def check_saved_model(
    path: Path, functions: dict, examples: np.ndarray, inputs: dict[str, np.ndarray]
) -> float:
    """Compare a SavedModel, loaded in a process without Keras, with its original functions.

    Args:
        path: The SavedModel.
        functions: The functions of raw examples that it was saved from, by name.
        examples: Raw examples, to compare as a batch and with the first one alone.
        inputs: The same as the signatures take them, by the names of all their inputs.

    Returns:
        The largest absolute difference.

    Raises:
        RuntimeError: If it does not load, or the difference exceeds ``TOLERANCE``.
    """
    with tempfile.TemporaryDirectory() as scratch:
        asked, answers = (Path(scratch) / f"{name}.npz" for name in ("inputs", "answers"))
        np.savez(asked, **inputs)
        command = [sys.executable, "-m", "kt_transfer.serving.answer", path, asked, answers]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the SavedModel does not load without Keras: {done.stderr[-2000:]}")
        with np.load(answers) as file:
            served = dict(file)
    return require_same_answers("SavedModel", functions, examples, served)


def _on_any_batch(function):
    """Make ``function`` accept empty batches, on which the fused convolutions of a graph fail."""

    def served(raw_input):
        count = tf.shape(raw_input)[0]
        # An empty batch is padded with one example of zeros, whose outputs are dropped.
        missing = tf.cast(tf.equal(count, 0), tf.int32)
        paddings = [[0, missing]] + [[0, 0]] * (len(raw_input.shape) - 1)
        answers = function(tf.pad(raw_input, paddings))
        return {name: answer[:count] for name, answer in answers.items()}

    return served


def _require_same_model(labels: list[str], signature, schema: Schema | None) -> None:
    """``ValueError`` if metadata belong to another model."""
    inputs = signature.structured_input_signature[1]
    if schema is not None and set(inputs) != set(served_names(schema).values()):
        raise ValueError("metadata.json names other columns than its signature serving_default")
    if schema is None and len(inputs) != 1:
        raise ValueError("its signature serving_default takes other than one input")
    if not labels:
        return
    answers = signature.structured_outputs.get("probabilities")
    if answers is None or answers.shape[-1] != len(labels):
        shape = None if answers is None else tuple(answers.shape)
        raise ValueError(f"metadata.json names {len(labels)} classes, probabilities are {shape}")


def load_saved_model(path: Path, trust: bool = False) -> tuple[ServedClassifier, dict]:
    """Load an exported classifier as a function, with its metadata.

    Args:
        path: ``saved_models/NAME/N``.
        trust: Whether to load it without inspecting its graph.

    Raises:
        UserError: If there is no such export, or its graph has side effects.
    """
    with reading_export(path):
        metadata, schema = read_metadata(path)
        if not trust:
            require_harmless(Path(path), "model", "trust_model")
        model = tf.saved_model.load(os.fspath(path))
        signature = model.signatures["serving_default"]
        _require_same_model(metadata["labels"], signature, schema)
    if reason := why_not_finite(signature.variables):
        raise UserError(
            setting="model",
            given=path,
            expected="an exported model",
            but=f"it {reason}",
            remedy="export a run whose training went well",
        )
    return ServedClassifier(model, schema), metadata


class ServedClassifier:
    """An exported classifier as a function of raw examples.

    Attributes:
        shape: Shape of one raw example.
        dtype: Name of the input type, to which examples are cast.
        schema: The columns that it takes by name; ``None`` for one array.
        unusual: A function of raw examples that tells which of them its autoencoder reconstructs
            worse than nearly all that it was trained on, ``(n, ...)`` to booleans ``(n,)``;
            ``None`` where that is not known.
        reconstruct: A function of raw examples that gives the outputs of this signature by name;
            ``None`` without an autoencoder.
        of_picture_files: A function of the contents of JPEG and PNG files, ``(n,)``, that gives
            probabilities; ``None`` where it takes none.
    """

    def __init__(self, model, schema: Schema | None = None):
        self._model = model  # keeps the variables alive
        reconstruct = model.signatures.get("reconstruct")
        knows = reconstruct is not None and "unusual" in reconstruct.structured_outputs
        self.unusual = self._unusual if knows else None
        self.reconstruct = None if reconstruct is None else self._reconstruct
        takes_files = OF_PICTURE_FILES in model.signatures
        self.of_picture_files = self._of_picture_files if takes_files else None
        self._signature, self.schema = model.signatures["serving_default"], schema
        if schema is not None:
            self.shape, self.dtype = (len(schema.columns),), "float64"
            return
        ((self._key, spec),) = self._signature.structured_input_signature[1].items()
        self.shape, self.dtype = tuple(spec.shape[1:]), spec.dtype.name

    def __call__(self, x) -> np.ndarray:
        """Probabilities, ``(n, ...)`` to ``(n, classes)``."""
        return self._asked(self._signature, "probabilities", x)

    def _unusual(self, x) -> np.ndarray:
        return self._asked(self._model.signatures["reconstruct"], "unusual", x)

    def _reconstruct(self, x) -> dict[str, np.ndarray]:
        inputs = self._inputs(x.astype(self.dtype))
        return _answers(self._model.signatures["reconstruct"], inputs)

    def _of_picture_files(self, contents) -> np.ndarray:
        inputs = {IMAGE_BYTES: np.array(contents, object)}
        return _answers(self._model.signatures[OF_PICTURE_FILES], inputs)["probabilities"]

    def _asked(self, signature, output: str, x) -> np.ndarray:
        pieces = [
            _answers(signature, self._inputs(x[start : start + _ROWS_AT_ONCE].astype(self.dtype)))
            for start in range(0, len(x), _ROWS_AT_ONCE)
        ]
        return np.concatenate([piece[output] for piece in pieces])

    def _inputs(self, x: np.ndarray) -> dict[str, np.ndarray]:
        return {self._key: x} if self.schema is None else to_columns(x, self.schema)
