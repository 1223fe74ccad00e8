"""``python -m kt_transfer.tune COMMAND``: search the settings of a command with KerasTuner."""

from __future__ import annotations

if __name__ == "__main__":  # --help and mistakes are answered before TensorFlow loads
    import sys

    from kt_transfer.shell.entry import main

    sys.exit(main(["tune", *sys.argv[1:]]))

import contextlib
import dataclasses
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kt_transfer import compare, distill, finetune, pretrain
from kt_transfer import settings as config
from kt_transfer.errors import TrainingFailed, UserError, counted, listed, named
from kt_transfer.reporting.terminal import format_table, short_value
from kt_transfer.runs import folder as runs
from kt_transfer.runs import recording, session
from kt_transfer.runs.folder import Run
from kt_transfer.settings.calling import config_of
from kt_transfer.settings.finetune import HELD_OUT_SHARE
from kt_transfer.tuning import chief, spaces
from kt_transfer.tuning.few_labels import Folds
from kt_transfer.tuning.nested import describe_searches, searches_of
from kt_transfer.tuning.report import describe_gain, write_report
from kt_transfer.tuning.searching import search_settings
from kt_transfer.tuning.tuned import Tuned

# What each command's trials are judged by: never the test split.
OBJECTIVES = {
    "pretrain": ("mse", "min"),
    "finetune": ("accuracy", "max"),
    "distill": ("accuracy", "max"),
}
_COMMANDS = {"pretrain": pretrain, "finetune": finetune, "distill": distill}
_CONFIGS = {
    "pretrain": (config.PretrainConfig, config.TunePretrainConfig),
    "finetune": (config.FinetuneConfig, config.TuneFinetuneConfig),
    "distill": (config.DistillConfig, config.TuneDistillConfig),
}
# Of fewer labels a hold-out is too small to rank trials by; folds judge by all of them.
FEW_LABELS, DEFAULT_FOLDS = 1000, 5
# Settings of a session, which no trial has.
_SESSION = {"quiet": True, "overwrite": False, "resume": False, "from_run": None}


def run(command: str, space: Callable | dict | None = None, **settings) -> Run:
    """The command as a function.

    Args:
        command: ``"pretrain"``, ``"finetune"``, ``"distill"`` or ``"compare"``.
        space: What to search instead of the command's own space: a JSON file, what it holds, or a
            function ``(hp, settings) -> settings`` as those of :mod:`kt_transfer.tuning.spaces`.
        **settings: The fields of that command's tune config.

    Example:
        >>> from kt_transfer import tune
        >>> tune.run("pretrain", epochs=1, max_trials=1, out="runs/search", quiet=True)
        Run('runs/search')
    """
    if command not in (*_CONFIGS, "compare"):
        raise UserError(
            given=f"tune.run({command!r})",
            expected=listed([*_CONFIGS, "compare"]),
            remedy="name the command whose settings to search",
        )
    if space is not None and not callable(space) and not isinstance(space, dict):
        settings, space = settings | {"space": Path(space)}, None
    if command == "compare":
        return execute_compare(config_of(config.TuneCompareConfig, settings), space)
    return execute(config_of(_CONFIGS[command][1], settings), space)


def execute(search: config.Search, space: Callable | dict | None = None) -> Run:
    """Trials, judged by folds or by what each holds out; the best one becomes ``OUT/best``."""
    command = search.searched
    if command == "compare":
        return execute_compare(search)
    metric, direction = _objective(command, search)
    base = config.narrow(search, _CONFIGS[command][0])
    suggest = _space(search, base, space)
    place = chief.place_of_environment()
    if place or search.workers > 1:
        chief.require_spreadable(search, space)
    if place and not place.is_chief:
        return _work(search, base, suggest)
    with session.start_run(f"tune-{command}", search) as run:
        judge = _judge(search, base, run, run.path / "trials")
        spread = None
        if place or search.workers > 1:
            spread = _spread(search, place, run, space)
        trials = _searched(search, base, suggest, judge, run.path / "tuner", spread)
        done = [trial for trial in trials if trial["score"] is not None]
        if not done:
            raise TrainingFailed(
                f"every one of {len(trials)} trials failed, expected one at least to choose: the "
                f"last says, {trials[-1]['message'] or 'nothing'}"
            )
        best = (min if direction == "min" else max)(done, key=lambda trial: trial["score"])
        if judge.num_folds > 1:
            # What an interruption may have left of it.
            shutil.rmtree(run.path / "best", ignore_errors=True)
            _train(command, best["suggested"], run.path / "best")
        else:
            _keep_best(run, _trial_folder(run, best["trial"]))
        found = {
            "command": command,
            "objective": f"validation {metric}",
            "direction": direction,
            "folds": judge.num_folds,
            "judged": judge.num_judged,
            "best": best["trial"],
            "trials": [_with_run(run, trial) for trial in trials],
        }
        run.write_json("trials.json", found)
        run.write_json("metrics.json", runs.Run(run.path / "best").read_json("metrics.json"))
        write_report(run.path, found)
    _tell(search, run, found)
    return run


