"""Two workers equal one process, in a network namespace of their own.

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

WORKER = Path(__file__).with_name("multi_worker.py")
CLUSTER = {"worker": ["127.0.0.1:24501", "127.0.0.1:24502"]}


def namespace_works() -> bool:
    if not shutil.which("unshare") or not shutil.which("ip"):
        return False
    command = ["unshare", "-rn", "ip", "link", "set", "lo", "up"]
    return subprocess.run(command, capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(
    not namespace_works(), reason="needs unshare -rn and ip (Debian: util-linux, iproute2)"
)


def run_workers(*words):
    """The same command as two workers; their outputs."""
    lines = ["ip link set lo up"]
    for index in range(2):
        setting = json.dumps({"cluster": CLUSTER, "task": {"type": "worker", "index": index}})
        command = " ".join(str(word).format(index=index) for word in (sys.executable, *words))
        lines.append(f"TF_CONFIG='{setting}' timeout -k 5 120 {command} 2>&1 & pids+=($!)")
    lines.append('for pid in "${pids[@]}"; do wait "$pid" || exit 1; done')
    done = subprocess.run(
        ["unshare", "-rn", "bash", "-c", "\n".join(lines)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_two_workers_equal_one_process(tmp_path):
    run_workers(WORKER, tmp_path / "worker{index}.npz")
    environment = {k: v for k, v in os.environ.items() if k != "TF_CONFIG"}
    alone = [sys.executable, WORKER, tmp_path / "alone.npz"]
    subprocess.run(alone, check=True, env=environment)
    one = np.load(tmp_path / "alone.npz")
    assert one["replicas"] == 1
    for index in range(2):
        two = np.load(tmp_path / f"worker{index}.npz")
        assert two["replicas"] == 2
        for name in set(one.files) - {"replicas"}:
            np.testing.assert_allclose(two[name], one[name], atol=1e-5)


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
