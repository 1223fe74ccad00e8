"""Several workers equal one process, in a network namespace of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from clusters import needs_namespace, run_workers

from kt_transfer.methods import BY_NAME

WORKER = Path(__file__).with_name("multi_worker.py")
pytestmark = needs_namespace
# Its direction is a normalized gradient near a minimum: initial weights that differ by 3e-7 of
# themselves give ones that differ by 2e-3, on one device as well.
CHAOTIC = 5e-3
# A method of each kind: a plain fit, a teacher, views and a mean teacher.
QUICK = ("resident", "streamed", "distilled", "consistency")


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
