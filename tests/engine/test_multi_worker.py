"""Several workers equal one process, in a network namespace of their own.

TensorFlow's server listens on every interface, so the workers get a network without any.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kt_transfer.methods import BY_NAME

WORKER = Path(__file__).with_name("multi_worker.py")
# Its direction is a normalized gradient near a minimum: initial weights that differ by 3e-7 of
# themselves give ones that differ by 2e-3, on one device as well.
CHAOTIC = 5e-3
# A method of each kind: a plain fit, a teacher, views and a mean teacher.
QUICK = ("resident", "streamed", "distilled", "consistency")


def namespace_works() -> bool:
    if not shutil.which("unshare") or not shutil.which("ip"):
        return False
    command = ["unshare", "-rn", "ip", "link", "set", "lo", "up"]
    return subprocess.run(command, capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(
    not namespace_works(), reason="needs unshare -rn and ip (Debian: util-linux, iproute2)"
)


def run_workers(*words, count=2):
    """The same command as several workers; their outputs."""
    cluster = {"worker": [f"127.0.0.1:{24501 + index}" for index in range(count)]}
    lines = ["ip link set lo up"]
    for index in range(count):
        setting = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
        command = " ".join(str(word).format(index=index) for word in (sys.executable, *words))
        lines.append(f"TF_CONFIG='{setting}' timeout -k 5 120 {command} 2>&1 & pids+=($!)")
    lines.append('for pid in "${pids[@]}"; do wait "$pid" || exit 1; done')
    done = subprocess.run(
        ["unshare", "-rn", "bash", "-c", "\n".join(lines)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize(
    ("count", "what"),
    [(2, QUICK), pytest.param(3, ("resident", "streamed", *BY_NAME), marks=pytest.mark.slow)],
)
def test_workers_equal_one_process(tmp_path, count, what):
    run_workers(WORKER, tmp_path / "worker{index}.npz", *what, count=count)
    environment = {k: v for k, v in os.environ.items() if k != "TF_CONFIG"}
    alone = [sys.executable, WORKER, tmp_path / "alone.npz", *what]
    subprocess.run(alone, check=True, env=environment)
    one = np.load(tmp_path / "alone.npz")
    assert one["replicas"] == 1
    assert {name.split()[0] for name in one.files} == {*what, "replicas"}
    for index in range(count):
        several = np.load(tmp_path / f"worker{index}.npz")
        assert several["replicas"] == count
        for name in set(one.files) - {"replicas"}:
            atol = CHAOTIC if name.startswith("vat ") else 1e-5
            np.testing.assert_allclose(several[name], one[name], atol=atol, err_msg=name)


@pytest.mark.slow
def test_a_command_on_two_workers_writes_one_run(tmp_path):
    printed = run_workers(
        *("-m", "kt_transfer.pretrain", "--strategy", "multi_worker"),
        *("--epochs", 3, "--out", tmp_path / "run"),
    )
    assert printed.count("pretrained on digits") == 1
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (run["status"], run["num_replicas"]) == ("complete", 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
