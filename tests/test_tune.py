"""Searches with small budgets: what they try, keep, and go on from."""

import contextlib
import csv
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from kt_transfer import UserError, finetune, pretrain, tune
from kt_transfer.errors import TrainingFailed
from kt_transfer.runs import folder as runs
from kt_transfer.tune import describe_ranking, least_difference

QUICK = {"data": "digits", "strategy": "one_device", "jit_compile": "no", "quiet": True}
PRETRAIN = QUICK | {"hidden_units": (8,), "latent_dim": 4, "epochs": 2, "max_trials": 3}
FINETUNE = QUICK | {
    "source": "scratch",
    "hidden_units": (8,),
    "labels": 60,
    "validation_split": 0.3,
    "batch_size": 16,
}


def trials_of(run):
    return json.loads((Path(run) / "trials.json").read_text())["trials"]


@pytest.fixture(scope="module")
def random_search(tmp_path_factory):
    return tune.run("pretrain", **PRETRAIN, out=tmp_path_factory.mktemp("random") / "search")


@pytest.fixture(scope="module")
def hyperband(tmp_path_factory):
    out = tmp_path_factory.mktemp("hyperband") / "search"
    return tune.run("finetune", **FINETUNE, epochs=4, folds=1, search="hyperband", out=out)


def test_random_search_runs_as_many_trials_as_asked(random_search):
    trials = trials_of(random_search)
    assert len(trials) == 3
    assert {trial["status"] for trial in trials} == {"COMPLETED"}
    assert {trial["epochs"] for trial in trials} == {2}
    assert len({json.dumps(trial["settings"]) for trial in trials}) == 3
    assert runs.open_run(random_search).command == "tune-pretrain"


def test_every_trial_is_a_run_judged_by_its_validation(random_search):
    for trial in trials_of(random_search):
        run = runs.open_run(trial["run"])
        assert run.command == "pretrain"
        assert run.read_json("metrics.json")["validation"]["mse"] == trial["score"]
        settings = run.settings
        for name in ("learning_rate", "batch_size", "noise"):
            assert settings[name] == trial["settings"][name]
        chosen = "-".join(map(str, settings["hidden_units"]))
        assert chosen == trial["settings"]["hidden_units"]


@pytest.mark.parametrize(
    "search", ["random_search", pytest.param("hyperband", marks=pytest.mark.slow)]
)
def test_the_first_trial_is_the_defaults(request, search):
    run = request.getfixturevalue(search)
    first = trials_of(run)[0]
    tried, asked = runs.Run(first["run"]).settings, run.settings
    different = {name for name in tried if tried[name] != asked[name]}
    assert different <= {"out", "epochs"}
    assert tried["epochs"] == first["epochs"]


@pytest.mark.parametrize(
    ("search", "best_of", "metric"),
    [
        ("random_search", min, "mse"),
        pytest.param("hyperband", max, "accuracy", marks=pytest.mark.slow),
    ],
)
def test_the_best_trial_is_kept(request, search, best_of, metric):
    run = request.getfixturevalue(search)
    best = runs.open_run(run.path / "best")
    scores = [trial["score"] for trial in trials_of(run)]
    assert best.read_json("metrics.json")["validation"][metric] == best_of(scores)
    assert best.settings["out"] == str(run.path / "best")
    assert best.load_model().name in ("autoencoder", "classifier")
    assert run.read_json("metrics.json") == best.read_json("metrics.json")


@pytest.mark.slow
def test_hyperband_gives_few_epochs_to_many_and_all_to_few(hyperband):
    trials = trials_of(hyperband)
    epochs = [trial["epochs"] for trial in trials]
    assert set(epochs) == {2, 4}
    assert {trial["status"] for trial in trials} == {"COMPLETED"}
    for trial in trials:
        history = (Path(trial["run"]) / "history.csv").read_text().splitlines()
        assert len(history) == 1 + trial["epochs"]


def test_the_best_settings_start_another_run(random_search, invoke, tmp_path):
    best = runs.Run(random_search.path / "best")
    done = invoke("pretrain", "--from-run", best.path, "--out", "again")
    assert (done.code, done.err) == (0, "")
    again = runs.open_run(tmp_path / "again")
    assert again.read_json("metrics.json") == best.read_json("metrics.json")


def test_the_best_run_is_a_source(random_search, tmp_path):
    source = random_search.path / "best"
    settings = QUICK | {"labels": 30, "epochs": 1, "out": tmp_path / "teacher"}
    assert finetune.run(source=str(source), **settings).command == "finetune"


