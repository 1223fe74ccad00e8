"""Commands on several workers: refused alike, and going on after a loss."""

import io
import json
import os
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from clusters import in_namespace, needs_namespace

from kt_transfer import pretrain

ROOT = Path(__file__).parents[2]
# Starts workers with the flags that each is given, does something to one, and says how all end.
DRIVER = r"""
import json, os, signal, subprocess, sys, time
flags, victim, how, rows = json.loads(sys.argv[1])
addresses = [f"127.0.0.1:{24501 + i}" for i in range(len(flags))]
def start(index):
    task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
    words = [sys.executable, "-m", "kt_transfer.pretrain", "--out", "run", *flags[index]]
    return subprocess.Popen(words, env={**os.environ, "TF_CONFIG": json.dumps(task)},
                            stdout=open(f"said{index}", "a"), stderr=subprocess.STDOUT)
def rows_now():
    return len(open("run/history.csv").readlines()) - 1 if os.path.exists("run/history.csv") else -1
workers = [start(index) for index in range(len(flags))]
began = time.time()
try:
    if how:
        while rows_now() < rows and None in [worker.poll() for worker in workers]:
            time.sleep(0.01)
        workers[victim].send_signal(getattr(signal, how))
        began = time.time()
        for worker in workers:
            if worker is not workers[victim]:
                worker.wait(100)
        seconds = time.time() - began
        workers[victim].kill()
    codes = [worker.wait(100) for worker in workers]
    print(json.dumps([codes, seconds if how else None]))
finally:
    for worker in workers:
        worker.kill()
"""


@pytest.fixture
def workers(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def call(*flags, victim=None, how=None, rows=0):
        given = json.dumps([[one.split() for one in flags], victim, how, rows])
        done = in_namespace([sys.executable, "-c", DRIVER, given], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        codes, seconds = json.loads(done.stdout)
        return codes, seconds, [(tmp_path / f"said{i}").read_text() for i in range(len(flags))]

    return call


def weights(path) -> list:
    found = []
    with zipfile.ZipFile(path) as packed:
        h5 = h5py.File(io.BytesIO(packed.read("model.weights.h5")))
    h5.visititems(lambda _, o: found.append(np.array(o)) if isinstance(o, h5py.Dataset) else None)
    return found


@needs_namespace
def test_other_settings_are_refused_on_all_workers(workers, tmp_path):
    codes, _, said = workers("--epochs 1", "--epochs 2")
    assert codes == [2, 2]
    for text in said:
        assert "differ in --epochs (1 on worker 0 (127.0.0.1:24501), 2 on worker 1 (" in text
    assert not (tmp_path / "run").exists()


@needs_namespace
def test_other_data_are_refused_on_all_workers(workers, tmp_path):
    for name, value in (("a", 0.0), ("b", 1.0)):
        x = np.random.default_rng(0).normal(size=(200, 4))
        x[0, 0] = value
        np.savez(tmp_path / f"{name}.npz", x=x, y=np.arange(200) % 2)
    # The same name on both, as on two machines: a link that leads each worker elsewhere.
    for index, name in enumerate("ab"):
        (tmp_path / f"home{index}").mkdir()
        (tmp_path / f"home{index}" / "d.npz").symlink_to(tmp_path / f"{name}.npz")
    script = "\n".join(
        f"(cd home{i} && TF_CONFIG='{json.dumps(_task(i))}' {sys.executable} -m "
        f"kt_transfer.pretrain --data npz:d.npz --epochs 1 --out {tmp_path}/run 2>&1; echo $?) &"
        for i in range(2)
    )
    done = in_namespace(["bash", "-c", script + "\nwait"], cwd=tmp_path)
    said = "differ in the content of npz:d.npz ("
    assert (done.stdout.count(said), done.stdout.split().count("2")) == (2, 2), done.stdout
    assert not (tmp_path / "run").exists()


def _task(index: int) -> dict:
    cluster = {"worker": ["127.0.0.1:24501", "127.0.0.1:24502"]}
    return {"cluster": cluster, "task": {"type": "worker", "index": index}}


LOSING = Path(__file__).with_name("losing.py")
PRETRAIN = ("pretrain", "--epochs", 5, "--out", "run", "--resume")


def launched(folder, *words, count=2):
    """Workers that are lost once, and started again once."""
    launch = [sys.executable, "-m", "kt_transfer.engine.launch", "--workers", count]
    here = os.environ | {"PYTHONPATH": str(ROOT)}
    done = in_namespace([*launch, "--restart", 1, "--", LOSING, *words], cwd=folder, env=here)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    launched(folder, 0, "none", "never", *PRETRAIN)
    return weights(folder / "run/model.keras")


@needs_namespace
@pytest.mark.slow
@pytest.mark.parametrize(
    ("victim", "how", "moment", "epoch"),
    [
        (1, "SIGKILL", "start", 0),
        (1, "SIGSTOP", "start", 0),
        (0, "SIGSTOP", "start", 0),
        (0, "SIGKILL", "before", 0),
        (1, "SIGSTOP", "before", 0),
        (1, "SIGKILL", "within", 2),
        (0, "SIGSTOP", "within", 2),
        (0, "SIGKILL", "checkpoint", 2),
        (0, "SIGSTOP", "checkpoint", 2),
        (1, "SIGKILL", "end", 5),
    ],
)
def test_the_launcher_goes_on_after_a_loss(tmp_path, undisturbed, victim, how, moment, epoch):
    said = launched(tmp_path, victim, how, moment, *PRETRAIN)
    assert "starting all workers again (1 of 1)" in said
    if how == "SIGSTOP":  # nobody has ended it yet when the other notices
        assert f"worker {1 - victim} failed with exit code 75" in said
    for index in range(2):
        assert (tmp_path / f"from{index}").read_text().split()[-1] == str(epoch)
    rows = (tmp_path / "run/history.csv").read_text().splitlines()[1:]
    assert len(rows) == 5
    again = weights(tmp_path / "run/model.keras")
    assert all(np.array_equal(a, b) for a, b in zip(undisturbed, again, strict=True))


@needs_namespace
@pytest.mark.slow
def test_finetune_goes_on_with_three_workers(tmp_path):
    pretrain.run(epochs=1, out=tmp_path / "source", quiet=True)
    words = ["finetune", "--source", "source", "--labels", 100, "--epochs", 5, "--resume", "--out"]
    launched(tmp_path, 0, "none", "never", *words, "whole", count=3)
    launched(tmp_path, 2, "SIGKILL", "within", *words, "run", count=3)
    assert (tmp_path / "lost").exists()
    whole, again = (weights(tmp_path / name / "model.keras") for name in ("whole", "run"))
    assert all(np.array_equal(a, b) for a, b in zip(whole, again, strict=True))


@needs_namespace
@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "victim", "rows"), [("SIGKILL", 1, 1), ("SIGSTOP", 1, 2), ("SIGKILL", 0, 2)]
)
def test_after_a_loss_all_go_on_to_the_same_weights(workers, tmp_path, how, victim, rows):
    flags = ("--epochs 8 --resume --out whole",) * 2
    assert workers(*flags)[0] == [0, 0]
    flags = ("--epochs 8 --resume",) * 2
    codes, seconds, said = workers(*flags, victim=victim, how=how, rows=rows)
    assert codes[1 - victim] == 75
    assert seconds < 30
    assert f"worker {victim} (" in said[1 - victim]
    assert workers(*flags)[0] == [0, 0]
    whole, again = (weights(tmp_path / name / "model.keras") for name in ("whole", "run"))
    assert all(np.array_equal(a, b) for a, b in zip(whole, again, strict=True))
