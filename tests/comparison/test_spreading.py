"""Folds that several processes train make the table that one makes, whichever of them is lost."""

import contextlib
import os
import signal
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

from kt_transfer import UserError, compare
from kt_transfer.comparison import spreading
from kt_transfer.methods import Scratch

QUICK = {
    "data": "digits",
    "labels": (40,),
    "folds": 3,
    "repeats": 1,
    "methods": ("scratch", "linear", "features"),
    "epochs": 3,
    "pretrain_epochs": 1,
    "hidden_units": (16,),
    "latent_dim": 8,
    "shift": True,
    "strategy": "one_device",  # pytest has two
    "quiet": True,
}


def found(folder) -> list[pd.DataFrame]:
    """What is the same whoever trains it: all but the seconds."""
    frames = [pd.read_csv(folder / name) for name in ("comparison.csv", "curves.csv", "shift.csv")]
    return [frame[[name for name in frame if "seconds" not in name]] for frame in frames]


def run(folder, **settings):
    return compare.run(**QUICK | settings, out=folder / "run", export_dir=folder / "served")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    run(folder)
    return found(folder / "run")


def processes_of(folder) -> list[int]:
    """Those that train folds of the run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if str(folder / "run").encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


def test_a_process_that_is_lost_loses_nothing(alone, tmp_path):
    killed = []

    def kill_one():
        given = spreading.folder_of(tmp_path / "run")
        while not list(given.glob("0/checkpoint/held_out/*")):
            time.sleep(0.01)
        killed.extend(processes_of(tmp_path)[:1])
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    run(tmp_path, workers=2)
    killer.join(1)
    assert len(killed) == 1
    for one, several in zip(alone, found(tmp_path / "run"), strict=True):
        pd.testing.assert_frame_equal(one, several, check_exact=True)
    assert not spreading.folder_of(tmp_path / "run").exists()
    assert not processes_of(tmp_path)


def test_what_cannot_be_sent_is_refused(tmp_path):
    class Own(Scratch):
        name = "own"

    with pytest.raises(UserError, match="expected candidates that another process can be given"):
        run(tmp_path, workers=2, candidates={"own": Own()})
    with pytest.raises(UserError, match="time_budget='?2m'?, expected one process"):
        run(tmp_path, workers=2, time_budget="2m")


def test_a_fold_at_which_all_are_lost_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    broken = tmp_path / "site"
    broken.mkdir()
    (broken / "keras.py").write_text("raise SystemExit('no memory')")
    monkeypatch.setenv("PYTHONPATH", f"{broken}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    with pytest.raises(RuntimeError, match="fold . of repeat 0 .* 3 processes .* no memory"):
        run(tmp_path, workers=2)
