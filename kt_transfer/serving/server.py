"""How TF Serving is started for a served model: its configuration beside the versions."""

from __future__ import annotations

import hashlib
import json
import shlex
from pathlib import Path
from urllib.parse import quote

from kt_transfer.files.writing import replacing
from kt_transfer.serving.requests import WARMUP

_MARK = "# written by kt_transfer.export, which replaces it as long as nobody edits it: "

SERVER_FILES = ("models.config", "monitoring.config", "batching_parameters.txt")
_MODELS = """\
model_config_list {{
  config {{
    name: {name}
    base_path: {path}
    model_platform: "tensorflow"
    model_version_policy {{ latest {{ num_versions: 1 }} }}
  }}
}}
"""
_MONITORING = """\
prometheus_config {
  enable: true
  path: "/monitoring/prometheus/metrics"
}
"""
# A request waits for others for a millisecond at most.
_BATCHING = """\
max_batch_size { value: 128 }
batch_timeout_micros { value: 1000 }
max_enqueued_batches { value: 1000 }
num_batch_threads { value: 4 }
"""


def write_server_files(folder: Path, name: str) -> None:
    """Write ``models.config``, ``monitoring.config`` and ``batching_parameters.txt``.

    A file that somebody edited stays as it is.

    Args:
        folder: Where the versions are.
        name: Name of the served model.
    """
    texts = {
        "models.config": _MODELS.format(name=json.dumps(name), path=json.dumps(f"/models/{name}")),
        "monitoring.config": _MONITORING,
        "batching_parameters.txt": _BATCHING,
    }
    edited = edited_server_files(folder)
    for file, text in texts.items():
        path, wanted = folder / file, _marked(text)
        if path in edited or (path.exists() and path.read_text() == wanted):
            continue
        with replacing(path) as temporary:
            temporary.write_text(wanted)


def edited_server_files(folder: Path) -> list[Path]:
    """Those of these files that are not as they were written."""
    there = [folder / file for file in SERVER_FILES if (folder / file).exists()]
    return [path for path in there if not _is_as_written(path.read_text(errors="replace"))]


def _is_as_written(text: str) -> bool:
    return text == _marked(text.partition("\n")[2])


def docker_line(folder: str, name: str) -> str:
    """The command that serves a model by gRPC on port 8500 and by REST on port 8501.

    Args:
        folder: Where the versions are, absolute or from where the command is run.
        name: Name of the served model.

    Example:
        >>> docker_line("saved_models/digits", "digits")[:72]
        'docker run --rm -p 8500:8500 -p 8501:8501 -v "$PWD"/saved_models/digits:'
    """
    inside = f"/models/{name}"
    mount = shlex.quote(f"{folder}:{inside}")
    if not Path(folder).is_absolute():
        mount = f'"$PWD"/{mount}'
    names = ("--model_config_file", "--monitoring_config_file", "--batching_parameters_file")
    flags = [
        shlex.quote(f"{flag}={inside}/{file}")
        for flag, file in zip(names, SERVER_FILES, strict=True)
    ]
    ports = "-p 8500:8500 -p 8501:8501"
    words = ["docker run --rm", ports, "-v", mount, "tensorflow/serving", *flags]
    return " ".join([*words, "--enable_batching=true"])


def curl_line(request: str, name: str) -> str:
    """The command that sends the request in a file to such a server."""
    url = f"http://localhost:8501/v1/models/{quote(name)}:predict"
    return f"curl -d {shlex.quote(f'@{request}')} {shlex.quote(url)}"


def grpc_lines(version: str) -> str:
    """A program that asks such a server by gRPC, with the first request of the warm-up file.

    Args:
        version: The folder of the version, from where the program is run.
    """
    return f"""\
import grpc, tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2, prediction_service_pb2_grpc

record = next(iter(tf.data.TFRecordDataset({f"{version}/{WARMUP}"!r})))
request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
channel = grpc.insecure_channel("localhost:8500")
print(prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, 10.0))
"""


def _marked(content: str) -> str:
    """Content after a line by which it is known whether anybody edited it."""
    return f"{_MARK}{hashlib.sha256(content.encode()).hexdigest()[:16]}\n{content}"
