"""ONNX (``.onnx``): raw examples in, or the columns of a table by name, strings among them."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from kt_transfer.data.schema import BOOLEAN_WORDS, MISSING_WORDS, Column, Schema
from kt_transfer.serving.converted import (
    check_exactly,
    numeric_function,
    of_classes,
    publish_file,
    refused_with_a_reason,
    require_installed,
)
from kt_transfer.serving.named_columns import served_names, to_columns
from kt_transfer.serving.signatures import served_functions

FILE = "model.onnx"
# Of 2022: whatever runs ONNX today knows it.
_OPSET, _OPSET_OF_ENCODERS = 18, 3


def export_onnx(
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
        folder: ``saved_models/NAME/onnx``.
        metadata: Content of ``metadata.json``.
        examples: Raw examples on which the outputs must match those of the Keras models.
        schema: The columns of a table, which the model then takes by their served names: numbers
            as ``double``, words and truth values as ``string``, and dates as days since 1970-01-01
            (``double``), since ONNX cannot take text apart.
        keep: How many versions to keep (default: all).
        prove: As for :func:`~kt_transfer.serving.saved_model.export_saved_model`.
        **models: As for :func:`~kt_transfer.serving.signatures.served_functions`.

    Returns:
        The folder of the new version.

    Raises:
        UserError: If the model cannot be converted, its outputs differ, or ONNX is not installed.
    """
    onnx = require_installed("onnx", "format", "onnx")
    require_installed("onnxruntime", "format", "onnx")
    tf2onnx = require_installed("tf2onnx", "format", "onnx")
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    _, functions, raw = served_functions(**of_classes(models))

    def check(file: Path) -> tuple[float, dict]:
        answers, wanted = OnnxClassifier(file, schema).answers, functions["serving_default"]
        return check_exactly("ONNX model", answers, wanted, examples, prove)

    about = {"format": "onnx", "takes": _described(schema)}
    with refused_with_a_reason("onnx", "ONNX Runtime", instead="saved_model or litert"):
        model = _converted(tf2onnx, functions, raw)
        if models.get("class_names"):
            _add_labels(onnx, model, models["class_names"])
        if schema is not None:
            _take_columns(onnx, model, raw.name, schema)
        onnx.checker.check_model(model)
        content = model.SerializeToString()
        return publish_file(folder, FILE, content, check, {**metadata, **about}, keep)


