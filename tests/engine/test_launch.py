"""Workers on this machine, started and ended together, in a network namespace of their own."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from clusters import in_namespace, needs_namespace

ROOT = Path(__file__).parents[2]
LAUNCH = (sys.executable, "-m", "kt_transfer.engine.launch")
# A worker that says who it is; what follows has its index as ``me``.
WORKER = """
import json, os, signal, sys, time
task = json.loads(os.environ["TF_CONFIG"])
me = task["task"]["index"]
open(f"pid{me}", "w").write(str(os.getpid()))
while not all(os.path.exists(f"pid{i}") for i in range(len(task["cluster"]["worker"]))):
    time.sleep(0.01)
"""


@pytest.fixture
def launched(tmp_path, monkeypatch):
    """Launches workers that do what is said, in an empty folder; none may be left behind."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def call(flags: str, doing: str):
        words = [*LAUNCH, *flags.split(), "--", "-c", WORKER + doing]
        return subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60)

    yield call
    assert not left_behind(tmp_path)


def left_behind(folder) -> list[int]:
    """The workers of a folder that still run."""
    pids = [int(path.read_text()) for path in folder.glob("pid*")]
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_help_imports_no_tensorflow():
    code = (
        "import sys; from kt_transfer.engine.launch import main\n"
        "try: main(['--help'])\n"
        "finally: assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--restart K" in done.stdout


@needs_namespace
def test_the_readme_example_trains_on_two_workers(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    section = (ROOT / "README.md").read_text().split("\n## Several machines\n")[1].split("\n## ")[0]
    (program,) = re.findall(r"```python\n(.*?)```", section, re.S)
    (line,) = re.findall(r"^python -m kt_transfer\.engine\.launch .*train\.py$", section, re.M)
    words = shlex.split(line.replace("python", sys.executable))
    assert words[-1] == "train.py"
    (tmp_path / "train.py").write_text(program + "print(float(model.get_weights()[0].sum()))\n")
    done = in_namespace(words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Epoch 5/5") == 1
    (chief,) = re.findall(r"^-?\d+\.\d+$", done.stdout, re.M)
    assert f"[worker 1] {chief}\n" in done.stderr


def test_each_worker_has_its_place_and_the_chief_prints_as_it_is(launched):
    done = launched("--workers 3", "print(len(set(task['cluster']['worker'])), 'I am', me)")
    assert (done.returncode, done.stdout) == (0, "3 I am 0\n")
    assert sorted(done.stderr.splitlines()) == ["[worker 1] 3 I am 1", "[worker 2] 3 I am 2"]


@pytest.mark.parametrize(
    ("doing", "code", "said"),
    [
        ("me and sys.exit(3); time.sleep(60)", 3, "worker 1 failed with exit code 3"),
        (
            "me and os.kill(os.getpid(), signal.SIGKILL); time.sleep(60)",
            137,
            "worker 1 was lost (SIGKILL)",
        ),
    ],
)
def test_all_end_when_one_fails(launched, doing, code, said):
    began = time.monotonic()
    done = launched("--workers 2", doing)
    assert (done.returncode, done.stderr) == (code, f"{said}: ending the others\n")
    assert time.monotonic() - began < 9


def test_all_are_started_again_when_one_is_lost(launched):
    doing = (
        "if os.path.exists('lost'): print('done'); sys.exit()\n"
        "time.sleep(0.5)\n"  # the other has looked, too
        "open('lost', 'w')\n"
        "me and os.kill(os.getpid(), signal.SIGKILL)\n"
        "time.sleep(60)"
    )
    done = launched("--workers 2 --restart 2", doing)
    assert (done.returncode, done.stdout) == (0, "done\n")
    assert done.stderr.splitlines() == [
        "worker 1 was lost (SIGKILL): ending the others",
        "starting all workers again (1 of 2)",
        "[worker 1] done",
    ]


def test_a_mistake_of_the_users_is_not_tried_again(launched):
    done = launched("--workers 2 --restart 3", "sys.exit(2)")
    assert done.returncode == 2
    assert "again" not in done.stderr


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nobody_outlives_the_launcher(tmp_path, by):
    words = [*LAUNCH, "--workers", "2", "--", "-c", WORKER + "time.sleep(60)"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    launcher = subprocess.Popen(words, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    try:
        while len(list(tmp_path.glob("pid*"))) < 2:
            assert launcher.poll() is None
            time.sleep(0.02)
        time.sleep(0.2)
    finally:
        launcher.send_signal(by)
    assert launcher.wait(20) == (-by if by == signal.SIGKILL else 128 + by)
    deadline = time.monotonic() + 5
    while left_behind(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not left_behind(tmp_path)
