"""LiteRT (``.tflite``), in float32 or in whole numbers of 8 bits.

A model takes raw examples, as a SavedModel does, but one table column by column is a matrix: LiteRT
has no operations on text. Its names of classes are in ``metadata.json``.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from kt_transfer.data.schema import Schema
from kt_transfer.errors import UserError
from kt_transfer.serving.converted import (
    check_exactly,
    numeric_function,
    of_classes,
    publish_file,
    refused_with_a_reason,
    require_installed,
)
from kt_transfer.serving.signatures import served_functions

FILE = "model.tflite"
# What 8 bits may change: of the run's real examples so many keep their class, and no probability
# moves by more.
INT8_SAME_CLASS, INT8_DIFFERENCE = 0.95, 0.25


def export_litert(
    folder: Path,
    *,
    metadata: dict,
    examples: np.ndarray,
    schema: Schema | None = None,
    keep: int | None = None,
    prove: Callable | None = None,
    **models,
) -> Path:
    """Write the next version under ``folder``, verified before it appears.

    Args:
        folder: ``saved_models/NAME/litert``.
        metadata: Content of ``metadata.json``.
        examples: Raw examples on which the outputs must match those of the Keras models.
        schema: The columns of a table, which are one ``float32`` matrix here.
        keep: How many versions to keep (default: all).
        prove: As for :func:`~kt_transfer.serving.saved_model.export_saved_model`.
        **models: As for :func:`~kt_transfer.serving.signatures.served_functions`.

    Returns:
        The folder of the new version.

    Raises:
        UserError: If the model cannot be converted, its outputs differ, or LiteRT is not installed.
    """
    require_installed(_RUNTIME, "format", "litert")
    models = of_classes(models)
    wanted = numeric_function(served_functions(**models)[1])

    def check(file: Path) -> tuple[float, dict]:
        answers = LiteRTClassifier(file, schema).answers
        return check_exactly("LiteRT model", answers, wanted, examples, prove)

    about = {"format": "litert", "takes": _described(schema)}
    with refused_with_a_reason("litert", "LiteRT", instead="saved_model or onnx"):
        content = _convert(_converter(models))
        return publish_file(folder, FILE, content, check, {**metadata, **about}, keep)


def export_litert_int8(
    folder: Path,
    *,
    metadata: dict,
    examples: np.ndarray,
    kept: np.ndarray | None,
    schema: Schema | None = None,
    keep: int | None = None,
    **models,
) -> Path:
    """The same in whole numbers of 8 bits, weights and activations.

    Their scales come from the real examples, on which at least ``INT8_SAME_CLASS`` must keep their
    class and no probability may differ by more than ``INT8_DIFFERENCE``.

    Args:
        folder: ``saved_models/NAME/litert_int8``.
        metadata: Content of ``metadata.json``.
        examples: Not used: 8 bits answer as float32 does to examples like those seen alone.
        kept: Real examples of the run.
        schema: The columns of a table, which has none of this format.
        keep: How many versions to keep (default: all).
        **models: As for :func:`~kt_transfer.serving.signatures.served_functions`.

    Raises:
        UserError: If the model cannot be converted, its outputs differ by more, or LiteRT is not
            installed.
    """
    require_installed(_RUNTIME, "format", "litert_int8")
    if models.get("classifier") is None or schema is not None or kept is None:
        raise _no_int8(models, schema)
    models = of_classes(models)
    wanted = numeric_function(served_functions(**models)[1])

    def check(file: Path) -> tuple[float, dict]:
        given = LiteRTClassifier(file)(kept)
        expected = wanted(tf.constant(kept))["probabilities"].numpy()
        return _require_similar(given, expected), {}

    about = {"format": "litert_int8", "takes": _described(None)}
    with refused_with_a_reason("litert_int8", "LiteRT in 8 bits", instead="litert"):
        converter = _converter(models)
        (name,) = converter.names
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: ({name: example[None]} for example in kept)
        content = _convert(converter)
        return publish_file(folder, FILE, content, check, {**metadata, **about}, keep)


class LiteRTClassifier:
    """A LiteRT classifier as a function of raw examples.

    Args:
        file: The ``.tflite`` file.
        schema: The columns of a table that it takes as a matrix.

    Attributes:
        shape: Shape of one raw example.
        dtype: Name of the input type, to which examples are cast.
        schema: As given.
    """

    def __init__(self, file: Path, schema: Schema | None = None):
        # From memory, so that a file that is replaced meanwhile does no harm.
        runtime = require_installed(_RUNTIME, "model", file)
        with _quiet():
            self._interpreter = runtime.Interpreter(model_content=Path(file).read_bytes())
            self._run = self._interpreter.get_signature_runner("serving_default")
        ((self._name, about),) = self._run.get_input_details().items()
        self.shape, self.dtype = tuple(about["shape_signature"][1:]), np.dtype(about["dtype"]).name
        self.schema = schema
        if schema is not None and self.shape != (len(schema.columns),):
            raise ValueError("metadata.json names other columns than it takes")

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Probabilities, ``(n, ...)`` to ``(n, classes)``."""
        return self.answers(x)["probabilities"]

    def answers(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """All outputs by name. The size of the last batch is kept, since changing it costs."""
        if not len(x):  # LiteRT knows no empty batch
            one = np.zeros((1, *x.shape[1:]))
            return {name: value[:0] for name, value in self.answers(one).items()}
        with _quiet():
            return self._run(**{self._name: np.ascontiguousarray(x, self.dtype)})


_RUNTIME = "ai_edge_litert.interpreter"


def _converter(models: dict) -> tf.lite.TFLiteConverter:
    models = {
        name: _in_float32(model) if name.endswith("preprocessing") and model is not None else model
        for name, model in models.items()
    }
    module, functions, raw = served_functions(**models)
    answer = numeric_function(functions)
    function = tf.function(lambda **inputs: answer(inputs[raw.name]), autograph=False)
    module.serving_default = function.get_concrete_function(**{raw.name: raw})
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.serving_default], module)
    converter.names = [raw.name]
    return converter


