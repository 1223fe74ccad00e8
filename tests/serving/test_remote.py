"""predict --url against a server of our own that speaks TF Serving's REST and gRPC."""

import http.server
import json
import threading

import numpy as np
import pandas as pd
import pytest
from loopback import Served, by_grpc, rest

from kt_transfer import UserError, export, finetune, predict
from kt_transfer.serving import remote
from kt_transfer.serving.remote import ATTEMPTS, BATCH_ROWS, IN_FLIGHT, RemoteClassifier

pytestmark = pytest.mark.usefixtures("unchecked_exports")
WAYS = pytest.mark.parametrize("way", [rest, by_grpc])


@pytest.fixture(scope="module")
def digits(chain):
    return Served(chain.exported)


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(remote, "_BACKOFF", 0.001)


@pytest.fixture
def expected(chain, tmp_path):
    """What the run says, but for what is unusual, which a server is not asked."""
    table = pd.read_csv(predict.run(run=chain.student, out=tmp_path / "run.csv", quiet=True))
    return table.drop(columns="unusual")


def same(given, expected):
    assert list(given.columns) == list(expected.columns)
    assert given["label"].tolist() == expected["label"].tolist()
    columns = [name for name in expected if name.startswith("probability_")]
    np.testing.assert_allclose(given[columns], expected[columns], atol=1e-5)


@WAYS
@pytest.mark.parametrize("beside", [True, False])
def test_the_answers_are_the_runs_own(chain, digits, expected, tmp_path, invoke, way, beside):
    model = ("--model", chain.exported) if beside else ("--data", "digits")
    with way(digits) as url:
        done = invoke("predict", "--url", url, *model, "--out", "p.csv")
    assert (done.code, done.err) == (0, "")
    assert "1797 predictions of digits (train and test) in p.csv" in done.out
    same(pd.read_csv(tmp_path / "p.csv"), expected)


@pytest.fixture(scope="module")
def table(tmp_path_factory, unchecked_exports):
    """A table with words and gaps, the export of a run on it, and what the run says."""
    folder, rng = tmp_path_factory.mktemp("table"), np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "home town": rng.choice(["Ulm", "Bad Ems", None], 90),
            "age": np.where(rng.random(90) < 0.2, np.nan, rng.integers(18, 90, 90)),
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 99, 90), "D"),
        }
    )
    rows["ill"] = np.where(rows["age"].fillna(0) > 50, "yes", "no")
    rows.to_csv(folder / "t.csv", index=False)
    data = f"csv:{folder}/t.csv"
    run = finetune.run(
        data=data,
        label_column="ill",
        source="scratch",
        hidden_units=(8,),
        latent_dim=4,
        epochs=2,
        compare_scratch="no",
        out=folder / "run",
        quiet=True,
    )
    version = export.run(run=run.path, name="m", export_dir=folder, quiet=True)
    said = predict.run(run=run.path, data=data, out=folder / "run.csv", quiet=True)
    return data, version, pd.read_csv(said)


@WAYS
def test_a_table_by_name_with_words_and_gaps(table, tmp_path, way):
    data, version, expected = table
    given = {"data": data, "quiet": True}
    with way(Served(version)) as url:
        out = predict.run(url=url, model=version, out=tmp_path / "url.csv", **given)
        with pytest.raises(UserError, match=r"url=.* columns age, home_town, since.* give model="):
            predict.run(url=url, out=tmp_path / "no.csv", **given)
    same(pd.read_csv(out), expected)
    assert not (tmp_path / "no.csv").exists()