def _searched(search, base, suggest, judge: _Judge, folder: Path, spread=None) -> list[dict]:
    metric, direction = _objective(search.searched, search)
    with judge.scope:
        return search_settings(
            folder,
            suggest=suggest,
            base=base,
            scores=judge.scores,
            num_folds=judge.num_folds,
            metric=metric,
            direction=direction,
            search=search.search,
            max_trials=search.max_trials,
            seed=search.seed,
            say=session.say(search),
            spread=spread,
        )


def _spread(search, place, run: Run, space: dict | None) -> chief.Spread:
    """The same command for each worker, which reads the settings from the run folder."""
    arguments = ["-m", "kt_transfer.tune", search.searched, "--quiet"]
    arguments += ["--from-run", str(run.path), "--out", str(run.path)]
    if space is not None:
        run.write_json("space.json", space)
        arguments += ["--space", str(run.path / "space.json")]
    folder = run.folder("logs")
    # Of a chief that was started by hand, so are the workers, unless it was asked for some.
    workers = 0 if place and search.workers == 1 else search.workers
    return chief.Spread(place, workers, arguments, folder)


def _work(search, base, suggest: Callable) -> Run:
    """Run trials for the chief of the search; the run folder is the chief's."""
    if search.out is None:
        raise UserError(
            setting="out",
            given="none",
            when="to a worker of a search",
            expected="the folder that the chief and all workers share",
            remedy=f"give {named('out', 'RUN')}",
        )
    chief.require_chief()
    search = dataclasses.replace(search, quiet=True)  # the chief tells what all have found
    command = f"tune-{search.searched}"
    with tempfile.TemporaryDirectory(prefix="kt-transfer-") as scratch:
        own = Path(scratch, "run")
        with runs.start(command, search.to_settings(), out=own) as run:
            judge = _judge(search, base, run, search.out / "trials")
            _searched(search, base, suggest, judge, run.path / "tuner")
    return Run(search.out)


def execute_compare(search: config.TuneCompareConfig, space: dict | None = None) -> Run:
    """Each method as it is, and with its settings searched in every fold anew."""
    if place := chief.place_of_environment():
        raise UserError(
            given=f"{chief.VARIABLES[0]}={place.tuner}",
            when="to tune compare",
            expected="none of KerasTuner's variables",
            but="its unit of work is a fold with all that is searched in it",
            remedy=f"give {named('workers', 2)}, or search for one method, with tune finetune",
        )
    if space is None and search.space is not None:
        space = spaces.read_description(search.space)
    tuned, methods = {}, compare.methods_of(search)
    searched = [name for name in methods if name in spaces.BY_METHOD]
    other = [name for name in space or {} if name not in searched]
    if other:
        raise UserError(
            setting="space",
            given=other[0],
            expected='what to search by method, such as {"scratch": {"dropout": [0.0, 0.5]}}',
            but=f"no method of this name is searched, but {listed(searched)}",
            remedy="put the settings under the methods' names",
        )
    for name, method in methods.items():
        if name in spaces.BY_METHOD:
            tuned[f"{name} tuned"] = Tuned(
                method=method,
                folds=search.inner_folds,
                search=search.search,
                max_trials=search.max_trials,
                space=_space_of_method(name, method, space or {}),
            )
    frame = compare.execute(config.narrow(search, config.CompareConfig), tuned, search)
    run = Run(Path(frame.attrs["run"]))
    searches = searches_of(run.path, search.metric)
    run.write_json("searches.json", {"searches": searches})
    for line in describe_searches(searches, search.metric):
        session.say(search)(line)
    return run


def _space_of_method(name: str, method, space: dict) -> Callable:
    if name not in space:
        return spaces.space_of(name)
    known = {field.name for field in dataclasses.fields(method)} - {"teacher"}
    return spaces.from_description(space[name], known, method)


