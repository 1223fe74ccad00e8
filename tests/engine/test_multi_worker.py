"""Several workers equal one process, in a network namespace of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from clusters import needs_namespace, run_workers

from kt_transfer import evaluate, finetune, predict
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
def test_commands_on_two_workers_write_what_one_process_does(tmp_path):
    def on_workers(command, *words):
        together = ("--strategy", "multi_worker")
        return run_workers("-m", f"kt_transfer.{command}", *together, *words)

    run = tmp_path / "run"
    printed = on_workers("pretrain", "--epochs", 3, "--out", run)
    assert printed.count("pretrained on digits") == 1
    note = json.loads((run / "run.json").read_text())
    assert (note["status"], note["num_replicas"]) == ("complete", 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
    settings = {"labels": 100, "epochs": 3, "quiet": True}
    finetune.run(source=run, out=tmp_path / "fine", **settings)

    for name in ("run", "fine"):
        printed = on_workers("evaluate", "--run", tmp_path / name, "--out", tmp_path / f"{name}-2")
        assert printed.count("359 examples") == 1
        evaluate.run(run=tmp_path / name, out=tmp_path / f"{name}-1", quiet=True)
        one, two = (
            json.loads((tmp_path / f"{name}-{count}" / "evaluation.json").read_text())
            for count in (1, 2)
        )
        assert one == pytest.approx(two) if name == "run" else one["accuracy"] == two["accuracy"]
    printed = on_workers("predict", "--run", tmp_path / "fine", "--out", tmp_path / "2.csv")
    assert printed.count("1797 predictions") == 1
    predict.run(run=tmp_path / "fine", out=tmp_path / "1.csv", quiet=True)
    one, two = (pd.read_csv(tmp_path / f"{count}.csv") for count in (1, 2))
    pd.testing.assert_frame_equal(one, two, rtol=1e-5, atol=1e-6)
    assert len([*tmp_path.iterdir()]) == 8
