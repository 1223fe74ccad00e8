"""Versioned SavedModels with raw inputs, named classes and several signatures."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from kt_transfer.data.schema import Schema
from kt_transfer.errors import UserError
from kt_transfer.files.reading import read_json
from kt_transfer.models.finite import why_not_finite
from kt_transfer.serving.inspection import require_harmless
from kt_transfer.serving.named_columns import (
    column_specs,
    served_names,
    to_columns,
    to_matrix,
)
from kt_transfer.serving.signatures import require_same_answers, served_functions
from kt_transfer.serving.versions import publish_version

_ROWS_AT_ONCE = 1024


def export_saved_model(
    folder: Path, *, metadata: dict, examples: np.ndarray, schema: Schema | None = None, **models
) -> Path:
    """Write the next version under ``folder``, verified before it appears.

    Args:
        folder: ``saved_models/NAME``; the version is the next free number.
        metadata: Content of ``metadata.json``.
        examples: Raw examples on which the outputs must match those of the Keras models.
        schema: The columns of a table, which the signatures then take by name.
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
    specs = {raw.name: raw} if schema is None else column_specs(schema)
    inputs = {raw.name: examples} if schema is None else to_columns(examples, schema)

    def signature(function):
        def of_inputs(**columns):
            return function(columns[raw.name] if schema is None else to_matrix(columns, schema))

        return tf.function(of_inputs, autograph=False).get_concrete_function(**specs)

    signatures = {name: signature(function) for name, function in functions.items()}

    def write(unfinished: Path) -> float:
        tf.saved_model.save(module, os.fspath(unfinished), signatures=signatures)
        return check_saved_model(unfinished, functions, examples, inputs)

    return publish_version(folder, write, metadata)


def check_saved_model(
    path: Path, functions: dict, examples: np.ndarray, inputs: dict[str, np.ndarray]
) -> float:
    """Compare a SavedModel, loaded in a process without Keras, with its original functions.

    Args:
        path: The SavedModel.
        functions: The functions of raw examples that it was saved from, by name.
        examples: Raw examples, to compare as a batch and with the first one alone.
        inputs: The same as the signatures take them, by name.

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


def _check_metadata(metadata, signature, schema: Schema | None) -> None:
    """``ValueError`` if metadata is invalid or belongs to another model."""
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    if not isinstance(labels, list) or not all(isinstance(name, str) for name in labels):
        raise ValueError("metadata.json has no list 'labels' of names")
    if not isinstance(metadata.get("data"), str):
        raise ValueError("metadata.json does not name its 'data'")
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
    try:
        metadata = read_json(Path(path) / "metadata.json")
        if not trust:
            require_harmless(Path(path), "model", "trust_model")
        model = tf.saved_model.load(os.fspath(path))
        signature, note = model.signatures["serving_default"], metadata.get("schema")
        schema = None if note is None else Schema.from_note(note)
        _check_metadata(metadata, signature, schema)
    except UserError:
        raise
    # The errors of TensorFlow and protobuf for damaged files have no common base class.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            setting="model",
            given=path,
            expected="an exported model such as saved_models/NAME/1",
            but=f"it cannot be read ({reason})",
            remedy="give the folder of a version, or export it again",
        ) from error
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
    """

    def __init__(self, model, schema: Schema | None = None):
        self._model = model  # keeps the variables alive
        self._signature, self.schema = model.signatures["serving_default"], schema
        if schema is not None:
            self.shape, self.dtype = (len(schema.columns),), "float64"
            return
        ((self._key, spec),) = self._signature.structured_input_signature[1].items()
        self.shape, self.dtype = tuple(spec.shape[1:]), spec.dtype.name

    def __call__(self, x) -> np.ndarray:
        """Probabilities, ``(n, ...)`` to ``(n, classes)``."""
        pieces = [
            self._probabilities(self._inputs(x[start : start + _ROWS_AT_ONCE].astype(self.dtype)))
            for start in range(0, len(x), _ROWS_AT_ONCE)
        ]
        return np.concatenate(pieces)

    def _probabilities(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        given = {name: tf.constant(array) for name, array in inputs.items()}
        return self._signature(**given)["probabilities"].numpy()

    def _inputs(self, x: np.ndarray) -> dict[str, np.ndarray]:
        return {self._key: x} if self.schema is None else to_columns(x, self.schema)