def _objective(command: str, search) -> tuple[str, str]:
    classifies = getattr(search, "objective", None) == "classification"
    return ("accuracy", "max") if classifies else OBJECTIVES[command]


def _space(search: config.Search, base, space: Callable | dict | None) -> Callable:
    """The function that suggests settings: the command's own, or what is given instead."""
    if space is None and search.space is not None:
        space = spaces.read_description(search.space)
    if isinstance(space, dict):
        return spaces.from_description(space, _searchable(search.searched, base), base)
    if space is not None:
        return space
    if search.searched == "pretrain":
        return spaces.pretrain
    if search.searched == "distill":
        return spaces.distilled
    return spaces.space_of(finetune.method_of(base).name)


def _searchable(command: str, base) -> set[str]:
    """The settings that trials may differ in: those of the training, not of what it is given."""
    if command == "pretrain":
        shared = {field.name for field in dataclasses.fields(config.Training)}
        own = {field.name for field in dataclasses.fields(base)} - shared
        own -= {"labels", "validation_split"}
        return own | {"epochs", "batch_size", "learning_rate"}
    method = finetune.method_of(base) if command == "finetune" else distill.method_of(base)
    return {field.name for field in dataclasses.fields(method)} & set(vars(base)) - {"teacher"}


class _Judge(NamedTuple):
    """How trials are judged.

    Attributes:
        num_folds: Scores of each.
        scores: Function of settings and the name of a trial that yields them.
        num_judged: Examples that judge a trial, over all folds; ``None`` where each trial says so.
        scope: In which they are trained; trials that are commands have one of their own.
    """

    num_folds: int
    scores: Callable[[object, str], Iterator[float]]
    num_judged: int | None = None
    scope: contextlib.AbstractContextManager = contextlib.nullcontext()


def _judge(search: config.Search, base, run: Run, trials: Path) -> _Judge:
    """Folds of few labels; or else what each trial, a run folder in ``trials``, holds out."""
    given = getattr(search, "folds", 1)
    if given == 1:
        return _by_hold_out(base, search.searched, trials)
    if search.searched == "finetune":
        base = finetune.reading_as(base, runs.open_source(base.source))
        data = session.load_data(base, base.data)
        num_labels = base.labels or data.num_labelled
        by_default = DEFAULT_FOLDS if num_labels < FEW_LABELS else 1
    else:
        _, first = distill.open_teachers(base)
        base = distill.reading_as(base, first)
        data = distill.load_data(base, first)
        by_default = 1 if len(distill.rows_with_labels(base, first, data)[1]) else DEFAULT_FOLDS
    data.require_labels()
    if (given or by_default) == 1:
        return _by_hold_out(base, search.searched, trials)
    strategy = recording.begin(run, base)
    recording.check_data(session.say(search), data)
    with strategy.scope():
        if search.searched == "finetune":
            folds = finetune.folds_of(base, data, given or by_default)
        else:
            folds = distill.folds_of(base, data, given or by_default, run)
    return _by_folds(folds, search, strategy)


def _by_folds(folds: Folds, search: config.Search, strategy) -> _Judge:
    method_of = finetune.method_of if search.searched == "finetune" else distill.method_of
    session.say(search)(
        f"{counted(folds.num_labels, 'label')} judge each trial in {folds.num_folds} folds, the "
        "same for all; the test split is not looked at"
    )

    def scores(settings, trial: str) -> Iterator[float]:
        return folds.scores(method_of(settings))

    return _Judge(folds.num_folds, scores, folds.num_labels, strategy.scope())


def _by_hold_out(base, command: str, trials: Path) -> _Judge:
    def scores(settings, trial: str) -> Iterator[float]:
        if command == "finetune" and settings.validation_split is None:
            settings = dataclasses.replace(settings, validation_split=HELD_OUT_SHARE)
        folder = trials / trial
        shutil.rmtree(folder, ignore_errors=True)
        done = _train(command, settings, folder)
        metrics = done.read_json("metrics.json")
        metric, _ = _objective(command, base)
        if "validation" not in metrics:
            raise UserError(
                setting="validation_split",
                given=getattr(base, "validation_split", None) or HELD_OUT_SHARE,
                expected="some held-out examples to judge the trials by",
                but="of so few examples it holds out none",
                remedy=f"give more {named('labels')}, or a larger share",
            )
        yield metrics["validation"][metric]

    return _Judge(1, scores)


def _trial_folder(run: Run, trial: str) -> Path:
    return run.path / "trials" / trial


