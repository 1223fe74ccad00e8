import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from kt_transfer import UserError
from kt_transfer.runs import folder as runs
from kt_transfer.runs.folder import Run, open_run, start

SETTINGS = {"epochs": 3, "seed": 0, "quiet": False}


def finish(path, **options):
    """A complete run with a file in it."""
    with start("pretrain", SETTINGS, out=path, **options) as run:
        run.write_json("metrics.json", {"test": {}})
    return run


def interrupt(path, **options):
    with (
        pytest.raises(KeyboardInterrupt) as stopped,
        start("pretrain", SETTINGS, out=path, **options),
    ):
        raise KeyboardInterrupt
    return stopped.value


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_run_says_what_it_was_told_and_how_it_ended(tmp_path):
    run = finish(tmp_path / "run")
    assert run.settings == {**SETTINGS, "out": str(tmp_path / "run")}
    description = run.read_json("run.json")
    assert description["status"] == "complete"
    assert (description["command"], description["seed"]) == ("pretrain", 0)
    assert description["wall_seconds"] >= 0
    assert description["versions"]["numpy"] == np.__version__
    assert open_run(tmp_path / "run").command == "pretrain"


def test_nothing_but_the_run_remains(tmp_path):
    finish(tmp_path / "run")
    assert {p.name for p in tmp_path.iterdir()} == {"run"}
    assert {p.name for p in (tmp_path / "run").iterdir()} == {
        "config.json",
        "run.json",
        "metrics.json",
    }


def test_a_start_that_was_killed_in_its_first_moment_is_in_nobodys_way(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with pytest.raises(UserError, match="exists"):  # it may be anyone's
        finish(folder)
    (folder / ".lock").touch()
    assert finish(folder).read_json("run.json")["status"] == "complete"


def test_without_out_every_run_has_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = {str(finish(None).path) for _ in range(3)}
    assert len(folders) == 3
    assert all(folder.startswith("runs/pretrain-") for folder in folders)


def test_a_half_written_file_is_never_seen(tmp_path):
    run = finish(tmp_path / "run")
    before = contents(run.path)
    with (
        pytest.raises(OSError, match="disk full"),
        runs.replacing(run.path / "metrics.json") as new,
    ):
        new.write_text('{"te')
        assert contents(run.path)[(run.path / "metrics.json").relative_to(run.path)] == (
            b'{\n  "test": {}\n}\n'
        )
        raise OSError("disk full")
    assert contents(run.path) == before
    with pytest.raises(TypeError):
        run.write_json("metrics.json", {1j: 2})
    assert contents(run.path) == before


def test_numpy_and_paths_are_written_as_json(tmp_path):
    run = finish(tmp_path / "run")
    run.write_json("a.json", {"n": np.float32(0.5), "a": np.arange(2), "p": tmp_path})
    assert run.read_json("a.json") == {"n": 0.5, "a": [0, 1], "p": str(tmp_path)}
    run.update_json("a.json", n=1)
    assert run.read_json("a.json")["n"] == 1
    run.write_arrays("b.npz", rows=np.arange(3))
    assert run.read_arrays("b.npz")["rows"].tolist() == [0, 1, 2]


def test_a_mistake_of_the_users_leaves_nothing(tmp_path):
    with (
        pytest.raises(UserError, match="wrong"),
        start("pretrain", SETTINGS, out=tmp_path / "a/run"),
    ):
        raise UserError("wrong")
    assert list(tmp_path.iterdir()) == []


def test_another_error_leaves_a_failed_run(tmp_path):
    with pytest.raises(RuntimeError), start("pretrain", SETTINGS, out=tmp_path / "run"):
        raise RuntimeError
    assert Run(tmp_path / "run").read_json("run.json")["status"] == "failed"
    with pytest.raises(UserError, match="but it is failed"):
        open_run(tmp_path / "run")


def test_an_existing_folder_is_an_error(tmp_path):
    run = finish(tmp_path / "run")
    before = contents(run.path)
    with pytest.raises(UserError, match=f"out={run.path} was given.*exists.*overwrite=True"):
        finish(tmp_path / "run")
    assert contents(run.path) == before


def test_an_existing_file_is_an_error(tmp_path):
    (tmp_path / "run").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(UserError, match="run"):
            finish(tmp_path / "run", overwrite=overwrite)
    assert (tmp_path / "run").read_text() == "mine"


def test_an_empty_folder_may_be_used(tmp_path):
    (tmp_path / "run").mkdir()
    finish(tmp_path / "run")
    assert open_run(tmp_path / "run", "run").read_json("metrics.json") == {"test": {}}


def test_overwrite_refuses_what_is_no_run(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("mine")
    with pytest.raises(UserError, match="thesis, expected a run folder"):
        finish(tmp_path / "thesis", overwrite=True)
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "mine"


def old_and_new(tmp_path):
    old = finish(tmp_path / "run")
    old.write_json("old.json", {})
    return contents(old.path)


def test_overwrite_replaces_a_run(tmp_path):
    old_and_new(tmp_path)
    run = finish(tmp_path / "run", overwrite=True)
    assert not run.has("old.json")
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("error", [UserError, RuntimeError])
def test_overwrite_keeps_the_old_run_where_the_new_one_fails(tmp_path, error):
    before = old_and_new(tmp_path)
    with (
        pytest.raises(error),
        start("pretrain", SETTINGS, out=tmp_path / "run", overwrite=True) as run,
    ):
        run.write_json("half.json", {})
        raise error("no")
    assert contents(tmp_path / "run") == before
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_overwrite_keeps_the_old_run_while_the_new_one_is_interrupted(tmp_path):
    before = old_and_new(tmp_path)
    interrupt(tmp_path / "run", overwrite=True)
    # A second attempt, and one that fails: the only complete run must not be the one that goes.
    interrupt(tmp_path / "run", overwrite=True)
    with (
        pytest.raises(RuntimeError),
        start("pretrain", SETTINGS, out=tmp_path / "run", overwrite=True),
    ):
        raise RuntimeError
    assert contents(tmp_path / "run") == before


def test_the_old_run_goes_when_a_resumed_one_is_complete(tmp_path):
    old_and_new(tmp_path)
    interrupt(tmp_path / "run", overwrite=True)
    finish(tmp_path / "run", resume=True)
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
    assert not Run(tmp_path / "run").has("old.json")


def test_a_run_that_failed_or_was_killed_says_both_ways(tmp_path):
    with pytest.raises(RuntimeError), start("pretrain", SETTINGS, out=tmp_path / "run"):
        raise RuntimeError("boom")
    for status, said in (("failed", "failed"), ("running", "did not end")):
        Run(tmp_path / "run").update_json("run.json", status=status)
        with (
            pytest.raises(UserError, match=f"exists and {said}: .*resume=True.*overwrite=True"),
            start("pretrain", SETTINGS, out=tmp_path / "run"),
        ):
            pass


def killed(path, at):
    """A process that replaces a run and is killed, before or after the new one has begun."""
    stop = {"aside": "runs._make_folders = lambda path: os.kill(os.getpid(), 9)", "begun": ""}[at]
    lines = (
        "import os",
        "from kt_transfer.runs import folder as runs",
        stop,
        f"with runs.start('pretrain', {SETTINGS}, out={str(path)!r}, overwrite=True):",
        "    os.kill(os.getpid(), 9)",
    )
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)])
    assert done.returncode == -9