def _convert(converter) -> bytes:
    with _quiet():
        return converter.convert()


def _in_float32(preprocessing: keras.Model) -> keras.Model:
    """The same preprocessing in float32 and in operations that LiteRT has.

    It computes tables in float64, which LiteRT can only cast. Integers stay as they are given.
    """

    def again(layer):
        config = layer.get_config()
        if isinstance(layer, keras.layers.Layer) and config.get("dtype") is not None:
            config["dtype"] = "float32"
        return type(layer).from_config(config)

    def call(operation, *inputs, **options):
        if function := _replacement(operation):
            return _As(function, name=f"litert_{operation.name}", dtype="float32")(inputs[0])
        # Constants, such as the codes of words, would turn the rest into float64 again.
        inputs = [x.astype("float32") if _is_float64(x) else x for x in inputs]
        return operation(*inputs, **options)

    given = preprocessing.input
    dtype = "float32" if "float" in str(given.dtype) else given.dtype
    raw = keras.Input(given.shape[1:], dtype=dtype, name="raw")
    same = keras.models.clone_model(
        preprocessing, input_tensors=raw, clone_function=again, call_function=call
    )
    same.set_weights(preprocessing.get_weights())
    return same


def _is_float64(x) -> bool:
    return isinstance(x, np.ndarray) and x.dtype == np.float64


def _replacement(operation) -> Callable | None:
    """What says the same in operations that LiteRT has; ``None`` for one that it has itself."""
    kind = type(operation).__name__
    if kind == "Isnan":
        return lambda x: tf.not_equal(x, x)
    if kind == "NanToNum":  # no value of a table is infinite
        return lambda x: tf.where(tf.not_equal(x, x), 0.0, x)
    if getattr(operation, "activation", None) is keras.activations.softsign:
        return lambda x: x / (1.0 + tf.abs(x))
    return None


class _As(keras.layers.Layer):
    """A function as a layer, which a converter never saves."""

    def __init__(self, function: Callable, **kwargs):
        super().__init__(**kwargs)
        self._function = function

    def call(self, x):
        return self._function(x)


def _require_similar(given: np.ndarray, expected: np.ndarray) -> float:
    same = float((given.argmax(axis=1) == expected.argmax(axis=1)).mean())
    largest = float(np.abs(given - expected).max())
    if not (largest <= INT8_DIFFERENCE and same >= INT8_SAME_CLASS):
        raise RuntimeError(
            f"the LiteRT model in 8 bits differs from Keras by {largest:.3g} in a probability "
            f"(expected {INT8_DIFFERENCE:g} at most) and gives the same class to {same:.1%} of "
            f"{len(given)} real examples (expected {INT8_SAME_CLASS:.0%} at least)"
        )
    return largest


def _no_int8(models: dict, schema: Schema | None) -> UserError:
    expected, but = "a classifier, whose classes can be compared", "it is an autoencoder"
    remedy = "give litert"
    if schema is not None:
        expected = "examples whose values have one scale, as pictures have"
        but = "8 bits cannot hold the columns of a table, each of its own scale, in one matrix"
    elif models.get("classifier") is not None:
        expected = "a run that has kept real examples, from which the scales are taken"
        but, remedy = "it has no examples.npz", "train it again, or give litert"
    return UserError(
        setting="format", given="litert_int8", expected=expected, but=but, remedy=remedy
    )


def _described(schema: Schema | None) -> str:
    if schema is None:
        return "raw examples"
    return (
        "the columns of schema in their order as one float32 matrix: numbers as they are, words "
        "as their position in the vocabulary and its length for any other, truth values as 0 or 1, "
        "dates as days since 1970-01-01, NaN where one is missing"
    )


@contextlib.contextmanager
def _quiet():
    """Without the remarks of LiteRT, which it writes past Python."""
    with tempfile.TemporaryFile() as nowhere:
        kept = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