@WAYS
def test_what_fails_for_a_while_is_asked_again(digits, expected, tmp_path, way):
    digits.trouble = [503, "drop", 429, None, 503, 503]
    before = digits.requests
    with way(digits) as url:
        out = predict.run(url=url, data="digits", out=tmp_path / "p.csv", quiet=True)
    same(pd.read_csv(out), expected)
    batches = sum(-(-rows // BATCH_ROWS) for rows in (1438, 359))
    assert digits.requests - before == batches + 5
    assert 1 < digits.most_at_once <= IN_FLIGHT


@WAYS
def test_rows_without_an_answer_are_named_and_the_others_written(
    chain, digits, expected, tmp_path, invoke, way
):
    x = np.zeros((600, 8, 8), np.uint8)
    np.savez(tmp_path / "x.npz", x=x[:2], x_test=x)
    # One request after the other: the second of those for the test part has no answer.
    with pytest.MonkeyPatch.context() as patch, way(digits) as url:
        patch.setattr(remote, "IN_FLIGHT", 1)
        digits.trouble = [None, None, *[503] * ATTEMPTS]
        words = ("predict", "--url", url, "--data", "npz:x.npz", "--out", "p.csv")
        done = invoke(*words)
    assert done.code == 1
    assert "has not answered 256 rows (row 256 to 511), which p.unanswered.csv lists" in done.err
    assert "Server is too busy" in done.err
    given = pd.read_csv(tmp_path / "p.csv")
    test = given[given["split"] == "test"]
    assert test["row"].tolist() == [*range(256), *range(512, 600)]
    named = pd.read_csv(tmp_path / "p.unanswered.csv")
    assert named.columns.tolist() == ["split", "row"]
    assert named["row"].tolist() == [*range(256, 512)]


def test_a_server_that_is_gone_is_not_waited_for_again_and_again(digits, monkeypatch):
    monkeypatch.setattr(remote, "IN_FLIGHT", 1)
    digits.trouble = ["drop"] * 200
    before = digits.requests
    with rest(digits) as url:
        model = RemoteClassifier(url)
        assert np.isnan(model(np.zeros((50 * BATCH_ROWS, 8, 8), np.uint8))).all()
    assert len(model.reasons) == 50 and "no connection" in model.reasons[0]
    assert digits.requests - before == 8 * ATTEMPTS + 42
    digits.trouble = []


def test_a_request_that_the_server_refuses_is_not_sent_again(digits, monkeypatch):
    with rest(digits) as url:
        model = RemoteClassifier(url)
        model.dtype = "float32"  # a server takes no fractions for uint8
        before = digits.requests
        assert np.isnan(model(np.full((3, 9, 9), 0.5))).all()
        assert digits.requests == before + 1
        assert "status 400: " in model.reasons[0]


def test_rows_are_sent_as_the_rest_api_has_them(monkeypatch):
    """The documentation's row format, and an answer as its examples are."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def reply(self, content):
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            seen.append(self.path)

            def spec(dtype, *sizes):
                dims = [{"size": str(size), "name": ""} for size in sizes]
                return {"dtype": dtype, "tensor_shape": {"dim": dims, "unknown_rank": False}}

            default = {
                "inputs": {"x": spec("DT_FLOAT", -1, 2)},
                "outputs": {"probabilities": spec("DT_FLOAT", -1, 2)},
                "method_name": "tensorflow/serving/predict",
            }
            signatures = {"signature_def": {"serving_default": default}}
            self.reply({"metadata": {"signature_def": signatures}})

        def do_POST(self):
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append((self.path, content))
            self.reply({"predictions": [{"probabilities": [0.25, 0.75]}] * 2})

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}/v1/models/m/versions/3"
        answers = RemoteClassifier(address)(np.array([[1, 2], [3, 4.5]]))
    finally:
        server.shutdown()
        server.server_close()
    assert answers.tolist() == [[0.25, 0.75]] * 2
    told = {"signature_name": "serving_default", "instances": [[1.0, 2.0], [3.0, 4.5]]}
    path = "/v1/models/m/versions/3"
    assert seen == [f"{path}/metadata", (f"{path}:predict", told)]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("127.0.0.1:8501", "expected http://HOST:8501/v1/models/NAME or grpc:"),
        ("http://127.0.0.1:8501/digits", "expected http://HOST:8501/v1/models/NAME or grpc:"),
        ("grpc://127.0.0.1/digits", "expected http://HOST:8501/v1/models/NAME or grpc:"),
        ("http://127.0.0.1:1/v1/models/m", "does not say what it serves .no connection"),
        ("grpc://127.0.0.1:1/m", "does not say what it serves .UNAVAILABLE"),
    ],
)
def test_an_address_without_a_server(invoke, tmp_path, url, message):
    done = invoke("predict", "--url", url, "--data", "digits", "--out", "p.csv")
    assert done.code == 2
    assert f"error: --url {url} was given" in done.err
    assert message.split(" .")[0] in done.err
    assert list(tmp_path.iterdir()) == []


@WAYS
def test_another_model_than_the_server_has(digits, chain, tmp_path, way):
    with way(digits) as url, pytest.raises(UserError, match="does not say what it serves"):
        RemoteClassifier(url + "x")
    (tmp_path / "metadata.json").write_text('{"labels": ["a", "b"], "data": "digits"}')
    with way(digits) as url, pytest.raises(UserError, match="10 classes, but model says 2"):
        RemoteClassifier(url, tmp_path)
