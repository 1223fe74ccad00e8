"""Trials of one search in several processes: real ones, which are also lost."""

import contextlib
import csv
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from kt_transfer import tune
from kt_transfer.errors import UserError
from kt_transfer.tuning import chief

SETTINGS = {
    "data": "digits",
    "source": "scratch",
    "labels": 60,
    "epochs": 2,
    "max_trials": 5,
    "seed": 3,
    "folds": 4,
    "strategy": "one_device",
    "jit_compile": "no",
}


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    out = tmp_path_factory.mktemp("one") / "search"
    tune.run("finetune", **SETTINGS, hidden_units=(8,), out=out, quiet=True)
    return table_of(out)


def table_of(out):
    """All that does not depend on the clock."""
    with open(out / "trials.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: text for name, text in row.items() if name != "seconds"} for row in rows]


def start(out, *flags, **environment):
    given = [part for name, value in SETTINGS.items() for part in (flag(name), str(value))]
    command = [sys.executable, "-m", "kt_transfer.tune", "finetune", "--hidden-units", "8"]
    return subprocess.Popen(
        [*command, *given, "--out", str(out), *flags],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # In the background of a shell it would be ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def flag(name):
    return "--" + name.replace("_", "-")


def workers_of(process):
    with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
        return [int(pid) for pid in file.read().split()]


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "took too long"
        time.sleep(0.05)


def is_alive(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def first_trial(out):
    return out / "tuner" / "trial_0" / "trial.json"


def test_a_lost_worker_changes_nothing_in_the_table(expected, tmp_path):
    out = tmp_path / "search"
    process = start(out, "--workers", "2")
    wait_for(lambda: first_trial(out).is_file())
    workers = workers_of(process)
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 0, told
    assert "was lost (signal 9)" in told
    assert "fork" not in told
    assert table_of(out) == expected
    assert not any(is_alive(pid) for pid in workers)


@pytest.mark.slow
@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_search_leaves_nobody_and_goes_on(expected, tmp_path, by):
    out = tmp_path / "search"
    process = start(out, "--workers", "2")
    wait_for(lambda: first_trial(out).is_file())
    workers = workers_of(process)
    process.send_signal(by)
    process.communicate(timeout=30)
    wait_for(lambda: not any(is_alive(pid) for pid in workers), 15)
    assert process.returncode == (-9 if by == signal.SIGKILL else 128 + by)
    process = start(out, "--workers", "2", "--resume")
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 0, told
    assert table_of(out) == expected


@pytest.mark.slow
def test_chief_and_workers_started_by_hand(expected, tmp_path):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = str(held.getsockname()[1])
    where = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": port}
    names = ("chief", "left", "right")
    started = [start(tmp_path / "s", **where, KERASTUNER_TUNER_ID=name) for name in names]
    for process in started:
        told, _ = process.communicate(timeout=120)
        assert process.returncode == 0, told
    assert table_of(tmp_path / "s") == expected


def test_a_missing_chief_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr(chief, "CHIEF_SECONDS", 1.0)
    given = zip(chief.VARIABLES, ("worker", "127.0.0.1", "9"), strict=True)
    for name, value in given:
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="none answers there"):
        tune.run("finetune", **SETTINGS, out=tmp_path / "search", quiet=True)


def test_what_cannot_be_spread_is_refused(tmp_path, monkeypatch):
    settings = {"source": "scratch", "out": tmp_path / "search", "quiet": True}
    with pytest.raises(UserError, match="a dict or a JSON file"):
        tune.run("finetune", lambda hp, base: base, workers=2, **settings)
    with pytest.raises(UserError, match="multi_worker"):
        tune.run("finetune", workers=2, strategy="multi_worker", **settings)
    with pytest.raises(UserError, match="workers=0"):
        tune.run("finetune", workers=0, **settings)
    for name, value in zip(chief.VARIABLES, ("worker", "127.0.0.1", "9"), strict=True):
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="to tune compare, expected none of KerasTuner's"):
        tune.run("compare", workers=2, out=tmp_path / "search", quiet=True)


def test_half_of_kerastuners_variables_is_refused():
    with pytest.raises(UserError, match="without KERASTUNER_ORACLE_PORT"):
        chief.place_of_environment({"KERASTUNER_TUNER_ID": "chief"})
