"""What many tests share: TensorFlow as two devices, commands as a user runs them, one chain."""

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Threads that wait for one another are slow where another process has the other core.
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

from kt_transfer.__main__ import main
from kt_transfer.shell.main import import_tensorflow_quietly


def pytest_configure(config):
    # Before TensorFlow is used for anything: afterwards the devices are fixed.
    import_tensorflow_quietly()
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


def without_progress(said: str) -> str:
    """What a command said, without how far it was, which a busy machine makes it say."""
    return re.sub(r"^.*, about [\d.]+ (s|min|h) left\n", "", said, flags=re.M)


def run_command(*words, cwd, check=True, **environment):
    """``python -m kt_transfer WORDS`` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "kt_transfer", *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    if check:
        assert done.returncode == 0, done.stderr
    done.stderr = without_progress(done.stderr)
    return done


@pytest.fixture
def interrupt(tmp_path):
    """Begins a command in an empty folder, in a process of its own, and stops it by a signal."""

    def call(*words, until, by=signal.SIGINT, pause_at=None) -> subprocess.CompletedProcess:
        process = subprocess.Popen(
            [sys.executable, "-m", "kt_transfer", *map(str, words)],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A shell's background jobs ignore Ctrl-C, and what they start inherits that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        if pause_at:
            # Checkpoints are ten seconds apart, however few a machine takes for the whole run.
            wait(process, pause_at)
            process.send_signal(signal.SIGSTOP)
            time.sleep(10)
            process.send_signal(signal.SIGCONT)
        wait(process, until)
        process.send_signal(by)
        out, err = process.communicate(timeout=60)
        err = without_progress(err)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def wait(process, condition, seconds=120):
        began = time.monotonic()
        while not condition():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < began + seconds
            time.sleep(0.02)

    return call


@pytest.fixture
def command(tmp_path):
    """Runs a command in an empty folder."""
    return lambda *words, **options: run_command(*words, cwd=tmp_path, **options)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def invoke(tmp_path, monkeypatch, capfd):
    """Runs a command in an empty folder, in this process: seconds less than in its own."""
    monkeypatch.chdir(tmp_path)

    def call(*words) -> Outcome:
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        capfd.readouterr()
        try:
            main([*map(str, words)])
            code = 0
        except SystemExit as leaving:
            code = leaving.code
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        out, err = capfd.readouterr()
        return Outcome(code, out, without_progress(err))

    return call


@pytest.fixture(scope="module")
def unchecked_exports():
    """Leaves out the check of an export in a process of its own, which takes seconds.

    For tests of what is exported and asked elsewhere; serving/test_saved_model.py has the check.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("kt_transfer.serving.saved_model.check_saved_model", lambda *_: 0.0)
        yield


@pytest.fixture
def peak_memory():
    """A block that must not take more than so many bytes at once, as Python and NumPy count."""

    @contextlib.contextmanager
    def at_most(size):
        tracemalloc.start()
        try:
            yield
            assert tracemalloc.get_traced_memory()[1] < size
        finally:
            tracemalloc.stop()

    return at_most


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory):
    """Makes a folder once for all processes of a test session; its path and what was printed.

    ``commands`` are run in it, each in a process of its own. Whoever comes second waits.
    """
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent

    def call(name: str, commands: dict[str, list[str]]):
        folder, outputs = base / name, base / f"{name}.json"
        with open(base / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not outputs.exists():  # it is written last
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                done = [run_command(*words, cwd=folder) for words in commands.values()]
                printed = [{"stdout": d.stdout, "stderr": d.stderr} for d in done]
                outputs.write_text(json.dumps(dict(zip(commands, printed, strict=True))))
        printed = json.loads(outputs.read_text())
        return folder, {command: Printed(**texts) for command, texts in printed.items()}

    return call


@dataclasses.dataclass(frozen=True)
class Printed:
    """What a command printed."""

    stdout: str
    stderr: str


@dataclasses.dataclass(frozen=True)
class Chain:
    """Run folders from pretraining to the export, and what each command printed."""

    folder: Path
    source: Path
    teacher: Path
    student: Path
    exported: Path
    output: dict[str, Printed]


@pytest.fixture(scope="session")
def chain(shared_folder) -> Chain:
    """The chain, small, each command in a process of its own. Read only: copy what you change."""
    commands = [
        "pretrain --model sparse --hidden-units 32 16 --latent-dim 12 --epochs 10 --out source",
        "finetune --source source --labels 200 --freeze 1 --epochs 15 --out teacher",
        "distill --teacher teacher --student-units 16 --epochs 10 --out student",
        "export --run student --name digits",
    ]
    folder, output = shared_folder("chain", {words.split()[0]: words.split() for words in commands})
    return Chain(
        folder=folder,
        source=folder / "source",
        teacher=folder / "teacher",
        student=folder / "student",
        exported=folder / "saved_models" / "digits" / "1",
        output=output,
    )


# A comparison that takes seconds; COMPARED is how it is called.
COMPARED = (
    "compare --methods scratch parameters features distilled linear --labels 30 60 --folds 2 "
    "--repeats 2 --epochs 40 --pretrain-epochs 10 "
    "--hidden-units 24 --latent-dim 12 --student-units 8 --learning-rate 0.01 --out run"
)


@dataclasses.dataclass(frozen=True)
class Compared:
    """A comparison: its run folder, how it was called, and what it printed."""

    folder: Path
    words: list[str]
    output: Printed


@pytest.fixture(scope="session")
def compared(shared_folder) -> Compared:
    """A small comparison, in a process of its own. Read only: copy what you change."""
    words = COMPARED.split()
    folder, output = shared_folder("compared", {"compare": words})
    return Compared(folder / "run", words, output["compare"])
