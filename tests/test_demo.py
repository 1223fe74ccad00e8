"""The page to try a model on, served as users serve it, and used in a browser."""

import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import needs_chromium
from PIL import Image
from tab import opened

from kt_transfer import UserError, demo, export
from kt_transfer.settings import DemoConfig

HOSTILE = "<img src=x onerror=alert(1)>"
needs_gradio = pytest.mark.skipif(
    importlib.util.find_spec("gradio") is None,
    reason="gradio is not installed (pip install 'kt-transfer[demo]')",
)


class Served:
    """A page that is served in a process of its own."""

    def __init__(self, process, url, said):
        self.process, self.url, self.said = process, url, said

    def get(self, path="/", **headers):
        request = urllib.request.Request(self.url + path, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()

    def ask(self, question: dict) -> dict:
        """What is told at the end of an event, as Gradio's page asks for one."""
        request = urllib.request.Request(
            f"{self.url}/gradio_api/queue/join?",
            data=json.dumps(question).encode(),
            headers={"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=30).close()
        session = question["session_hash"]
        url = f"{self.url}/gradio_api/queue/data?session_hash={session}"
        with urllib.request.urlopen(url, timeout=30) as lines:
            for line in lines:
                if b"process_completed" in line:
                    return json.loads(line.removeprefix(b"data: "))
        raise AssertionError("no answer")

    def code(self, path="/", **headers):
        try:
            return self.get(path, **headers)[0]
        except urllib.error.HTTPError as error:
            return error.code


def begin(folder: Path, *words) -> Served:
    """Serve a page on any free port, and wait until it is there."""
    scratch = folder / "tmp"
    scratch.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "kt_transfer.demo", "--port", "0", *map(str, words)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(scratch)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    said = []
    while line := process.stdout.readline():
        said.append(line.strip())
        if found := re.match(r"page (http://\S+)", line):
            return Served(process, found[1], said)
    raise AssertionError((said, process.communicate()))


def end(served: Served, by=signal.SIGTERM):
    """Stop a page; how its process ended, and what it wrote to its standard error."""
    served.process.send_signal(by)
    _, err = served.process.communicate(timeout=30)
    return served.process.returncode, err


@pytest.fixture(scope="module")
def serve(tmp_path_factory):
    """Serves pages that are ended after the tests of this file."""
    began = []

    def call(*words):
        began.append(begin(tmp_path_factory.mktemp("demo"), *words))
        return began[-1]

    yield call
    for served in began:
        if served.process.poll() is None:
            end(served)


@pytest.fixture(scope="module")
def digits(serve, chain):
    return serve("--model", chain.exported.parent)


# -- Mistakes on the command line ------------------------------------------------------------------


@pytest.mark.parametrize(
    "words, told",
    [
        ("--model nowhere", "--model nowhere was given, expected an exported model"),
        ("--model .", "but it holds none"),
        ("--model . --port 70000", "--port 70000 was given, expected a port from 0 to 65535"),
        ("--model . --host no.such.host.invalid", "it cannot be resolved"),
        ("--model . --host 192.0.2.1", "it cannot be listened on"),
    ],
)
@needs_gradio
def test_a_mistake_is_a_sentence(invoke, words, told):
    outcome = invoke("demo", *words.split())
    assert outcome.code == 2
    assert told in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_a_port_that_was_named_and_is_taken_is_refused(invoke):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        outcome = invoke("demo", "--model", ".", "--port", port)
    assert outcome.code == 2
    assert f"--port {port} was given, expected a free port, but the port is taken" in outcome.err
    assert "--port 0 for any" in outcome.err


def test_without_one_the_first_that_is_free_is_taken(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        monkeypatch.setattr(demo, "_FIRST_PORT", taken)
        monkeypatch.setattr(demo, "_PORTS", 50)
        with demo.listening("127.0.0.1", None) as listener:
            assert taken < listener.getsockname()[1] < taken + 50


def test_without_gradio_it_says_how_to_install_it(invoke, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    outcome = invoke("demo", "--model", ".", "--port", 0)
    assert outcome.code == 2
    assert "pip install 'kt-transfer[demo]'" in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_an_autoencoder_is_refused_as_predict_does(chain, tmp_path):
    pytest.importorskip("gradio", reason="gradio is not installed (kt-transfer[demo])")
    with pytest.raises(UserError, match="expected a classifier, but it is an autoencoder"):
        demo.run(model=chain.source, port=0, quiet=True)


def test_it_listens_to_this_machine_alone_unless_told_otherwise():
    config = DemoConfig(model=Path("m"))
    assert demo.is_loopback(config.host)
    with demo.listening(config.host, 0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


# -- The server ------------------------------------------------------------------------------------


@needs_gradio
@pytest.mark.slow
class TestServer:
    def test_it_says_where_it_is_and_what_it_tries(self, digits):
        assert digits.said[0].endswith("digits/1")
        assert digits.url.startswith("http://127.0.0.1:")

    def test_no_other_host_and_no_other_file_is_served(self, digits):
        assert digits.code() == 200
        assert digits.code(Host="evil.example") == 400
        for path in ("/etc/passwd", os.path.abspath("setup.cfg")):
            assert digits.code(f"/gradio_api/file={path}") in (403, 404)

    def test_no_file_of_this_machine_can_be_asked_about(self, digits, tmp_path):
        Image.fromarray(np.zeros((8, 8), "uint8")).save(tmp_path / "mine.png")
        config = json.loads(digits.get("/config")[2])
        asked = [one for one in config["dependencies"] if one["targets"][0][1:] == ["change"]]
        assert len(asked) == 2
        for path in (tmp_path / "mine.png", "/etc/hostname"):
            for one in asked:
                file = {"path": str(path), "meta": {"_type": "gradio.FileData"}}
                data = [file, True]
                said = digits.ask({"fn_index": one["id"], "data": data, "session_hash": "mine"})
                assert said["msg"] == "process_completed"
                shown = json.dumps(said["output"])
                assert "kt-answer" not in shown
                assert not said["success"] or "appears here" in shown

    def test_the_browser_is_told_to_fetch_nothing_from_elsewhere(self, digits):
        _, headers, _ = digits.get()
        assert headers["content-security-policy"].startswith("default-src 'self'")

    def test_files_are_in_a_folder_that_is_removed(self, tmp_path, chain):
        served = begin(tmp_path, "--model", chain.exported)
        scratch = tmp_path / "tmp"
        assert [path.name[:17] for path in scratch.iterdir()] == ["kt_transfer-demo-"]
        code, err = end(served, signal.SIGINT)
        assert (code, err) == (130, "interrupted\n")
        assert not [*scratch.iterdir()]
        assert [path.name for path in tmp_path.iterdir()] == ["tmp"]

    def test_ctrl_c_while_a_browser_is_connected(self, tmp_path, chain):
        served = begin(tmp_path, "--model", chain.exported)
        port = int(served.url.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port)) as held:
            held.sendall(b"GET /gradio_api/heartbeat/abc HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert held.recv(12) == b"HTTP/1.1 200"
            began = time.monotonic()
            assert end(served) == (143, "terminated\n")
            assert time.monotonic() - began < 10

    def test_other_addresses_are_said(self, tmp_path, chain):
        served = begin(tmp_path, "--model", chain.exported, "--host", "0.0.0.0")
        end(served)
        assert "everyone who reaches 0.0.0.0 by the network can use this page" in served.said[1]

    def test_a_run_is_exported_first(self, tmp_path, chain):
        served = begin(tmp_path, "--model", chain.student)
        assert "to a temporary folder" in served.said[0]
        assert b"not exported yet" in served.get()[2]
        end(served)


# -- In a browser ----------------------------------------------------------------------------------

LABEL = "document.querySelector('.kt-label span')?.innerText"
TEXT = "document.querySelector('#answer')?.innerText ?? ''"


@needs_gradio
@needs_chromium
@pytest.mark.slow
class TestInABrowser:
    def test_a_drawing_is_answered(self, digits, tmp_path):
        with opened(digits.url, tmp_path) as tab:
            tab.wait(LABEL)
            tab.wait("!!document.querySelector('#board button[aria-label=\"Brush Size\"]')")
            left, top, width, height = tab.place("#board canvas")
            x, y = left + width / 2, top + height / 2
            turn = np.linspace(0, 2 * np.pi, 25)
            tab.drag([(x + 60 * np.sin(t), y - 95 * np.cos(t)) for t in turn])
            tab.wait(f"/moved and scaled/.test({TEXT})")
            assert tab.js(LABEL) == "0"
            tab.click("#match input")
            tab.wait(f"!/moved and scaled/.test({TEXT})")
            tab.click('#board button[aria-label="Clear canvas"]')
            tab.wait(f"/the answer appears here/.test({TEXT})")
            tab.wait("!/select the draw tool/.test(document.body.innerText)")
            tab.drag([(x, y - 90), (x, y), (x, y + 90)])
            tab.wait(LABEL)
            self.require_quiet(tab, digits)

    def test_a_real_example_is_answered_and_then_a_file(self, digits, chain, tmp_path):
        with np.load(chain.student / "examples.npz") as kept:
            pixels = np.round(kept["x"][2] / 16 * 255).astype("uint8")
        Image.fromarray(pixels).save(tmp_path / "digit.png")
        (tmp_path / "broken.png").write_bytes(b"no picture")
        with opened(digits.url, tmp_path, width=390, height=844) as tab:
            tab.wait(LABEL)
            assert tab.js("document.documentElement.scrollWidth") <= 390
            tab.click("#real .gallery-item:nth-child(3) button")
            tab.wait(f"{LABEL} === {json.dumps(label_of(chain, 2))}")
            tab.js("[...document.querySelectorAll('[role=tab]')].at(-1).click()")
            tab.upload("#file input[type=file]", tmp_path / "digit.png")
            tab.wait(f"/8 × 8 pixels as in the file/.test({TEXT})")
            assert tab.js(LABEL) == label_of(chain, 2)
            tab.click('#file button[aria-label="Remove Image"]')
            tab.wait(f"/the answer appears here/.test({TEXT})")
            tab.upload("#file input[type=file]", tmp_path / "broken.png")
            tab.wait(f"/cannot be read as a picture/.test({TEXT})")
            self.require_quiet(tab, digits)

    def test_a_row_is_answered_and_names_stay_text(self, serve, tmp_path):
        hostile = serve("--model", hostile_export(tmp_path))
        with opened(hostile.url, tmp_path, dark=True) as tab:
            tab.wait(LABEL)
            assert tab.js("document.querySelectorAll('img[onerror], img[src=x]').length") == 0
            assert HOSTILE in tab.js("document.body.innerText")
            before = tab.js(LABEL)
            field = "#field1 input, #field1 textarea"
            tab.type(field, "many")
            tab.wait(f"/size holds 'many', expected a number/i.test({TEXT})")
            tab.type(field, "99")
            tab.wait(f"{LABEL} === {json.dumps(HOSTILE)}")
            tab.type(field, "0.5")
            tab.wait(f"{LABEL} === 'plain'")
            tab.click("#row2")
            tab.wait(f"document.querySelector({json.dumps(field)}).value !== '0.5'")
            assert before in (HOSTILE, "plain")
            assert "alert" not in " ".join(tab.messages)
            self.require_quiet(tab, hostile)

    def require_quiet(self, tab, served):
        """Nothing was asked of another host, and no script failed."""
        elsewhere = [u for u in tab.requests if not u.startswith((served.url, "data:", "blob:"))]
        assert elsewhere == []
        assert not [said for said in tab.messages if "exceptionDetails" in said]


def label_of(chain, row: int) -> str:
    """What the exported model answers to an example that the run has kept."""
    from kt_transfer.serving.loading import load_served

    model, metadata = load_served(chain.exported)
    with np.load(chain.student / "examples.npz") as kept:
        return metadata["labels"][int(model(kept["x"][row : row + 1])[0].argmax())]


def hostile_export(folder: Path) -> Path:
    """A table whose classes, words and columns are what a page must not take for its own."""
    from kt_transfer import finetune

    rng = np.random.default_rng(0)
    size = rng.uniform(0, 100, 300)
    table = pd.DataFrame({HOSTILE: rng.choice([HOSTILE, "**bold**"], 300), "size": size})
    table["class"] = np.where(size > 50, HOSTILE, "plain")
    table.to_csv(folder / "table.csv", index=False)
    run = finetune.run(
        data=f"csv:{folder / 'table.csv'}",
        label_column="class",
        source="scratch",
        hidden_units=8,
        latent_dim=4,
        epochs=60,
        learning_rate=0.01,
        compare_scratch="no",
        quiet=True,
        out=folder / "run",
    )
    return export.run(run=run, name=HOSTILE, export_dir=folder / "m", quiet=True)