def test_a_run_that_was_set_aside_is_found_again(tmp_path):
    finish(tmp_path / "run")
    killed(tmp_path / "run", at="aside")
    assert not (tmp_path / "run").exists()
    assert open_run(tmp_path / "run").has("metrics.json")
    assert not (tmp_path / ".run.replaced").exists()


def test_a_complete_run_beside_what_was_to_replace_it_is_said(tmp_path):
    finish(tmp_path / "run")
    killed(tmp_path / "run", at="begun")
    said = r"\(the complete one that it was to replace is .*/\.run\.replaced; `.*` puts it back\)"
    with pytest.raises(UserError, match=f"complete run, but it is running {said}"):
        open_run(tmp_path / "run")
    with (
        pytest.raises(UserError, match=f"did not end {said}: continue it"),
        start("pretrain", SETTINGS, out=tmp_path / "run"),
    ):
        pass
    with start("pretrain", SETTINGS, out=tmp_path / "run", overwrite=True):
        pass
    assert not (tmp_path / ".run.replaced").exists()


def test_what_puts_back_the_run_that_was_to_be_replaced_does(tmp_path):
    path = tmp_path / "my run"
    for told in ("by the interrupted one", "by what opens it"):
        shutil.rmtree(path, ignore_errors=True)
        finish(path)
        if told == "by the interrupted one":
            stopped = interrupt(path, overwrite=True)
            back, on = stopped.__notes__
            assert on.startswith("continue with: ")
            command = back.removeprefix("the run that it was to replace comes back with: ")
        else:
            killed(path, at="begun")
            with pytest.raises(UserError) as refused:
                open_run(path)
            command = str(refused.value).split("`")[1]
        assert subprocess.run(command, shell=True).returncode == 0
        assert open_run(path).has("metrics.json")
        assert [path.name for path in tmp_path.iterdir()] == ["my run"]


def test_an_interrupted_run_says_how_to_go_on(tmp_path):
    stopped = interrupt(tmp_path / "run")
    command = f"python -m kt_transfer.pretrain --resume --out {tmp_path / 'run'}"
    assert any(command in note for note in stopped.__notes__)
    with pytest.raises(UserError, match="interrupted: continue it with .*--resume"):
        open_run(tmp_path / "run")
    with pytest.raises(UserError, match="was interrupted: continue it with resume=True"):
        finish(tmp_path / "run")


def test_a_resumed_run_keeps_what_is_there_and_adds_up_the_time(tmp_path):
    interrupt(tmp_path / "run")
    run = Run(tmp_path / "run")
    run.update_json("run.json", wall_seconds=100.0)
    (run.folder("checkpoint") / "1").mkdir()
    with start("pretrain", SETTINGS | {"quiet": True}, out=run.path, resume=True):
        assert (run.path / "checkpoint" / "1").is_dir()
        assert run.read_json("run.json")["status"] == "running"
    assert not run.has("checkpoint")
    assert run.read_json("run.json")["wall_seconds"] >= 100


