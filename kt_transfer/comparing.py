"""What ``compare`` does with a run folder: every cell within its time, the winner made a run."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np

from kt_transfer import cli, recording
from kt_transfer.candidates import for_folds, sources_of
from kt_transfer.config import CompareConfig
from kt_transfer.data import Dataset
from kt_transfer.errors import UserError
from kt_transfer.models.preprocessing import preprocessing_model
from kt_transfer.reporting.classification import confusion_matrix, softmax
from kt_transfer.reporting.examples import Answers
from kt_transfer.reporting.plots import plot_confusion_matrix, plot_history
from kt_transfer.rows import take_rows
from kt_transfer.runs import Run, open_source
from kt_transfer.selection.comparison import TRANSFERS, Comparison
from kt_transfer.selection.costs import costs
from kt_transfer.selection.folds import resolve_budgets
from kt_transfer.selection.guesses import guesses, layer_similarities
from kt_transfer.selection.learners import Schedule
from kt_transfer.selection.refitting import fixed
from kt_transfer.selection.scoring import scores
from kt_transfer.selection.table import Table
from kt_transfer.selection.telling import tell_budget, tell_comparison
from kt_transfer.selection.verdicts import choose, judge, means, until_scratch, worth
from kt_transfer.training.callbacks import EpochLog, progress_bar

# What is left for refitting, measuring and exporting the winner, as a share of the time budget.
RESERVE = 0.1
# What a fold takes beside training, as a share of it.
OVERHEAD = 0.2
# Folds that are timed before the rest is planned; the first of them compiles, the last counts.
TIMED_FOLDS = 2


def comparison_of(config: CompareConfig, data: Dataset, run: Run) -> Comparison:
    """The comparison that the settings ask for; a mistake in them is found before any training."""
    budgets = resolve_budgets(
        data.y,
        config.labels,
        num_folds=config.folds,
        repeats=config.repeats,
        seed=config.seed,
        copies=data.copies,
    )
    comparison = Comparison(
        data.x,
        data.y,
        num_classes=data.num_classes,
        preprocessing=for_folds(
            preprocessing_model(data.input_shape, data.scaling_range, data.x.dtype), data
        ),
        budgets=budgets,
        num_folds=config.folds,
        seed=config.seed,
        methods=config.methods,
        sources=sources_of(config, data),
        schedule=Schedule(config.epochs, config.batch_size, config.learning_rate),
        student_units=config.student_units,
        copies=data.copies,
        # What was kept with other epochs is of no use.
        folder=run.checkpoint / f"{config.epochs}-{config.pretrain_epochs}",
    )
    if config.metric == "auc":
        _require_two_classes(config, comparison)
    return comparison


def _require_two_classes(config: CompareConfig, comparison: Comparison) -> None:
    for cell, part in comparison.cells(config.repeats):
        if len(np.unique(comparison.y[part.held_out])) < 2:
            raise UserError(
                f"--metric auc was given with --labels {cell.labels} --folds {config.folds}, "
                "expected at least two classes in what every fold holds out, but one has a single "
                "class: give more labels, fewer folds, or another metric."
            )


def fill(config: CompareConfig, run: Run, data: Dataset, table: Table) -> Comparison:
    """Train every cell that the table does not hold yet, within the time budget if there is one."""
    began = time.perf_counter()
    comparison, settled = comparison_of(config, data, run), config
    if config.time_budget_seconds and not _plan_of(run):
        _train(config, comparison, table, TIMED_FOLDS)
        before = run.read_json("run.json").get("wall_seconds", 0.0)
        elapsed = before + time.perf_counter() - began
        plan = planned(config, elapsed, _fold_seconds(config, table))
        run.update_json("run.json", plan=plan)
        if plan["epochs"] < config.epochs:
            table.forget()
    if plan := _plan_of(run):
        cli.say(config)(plan["told"])
        settings = {name: plan[name] for name in ("repeats", "epochs", "pretrain_epochs")}
        settled = dataclasses.replace(config, **settings)
    if settled.epochs != config.epochs:
        comparison = comparison_of(settled, data, run)
    _train(settled, comparison, table)
    return comparison


def _plan_of(run: Run) -> dict | None:
    return run.read_json("run.json").get("plan")


def _train(config: CompareConfig, comparison: Comparison, table: Table, num_folds=None) -> None:
    """All cells, or those of the first folds, under a progress bar."""
    cells = list(comparison.cells(config.repeats, num_folds))
    done = sum(cell in table for cell, _ in cells)
    with progress_bar(f"compare {config.data}", len(cells), done, config.quiet) as advance:
        for cell, part in cells:
            if cell not in table:
                comparison.measure(table, cell, part)
                advance(f"{cell.method}, {cell.labels} labels")


def _fold_seconds(config: CompareConfig, table: Table) -> float:
    """What a fold takes once everything is compiled: the last of those that were timed."""
    repeat, fold = divmod(TIMED_FOLDS - 1, config.folds)
    rows = [r for r in table.rows.values() if (r["repeat"], r["fold"]) == (repeat, fold)]
    pretraining = {row["source"]: row["pretrain_seconds"] for row in rows}
    own = sum(row["fit_seconds"] for row in rows)
    if "parameters" not in config.methods:  # teachers that no row of their own tells of
        own += sum(r["seconds"] - r["pretrain_seconds"] - r["fit_seconds"] for r in rows)
    return own + sum(pretraining.values())


def planned(config: CompareConfig, elapsed: float, fold_seconds: float) -> dict:
    """Repeats and epochs that fit the time budget, and the sentence that says so.

    Args:
        config: The settings; no plan asks for more than they do.
        elapsed: Seconds that are gone.
        fold_seconds: Seconds of one fold of all methods and budgets.
    """
    # Beside the training itself: measuring, and in the end refitting and exporting the winner.
    left = config.time_budget_seconds * (1 - RESERVE) - elapsed
    each = fold_seconds * (1 + OVERHEAD)
    repeats = int(left / each + TIMED_FOLDS) // config.folds
    # If not even one repeat fits, all is done anew with fewer epochs.
    share = 1.0 if repeats else max(left, 0.0) / (each * config.folds)
    repeats = min(max(repeats, 1), config.repeats)
    epochs = max(1, int(share * config.epochs))
    pretrain_epochs = max(1, int(share * config.pretrain_epochs))
    folds = repeats * config.folds - (TIMED_FOLDS if share == 1.0 else 0)
    expected = elapsed + each * folds * (epochs / config.epochs)
    told = (
        f"planned for {config.time_budget}: {repeats} of {config.repeats} repeats, {epochs} of "
        f"{config.epochs} epochs, {pretrain_epochs} of {config.pretrain_epochs} in pretraining; "
        f"about {expected:.0f} s"
    )
    if expected > config.time_budget_seconds:
        told += ", which is more than was given: fewer --labels, --methods or --folds take less"
    return {
        "repeats": repeats,
        "epochs": epochs,
        "pretrain_epochs": pretrain_epochs,
        "told": told,
    }


def summarize(config: CompareConfig, comparison: Comparison, table: Table) -> dict:
    """What ``comparison.json`` says, but for the winner's test."""
    rows, metric = list(table.rows.values()), config.metric
    return {
        "metric": metric,
        "verdicts": judge(rows, metric),
        "scratch": [
            {"labels": labels, "mean": mean}
            for (method, _, labels), mean in means(rows, metric).items()
            if method == "scratch"
        ],
        "winner": choose(rows, metric, config.prefer),
        "worth": worth(rows, metric),
        "until_scratch": until_scratch(rows, table.curves),
        "costs": _costs(comparison, rows),
        "equal_budget": tell_budget(rows, comparison.schedule.epochs),
        "transferability": guesses(comparison),
        "layers": layer_similarities(comparison),
    }


