"""``python -m kt_transfer.tune COMMAND``: search the settings of a command with KerasTuner."""

from __future__ import annotations

if __name__ == "__main__":  # --help and mistakes are answered before TensorFlow loads
    import sys

    from kt_transfer.shell.entry import main

    sys.exit(main(["tune", *sys.argv[1:]]))

import dataclasses
import math
import shutil
from pathlib import Path

from kt_transfer import distill, finetune, pretrain
from kt_transfer import settings as config
from kt_transfer.comparison.searching import search_settings
from kt_transfer.errors import TrainingFailed, UserError, counted, listed
from kt_transfer.reporting.terminal import format_table
from kt_transfer.runs import folder as runs
from kt_transfer.runs import session
from kt_transfer.runs.folder import Run
from kt_transfer.settings.calling import config_of

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


def run(command: str, **settings) -> Run:
    """The command as a function.

    Args:
        command: ``"pretrain"``, ``"finetune"`` or ``"distill"``.
        **settings: The fields of that command's tune config.

    Example:
        >>> from kt_transfer import tune
        >>> tune.run("pretrain", epochs=1, max_trials=1, out="runs/search", quiet=True)
        Run('runs/search')
    """
    if command not in _CONFIGS:
        raise UserError(
            given=f"tune.run({command!r})",
            expected=listed(_CONFIGS),
            remedy="name the command whose settings to search",
        )
    return execute(config_of(_CONFIGS[command][1], settings))


def execute(search: config.Search) -> Run:
    """Trials, each a run folder; the best one becomes ``OUT/best``."""
    command = search.searched
    metric, direction = _objective(command, search)
    base = config.narrow(search, _CONFIGS[command][0])
    with session.start_run(f"tune-{command}", search) as run:
        trials = search_settings(
            run.path,
            suggest=SUGGESTIONS[command],
            base=base,
            train=_COMMANDS[command].execute,
            metric=metric,
            direction=direction,
            search=search.search,
            max_trials=search.max_trials,
            say=session.say(search),
        )
        done = [trial for trial in trials if trial["score"] is not None]
        if not done:
            raise TrainingFailed(
                f"every one of {len(trials)} trials failed, expected one at least to choose: the "
                f"last says, {trials[-1]['message'] or 'nothing'}"
            )
        best = (min if direction == "min" else max)(done, key=lambda trial: trial["score"])
        _keep_best(run, Path(best["run"]))
        run.write_json("trials.json", {"objective": f"validation {metric}", "trials": trials})
        run.write_json("metrics.json", runs.Run(run.path / "best").read_json("metrics.json"))
    _tell(search, command, run, trials, best, metric)
    return run


def _objective(command: str, search) -> tuple[str, str]:
    classifies = getattr(search, "objective", None) == "classification"
    return ("accuracy", "max") if classifies else OBJECTIVES[command]


def suggest_pretrain(hp, base: config.PretrainConfig) -> config.PretrainConfig:
    """A KerasTuner space around ``base``; its defaults are ``base`` itself."""
    changes = {
        "learning_rate": _learning_rate(hp, base.learning_rate),
        "batch_size": _choice(hp, "batch_size", (32, 64, 128), base.batch_size),
        "noise": _choice(hp, "noise", (0.0, 0.3, 0.5, 0.7), base.noise),
    }
    if base.model == "conv":
        changes["filters"] = _widths(hp, "filters", base.filters, (32, 64), (16, 32, 64))
    else:
        others = (256, 128), (1000,)
        changes["hidden_units"] = _widths(hp, "hidden_units", base.hidden_units, *others)
    return dataclasses.replace(base, **changes)


def suggest_finetune(hp, base: config.FinetuneConfig) -> config.FinetuneConfig:
    """A KerasTuner space around ``base``; its defaults are ``base`` itself."""
    decays = ("none", "exponential", "step", "cosine")
    changes = {
        "learning_rate": _learning_rate(hp, base.learning_rate),
        "batch_size": _choice(hp, "batch_size", (16, 32, 64), base.batch_size),
        "lr_decay": _choice(hp, "lr_decay", decays, base.lr_decay),
    }
    if base.chosen_head == "dense":
        changes["dropout"] = _choice(hp, "dropout", (0.0, 0.2, 0.5), base.dropout)
    if base.method == "parameters" and base.source != "scratch":
        changes["freeze"] = _choice(hp, "freeze", ("0", "1", "all"), str(base.freeze))
        changes["freeze"] = "all" if changes["freeze"] == "all" else int(changes["freeze"])
    return dataclasses.replace(base, **changes)


def suggest_distill(hp, base: config.DistillConfig) -> config.DistillConfig:
    """A KerasTuner space around ``base``; its defaults are ``base`` itself."""
    changes = {
        "learning_rate": _learning_rate(hp, base.learning_rate),
        "alpha": _choice(hp, "alpha", (0.0, 0.1, 0.5), base.alpha),
    }
    if base.loss in ("kl", "decoupled", "standardized"):
        temperatures = (1.0, 2.0, 4.0, 8.0, 16.0)
        changes["temperature"] = _choice(hp, "temperature", temperatures, base.temperature)
    return dataclasses.replace(base, **changes)


SUGGESTIONS = {
    "pretrain": suggest_pretrain,
    "finetune": suggest_finetune,
    "distill": suggest_distill,
}


def _learning_rate(hp, default: float) -> float:
    """The usual rates, or as far as the default lies."""
    low, high = min(1e-4, default), max(1e-2, default)
    return hp.Float("learning_rate", low, high, sampling="log", default=default)


def _choice(hp, name: str, values: tuple, default):
    """A choice that offers the default too, wherever it lies."""
    return hp.Choice(name, sorted({*values, default}), default=default)


def _widths(hp, name: str, base: tuple[int, ...], *others: tuple[int, ...]) -> tuple[int, ...]:
    """Widths as a word, since KerasTuner chooses among words and numbers only."""
    options = {"-".join(map(str, widths)): widths for widths in (base, *others)}
    return options[hp.Choice(name, list(options), default=next(iter(options)))]


def _keep_best(run: Run, trial: Path) -> None:
    best = run.path / "best"
    shutil.rmtree(best, ignore_errors=True)
    shutil.copytree(trial, best)
    settings = runs.Run(best).settings
    runs.Run(best).write_json("config.json", {**settings, "out": str(best)})


def _tell(search, command: str, run: Run, trials, best, metric: str) -> None:
    say = session.say(search)
    session.say_notes_of(search, runs.Run(run.path / "best"))
    names = list(best["settings"])
    largest_first = _objective(command, search)[1] == "max"
    done = [trial for trial in trials if trial["score"] is not None]
    ranked = sorted(done, key=lambda trial: trial["score"], reverse=largest_first)
    rows = [
        [trial["trial"], trial["score"], *(_short(trial["settings"][name]) for name in names)]
        for trial in ranked[:10]
    ]
    say(format_table(["trial", f"validation {metric}", *names], rows))
    failed = f", {len(trials) - len(done)} failed" if len(done) < len(trials) else ""
    kept = run.path / "best"
    say(f"best of {counted(len(trials), 'trial')}{failed}: {kept}")
    if metric == "accuracy":
        for line in describe_ranking([trial["score"] for trial in ranked], _num_judged(kept)):
            say(line)
    say(f"next: {runs.command_line(*_command_after(command, kept))}")


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


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