class Counted:
    """``execute`` of a command, interrupted or failing at one call."""

    def __init__(self, execute, at=None, error=None):
        self.execute, self.at, self.error, self.calls = execute, at, error, 0

    def __call__(self, config):
        self.calls += 1
        if self.calls == self.at:
            raise self.error
        return self.execute(config)


def test_an_interrupted_search_goes_on_without_repeating(tmp_path, monkeypatch, capfd):
    execute = pretrain.execute
    out = tmp_path / "search"
    monkeypatch.setattr(pretrain, "execute", Counted(execute, 2, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt) as stopped:
        tune.run("pretrain", **PRETRAIN, out=out)
    command = f"python -m kt_transfer.tune pretrain --resume --out {out}"
    assert any(command in note for note in stopped.value.__notes__)
    assert runs.Run(out).read_json("run.json")["status"] == "interrupted"
    (first,) = (path for path in (out / "trials").iterdir() if (path / "metrics.json").exists())
    before = (first / "run.json").read_text()

    counted = Counted(execute)
    monkeypatch.setattr(pretrain, "execute", counted)
    run = tune.run("pretrain", **PRETRAIN, out=out, resume=True)
    assert counted.calls == 2
    assert (first / "run.json").read_text() == before
    assert [(t["trial"], t["status"]) for t in trials_of(run)] == [
        (number, "COMPLETED") for number in "012"
    ]
    assert runs.open_run(out / "best").command == "pretrain"
    assert capfd.readouterr() == ("", "")  # as --quiet has it


def test_a_seed_gives_the_same_trials_interrupted_or_not(random_search, tmp_path, monkeypatch):
    execute = pretrain.execute
    monkeypatch.setattr(pretrain, "execute", Counted(execute, 3, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        tune.run("pretrain", **PRETRAIN, out=tmp_path / "search")
    monkeypatch.setattr(pretrain, "execute", execute)
    resumed = tune.run("pretrain", **PRETRAIN, out=tmp_path / "search", resume=True)
    tried = [
        [(trial["settings"], trial["score"]) for trial in trials_of(run)]
        for run in (random_search, resumed)
    ]
    assert tried[0] == tried[1]


def test_a_trial_that_fails_is_noted_and_the_others_go_on(tmp_path, monkeypatch):
    failing = Counted(pretrain.execute, 2, RuntimeError("out of memory"))
    monkeypatch.setattr(pretrain, "execute", failing)
    run = tune.run("pretrain", **PRETRAIN, out=tmp_path / "search")
    scores = [trial["score"] for trial in trials_of(run)]
    assert scores.count(None) == 1
    assert len(scores) == 3
    best = runs.open_run(run.path / "best").read_json("metrics.json")["validation"]["mse"]
    assert best == min(score for score in scores if score is not None)


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ("finetune --source scratch --labels 5000", "--labels 5000"),
        ("pretrain --data npz:absent.npz", "npz:absent.npz"),
        ("finetune --source absent", "--source absent"),
        ("distill --teacher absent", "absent"),
        ("pretrain --max-trials 0", "--max-trials 0"),
        # Nothing is held out that a trial could be judged by.
        (
            "finetune --source scratch --labels 50 --folds 1 --validation-split 0",
            "--validation-split 0",
        ),
    ],
)
def test_a_mistake_is_exit_2_and_leaves_nothing(invoke, tmp_path, words, given):
    done = invoke("tune", *words.split(), "--epochs", 1, "--out", "search")
    assert done.code == 2, done.err
    assert given in done.err
    assert done.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_table_names_the_best_first(invoke, tmp_path):
    words = (
        "--hidden-units 4 --latent-dim 2 --epochs 1 --max-trials 2 --out search --jit-compile no"
    )
    done = invoke("tune", "pretrain", *words.split(), "--strategy", "one_device")
    assert (done.code, done.err) == (0, "")
    best = min(trials_of(tmp_path / "search"), key=lambda trial: trial["score"])
    table = done.out[done.out.index("validation mse  ") :].splitlines()
    assert table[1].split()[:2] == [best["trial"], f"{best['score']:.4f}"]
    assert table[-1] == "next: python -m kt_transfer.finetune --source search/best"


@pytest.mark.parametrize(("share", "num"), [(0.9, 10), (1.0, 10), (0.8, 100)])
def test_the_least_difference_is_what_chance_stays_below(share, num):
    """Of two trials that are equally good, on as many examples, nineteen times of twenty."""
    least = least_difference(share, num)
    one, other = np.random.default_rng(0).binomial(num, share, (2, 20_000)) / num
    assert np.mean(np.abs(one - other) >= least) <= 0.06
    assert least < 2.5 * np.sqrt(2 * max(share * (1 - share), 2 / num) / num)


def test_ties_are_said_and_what_so_few_examples_cannot_tell():
    lines = describe_ranking([1.0, 1.0, 1.0, 0.9], 10)
    assert lines[0] == "3 trials share the best accuracy: the first of them is taken"
    assert "10 held-out examples judge the trials: one is worth 0.1000" in lines[1]
    assert len(describe_ranking([0.95, 0.9], 100)) == 1


@pytest.mark.slow
def test_a_search_of_frozen_layers_fits_the_encoder(random_search, tmp_path):
    # Its encoder may have a single layer before the code: no freeze beyond that may be tried.
    settings = QUICK | {"labels": 40, "epochs": 1, "max_trials": 2, "validation_split": 0.3}
    source = str(random_search.path / "best")
    run = tune.run("finetune", source=source, **settings, out=tmp_path / "search")
    assert {trial["status"] for trial in trials_of(run)} == {"COMPLETED"}


def test_an_unknown_command_is_refused():
    with pytest.raises((UserError, KeyError), match="export"):
        tune.run("export", max_trials=1)


class Killed(BaseException):
    """A process that is gone: nothing catches it."""


@contextlib.contextmanager
def killed_in_write(monkeypatch, number):
    """The process ends in that write of KerasTuner's state, half of which is in the file."""
    count, write_text = itertools.count(1), Path.write_text

    def write(path, text, *args, **kwargs):
        if "tuner" in path.parts and next(count) == number:
            write_text(path, text[: len(text) // 2])
            raise Killed
        return write_text(path, text, *args, **kwargs)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Path, "write_text", write)
        yield


def score_by_rate(config):
    """A trial that takes no time: a run folder with a score that its settings alone decide."""
    with runs.start("pretrain", {}, out=config.out) as run:
        run.write_json("metrics.json", {"validation": {"mse": config.learning_rate}})
        run.update_json("run.json", data={"spec": "digits", "fingerprint": "0"})
    return run


def table_of(run):
    return [(t["trial"], t["settings"], t["score"], t["status"]) for t in trials_of(run)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pretrain, "execute", score_by_rate)
        out = tmp_path_factory.mktemp("undisturbed") / "search"
        return table_of(tune.run("pretrain", **PRETRAIN, out=out))


@pytest.mark.parametrize("number", range(1, 22))
def test_a_search_that_was_killed_in_any_write_ends_as_if_it_had_not(
    undisturbed, tmp_path, monkeypatch, number
):
    monkeypatch.setattr(pretrain, "execute", score_by_rate)
    out = tmp_path / "search"
    with killed_in_write(monkeypatch, number):
        tune.run("pretrain", **PRETRAIN, out=out)
    runs.Run(out).update_json("run.json", status="running")  # as a killed process leaves it
    resumed = tune.run("pretrain", **PRETRAIN, out=out, resume=True)
    assert table_of(resumed) == undisturbed


def test_a_search_writes_its_state_as_often_as_is_tested(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain, "execute", score_by_rate)
    with pytest.raises(pytest.fail.Exception), killed_in_write(monkeypatch, 22):
        tune.run("pretrain", **PRETRAIN, out=tmp_path / "search")


@pytest.mark.parametrize("number", [*range(8, 15), 20])
def test_hyperband_goes_on_too(hyperband_undisturbed, tmp_path, monkeypatch, number):
    monkeypatch.setattr(pretrain, "execute", score_by_rate)
    settings = PRETRAIN | {"search": "hyperband", "epochs": 4}
    with killed_in_write(monkeypatch, number):
        tune.run("pretrain", **settings, out=tmp_path / "search")
    resumed = tune.run("pretrain", **settings, out=tmp_path / "search", resume=True)
    assert table_of(resumed) == hyperband_undisturbed


@pytest.fixture(scope="module")
def hyperband_undisturbed(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pretrain, "execute", score_by_rate)
        settings = PRETRAIN | {"search": "hyperband", "epochs": 4}
        out = tmp_path_factory.mktemp("hyperband") / "search"
        return table_of(tune.run("pretrain", **settings, out=out))


@pytest.mark.parametrize("content", ["", '{"trial_id": "0', "[]", "{}"])
@pytest.mark.parametrize("name", ["oracle.json", "trial_0/trial.json", "tuner0.json"])
def test_a_damaged_state_is_told_in_a_sentence_or_is_of_no_matter(
    undisturbed, tmp_path, monkeypatch, name, content
):
    monkeypatch.setattr(pretrain, "execute", score_by_rate)
    out = tmp_path / "search"
    with killed_in_write(monkeypatch, 15):
        tune.run("pretrain", **PRETRAIN, out=out)
    (out / "tuner" / name).write_text(content)
    if name == "tuner0.json":
        assert table_of(tune.run("pretrain", **PRETRAIN, out=out, resume=True)) == undisturbed
        return
    with pytest.raises(UserError, match="resume=True was given.*is damaged.*overwrite"):
        tune.run("pretrain", **PRETRAIN, out=out, resume=True)
    assert (out / "tuner" / name).read_text() == content


def test_trials_that_diverge_are_rows_that_failed(invoke, tmp_path, monkeypatch):
    def diverge_if_large(config):
        if config.learning_rate > 1e15:
            raise TrainingFailed("training diverged")
        return score_by_rate(config)

    monkeypatch.setattr(pretrain, "execute", diverge_if_large)
    words = "--max-trials 9 --learning-rate 1e30 --out search"
    done = invoke("tune", "pretrain", *words.split())
    assert (done.code, done.err) == (0, "")
    assert "trial 0 failed: training diverged" in done.out
    trials = trials_of(tmp_path / "search")
    assert len(trials) == 9
    assert {(trial["score"] is None, trial["status"], trial["message"]) for trial in trials} == {
        (True, "FAILED", "training diverged"),
        (False, "COMPLETED", None),
    }


def test_a_trial_that_really_diverges_keeps_its_run(tmp_path):
    settings = PRETRAIN | {"max_trials": 1, "learning_rate": 1e30}
    with pytest.raises(TrainingFailed, match="trial.*failed.*with a learning rate of 1e.30"):
        tune.run("pretrain", **settings, out=tmp_path / "search")
    for run in (tmp_path / "search", tmp_path / "search" / "trials" / "0"):
        assert runs.Run(run).read_json("run.json")["status"] == "failed"


def test_where_every_trial_fails_there_is_nothing_to_choose(invoke, tmp_path, monkeypatch):
    def diverge(config):
        raise TrainingFailed("training diverged")

    monkeypatch.setattr(pretrain, "execute", diverge)
    done = invoke("tune", "pretrain", "--max-trials", 5, "--out", "search", "--quiet")
    assert done.code == 2
    assert "every one of 5 trials failed" in done.err
    assert "the last says, training diverged" in done.err
    assert done.err.count("\n") == 1
    assert runs.Run(tmp_path / "search").read_json("run.json")["status"] == "failed"


FOLDED = FINETUNE | {"epochs": 15, "max_trials": 4}


@pytest.fixture(scope="module")
def folded(tmp_path_factory):
    return tune.run("finetune", **FOLDED, out=tmp_path_factory.mktemp("folded") / "search")


def test_few_labels_are_judged_by_folds_unless_asked_otherwise(folded):
    found = json.loads((folded.path / "trials.json").read_text())
    assert (found["folds"], found["judged"]) == (5, 60)
    for trial in found["trials"]:
        assert 3 <= len(trial["scores"]) <= 5
        assert trial["run"] is None  # no run folder: nothing of it is kept but its scores
    assert not (folded.path / "trials").exists()


def test_the_best_of_folds_is_trained_with_its_settings(folded):
    trials = trials_of(folded)
    best = max(trials, key=lambda trial: trial["score"])
    kept = runs.open_run(folded.path / "best")
    assert kept.command == "finetune"
    for name, value in best["settings"].items():
        assert kept.settings[name] == value
    assert folded.read_json("metrics.json") == kept.read_json("metrics.json")


def test_the_best_of_folds_learns_all_labels_that_are_given(tmp_path):
    settings = FOLDED | {"epochs": 2, "max_trials": 1, "out": tmp_path / "search"}
    del settings["validation_split"]
    splits = tune.run("finetune", **settings).read_arrays("best/splits.npz")
    assert len(splits["labelled"]) == 60
    assert not len(splits["validation"])


@pytest.mark.parametrize("space", [{"batch_size": [16, 32]}, {"vat": {"epsilon": [1.0, 2.0]}}])
def test_a_space_of_what_is_not_compared_is_refused(tmp_path, space):
    settings = {"labels": (40,), "methods": ("scratch", "parameters"), "quiet": True}
    with pytest.raises(UserError, match="no method of this name is searched, but"):
        tune.run("compare", space=space, **settings, out=tmp_path / "search")
    assert not (tmp_path / "search").exists()


def test_that_a_hold_out_also_stops_the_trials_is_said(tmp_path, capsys):
    settings = FOLDED | {"epochs": 2, "max_trials": 1, "folds": 1, "patience": 2, "quiet": False}
    tune.run("finetune", **settings, out=tmp_path / "search")
    assert "say when each trial stops" in capsys.readouterr().out


def test_hyperband_is_compared_with_the_settings_as_given_in_all_epochs():
    from kt_transfer.tuning.report import describe_gain

    short = {"trial": "0000", "score": 0.9, "scores": [0.9, 0.9], "settings": {"a": 1}, "epochs": 2}
    full = short | {"trial": "0005", "score": 0.8, "scores": [0.8, 0.8], "epochs": 5}
    found = {"trials": [short, full], "best": "0000", "folds": 2, "judged": 40, "direction": "max"}
    assert "gains 0.1000 on the settings as given, trial 0005," in describe_gain(found)


def test_a_search_by_folds_goes_on_to_the_same_table(folded, tmp_path, monkeypatch):
    from kt_transfer.tuning.few_labels import Folds

    scores, calls = Folds.scores, itertools.count()

    def interrupted(self, method):
        if next(calls) == 2:
            raise KeyboardInterrupt
        return scores(self, method)

    monkeypatch.setattr(Folds, "scores", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tune.run("finetune", **FOLDED, out=tmp_path / "search")
    monkeypatch.setattr(Folds, "scores", scores)
    resumed = tune.run("finetune", **FOLDED, out=tmp_path / "search", resume=True)
    for one, other in zip(trials_of(folded), trials_of(resumed), strict=True):
        assert one | {"seconds": 0} == other | {"seconds": 0}


def test_a_search_that_was_interrupted_in_training_the_best_goes_on(folded, tmp_path, monkeypatch):
    execute = finetune.execute

    def interrupted(config):
        execute(config)
        raise KeyboardInterrupt

    monkeypatch.setattr(finetune, "execute", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tune.run("finetune", **FOLDED, out=tmp_path / "search")
    assert (tmp_path / "search" / "best" / "run.json").exists()
    monkeypatch.setattr(finetune, "execute", execute)
    resumed = tune.run("finetune", **FOLDED, out=tmp_path / "search", resume=True)
    assert resumed.read_json("metrics.json") == folded.read_json("metrics.json")


def test_a_table_a_page_and_summaries_are_written(folded):
    with open(folded.path / "trials.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["trial"] for row in rows] == ["0", "1", "2", "3"]
    assert float(rows[0]["score"]) == pytest.approx(trials_of(folded)[0]["score"])
    assert "learning_rate" in (folded.path / "report.html").read_text()
    for name in ("scores", "parallel_coordinates"):
        assert (folded.path / "plots" / f"{name}.png").stat().st_size > 1000
    assert any((folded.path / "logs").rglob("events.out.tfevents*"))


def test_a_student_is_judged_by_folds_where_its_teacher_held_nothing_out(folded, tmp_path):
    teacher = folded.path / "best"
    settings = QUICK | {"student_units": (4,), "epochs": 2, "max_trials": 3}
    run = tune.run("distill", teacher=str(teacher), folds=2, **settings, out=tmp_path / "search")
    found = json.loads((run.path / "trials.json").read_text())
    assert found["folds"] == 2
    assert runs.open_run(run.path / "best").command == "distill"


def test_a_trial_out_of_memory_is_a_row_with_that_reason(tmp_path, monkeypatch):
    from kt_transfer.tuning.few_labels import Folds

    scores, calls = Folds.scores, itertools.count()

    def failing(self, method):
        if next(calls) == 1:
            raise MemoryError
        return scores(self, method)

    monkeypatch.setattr(Folds, "scores", failing)
    run = tune.run("finetune", **FOLDED | {"max_trials": 3}, out=tmp_path / "search")
    assert [trial["message"] for trial in trials_of(run)] == [None, "out of memory", None]
    with open(run.path / "trials.csv") as file:
        assert [row["status"] for row in csv.DictReader(file)].count("failed") == 1