class OnnxClassifier:
    """An ONNX classifier as a function of raw examples.

    Args:
        file: The ``.onnx`` file.
        schema: The columns of a table that it takes by name.

    Attributes:
        shape: Shape of one raw example.
        dtype: Name of the input type, to which examples are cast.
        schema: As given.
    """

    def __init__(self, file: Path, schema: Schema | None = None):
        runtime = require_installed("onnxruntime", "model", file)
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        # From memory: a file may name others beside it, which are then not read.
        self._session = runtime.InferenceSession(
            Path(file).read_bytes(), options, providers=["CPUExecutionProvider"]
        )
        self.schema, inputs = schema, {one.name: one for one in self._session.get_inputs()}
        if schema is not None:
            if {*inputs} != {*served_names(schema).values()}:
                raise ValueError("metadata.json names other columns than it takes")
            self.shape, self.dtype = (len(schema.columns),), "float64"
            return
        ((self._name, about),) = inputs.items()
        self.shape = tuple(about.shape[1:])
        self.dtype = _TYPES[about.type]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Probabilities, ``(n, ...)`` to ``(n, classes)``."""
        return self.answers(x, ["probabilities"])["probabilities"]

    def answers(self, x: np.ndarray, names: list[str] | None = None) -> dict[str, np.ndarray]:
        """Outputs by name; all, unless some are named."""
        names = names or [output.name for output in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, self._inputs(x)), strict=True))

    def _inputs(self, x: np.ndarray) -> dict[str, np.ndarray]:
        if self.schema is None:
            return {self._name: np.ascontiguousarray(x, self.dtype)}
        names = served_names(self.schema)
        inputs = to_columns(x, self.schema)
        for place, column in enumerate(self.schema.columns):
            if column.kind == "date":
                inputs[names[column.name]] = x[:, place].astype(np.float64)
        return {
            name: values.astype(object) if values.dtype.kind == "U" else values
            for name, values in inputs.items()
        }


_TYPES = {
    "tensor(uint8)": "uint8",
    "tensor(float)": "float32",
    "tensor(double)": "float64",
}


def _converted(tf2onnx, functions: dict[str, Callable], raw: tf.TensorSpec):
    answer = numeric_function(functions)
    function = tf.function(answer, input_signature=[raw], autograph=False)
    model, _ = tf2onnx.convert.from_function(function, input_signature=[raw], opset=_OPSET)
    return model


def _add_labels(onnx, model, class_names) -> None:
    """The output ``label``, the name of ``class_id``, as the SavedModel has it."""
    helper, kind = onnx.helper, onnx.TensorProto
    names = [name.encode() for name in class_names]
    model.graph.initializer.append(
        helper.make_tensor("class_names", kind.STRING, [len(names)], names)
    )
    model.graph.node.append(
        helper.make_node("Gather", ["class_names", "class_id"], ["label"], name="label")
    )
    model.graph.output.append(helper.make_tensor_value_info("label", kind.STRING, [None]))


def _take_columns(onnx, model, matrix: str, schema: Schema) -> None:
    """Put before a model of a matrix what makes the matrix of named columns."""
    helper, kind = onnx.helper, onnx.TensorProto
    nodes, inputs, values = [], [], []
    names = served_names(schema)
    for column in schema.columns:
        name = names[column.name]
        is_text = column.kind in ("category", "boolean")
        of_type = kind.STRING if is_text else kind.DOUBLE
        inputs.append(helper.make_tensor_value_info(name, of_type, ["rows"]))
        numbers = name
        if is_text:
            nodes.append(_encoder(helper, column, name))
            numbers = f"{name}/code"
            nodes.append(helper.make_node("Cast", [f"{name}/float"], [numbers], to=kind.DOUBLE))
        nodes.append(helper.make_node("Unsqueeze", [numbers, "second_axis"], [f"{name}/column"]))
        values.append(f"{name}/column")
    nodes.append(helper.make_node("Concat", values, [matrix], axis=1))
    graph = model.graph
    graph.initializer.append(helper.make_tensor("second_axis", kind.INT64, [1], [1]))
    after = [*graph.node]
    del graph.node[:], graph.input[:]
    graph.node.extend([*nodes, *after])
    graph.input.extend(inputs)
    # Operations are named by the domain that they belong to.
    if any(node.domain for node in nodes):
        model.opset_import.append(helper.make_opsetid("ai.onnx.ml", _OPSET_OF_ENCODERS))


def _encoder(helper, column: Column, name: str):
    """Codes of words, as ``serving/named_columns.py`` has them, but of words without margins."""
    if column.kind == "category":
        code_of = {word: float(code) for code, word in enumerate(column.vocabulary)}
        code_of |= dict.fromkeys(MISSING_WORDS, np.nan)
        otherwise = float(len(column.vocabulary))
    else:
        code_of = {
            form: 1.0 - place
            for pair in BOOLEAN_WORDS
            for place, word in enumerate(pair)
            for form in _in_any_case(word)
        }
        # pandas writes a column of truth values with gaps as 1.0 and 0.0.
        code_of |= {"1.0": 1.0, "0.0": 0.0, "1.": 1.0, "0.": 0.0}
        otherwise = np.nan
    return helper.make_node(
        "LabelEncoder",
        [name],
        [f"{name}/float"],
        domain="ai.onnx.ml",
        keys_strings=[*code_of],
        values_floats=[*code_of.values()],
        default_float=otherwise,
    )


def _in_any_case(word: str) -> list[str]:
    letters = ({letter.lower(), letter.upper()} for letter in word)
    return sorted("".join(letters) for letters in itertools.product(*letters))


def _described(schema: Schema | None) -> str:
    if schema is None:
        return "raw examples"
    return (
        "columns by their served names: numbers as double, NaN where one is missing; words and "
        "truth values as strings without spaces at their ends, empty where one is missing; dates "
        "as days since 1970-01-01, double"
    )
