"""A server that speaks TF Serving's REST and gRPC, and answers by a real SavedModel."""

import contextlib
import http.server
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)


class Served:
    """A SavedModel, its signatures as TF Serving tells them, and what is to go wrong.

    Attributes:
        trouble: What happens to the next requests for predictions, one after the other: a status,
            "drop" (the connection is closed in the middle of an answer), or ``None`` for nothing.
        most_at_once: The largest number of requests that were under way together.
        requests: Number of requests for predictions.
    """

    def __init__(self, version, name="m"):
        self.name = name
        self._function = tf.saved_model.load(str(version)).signatures["serving_default"]
        proto = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())
        self.signatures = get_model_metadata_pb2.SignatureDefMap()
        for key, signature in proto.meta_graphs[0].signature_def.items():
            self.signatures.signature_def[key].CopyFrom(signature)
        self.inputs = self.signatures.signature_def["serving_default"].inputs
        self.trouble, self.requests, self.most_at_once = [], 0, 0
        self._lock, self._now = threading.Lock(), 0

    @contextlib.contextmanager
    def next_trouble(self):
        with self._lock:
            self.requests += 1
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            trouble = self.trouble.pop(0) if self.trouble else None
        try:
            yield trouble
        finally:
            with self._lock:
                self._now -= 1

    def answer(self, tensors):
        return {name: value.numpy() for name, value in self._function(**tensors).items()}

    def from_rows(self, instances):
        """Tensors of JSON's row format."""
        if len(self.inputs) == 1:
            (name,) = self.inputs
            columns = {name: instances}
        else:
            if any({*row} != {*self.inputs} for row in instances):
                raise ValueError("Failed to process element: 0 of 'instances' list.")
            columns = {name: [row[name] for row in instances] for name in self.inputs}
        return {
            name: tf.constant(np.array(values), self.inputs[name].dtype)
            for name, values in columns.items()
        }


def _as_json(value):
    return value.decode() if isinstance(value, bytes) else value


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, content):
        body = json.dumps(content, indent=4).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def not_found(self):
        name = self.path.split("/")[3].split(":")[0] if self.path.count("/") > 2 else ""
        text = f"Could not find any versions of model {name}"
        self.reply(404, {"error": text})

    def do_GET(self):
        served = self.server.served
        if self.path != f"/v1/models/{served.name}/metadata":
            self.not_found()
            return
        signatures = json_format.MessageToDict(served.signatures, preserving_proto_field_name=True)
        spec = {"name": served.name, "signature_name": "", "version": "1"}
        self.reply(200, {"model_spec": spec, "metadata": {"signature_def": signatures}})

    def do_POST(self):
        served = self.server.served
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != f"/v1/models/{served.name}:predict":
            self.not_found()
            return
        with served.next_trouble() as trouble:
            if trouble == "drop":
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b"{")
                self.close_connection = True
                return
            if trouble is not None:
                self.reply(trouble, {"error": "Server is too busy"})
                return
            try:
                answers = served.answer(served.from_rows(content["instances"]))
            except (ValueError, TypeError, tf.errors.OpError) as error:
                self.reply(400, {"error": str(error)})
                return
        rows = [
            {name: _as_json(value) for name, value in zip(answers, row, strict=True)}
            for row in zip(*(value.tolist() for value in answers.values()), strict=True)
        ]
        self.reply(200, {"predictions": rows})


class _Service(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, served):
        self.served = served

    def Predict(self, request, context):
        served = self.served
        if request.model_spec.name != served.name:
            context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found for request")
        with served.next_trouble() as trouble:
            if trouble is not None:
                context.abort(grpc.StatusCode.UNAVAILABLE, "Server is too busy")
            tensors = {key: tf.constant(tf.make_ndarray(t)) for key, t in request.inputs.items()}
            answers = served.answer(tensors)
        response = predict_pb2.PredictResponse()
        for name in request.output_filter or answers:
            response.outputs[name].CopyFrom(tf.make_tensor_proto(answers[name]))
        return response

    def GetModelMetadata(self, request, context):
        if request.model_spec.name != self.served.name:
            context.abort(grpc.StatusCode.NOT_FOUND, "Could not find any versions of model")
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.metadata["signature_def"].Pack(self.served.signatures)
        return response


@contextlib.contextmanager
def rest(served):
    """The address of the model by REST."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.served, server.daemon_threads = served, True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/models/{served.name}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def by_grpc(served):
    """The same by gRPC."""
    server = grpc.server(ThreadPoolExecutor(8))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Service(served), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"grpc://127.0.0.1:{port}/{served.name}"
    finally:
        server.stop(None)
