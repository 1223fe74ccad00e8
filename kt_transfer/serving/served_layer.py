"""Any SavedModel as a Keras layer."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from kt_transfer.errors import listed
from kt_transfer.files.reading import read_json
from kt_transfer.models.finite import why_not_finite

# Kinds of outputs by name, in order of preference.
_KNOWN = {"probabilities": "probabilities", "logits": "logits", "softmax": "probabilities"}


class ServedLayer(keras.layers.Layer):
    """The outputs of a SavedModel's ``serving_default``, for a teacher; not to be saved.

    Args:
        path: Folder of the SavedModel.

    Attributes:
        input_spec_of_signature: Shape and type of the signature's input.
        declared: ``"logits"`` or ``"probabilities"``, if the output has such a name.
        num_parameters: Number of parameters.
        num_bytes: Size of its files.

    Raises:
        ValueError: If it does not load, its weights are not finite, it does not have one input, or
            none of several outputs is named ``probabilities``, ``logits`` or ``softmax``; the
            message completes a sentence that begins with "it".
    """

    def __init__(self, path: Path):
        super().__init__(trainable=False, dtype="float32", autocast=False)
        self.supports_jit = (
            False  # it may contain operations that XLA does not support, such as on strings
        )
        loaded, signature = _load(path)
        inputs = signature.structured_input_signature[1]
        if len(inputs) != 1:
            raise ValueError(
                f"takes {len(inputs)} named columns ({listed(inputs, 3)}), so that the run it was "
                "exported from has to be given instead"
            )
        ((key, spec),) = inputs.items()
        name = _named(signature.structured_outputs)
        # In a closure, which Keras does not track and which keeps the loaded model alive.
        self._outputs_for = lambda x: (
            loaded,
            signature(**{key: _as_type(x, spec.dtype)})[name],
        )[1]
        self.input_spec_of_signature = spec
        self.declared = _KNOWN.get(name)
        self.width: int | None = None
        if reason := why_not_finite(signature.variables):
            raise ValueError(reason)
        self.num_parameters = sum(int(np.prod(v.shape)) for v in signature.variables)
        self.num_bytes = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())

    def measure(self, example) -> None:
        """Call it once to determine the number of classes.

        Raises:
            ValueError: If the call fails, or the output is not a row of numbers.
        """
        try:
            output = self._outputs_for(example)
        except (tf.errors.OpError, TypeError) as error:
            raise ValueError(f"does not answer: {error}") from error
        if len(output.shape) != 2 or output.shape[-1] < 2:
            shape = tuple(output.shape)[1:]
            raise ValueError(f"emits {shape} for an example, expected a number for a class")
        self.width = int(output.shape[-1])

    def call(self, x):
        """Outputs as ``float32``."""
        return tf.cast(self._outputs_for(x), tf.float32)

    def compute_output_shape(self, input_shape):
        """``(batch, classes)``."""
        return (input_shape[0], self.width)


def names_of_export(path: Path) -> list[str] | None:
    """Class names in the metadata of an exported SavedModel; ``None`` for others."""
    return note_of_export(path, "labels")


def note_of_export(path: Path, name: str):
    """An entry in the metadata of an exported SavedModel; ``None`` if missing."""
    try:
        return read_json(path / "metadata.json")[name] or None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _load(path: Path):
    try:
        # In a thread without a distribution strategy: functions that are loaded under a mirrored
        # one can be called only inside its replicas.
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
