"""Disks that are full or may not be written: one sentence, and nothing is lost."""

import errno
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from kt_transfer.data import cache
from kt_transfer.files.writing import describe_disk_error, replacing
from kt_transfer.runs import folder as runs
from kt_transfer.runs.folder import Run, start

SETTINGS = {"learning_rate": 0.01}


def full(path=None):
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *([str(path)] if path else []))


@pytest.mark.parametrize(
    "error",
    [
        full(),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        OSError(errno.EROFS, os.strerror(errno.EROFS)),
        PermissionError(errno.EACCES, os.strerror(errno.EACCES)),
        OSError(errno.EFBIG, os.strerror(errno.EFBIG)),
        IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)),
        FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)),
        tf.errors.ResourceExhaustedError(None, None, "x/variables; No space left on device"),
        shutil.Error("[('a', 'b', '[Errno 28] No space left on device')]"),
    ],
)
def test_an_error_of_the_disk_is_one_sentence_with_the_path(tmp_path, error):
    told = describe_disk_error(error, tmp_path / "absent" / "file")
    assert told.startswith(f"{tmp_path}/absent/file cannot be written (")
    assert told.endswith(".")
    assert "\n" not in told


def test_a_full_disk_says_what_is_free(tmp_path):
    usage = shutil.disk_usage(tmp_path)
    told = describe_disk_error(full(tmp_path / "absent"), "elsewhere")
    assert str(tmp_path) in told
    assert f"{usage.total / 10**9:.3g} GB are free" in told or "TB are free" in told


def test_what_caused_an_error_is_told_and_what_went_before_is_not():
    try:
        try:
            raise full("runs")
        except OSError as error:
            raise RuntimeError("no") from error
    except RuntimeError as error:
        assert describe_disk_error(error).startswith("runs cannot be written (No space")
    try:
        try:
            raise full("runs")
        except OSError:
            raise RuntimeError("no") from None
    except RuntimeError as error:
        assert describe_disk_error(error) is None


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "absent"),
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"),
    ],
)
def test_other_errors_are_not_the_disks(error):
    assert describe_disk_error(error) is None


def test_an_error_names_the_file_that_was_to_be(tmp_path):
    with pytest.raises(OSError) as failure, replacing(tmp_path / "a.json"):
        raise full()
    assert failure.value.filename == str(tmp_path / "a.json")
    assert list(tmp_path.iterdir()) == []


def fails(path, error, **options):
    with pytest.raises(type(error)) as failure, start("pretrain", SETTINGS, out=path, **options):
        raise error
    return failure.value


def test_a_run_on_a_full_disk_failed_and_goes_on(tmp_path):
    error = fails(tmp_path / "run", full())
    assert error.filename == str(tmp_path / "run")
    command = f"python -m kt_transfer.pretrain --resume --out {tmp_path / 'run'}"
    assert error.__notes__ == [f"continue with: {command}"]
    assert Run(tmp_path / "run").read_json("run.json")["status"] == "failed"
    with start("pretrain", SETTINGS, out=tmp_path / "run", resume=True):
        pass
    assert runs.open_run(tmp_path / "run")


def no_room(monkeypatch):
    """From now on no file can be made; those that are there can be written where they lie."""

    def mkdir_or_replace(*_, **__):
        raise full()

    monkeypatch.setattr(os, "replace", mkdir_or_replace)


@pytest.mark.parametrize("error", [full(), RuntimeError("no"), KeyboardInterrupt()])
def test_a_run_that_cannot_write_how_it_ended_says_why_it_ended(tmp_path, monkeypatch, error):
    path = tmp_path / "run"
    with pytest.raises(type(error)) as failure, start("pretrain", SETTINGS, out=path):
        no_room(monkeypatch)
        raise error
    assert failure.value is error
    status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
    assert json.loads((path / "run.json").read_text())["status"] == status


def test_a_run_that_ends_well_on_a_full_disk_is_complete(tmp_path, monkeypatch):
    with start("pretrain", SETTINGS, out=tmp_path / "run"):
        no_room(monkeypatch)
    assert runs.open_run(tmp_path / "run")


