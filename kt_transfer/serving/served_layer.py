"""Any SavedModel with raw input, such as TF Serving takes, as a Keras layer."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from kt_transfer.files.reading import read_json
from kt_transfer.models.finite import why_not_finite

# Outputs that say what they are, the one to take first.
_KNOWN = {"probabilities": "probabilities", "logits": "logits", "softmax": "probabilities"}


class ServedLayer(keras.layers.Layer):
    """The answers of a SavedModel's ``serving_default``, to learn from; never saved itself.

    Args:
        path: Folder of the SavedModel.

    Attributes:
        input_spec_of_signature: Shape and type of what the signature takes.
        said: ``"logits"`` or ``"probabilities"``, where the name of the output says so.
        num_parameters: Numbers in its variables.
        num_bytes: What its files take.

    Raises:
        ValueError: If it does not load, has weights that are not finite, has not one input, or
            none of several outputs is named ``probabilities``, ``logits`` or ``softmax``; the
            message ends a sentence that begins with "it".
    """

    def __init__(self, path: Path):
        super().__init__(trainable=False, dtype="float32", autocast=False)
        self.supports_jit = False  # it may hold what XLA does not know, such as words
        loaded, signature = _load(path)
        inputs = signature.structured_input_signature[1]
        if len(inputs) != 1:
            raise ValueError(f"takes {len(inputs)} inputs ({', '.join(inputs)})")
        ((key, spec),) = inputs.items()
        name = _named(signature.structured_outputs)
        # In a closure, where Keras does not look; the loaded model has to stay alive.
        self._answer = lambda x: (loaded, signature(**{key: _as_type(x, spec.dtype)})[name])[1]
        self.input_spec_of_signature = spec
        self.said = _KNOWN.get(name)
        self.width: int | None = None
        if reason := why_not_finite(signature.variables):
            raise ValueError(reason)
        self.num_parameters = sum(int(np.prod(v.shape)) for v in signature.variables)
        self.num_bytes = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())

    def measure(self, example) -> None:
        """Ask it once, to know how many classes it answers for.

        Raises:
            ValueError: If that fails, or the answer is no row of numbers.
        """
        try:
            answer = self._answer(example)
        except (tf.errors.OpError, TypeError) as error:
            raise ValueError(f"does not answer: {error}") from error
        if len(answer.shape) != 2 or answer.shape[-1] < 2:
            shape = tuple(answer.shape)[1:]
            raise ValueError(f"emits {shape} for an example, expected a number for a class")
        self.width = int(answer.shape[-1])

    def call(self, x):
        """Answers as ``float32``."""
        return tf.cast(self._answer(x), tf.float32)

    def compute_output_shape(self, input_shape):
        """``(batch, classes)``."""
        return (input_shape[0], self.width)


def names_of_export(path: Path) -> list[str] | None:
    """The classes of a SavedModel that :func:`export_saved_model` wrote; ``None`` for others."""
    return note_of_export(path, "labels")


def note_of_export(path: Path, name: str):
    """An entry of what :func:`export_saved_model` notes; ``None`` where there is none."""
    try:
        return read_json(path / "metadata.json")[name] or None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _load(path: Path):
    try:
        # In a thread of its own, where no strategy is in force: the functions of what is loaded
        # under a mirrored one can be called only in its replicas.
        with ThreadPoolExecutor(1) as outside:
            loaded = outside.submit(tf.saved_model.load, os.fspath(path)).result()
        return loaded, loaded.signatures["serving_default"]
    except (OSError, ValueError, KeyError, AttributeError, tf.errors.OpError) as error:
        raise ValueError(f"has no signature serving_default that loads: {error}") from error


def _named(outputs: dict) -> str:
    for name in _KNOWN:
        if name in outputs:
            return name
    if len(outputs) == 1:
        return next(iter(outputs))
    raise ValueError(
        f"has outputs of which none ({', '.join(sorted(outputs))}) is probabilities or logits"
    )


def _as_type(x, dtype):
    return tf.cast(tf.round(x) if dtype.is_integer else x, dtype)
