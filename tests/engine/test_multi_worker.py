"""Two workers equal one process, in a network namespace of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from clusters import needs_namespace, run_workers

WORKER = Path(__file__).with_name("multi_worker.py")
pytestmark = needs_namespace


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