def _costs(comparison: Comparison, rows: list[dict]) -> list[dict]:
    """Seconds of learning, and what the network costs where it is served."""
    served = {
        candidate: costs(*comparison.model_of(*candidate), take_rows(comparison.x, np.arange(1)))
        for candidate in comparison.candidates
    }
    taken: dict[tuple, list[dict]] = {}
    for row in rows:
        taken.setdefault((row["method"], row["source"], row["labels"]), []).append(row)
    return [
        {
            "method": method,
            "source": source,
            "labels": labels,
            # The median: the first fold also traces and compiles.
            "seconds": float(np.median([row["seconds"] for row in own])),
            "pretrain_seconds": float(np.median([row["pretrain_seconds"] for row in own])),
            **served[method, source],
        }
        for (method, source, labels), own in taken.items()
    ]


def save_winner(
    config: CompareConfig, run: Run, data: Dataset, comparison: Comparison, winner: dict
) -> tuple[dict, Answers]:
    """Refit the winner on all labels, measure it on the test split, save it as this run.

    Returns:
        Its scores on the test split, which is touched here and nowhere else; and its answers
        there, those to examples that have a label.
    """
    method, source = winner["method"], winner["source"]
    (run.path / "history.csv").unlink(missing_ok=True)
    log = EpochLog(run.path / "history.csv")
    learned, labelled = comparison.refit(method, source, callbacks=[log])
    learned = learned._replace(preprocessing=fixed(learned.preprocessing))
    recording.note_data(run, data, train=labelled, labelled=labelled, validation=np.arange(0))
    given = open_source(source) if source in config.source else None
    recording.save_classifier(run, learned.network, learned.preprocessing, given, data)
    if method in TRANSFERS and comparison.sources[source].pretraining is not None:
        recording.save_autoencoder(
            run, comparison.sources[source].pretraining.autoencoder, learned.preprocessing, data
        )
    known = np.flatnonzero(data.y_test >= 0)
    y, logits = data.y_test[known], learned.logits(data.x_test)[known]
    test = recording.test_metrics(y, logits)
    if len(known):
        test |= scores(y, logits)
        counts = confusion_matrix(y, logits.argmax(axis=1), data.num_classes)
        plot_confusion_matrix(
            counts, data.class_names, run.folder("plots") / "confusion_matrix.png"
        )
    metrics = {"test": test, "num_parameters": learned.network.count_params()}
    run.write_json("metrics.json", metrics)
    if log.rows:
        plot_history(log.rows, run.folder("plots") / "loss.png")
    examples = take_rows(data.x_test, known)
    return test, Answers(examples, y, softmax(logits), data.class_names, data.value_range)


def tell(config: CompareConfig, run: Run, found: dict, version: Path) -> None:
    """The table, what it means in plain words, and what comes next."""
    say = cli.say(config)
    say(f"{config.metric} on held-out examples of {config.data}, against scratch:\n")
    for line in tell_comparison(found):
        say(line)
    report = f"report {run.path / 'report.html'}"
    checked = "answers as Keras does, checked without Keras"
    say(f"run {run.path}   {report}   served model {version}: {checked}")
    (_, predict), (_, serve) = commands_after(config, version)
    say(f"next: {predict}\n      {serve}")


def commands_after(config: CompareConfig, version: Path) -> list[tuple[str, str]]:
    """What to do with the winner, and the command for it."""
    folder = Path(version).resolve().parent
    return [
        (
            "Its answers",
            f"python -m kt_transfer.predict --model {version} --data SPEC --out FILE.csv",
        ),
        (
            "To serve it",
            f"tensorflow_model_server --model_name={config.name} --model_base_path={folder}",
        ),
    ]
