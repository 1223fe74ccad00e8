"""Ask a running TF Serving, by REST or gRPC."""

from __future__ import annotations

import http.client
import json
import random
import re
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from kt_transfer.data.schema import Schema
from kt_transfer.errors import UserError, named
from kt_transfer.serving.metadata import read_metadata, reading_export
from kt_transfer.serving.named_columns import to_columns

# Rows of a request, requests that are under way at a time, and attempts of one.
BATCH_ROWS, IN_FLIGHT, ATTEMPTS = 256, 4, 5
# Seconds to wait for an answer, and before a second attempt, twice as long before each further one.
_TIMEOUT, _BACKOFF = 60.0, 0.1
# What a server says that is overloaded, or not there yet.
_TRY_AGAIN = (429, 503)
_GONE_AFTER = 8


class RemoteClassifier:
    """A model in a running TF Serving as a function of raw examples.

    Args:
        url: ``http://HOST:8501/v1/models/NAME[/versions/N]``, ``https://`` likewise, or
            ``grpc://HOST:8500/NAME``.
        model: The version that the server was given, for the names of the classes and the columns
            of a table, from its ``metadata.json`` alone.

    Attributes:
        shape: Shape of one raw example.
        dtype: Name of the input type, to which examples are cast.
        schema: The columns that it takes by name; ``None`` for one array.
        metadata: That of ``model``; without it, what the server tells.
        reasons: Why rows had no answer, one for each request that failed.

    Raises:
        UserError: If the address is none, no server answers there, or it serves something else.
    """

    def __init__(self, url: str, model: Path | None = None):
        self._url, self._transport = url, _transport(url)
        self.schema: Schema | None = None
        self.metadata: dict | None = None
        if model is not None:
            with reading_export(
                model, "the version that the server was given, such as saved_models/NAME/1"
            ):
                self.metadata, self.schema = read_metadata(model)
        inputs, num_classes = _signature(url, self._transport)
        self._key, self.shape, self.dtype = self._input(inputs)
        if self.metadata is None:
            # A server tells a label with each answer, but no list of them.
            names = [str(number) for number in range(num_classes)]
            self.metadata = {"labels": names, "data": None, "made_for": None}
        elif len(self.metadata["labels"]) != num_classes:
            raise _other(url, f"{num_classes} classes", f"{len(self.metadata['labels'])}", model)
        self.reasons: list[str] = []
        self._failed_in_a_row = 0

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Probabilities, ``(n, ...)`` to ``(n, classes)``; NaN where there was no answer."""
        starts = range(0, len(x), BATCH_ROWS)
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            answers = pool.map(lambda start: self._batch(x[start : start + BATCH_ROWS]), starts)
            return np.concatenate([*answers])

    def _batch(self, x: np.ndarray) -> np.ndarray:
        wanted = (len(x), len(self.metadata["labels"]))
        # A server that is gone is not waited for again and again.
        attempts = ATTEMPTS if self._failed_in_a_row < _GONE_AFTER else 1
        try:
            answers = _with_retries(lambda: self._transport.predict(self._inputs(x)), attempts)
            if answers.shape != wanted:
                raise _FailedError(f"the answer has the shape {answers.shape}, expected {wanted}")
        except _FailedError as error:
            self.reasons.append(str(error))
            self._failed_in_a_row += 1
            return np.full(wanted, np.nan, np.float32)
        self._failed_in_a_row = 0
        return answers

    def _inputs(self, x: np.ndarray) -> dict[str, np.ndarray]:
        if self.schema is not None:
            return to_columns(x, self.schema)
        return {self._key: np.ascontiguousarray(x, self.dtype)}

    def _input(self, inputs: dict[str, tuple[str, tuple]]):
        """The name, shape and type of the one input; of a table of its matrix."""
        if self.schema is not None:
            names = {*to_columns(np.zeros((0, len(self.schema.columns))), self.schema)}
            if names != {*inputs}:
                raise _other(self._url, f"the columns {_few(inputs)}", _few(names), "model")
            return "", (len(self.schema.columns),), "float64"
        if len(inputs) != 1:
            raise UserError(
                setting="url",
                given=self._url,
                when=f"which serves a model of the columns {_few(inputs)}",
                expected="their kinds and words, which a server does not tell",
                remedy=f"give {named('model', 'saved_models/NAME/N')} beside it",
            )
        ((name, (dtype, shape)),) = inputs.items()
        return name, shape, dtype


def _few(names) -> str:
    return ", ".join(sorted(names)[:5])


def _other(url: str, serves: str, says: str, model) -> UserError:
    return UserError(
        setting="url",
        given=url,
        when=f"which serves a model of {serves}",
        but=f"{named('model')} says {says}",
        remedy="give the version that the server was given",
    )


# -- What is asked ---------------------------------------------------------------------------------


class _FailedError(Exception):
    """A request without an answer."""


class _TryAgainError(_FailedError):
    """One that may have an answer later."""


def _with_retries(ask: Callable, attempts: int = ATTEMPTS):
    for attempt in range(attempts):
        try:
            return ask()
        except _TryAgainError as error:
            if attempt == attempts - 1:
                raise _FailedError(str(error)) from error
            # At random, so that requests that failed together do not come again together.
            time.sleep(_BACKOFF * 2**attempt * random.uniform(0.5, 1.5))
    raise AssertionError("not reached")


def _signature(url: str, transport) -> tuple[dict[str, tuple[str, tuple]], int]:
    """Type and shape of each input of ``serving_default``, and the number of its classes."""
    try:
        inputs, outputs = _with_retries(transport.signature)
    except _FailedError as error:
        raise UserError(
            setting="url",
            given=url,
            expected="a running TF Serving with a model of that name",
            but=f"it does not say what it serves ({error})",
            remedy="start it, or correct the address",
        ) from error
    shape = outputs.get("probabilities", ("", ()))[1]
    if len(shape) != 1:
        raise UserError(
            setting="url",
            given=url,
            expected="a classifier that kt_transfer exported",
            but=f"its answers are {_few(outputs)}",
            remedy="serve such a model",
        )
    return inputs, shape[0]


def _transport(url: str):
    parts = urlsplit(url)
    path = re.fullmatch(r"/v1/models/[^/:]+(/(versions|labels)/[^/:]+)?", parts.path)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme in ("http", "https") and parts.hostname and path:
        return _Rest(parts.scheme, parts.hostname, port, parts.path)
    if parts.scheme == "grpc" and parts.hostname and port and re.fullmatch("/[^/]+", parts.path):
        return _Grpc(f"{parts.hostname}:{port}", parts.path[1:])
    raise UserError(
        setting="url",
        given=url,
        expected="http://HOST:8501/v1/models/NAME or grpc://HOST:8500/NAME",
        remedy="give such an address",
    )


_TYPES = {"DT_UINT8": "uint8", "DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_STRING": "str"}


class _Rest:
    """TF Serving's REST: https://www.tensorflow.org/tfx/serving/api_rest."""

    def __init__(self, scheme: str, host: str, port: int | None, path: str):
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        self._connect = lambda: kinds[scheme](host, port, timeout=_TIMEOUT)
        # Connections that are open and have nothing to do.
        self._path, self._idle = path, []
        weakref.finalize(self, _close, self._idle)

    def signature(self):
        told = self._ask("GET", f"{self._path}/metadata")
        try:
            one = told["metadata"]["signature_def"]["signature_def"]["serving_default"]
            return tuple(
                {name: _spec(about) for name, about in one[side].items()}
                for side in ("inputs", "outputs")
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _FailedError("it has no signature serving_default") from error

    def predict(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        if len(inputs) == 1:
            (values,) = inputs.values()
            instances = values.tolist()
        else:
            rows = zip(*(values.tolist() for values in inputs.values()), strict=True)
            instances = [dict(zip(inputs, row, strict=True)) for row in rows]
        content = {"signature_name": "serving_default", "instances": instances}
        told = self._ask("POST", f"{self._path}:predict", json.dumps(content))
        try:
            return np.array([row["probabilities"] for row in told["predictions"]], np.float32)
        except (KeyError, TypeError, ValueError) as error:
            raise _FailedError("the answer has no probabilities of each row") from error

    def _ask(self, method: str, path: str, content: str | None = None):
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect()
        try:
            connection.request(method, path, content, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            status, body = answer.status, answer.read()
        # A server may also close a connection that it kept open, in the middle of an answer.
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            reason = str(error) or type(error).__name__
            raise _TryAgainError(f"no connection ({reason})") from error
        self._idle.append(connection)
        if status in _TRY_AGAIN:
            raise _TryAgainError(f"status {status}{_said(body)}")
        if status != 200:
            raise _FailedError(f"status {status}{_said(body)}")
        try:
            return json.loads(body)
        except ValueError as error:
            raise _FailedError("the answer is no JSON") from error


def _close(connections: list) -> None:
    for connection in connections:
        connection.close()


def _spec(about: dict) -> tuple[str, tuple]:
    """Type and shape of one example, without the dimension of the batch."""
    sizes = [int(dim["size"]) for dim in about["tensor_shape"].get("dim", [])]
    return _TYPES.get(about["dtype"], about["dtype"]), tuple(sizes[1:])


def _said(body: bytes) -> str:
    try:
        text = str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        text = body.decode("utf-8", "replace")
    line = " ".join(text.split())[:200]
    return line and f": {line}"


class _Grpc:
    """TF Serving's PredictionService, of the package ``tensorflow-serving-api``."""

    def __init__(self, target: str, name: str):
        import grpc
        from tensorflow_serving.apis import prediction_service_pb2_grpc

        large = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        channel = grpc.insecure_channel(target, large)
        self._name = name
        self._service = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def signature(self):
        from tensorflow_serving.apis import get_model_metadata_pb2

        asked = get_model_metadata_pb2.GetModelMetadataRequest()
        asked.model_spec.name = self._name
        asked.metadata_field.append("signature_def")
        told = self._ask(self._service.GetModelMetadata, asked)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        told.metadata["signature_def"].Unpack(signatures)
        if "serving_default" not in signatures.signature_def:
            raise _FailedError("it has no signature serving_default")
        one = signatures.signature_def["serving_default"]
        return tuple(
            {name: _proto_spec(about) for name, about in side.items()}
            for side in (one.inputs, one.outputs)
        )

    def predict(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        asked = predict_pb2.PredictRequest()
        asked.model_spec.name = self._name
        asked.model_spec.signature_name = "serving_default"
        asked.output_filter.append("probabilities")
        for name, values in inputs.items():
            asked.inputs[name].CopyFrom(tf.make_tensor_proto(values))
        told = self._ask(self._service.Predict, asked)
        if "probabilities" not in told.outputs:
            raise _FailedError("the answer has no probabilities")
        return tf.make_ndarray(told.outputs["probabilities"])

    def _ask(self, method, message):
        import grpc

        try:
            return method(message, timeout=_TIMEOUT)
        except grpc.RpcError as error:
            code, text = error.code(), " ".join(str(error.details()).split())[:200]
            again = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
            kind = _TryAgainError if code in again else _FailedError
            raise kind(f"{code.name}: {text}") from error


def _proto_spec(about) -> tuple[str, tuple]:
    from tensorflow.core.framework import types_pb2

    dtype = types_pb2.DataType.Name(about.dtype)
    sizes = [dim.size for dim in about.tensor_shape.dim]
    return _TYPES.get(dtype, dtype), tuple(sizes[1:])
