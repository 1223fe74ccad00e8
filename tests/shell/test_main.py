"""Flags and exit codes; a command's own behaviour is in commands/."""

import contextlib
import re
import shlex
import subprocess
import sys

import pytest

from kt_transfer import UserError, pretrain
from kt_transfer.runs.folder import start
from kt_transfer.settings import CompareConfig, FinetuneConfig, PretrainConfig, to_settings
from kt_transfer.shell.entry import Terminated
from kt_transfer.shell.main import COMMANDS, main, parse


def ending(capfd, monkeypatch, error, *flags):
    """Exit code and stderr of a command that ends with ``error``."""

    def execute(config):
        if error:
            raise error

    monkeypatch.setattr(pretrain, "execute", execute)

    try:
        main(["pretrain", *flags])
        code = 0
    except SystemExit as leaving:
        code = leaving.code
    return code, capfd.readouterr().err


def noted(error, note):
    error.add_note(note)
    return error


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (None, 0, ""),
        (UserError("--epochs 0 was given"), 2, "error: --epochs 0 was given\n"),
        (RuntimeError("boom"), 1, "error: RuntimeError: boom (--debug shows where)\n"),
        (noted(KeyboardInterrupt(), "continue with: X"), 130, "interrupted\ncontinue with: X\n"),
        (noted(Terminated(), "continue with: X"), 143, "terminated\ncontinue with: X\n"),
    ],
)
def test_exit_codes(capfd, monkeypatch, error, code, message):
    assert ending(capfd, monkeypatch, error) == (code, message)


@pytest.mark.parametrize("error", [UserError("no"), RuntimeError("boom")])
def test_debug_shows_the_traceback(capfd, monkeypatch, error):
    code, shown = ending(capfd, monkeypatch, error, "--debug")
    assert code == (2 if isinstance(error, UserError) else 1)
    assert "Traceback" in shown
    assert "in execute" in shown


@pytest.mark.parametrize("flags", [["--no-such-flag", "1"], ["--epochs", "many"], ["--epochs"]])
def test_a_flag_that_cannot_be_read_is_exit_2(capfd, monkeypatch, flags):
    code, shown = ending(capfd, monkeypatch, None, *flags)
    assert code == 2
    assert flags[0] in shown


def test_flags_are_read():
    flags = "--source runs/a --hidden-units 8 4 --freeze all --labels 30 --quiet --out x"
    given = parse("finetune", FinetuneConfig, shlex.split(flags))
    assert (given.source, given.hidden_units, given.freeze) == ("runs/a", (8, 4), "all")
    assert (given.labels, given.quiet, str(given.out)) == (30, True, "x")
    assert parse("finetune", FinetuneConfig, ["--source=a", "--freeze=2"]).freeze == 2


def test_flags_of_several_kinds_of_values_are_read():
    flags = "--labels 50 all --source runs/a runs/b --methods scratch linear --time-budget 2m"
    given = parse("compare", CompareConfig, flags.split())
    assert (given.labels, given.source) == ((50, "all"), ("runs/a", "runs/b"))
    assert given.methods == ("scratch", "linear")
    assert given.time_budget_seconds == 120


def run_with(path, interrupted=False, **settings):
    config = to_settings(PretrainConfig(out=path, quiet=True, **settings))
    with contextlib.suppress(KeyboardInterrupt), start("pretrain", config, out=path):
        if interrupted:
            raise KeyboardInterrupt
    return str(path)


@pytest.mark.parametrize("form", ["--from-run {}", "--from-run={}"])
def test_from_run_takes_its_settings_as_defaults(tmp_path, form):
    earlier = run_with(tmp_path / "run", latent_dim=3, hidden_units=(9,), data="npz:x.npz")
    flags = [*form.format(earlier).split(), "--hidden-units", "5"]
    given = parse("pretrain", PretrainConfig, flags)
    assert (given.latent_dim, given.hidden_units, given.data) == (3, (5,), "npz:x.npz")
    # How it was run is not taken over.
    assert (given.out, given.quiet) == (None, False)


def test_from_run_takes_a_run_of_the_same_command_alone(tmp_path):
    earlier = run_with(tmp_path / "run")
    with pytest.raises(UserError, match="FinetuneConfig: give a run of the same command"):
        parse("finetune", FinetuneConfig, ["--from-run", earlier, "--source", "x"])


def test_from_run_wants_a_run(tmp_path):
    with pytest.raises(UserError, match=f"from_run={tmp_path}/absent .*does not exist"):
        parse("pretrain", PretrainConfig, ["--from-run", f"{tmp_path}/absent"])


def test_resume_takes_the_settings_of_the_run(tmp_path):
    interrupted = run_with(tmp_path / "run", interrupted=True, latent_dim=3)
    given = parse("pretrain", PretrainConfig, ["--resume", "--out", interrupted])
    assert (given.latent_dim, given.resume) == (3, True)


def test_a_switch_of_the_run_can_be_given_again_and_turned_off(tmp_path):
    path = tmp_path / "run"
    settings = to_settings(CompareConfig(shift=True))
    with contextlib.suppress(KeyboardInterrupt), start("compare", settings, out=path):
        raise KeyboardInterrupt
    resumed = ["--out", str(path), "--resume"]
    assert parse("compare", CompareConfig, resumed).shift
    assert parse("compare", CompareConfig, [*resumed, "--shift"]).shift
    assert not parse("compare", CompareConfig, [*resumed, "--no-shift"]).shift


def test_without_a_command_they_are_listed(capsys):
    for argv in ([], ["--help"], ["-h"]):
        with pytest.raises(SystemExit) as leaving:
            main(argv)
        assert leaving.value.code == 0
        shown = capsys.readouterr().out
        assert all(re.search(rf"^  {name} ", shown, re.M) for name in COMMANDS)


def test_the_version_is_the_packages(capsys):
    import kt_transfer

    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.strip() == kt_transfer.__version__


def test_an_unknown_command_is_exit_2(capsys):
    with pytest.raises(SystemExit) as leaving:
        main(["pretrian"])
    assert leaving.value.code == 2
    assert "'pretrian'" in capsys.readouterr().err


IMPORT = """
import sys
from kt_transfer.shell.startup import LOOKED_FOR_IN_VAIN, import_tensorflow_quietly

import_tensorflow_quietly()
found = [name for name in LOOKED_FOR_IN_VAIN if name in sys.modules]
assert not found, f"{found} imported with TensorFlow: time that every command waits"
import keras, matplotlib.pyplot, sklearn.linear_model
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
print(model.predict(keras.ops.ones((1, 2)), verbose=0).shape)
"""


def test_tensorflow_is_imported_without_what_it_does_not_need():
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "(1, 3)"