def _train(command: str, settings, folder: Path) -> Run:
    """A run of the command with such settings."""
    return _COMMANDS[command].execute(dataclasses.replace(settings, out=folder, **_SESSION))


def _with_run(run: Run, trial: dict) -> dict:
    """A trial as it is written: what it was, and where, if it is a run folder."""
    folder = _trial_folder(run, trial["trial"])
    written = {name: value for name, value in trial.items() if name != "suggested"}
    written["epochs"] = trial["suggested"].epochs
    return {**written, "run": str(folder) if (folder / "run.json").is_file() else None}


def _keep_best(run: Run, trial: Path) -> None:
    best = run.path / "best"
    shutil.rmtree(best, ignore_errors=True)
    shutil.copytree(trial, best)
    settings = runs.Run(best).settings
    runs.Run(best).write_json("config.json", {**settings, "out": str(best)})


def _tell(search, run: Run, found: dict) -> None:
    say, kept = session.say(search), run.path / "best"
    session.say_notes_of(search, runs.Run(kept))
    trials, metric = found["trials"], found["objective"].removeprefix("validation ")
    done = [trial for trial in trials if trial["score"] is not None]
    ranked = sorted(done, key=lambda t: t["score"], reverse=found["direction"] == "max")
    names = list(ranked[0]["settings"])
    spread = ["±"] if found["folds"] > 1 else []
    rows = [
        [
            trial["trial"],
            trial["score"],
            *(np.std(trial["scores"], ddof=1) for _ in spread),
            *(short_value(trial["settings"][name]) for name in names),
        ]
        for trial in ranked[:10]
    ]
    say(format_table(["trial", f"validation {metric}", *spread, *names], rows))
    failed = f", {len(trials) - len(done)} failed" if len(done) < len(trials) else ""
    early = sum(len(trial["scores"]) < found["folds"] for trial in done)
    ended = f", {early} ended early" if early else ""
    say(f"best of {counted(len(trials), 'trial')}{failed}{ended}: {kept}")
    if found["folds"] > 1:
        say(describe_gain(found))
    elif metric == "accuracy":
        for line in describe_ranking([trial["score"] for trial in ranked], _num_judged(kept)):
            say(line)
        if getattr(search, "patience", None):
            say(
                "the same examples say when each trial stops, which makes its score a little too "
                f"high: {named('folds')} {DEFAULT_FOLDS} keeps the two apart"
            )
    say(f"table {run.path / 'trials.csv'}   report {run.path / 'report.html'}")
    say(f"next: {runs.command_line(*_command_after(search.searched, kept))}")


def _num_judged(best: Path) -> int:
    """The number of held-out examples that the trials were judged by."""
    return len(runs.Run(best).read_arrays("splits.npz")["validation"])


def describe_ranking(scores: list[float], num_examples: int) -> list[str]:
    """What so few held-out examples can and cannot say of the trials.

    Args:
        scores: Validation accuracy of each trial, the best first.
        num_examples: By how many examples it was measured.

    Example:
        >>> for line in describe_ranking([1.0, 1.0, 0.9], 10):
        ...     print(line)
        2 trials share the best accuracy: the first of them is taken
        10 held-out examples judge the trials: one is worth 0.1000, and a difference below 0.2645
        may be chance
    """
    lines = []
    if (ties := scores.count(scores[0])) > 1:
        lines.append(f"{ties} trials share the best accuracy: the first of them is taken")
    if len(scores) > 1 and num_examples:
        lines.append(
            f"{counted(num_examples, 'held-out example')} judge the trials: one is worth "
            f"{1 / num_examples:.4f}, and a difference below "
            f"{least_difference(scores[0], num_examples):.4f} may be chance"
        )
    return lines


def least_difference(score: float, num_examples: int) -> float:
    """The smallest difference of two accuracies that counts: two standard errors.

    Of two trials that agree on nothing but their accuracy, so that it errs on the safe side; the
    accuracy is that of Agresti & Coull (1998), with two more right answers and two more wrong ones,
    since ten of ten are no proof of certainty.
    """
    share = (score * num_examples + 2) / (num_examples + 4)
    return 2 * math.sqrt(2 * share * (1 - share) / (num_examples + 4))


def _command_after(command: str, best: Path) -> tuple:
    """What to do with the best trial, which is trained already."""
    if command == "pretrain":
        return "finetune", "--source", best
    if command == "finetune":
        return "distill", "--teacher", best
    return "export", "--run", best, "--name", "NAME"
