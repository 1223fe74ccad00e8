import json
import shlex
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
from tensorflow_serving.config import model_server_config_pb2

from kt_transfer import export
from kt_transfer.serving.server import (
    SERVER_FILES,
    curl_line,
    docker_line,
    edited_server_files,
    grpc_lines,
    write_server_files,
)


@pytest.mark.parametrize("name", ["digits", 'say "x" \\ y', "ä b"])
def test_the_configuration_is_what_the_server_reads(tmp_path, name):
    write_server_files(tmp_path, name)
    content = (tmp_path / "models.config").read_text()
    (model,) = text_format.Parse(
        content, model_server_config_pb2.ModelServerConfig()
    ).model_config_list.config
    assert (model.name, model.base_path) == (name, f"/models/{name}")
    assert model.model_platform == "tensorflow"
    assert model.model_version_policy.latest.num_versions == 1
    assert {path.name for path in tmp_path.iterdir()} == set(SERVER_FILES)


def test_what_somebody_edited_stays_and_what_nobody_edited_is_renewed(tmp_path):
    write_server_files(tmp_path, "old")
    assert edited_server_files(tmp_path) == []
    own = tmp_path / "batching_parameters.txt"
    own.write_text(own.read_text().replace("128", "64"))
    write_server_files(tmp_path, "new")
    assert "64" in own.read_text()
    assert '"/models/new"' in (tmp_path / "models.config").read_text()
    assert edited_server_files(tmp_path) == [own]


@pytest.mark.usefixtures("unchecked_exports")
def test_an_edited_file_is_said(chain, tmp_path, invoke):
    (tmp_path / "saved_models/digits").mkdir(parents=True)
    (tmp_path / "saved_models/digits/models.config").write_text("model_config_list {}\n")
    done = invoke("export", "--run", chain.student, "--name", "digits")
    assert (done.code, done.err) == (0, "")
    assert "saved_models/digits/models.config was edited, and stays as it is" in done.out
    content = (tmp_path / "saved_models/digits/models.config").read_text()
    assert content == "model_config_list {}\n"


def test_lines_are_words_of_a_shell():
    words = shlex.split(docker_line("saved models/it's", "it's"))
    assert words[:2] == ["docker", "run"]
    assert "$PWD/saved models/it's:/models/it's" in words
    assert "--model_config_file=/models/it's/models.config" in words
    absolute = shlex.split(docker_line("/srv/m", "m"))
    assert absolute[absolute.index("-v") + 1] == "/srv/m:/models/m"
    assert shlex.split(curl_line("a b/1/request.json", "a b"))[2] == "@a b/1/request.json"
    compile(grpc_lines('it\'s "1"'), "snippet", "exec")


class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
    """What TF Serving does with a request, in Python."""

    def __init__(self, version):
        self.model = tf.saved_model.load(str(version))

    def Predict(self, request, context):  # noqa: N802, its name in the protocol
        signature = self.model.signatures[request.model_spec.signature_name]
        inputs = {key: tf.constant(tf.make_ndarray(t)) for key, t in request.inputs.items()}
        response = predict_pb2.PredictResponse()
        for key, value in signature(**inputs).items():
            response.outputs[key].CopyFrom(tf.make_tensor_proto(value.numpy()))
        return response


def test_the_program_that_asks_by_grpc_gets_the_answer(chain, monkeypatch, capsys):
    server = grpc.server(ThreadPoolExecutor(1))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        Service(chain.exported), server
    )
    port = server.add_insecure_port("localhost:0")
    server.start()
    monkeypatch.chdir(chain.folder / "saved_models")
    program = grpc_lines("digits/1")
    assert program.strip() in (chain.exported / "README.md").read_text()
    try:
        exec(program.replace("8500", str(port)), {})
    finally:
        server.stop(None)
    (answer,) = json.loads((chain.exported / "answer.json").read_text())["predictions"]
    assert f'string_val: "{answer["label"]}"' in capsys.readouterr().out


def test_a_command_ends_with_how_to_serve(chain):
    *_, serve, ask, answer, grpc, _ = chain.output["export"].stdout.splitlines()
    assert serve == f"serve:  {docker_line('saved_models/digits', 'digits')}"
    assert ask == f"ask:    {curl_line('saved_models/digits/1/request.json', 'digits')}"
    assert answer.startswith('answer: {"predictions": [{"class_id": ')
    assert grpc.endswith("whole in saved_models/digits/1/README.md")
    assert export.how_to_serve(chain.exported)[2] == answer