def test_resuming_refuses_changed_settings(tmp_path):
    interrupt(tmp_path / "run")
    with (
        pytest.raises(UserError, match="changed settings .epochs 3 -> 4"),
        start("pretrain", SETTINGS | {"epochs": 4}, out=tmp_path / "run", resume=True),
    ):
        pass
    assert Run(tmp_path / "run").read_json("run.json")["status"] == "interrupted"


def test_resuming_refuses_what_is_not_there_complete_or_anothers(tmp_path):
    with pytest.raises(UserError, match="resume=True was given without out"):
        finish(None, resume=True)
    with pytest.raises(UserError, match="absent was given.*there is no run"):
        finish(tmp_path / "absent", resume=True)
    finish(tmp_path / "done")
    with pytest.raises(UserError, match="done was given.*it is complete"):
        finish(tmp_path / "done", resume=True)
    interrupt(tmp_path / "run")
    with (
        pytest.raises(UserError, match="to distill, but pretrain wrote"),
        start("distill", SETTINGS, out=tmp_path / "run", resume=True),
    ):
        pass
    assert not (tmp_path / "absent").exists()


HOLD = """
import sys
from kt_transfer.runs.folder import start
with start("pretrain", {}, out=sys.argv[1]):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_run_that_another_process_writes_is_left_alone(tmp_path):
    path = tmp_path / "run"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        holder.stdout.readline()
        before = contents(path)
        for options in ({"overwrite": True}, {"resume": True}):
            with (
                pytest.raises(UserError, match=f"{path} was given, but another process"),
                start("pretrain", {}, out=path, **options),
            ):
                pass
            assert contents(path) == before
    finally:
        holder.communicate(timeout=30)
    assert open_run(path).command == "pretrain"


def test_a_killed_process_leaves_no_lock(tmp_path):
    path = tmp_path / "run"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    holder.stdout.readline()
    holder.kill()
    holder.communicate(timeout=30)
    with pytest.raises(UserError, match="but it is running: continue it with"):
        open_run(path)
    with start("pretrain", {}, out=path, resume=True):
        pass
    assert open_run(path).read_json("run.json")["status"] == "complete"


def test_what_is_no_run_folder_is_an_error(tmp_path):
    with pytest.raises(UserError, match="source=absent .*does not exist"):
        open_run("absent", "source")
    with pytest.raises(UserError, match=f"run={tmp_path} .*is not a run folder"):
        open_run(tmp_path)


@pytest.mark.parametrize("content", ['{"status": "comp', "", "[]", "\x00"])
def test_a_damaged_description_is_an_error(tmp_path, content):
    run = finish(tmp_path / "run")
    (run.path / "run.json").write_text(content)
    with pytest.raises(UserError, match=f"{run.path} was given.*run.json"):
        open_run(run.path)


@pytest.mark.parametrize("damage", [lambda p: p.write_bytes(p.read_bytes()[:50]), os.remove])
def test_a_damaged_model_or_array_is_an_error(tmp_path, damage):
    import keras

    run = finish(tmp_path / "run")
    run.save_model("model.keras", keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]))
    run.write_arrays("splits.npz", train=np.arange(3))
    damage(run.path / "model.keras")
    damage(run.path / "splits.npz")
    with pytest.raises(UserError, match=f"{run.path} was given.*model.keras cannot be read"):
        run.load_model()
    with pytest.raises(UserError, match=f"{run.path} was given.*splits.npz cannot be read"):
        run.read_arrays("splits.npz")


def test_a_saved_model_is_plain(tmp_path):
    import keras

    x = keras.Input((2,))
    model = keras.Model(x, keras.layers.Dense(1)(x))
    model.compile("adam", "mse")
    run = finish(tmp_path / "run")
    run.save_model("model.keras", model)
    loaded = keras.saving.load_model(run.path / "model.keras")
    assert not loaded.compiled
    assert all(map(np.array_equal, model.get_weights(), loaded.get_weights()))
    assert model.compiled  # the one that was saved stays as it is


def test_the_commit_is_noted_where_there_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert finish("run").read_json("run.json")["git_commit"] is None
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words], check=True, cwd=tmp_path
        )
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=tmp_path
    )
    assert finish("other").read_json("run.json")["git_commit"] == head.stdout.strip()
    assert json.loads((tmp_path / "other" / "run.json").read_text())["git_commit"]


@pytest.mark.parametrize("given", [".", "..", "../inner"])
def test_the_folder_that_one_is_in_is_no_run(tmp_path, monkeypatch, given):
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    with (
        pytest.raises(UserError, match=r"out=.* expected a folder of its own, .*out=runs/first"),
        start("pretrain", {}, out=given, overwrite=True),
    ):
        pass
    assert not list((tmp_path / "inner").iterdir())
