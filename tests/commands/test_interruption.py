"""Runs that are stopped, and go on."""

import itertools
import json
import shlex
import signal
import subprocess
import sys

import pandas as pd
import pytest
from run_folders import same

from kt_transfer.runs.folder import Run

PROPAGATED = (
    *("finetune", "--source", "scratch", "--method", "propagated", "--labels", 60),
    *("--augment", "affine", "--hidden-units", 16, "--out"),
)
VAT = (
    *("finetune", "--source", "scratch", "--method", "vat", "--labels", 60),
    *("--hidden-units", 16, "--first", "fresh", "--averaging", 0.9, "--out"),
)
LONG = ("pretrain", "--hidden-units", 16, "--latent-dim", 4, "--jit-compile", "no", "--out")


def test_ctrl_c_names_the_command_that_goes_on(interrupt, tmp_path):
    history = tmp_path / "run" / "history.csv"
    done = interrupt(*LONG, "run", "--epochs", 100_000, until=history.is_file)
    assert done.returncode == 130
    assert done.stderr.splitlines() == [
        "interrupted",
        "continue with: python -m kt_transfer.pretrain --resume --out run",
    ]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "interrupted"


@pytest.mark.parametrize(
    ("words", "more"),
    [
        (LONG, ("--noise", 0.2)),
        pytest.param(PROPAGATED, ("--dropout", 0.2), marks=pytest.mark.slow),
        pytest.param(VAT, ("--epsilon", 0.5), marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_run_goes_on_to_exactly_the_same_weights(
    invoke, tmp_path, monkeypatch, words, more
):
    """In one process, with a clock by which a checkpoint is due after every epoch."""
    words = (*words, "run", "--epochs", 6, *more)
    ticks = itertools.count(step=100)

    def clock():
        if (tmp_path / "run" / "checkpoint" / "3").exists():
            raise KeyboardInterrupt
        return next(ticks)

    with monkeypatch.context() as patched:
        patched.setattr("time.monotonic", clock)
        assert invoke(*words).code == 130
    assert [path.name for path in (tmp_path / "run" / "checkpoint").iterdir()] == ["3"]
    done = invoke(words[0], "--resume", "--out", "run")
    assert (done.code, done.err) == (0, "")
    assert invoke(*words[:-5], "whole", *words[-4:]).code == 0
    assert_the_same_run(tmp_path / "run", tmp_path / "whole")


def assert_the_same_run(path, whole):
    run, whole = Run(path), Run(whole)
    assert same(run.load_model().get_weights(), whole.load_model().get_weights())
    assert run.read_json("metrics.json") == whole.read_json("metrics.json")
    histories = [pd.read_csv(r.path / "history.csv").drop(columns="seconds") for r in (run, whole)]
    assert histories[0].equals(histories[1])
    assert not run.has("checkpoint")


@pytest.mark.slow
def test_a_terminated_run_goes_on_to_exactly_the_same_weights(interrupt, tmp_path):
    done = interrupt(
        *(*LONG, "run", "--epochs", 600),
        pause_at=(tmp_path / "run" / "history.csv").is_file,
        until=lambda: list((tmp_path / "run").glob("checkpoint/[0-9]*")),
        by=signal.SIGTERM,
    )
    assert done.returncode == 143
    command = shlex.split(done.stderr.splitlines()[-1].removeprefix("continue with: "))
    assert 0 < int(next((tmp_path / "run").glob("checkpoint/[0-9]*")).name) < 600
    resumed = subprocess.run([sys.executable, *command[1:]], cwd=tmp_path, capture_output=True)
    assert (resumed.returncode, resumed.stderr) == (0, b"")

    subprocess.run(
        [sys.executable, "-m", "kt_transfer", *map(str, LONG), "whole", "--epochs", "600"],
        cwd=tmp_path,
        check=True,
    )
    assert_the_same_run(tmp_path / "run", tmp_path / "whole")
