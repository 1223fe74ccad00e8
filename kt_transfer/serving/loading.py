"""Load an exported model of any format as a function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kt_transfer.serving import litert, onnx
from kt_transfer.serving.metadata import read_metadata, reading_export
from kt_transfer.serving.saved_model import load_saved_model

# What a version holds of the formats that are one file, and what runs it.
_FILES = {litert.FILE: litert.LiteRTClassifier, onnx.FILE: onnx.OnnxClassifier}
_SUFFIXES = {Path(name).suffix: loaded for name, loaded in _FILES.items()}


def load_served(path: Path, trust: bool = False) -> tuple[Callable, dict]:
    """Load an exported classifier, whatever its format.

    Args:
        path: The folder of a version, or its ``.tflite`` or ``.onnx`` file, beside which there is
            its ``metadata.json``.
        trust: Whether to load a SavedModel without inspecting its graph.

    Returns:
        A function of raw examples, ``(n, ...)`` to probabilities ``(n, classes)``, with ``shape``
        and ``dtype`` of an example and the ``schema`` of a table; and the metadata.

    Raises:
        UserError: If there is no such export, or what runs it is not installed.

    Example:
        >>> model, metadata = load_served("saved_models/digits/1")
        >>> model.shape, model.dtype, model(np.zeros((2, 8, 8))).shape
        ((8, 8), 'uint8', (2, 10))
    """
    path = Path(path)
    file = next((path / name for name in _FILES if (path / name).is_file()), path)
    if file.suffix not in _SUFFIXES:
        return load_saved_model(path, trust)
    with reading_export(path, "an exported model such as saved_models/NAME/onnx/1"):
        metadata, schema = read_metadata(file.parent)
        return _SUFFIXES[file.suffix](file, schema), metadata
