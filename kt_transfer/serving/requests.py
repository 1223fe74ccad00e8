"""Requests to TF Serving: its messages, JSON of its REST interface, files to warm up with."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import numpy as np
import tensorflow as tf

# Where TF Serving looks, in the folder of a version, for requests to answer before it is asked.
WARMUP = Path("assets.extra/tf_serving_warmup_requests")


def predict_request(name: str, signature: str, inputs: dict[str, np.ndarray]):
    """A ``PredictRequest``, as gRPC takes it.

    Args:
        name: Name of the served model.
        signature: Name of a signature.
        inputs: An array for each of its inputs; words and bytes as strings.

    Example:
        >>> request = predict_request("digits", "encode", {"image": np.zeros((1, 8, 8), "uint8")})
        >>> request.model_spec.signature_name, list(request.inputs)
        ('encode', ['image'])
    """
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = name, signature
    for key, values in inputs.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(values, shape=np.shape(values)))
    return request


def write_warmup(folder: Path, requests: list) -> None:
    """Write requests into the folder of a version, where TF Serving finds them.

    Args:
        folder: The folder.
        requests: As from :func:`predict_request`.
    """
    from tensorflow_serving.apis import prediction_log_pb2

    path = folder / WARMUP
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(os.fspath(path)) as writer:
        for request in requests:
            log = prediction_log_pb2.PredictLog(request=request)
            record = prediction_log_pb2.PredictionLog(predict_log=log)
            writer.write(record.SerializeToString())


def read_warmup(folder: Path) -> list:
    """The requests of a warm-up file.

    Example:
        >>> requests = read_warmup(Path("saved_models/digits/1"))
        >>> sorted({request.model_spec.signature_name for request in requests})
        ['encode', 'reconstruct', 'serving_default']
    """
    from tensorflow_serving.apis import prediction_log_pb2

    records = tf.data.TFRecordDataset(os.fspath(Path(folder) / WARMUP)).as_numpy_iterator()
    logs = [prediction_log_pb2.PredictionLog.FromString(record) for record in records]
    return [log.predict_log.request for log in logs]


def rest_request(signature: str, inputs: dict[str, np.ndarray]) -> dict:
    """The body of a REST request to ``…/v1/models/NAME:predict``, a row for each example.

    Args:
        signature: Name of a signature.
        inputs: As for :func:`predict_request`; bytes are encoded as ``{"b64": …}``.

    Example:
        >>> inputs = {"age": np.array([31.0]), "city": np.array(["Rome"])}
        >>> rest_request("serving_default", inputs)
        {'instances': [{'age': 31.0, 'city': 'Rome'}]}
    """
    named = {} if signature == "serving_default" else {"signature_name": signature}
    return named | {"instances": _rows(inputs)}


def rest_answer(outputs: dict[str, np.ndarray]) -> dict:
    """What TF Serving's REST interface answers, from the outputs of the signature.

    Example:
        >>> rest_answer({"label": np.array([b"cat"]), "probabilities": np.array([[0.75, 0.25]])})
        {'predictions': [{'label': 'cat', 'probabilities': [0.75, 0.25]}]}
    """
    outputs = {
        name: np.array([text.decode() for text in values.tolist()])
        if values.dtype.kind in "OS"
        else values
        for name, values in outputs.items()
    }
    return {"predictions": _rows(outputs)}


def as_json(content: dict, digits: int | None = None) -> str:
    """JSON in one line, numbers rounded if so many digits are asked for.

    A missing number is written as ``NaN``, which TF Serving reads though JSON has none.
    """
    return json.dumps(_rounded(content, digits))


def _rows(arrays: dict[str, np.ndarray]) -> list:
    """A row for each example: a single value by itself, several by their names."""
    columns = {name: [_plain(value) for value in values] for name, values in arrays.items()}
    if len(columns) == 1:
        return next(iter(columns.values()))
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _plain(value):
    """A value as JSON has it: numbers of 32 bits by the fewest digits that tell them."""
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    array = np.asarray(value)
    if array.dtype == np.float32:
        shortest = [float(str(number)) for number in array.ravel()]
        array = np.reshape(shortest, array.shape)
    return array.tolist()


def _rounded(content, digits: int | None):
    if isinstance(content, dict):
        return {name: _rounded(value, digits) for name, value in content.items()}
    if isinstance(content, list):
        return [_rounded(value, digits) for value in content]
    return round(content, digits) if digits is not None and isinstance(content, float) else content
