"""Versioned SavedModels with raw inputs, named classes and several signatures."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from kt_transfer.errors import UserError
from kt_transfer.files.reading import read_json
from kt_transfer.files.writing import disk_errno
from kt_transfer.models.finite import why_not_finite
from kt_transfer.serving.inspection import require_harmless

TOLERANCE = 1e-5


def export_saved_model(
    folder: Path,
    *,
    preprocessing,
    classifier=None,
    class_names=(),
    autoencoder=None,
    autoencoder_preprocessing=None,
    metadata: dict,
    examples: np.ndarray,
) -> Path:
    """Write the next version under ``folder``, verified before it appears.

    Signatures, all from raw examples: ``serving_default`` (``probabilities``, ``class_id``,
    ``label``), ``encode`` (``features``) and, with an autoencoder, ``reconstruct``
    (``reconstruction`` as the autoencoder outputs it, scaled to [-1, 1], flat or images, and
    ``reconstruction_error``, ‖x − x̂‖² of each example). Without a classifier
    ``serving_default`` combines ``encode`` and ``reconstruct``.

    Args:
        folder: ``saved_models/NAME``; the version is the next free number.
        preprocessing: Keras model from raw examples to the network's input.
        classifier: Keras model from this input to logits, with a layer ``"encoder"``.
        class_names: Names of its classes.
        autoencoder: Keras model with the layers ``"encoder"`` and ``"decoder"``.
        autoencoder_preprocessing: Keras model from raw examples to its input (default:
            ``preprocessing``).
        metadata: Content of ``metadata.json``.
        examples: Raw examples on which the outputs must match those of the Keras models.

    Returns:
        The folder of the new version.

    Raises:
        OSError: If the folder cannot be written.
        RuntimeError: If the outputs differ.
    """
    module, signatures = _served_module(
        preprocessing,
        classifier,
        class_names,
        autoencoder,
        autoencoder_preprocessing or preprocessing,
    )
    made = [path for path in (folder, folder.parent) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    # TF Serving loads a numbered folder as soon as it appears, and ignores others.
    unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder))
    try:
        tf.saved_model.save(module, os.fspath(unfinished), signatures=signatures)
        difference = check_saved_model(unfinished, signatures, examples)
        text = json.dumps({**metadata, "largest_difference": difference}, indent=2)
        (unfinished / "metadata.json").write_text(text + "\n")
        unfinished.chmod(0o755)
        return _publish(unfinished, folder)
    except Exception as error:
        if number := disk_errno(error):  # may be an error class of TensorFlow
            raise OSError(number, os.strerror(number), os.fspath(folder)) from error
        raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        for empty in made:
            with contextlib.suppress(OSError):
                empty.rmdir()


def check_saved_model(path: Path, signatures: dict, examples: np.ndarray) -> float:
    """Compare a SavedModel, loaded in a process without Keras, with its original functions.

    Args:
        path: The SavedModel.
        signatures: The functions it was saved from, by name.
        examples: Raw examples, to compare as a batch and with the first one alone.

    Returns:
        The largest absolute difference.

    Raises:
        RuntimeError: If it does not load, or the difference exceeds ``TOLERANCE``.
    """
    with tempfile.TemporaryDirectory() as scratch:
        inputs = Path(scratch) / "inputs.npy"
        np.save(inputs, examples)
        answers = Path(scratch) / "answers.npz"
        command = [sys.executable, "-m", "kt_transfer.serving.answer", path, inputs, answers]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the SavedModel does not load without Keras: {done.stderr[-2000:]}")
        with np.load(answers) as file:
            served = dict(file)
    largest = 0.0
    for name, function in signatures.items():
        for output, expected in function(tf.constant(examples)).items():
            for size in ("one", "all"):
                given = served[f"{name}/{output}/{size}"]
                largest = max(largest, _difference(given, expected.numpy()[: len(given)]))
    if not largest <= TOLERANCE:
        raise RuntimeError(f"the SavedModel differs from Keras by {largest}, expected {TOLERANCE}")
    return largest


def _difference(given: np.ndarray, expected: np.ndarray) -> float:
    if expected.dtype == object:
        same = given.tolist() == [label.decode() for label in expected.tolist()]
        return 0.0 if same else float("inf")
    # Relative for large values, since a summed error has no fixed scale.
    scale = np.maximum(np.abs(expected), 1.0)
    return float(np.max(np.abs(given - expected) / scale, initial=0.0))


def _served_module(preprocessing, classifier, class_names, autoencoder, autoencoder_preprocessing):
    module = tf.Module()
    encoder = (classifier or autoencoder).get_layer("encoder")
    raw = preprocessing.inputs[0]
    name = "image" if len(raw.shape) > 2 else "features"
    specs = [tf.TensorSpec([None, *raw.shape[1:]], raw.dtype, name=name)]
    labels = tf.constant(list(class_names)) if class_names else None

    def classify(raw_input):
        x = preprocessing(raw_input, training=False)
        probabilities = tf.nn.softmax(classifier(x, training=False))
        class_id = tf.argmax(probabilities, axis=-1)
        label = tf.gather(labels, class_id)
        return {"probabilities": probabilities, "class_id": class_id, "label": label}

    def encode(raw_input):
        return {"features": encoder(preprocessing(raw_input, training=False), training=False)}

    def reconstruct(raw_input):
        x = autoencoder_preprocessing(raw_input, training=False)
        code = autoencoder.get_layer("encoder")(x, training=False)
        output = autoencoder.get_layer("decoder")(code, training=False)
        error = tf.reduce_sum(tf.square(x - output), axis=list(range(1, len(x.shape))))
        return {"reconstruction": output, "reconstruction_error": error}

    def encode_and_reconstruct(raw_input):
        return {**encode(raw_input), **reconstruct(raw_input)}

    functions = {"encode": encode}
    if autoencoder is not None:
        functions["reconstruct"] = reconstruct
    if classifier is not None:
        functions["serving_default"] = classify
    else:
        functions["serving_default"] = encode_and_reconstruct
    # Track the variables alone: a tracked Keras model would be saved with its call functions.
    models = [model for model in (classifier, autoencoder) if model is not None]
    module.weights = [weight.value for model in models for weight in model.weights]

    return module, {
        key: tf.function(_on_any_batch(function), input_signature=specs, autograph=False)
        for key, function in functions.items()
    }


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


def _publish(unfinished: Path, folder: Path) -> Path:
    while True:
        numbers = [int(path.name) for path in folder.iterdir() if path.name.isdigit()]
        version = folder / str(max(numbers, default=0) + 1)
        try:
            unfinished.rename(version)
        except OSError:
            if not version.exists():
                raise
            continue  # another export took the number meanwhile
        return version


def _check_metadata(metadata, signature) -> None:
    """``ValueError`` if metadata is invalid or belongs to another model."""
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    if not isinstance(labels, list) or not all(isinstance(name, str) for name in labels):
        raise ValueError("metadata.json has no list 'labels' of names")
    if not isinstance(metadata.get("data"), str):
        raise ValueError("metadata.json does not name its 'data'")
    if len(signature.structured_input_signature[1]) != 1:
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
        signature = model.signatures["serving_default"]
        _check_metadata(metadata, signature)
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
    return ServedClassifier(model), metadata


class ServedClassifier:
    """An exported classifier as a function of raw examples.

    Attributes:
        shape: Shape of one raw example.
        dtype: Name of the input type, to which examples are cast.
    """

    def __init__(self, model):
        self._model = model  # keeps the variables alive
        self._signature = model.signatures["serving_default"]
        ((self._key, spec),) = self._signature.structured_input_signature[1].items()
        self.shape, self.dtype = tuple(spec.shape[1:]), spec.dtype.name

    def __call__(self, x) -> np.ndarray:
        """Probabilities, ``(n, ...)`` to ``(n, classes)``."""
        pieces = [
            self._signature(**{self._key: tf.constant(x[start : start + 1024].astype(self.dtype))})
            for start in range(0, len(x), 1024)
        ]
        return np.concatenate([piece["probabilities"].numpy() for piece in pieces])
