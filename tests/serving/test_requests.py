"""Requests as TF Serving takes them, through the graph and back."""

import base64
import io
import json

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image

from kt_transfer.serving.requests import (
    as_json,
    predict_request,
    read_warmup,
    rest_answer,
    rest_request,
)


def columns_of(body: dict, signature) -> dict[str, tf.Tensor]:
    """What TF Serving makes of the JSON rows of a request: a tensor for each input."""
    specs = signature.structured_input_signature[1]
    rows = body["instances"]
    if len(specs) == 1:
        (name,) = specs
        rows = [{name: row} for row in rows]
    assert all(set(row) == set(specs) for row in rows)

    def value(cell):
        is_coded = isinstance(cell, dict) and set(cell) == {"b64"}
        return base64.b64decode(cell["b64"]) if is_coded else cell

    return {
        name: tf.constant([value(row[name]) for row in rows], spec.dtype)
        for name, spec in specs.items()
    }


def asked_by_messages(model, name, columns):
    """The same as a message of gRPC and back, as a server unpacks it."""
    content = predict_request("m", name, {key: t.numpy() for key, t in columns.items()})
    request = type(content).FromString(content.SerializeToString())
    assert request.model_spec.signature_name == name
    inputs = {key: tf.constant(tf.make_ndarray(t)) for key, t in request.inputs.items()}
    return model.signatures[name](**inputs)


@pytest.mark.parametrize("kind", ["chain", "of_table", "of_photographs"])
def test_the_request_beside_a_model_gets_the_answer_beside_it(kind, request):
    exported = request.getfixturevalue(kind)
    version = exported.exported if kind == "chain" else exported.version
    model = tf.saved_model.load(str(version))
    body = json.loads((version / "request.json").read_text())
    name = body.get("signature_name", "serving_default")
    columns = columns_of(body, model.signatures[name])
    answers = asked_by_messages(model, name, columns)
    (expected,) = json.loads((version / "answer.json").read_text())["predictions"]
    (given,) = rest_answer({key: value.numpy() for key, value in answers.items()})["predictions"]
    assert set(given) == set(expected) == {"probabilities", "class_id", "label"}
    assert given.pop("probabilities") == pytest.approx(expected.pop("probabilities"), abs=1e-6)
    assert given == expected
    assert (name == "serving_image_bytes") == (kind == "of_photographs")


def test_rows_of_a_file_are_what_rest_takes(of_table):
    table = pd.read_csv(of_table.data, dtype={"colour intensity": str}, keep_default_na=False)
    names = json.loads((of_table.version / "metadata.json").read_text())["columns"]
    table = table[list(names)].rename(columns=names).replace("", np.nan)
    words = table[[names["colour intensity"], names["filled"]]].fillna("")
    table = table.assign(**{name: words[name] for name in words})
    for name in set(names.values()) - set(words):
        table[name] = table[name].astype(float)
    inputs = {name: table[name].to_numpy() for name in table}
    body = json.loads(as_json(rest_request("serving_default", inputs)))
    assert len(body["instances"]) == 178
    model = tf.saved_model.load(str(of_table.version))
    columns = columns_of(body, model.signatures["serving_default"])
    rows = asked_by_messages(model, "serving_default", columns)["probabilities"].numpy()
    asked = {name: tf.constant(table[name].to_list()) for name in words}
    asked |= {
        name: tf.constant(table[name], tf.float64) for name in set(names.values()) - set(words)
    }
    direct = model.signatures["serving_default"](**asked)["probabilities"].numpy()
    assert np.array_equal(rows, direct)
    assert np.ptp(rows, axis=0).min() > 0


def test_the_warm_up_file_has_each_signature_with_real_examples(chain):
    requests = read_warmup(chain.exported)
    kept = np.load(chain.student / "examples.npz")["x"]
    sizes = {}
    for request in requests:
        (values,) = (tf.make_ndarray(tensor) for tensor in request.inputs.values())
        assert np.array_equal(values, kept[: len(values)])
        assert request.model_spec.name == "digits"
        sizes.setdefault(request.model_spec.signature_name, []).append(len(values))
    assert sizes == dict.fromkeys(["serving_default", "encode", "reconstruct"], [1, 8])
    # Who tries the file looks at its first request.
    assert requests[0].model_spec.signature_name == "serving_default"
    size = (chain.exported / "assets.extra/tf_serving_warmup_requests").stat().st_size
    assert size < 5000


def test_bytes_words_and_numbers_in_json():
    buffer = io.BytesIO()
    Image.new("L", (2, 2)).save(buffer, "PNG")
    content = buffer.getvalue()
    body = rest_request("serving_image_bytes", {"image_bytes": np.array([content])})
    assert body["signature_name"] == "serving_image_bytes"
    assert base64.b64decode(body["instances"][0]["b64"]) == content
    answer = rest_answer(
        {
            "p": np.array([[0.1, np.float32(1) / 3]], np.float32),
            "label": np.array(["ä".encode()], object),
            "unusual": np.array([True]),
        }
    )
    text = '{"predictions": [{"p": [0.1, 0.33333334], "label": "\\u00e4", "unusual": true}]}'
    assert as_json(answer) == text
    assert as_json({"p": [0.123456, 1.0, 3]}, digits=2) == '{"p": [0.12, 1.0, 3]}'
    assert as_json(rest_request("serving_default", {"x": np.array([np.nan])})) == (
        '{"instances": [NaN]}'
    )