def test_where_not_even_the_settings_can_be_written_nothing_is_left(tmp_path, monkeypatch):
    no_room(monkeypatch)
    with pytest.raises(OSError), start("pretrain", SETTINGS, out=tmp_path / "a" / "run"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_was_to_be_overwritten_comes_back(tmp_path, monkeypatch):
    with start("pretrain", SETTINGS, out=tmp_path / "run") as run:
        run.write_json("old.json", {})
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    fails(tmp_path / "run", full(), overwrite=True)
    with monkeypatch.context() as patched:
        no_room(patched)
        with pytest.raises(OSError), start("pretrain", {}, out=tmp_path / "run", overwrite=True):
            pass
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_an_export_may_go_elsewhere_when_a_run_goes_on(tmp_path):
    settings = SETTINGS | {"export_dir": "full"}
    with pytest.raises(OSError), start("compare", settings, out=tmp_path / "run"):
        raise full()
    with start("compare", settings | {"export_dir": "other"}, out=tmp_path / "run", resume=True):
        pass
    assert runs.open_run(tmp_path / "run")


def test_a_cache_without_room_says_how_much_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    row = np.zeros((1, 1000), np.uint8)
    num_rows = shutil.disk_usage(tmp_path).total // 1000 * 2
    with pytest.raises(Exception, match=r"expected room for .*are free: free [\d.]+ .B, or set"):
        cache.cached_rows("key", num_rows, lambda: iter([{"x": row}]))
    assert list((tmp_path / "kt_transfer").iterdir()) == []


# On a disk of its own, which one must be allowed to mount: every command with less and less room.
ON_A_SMALL_DISK = """
import os, subprocess, sys
from kt_transfer.__main__ import main
folder, source = sys.argv[1:]
os.chdir(folder)
with open("ballast", "wb") as file:
    room = os.statvfs(".")
    file.write(bytes(room.f_bavail * room.f_bsize - 40_000))
small = "--strategy one_device --epochs 1 --out out --quiet".split()
for words in (
    ["pretrain", "--hidden-units", "64", *small],
    ["tune", "pretrain", "--hidden-units", "64", "--max-trials", "1", *small],
    ["export", "--run", source, "--name", "served", "--quiet"],
    ["predict", "--run", source, "--out", "out.csv", "--quiet"],
):
    try:
        main(words)
        print(0)
    except SystemExit as leaving:
        print(leaving.code, flush=True)
    subprocess.run(["rm", "-rf", "out", "saved_models"], check=True)
assert os.listdir(".") == ["ballast"], os.listdir(".")
"""


@pytest.mark.slow
def test_commands_on_a_full_disk_end_with_one_sentence(chain, tmp_path):
    mount = f'mount -t tmpfs -o size=4m tmpfs {tmp_path} && exec "$0" "$@"'
    words = [sys.executable, "-c", ON_A_SMALL_DISK, tmp_path, chain.teacher]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, *map(str, words)], capture_output=True, text=True
    )
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip("this process may not mount a disk")
    assert done.stdout.split() == ["2"] * 4, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 4, done.stderr
    for line, name in zip(lines, ["out/", "out", "saved_models/served", "out.csv"], strict=True):
        assert line.startswith(f"error: {name}")
        assert "cannot be written (No space left on device; " in line


@pytest.mark.parametrize(
    ("words", "setting", "expected"),
    [
        (["predict", "--out", ".", "--overwrite"], "--out .", "a file, but it is a folder"),
        (["predict", "--out", "folder", "--overwrite"], "--out folder", "a file, but it is a f"),
        (["predict", "--out", "pipe", "--overwrite"], "--out pipe", "a file, but it is a device"),
        (["predict", "--out", "/proc/x.csv"], "--out /proc/x.csv", "a place to write"),
        (["predict", "--out", "/proc/a/x.csv"], "--out /proc/a/x.csv", "a place to write"),
        (["predict", "--out", "file/x.csv"], "--out file/x.csv", "a place to write"),
        (["label", "--out", ".", "--overwrite"], "--out .", "a file, but it is a folder"),
        (["label", "--out", "/proc/x.csv"], "--out /proc/x.csv", "a place to write"),
        (["evaluate", "--out", "/proc/x"], "--out /proc/x", "a place to write"),
        (["evaluate", "--out", "file"], "--out file", "a place to write"),
        (["export", "--name", "m", "--export-dir", "/proc/x"], "--export-dir /proc/x", "a place"),
        (["export", "--name", "m", "--export-dir", "file"], "--export-dir file", "a place to w"),
        (["inspect", "--out", "/proc/x"], "--out /proc/x", "a place to write"),
        (["pretrain", "--out", "/proc/x"], "--out /proc/x", "a place to write"),
        (["quickstart", "--export-dir", "/proc/x"], "--export-dir /proc/x", "a place to write"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_first(
    chain, invoke, tmp_path, words, setting, expected
):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    command, *flags = words
    data = ["--data", "digits"] if command in ("inspect", "predict") else []
    run = [] if command in ("inspect", "pretrain", "quickstart") else ["--run", chain.student]
    done = invoke(command, *run, *data, *flags)
    assert done.code == 2
    assert done.err.startswith(f"error: {setting} was given, expected {expected}"), done.err
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "file", "pipe"}


@pytest.mark.parametrize("mode", [0o000, 0o555])
def test_a_folder_without_permission_is_told_by_what_is_forbidden(tmp_path, monkeypatch, mode):
    (folder := tmp_path / "closed").mkdir()
    # Of what root may not do, for whom permissions are none.
    allowed = os.R_OK | os.X_OK if mode else 0
    monkeypatch.setattr(os, "access", lambda path, wanted: not wanted & ~allowed)
    told = describe_disk_error(PermissionError(errno.EACCES, "no", str(folder)))
    verb = "written" if mode else "read"
    assert told.startswith(f"{folder} cannot be {verb} (Permission denied): give its permissions")
