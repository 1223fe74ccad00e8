"""What ``compare`` does with a run folder: its sources, the plan, the winner."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kt_transfer import cli, recording
from kt_transfer.config import CompareConfig
from kt_transfer.data import Dataset, load_data
from kt_transfer.errors import UserError
from kt_transfer.models.adapting import Expected, adapting_model, describe, why_not
from kt_transfer.models.autoencoders import dense_autoencoder, transferable_encoder
from kt_transfer.models.preprocessing import as_image, preprocessing_model
from kt_transfer.reporting.classification import confusion_matrix
from kt_transfer.reporting.plots import plot_confusion_matrix, plot_history
from kt_transfer.reporting.terminal import format_table
from kt_transfer.rows import take_rows
from kt_transfer.runs import Run, open_source
from kt_transfer.selection.comparison import TRANSFERS, Comparison, Source
from kt_transfer.selection.costs import costs
from kt_transfer.selection.folds import resolve_budgets
from kt_transfer.selection.learners import AutoencoderLearner, Schedule
from kt_transfer.selection.scoring import improvement, scores
from kt_transfer.selection.table import NO_SOURCE, Table
from kt_transfer.selection.verdicts import choose, judge, means, tell_worth, until_scratch, worth
from kt_transfer.sources import load_source
from kt_transfer.training.callbacks import EpochLog, progress_bar

# Denoising: a code that only copies its input helps a classifier little.
NOISE = 0.3
# Unlabelled examples are many: as pretrain takes them.
PRETRAIN_BATCH_SIZE = 64
# What is left for refitting, measuring and exporting the winner, as a share of the time budget.
RESERVE = 0.1
# What a fold takes beside training, as a share of it.
OVERHEAD = 0.2
# Folds that are timed before the rest is planned; the first of them compiles, the last counts.
TIMED_FOLDS = 2


def comparison_of(config: CompareConfig, data: Dataset, run: Run) -> Comparison:
    """The comparison that the settings ask for; a mistake in them is found before any training."""
    budgets = resolve_budgets(
        data.y, config.labels, num_folds=config.folds, repeats=config.repeats, seed=config.seed
    )
    return Comparison(
        data.x,
        data.y,
        num_classes=data.num_classes,
        preprocessing=preprocessing_model(data.input_shape, data.value_range, data.x.dtype),
        budgets=budgets,
        num_folds=config.folds,
        seed=config.seed,
        methods=config.methods,
        sources=sources_of(config, data),
        schedule=Schedule(config.epochs, config.batch_size, config.learning_rate),
        student_units=config.student_units,
        # What was kept with other epochs is of no use.
        folder=run.checkpoint / f"{config.epochs}-{config.pretrain_epochs}",
    )


def sources_of(config: CompareConfig, data: Dataset) -> list[Source]:
    """Every candidate source: those given, other data, or else the target's own examples."""
    given = [_given_source(config, name, data) for name in config.source]
    if config.source_data:
        other = load_data(config.source_data, data_dir=config.data_dir)
        return [*given, _pretrained_on(other, config, data)]
    return given or [_pretrained_on(data, config, data)]


def _pretrained_on(other: Dataset, config: CompareConfig, data: Dataset) -> Source:
    """An autoencoder trained on a data set: anew in every fold if that is the target itself."""
    autoencoder = dense_autoencoder(
        other.input_dim, config.hidden_units, config.latent_dim, noise=NOISE
    )
    image = other.input_shape if as_image(other.input_shape) else None
    expected = Expected((other.input_dim,), image)
    if reason := why_not(data.input_shape, expected):
        raise UserError(
            f"--source-data {other.spec} was given, expected examples that those of {data.spec} "
            f"can be made to fit, but {reason}: give data of examples like these."
        )
    is_target = other.fingerprint == data.fingerprint
    return Source(
        other.spec,
        transferable_encoder(autoencoder),
        adapting_model(data.input_shape, data.value_range, data.x.dtype, expected),
        _learner(
            autoencoder,
            other,
            Schedule(config.pretrain_epochs, PRETRAIN_BATCH_SIZE, config.learning_rate),
        ),
        None if is_target else other.x,
    )


def _learner(autoencoder, data: Dataset, schedule: Schedule) -> AutoencoderLearner:
    preprocessing = recording.preprocessing_for(autoencoder, data)
    return AutoencoderLearner(autoencoder, preprocessing, schedule, num_examples=len(data.x))


def _given_source(config: CompareConfig, name: str, data: Dataset) -> Source:
    run = open_source(name)
    if run is not None and _data_of(run) == data.fingerprint:
        return _trained_anew(config, run, data)
    for ancestor in _ancestors(run) if run else ():
        if _data_of(ancestor) == data.fingerprint:
            raise _has_seen(name, data, f"it descends from {ancestor.path}")
    encoder, expected = load_source(name, run, data)
    cli.say(config)(f"{name}: {describe(data.input_shape, data.value_range, expected)}")
    preprocessing = adapting_model(data.input_shape, data.value_range, data.x.dtype, expected)
    return Source(name, encoder, preprocessing)


def _trained_anew(config: CompareConfig, run: Run, data: Dataset) -> Source:
    """A run on the target's own examples: its recipe again, without what a fold holds out."""
    settings = run.settings
    if not run.is_autoencoder or settings.get("labels"):
        raise _has_seen(str(run.path), data, "it has learned from their labels")
    autoencoder = run.load_model()
    schedule = Schedule(*(settings[name] for name in Schedule._fields))
    return Source(
        str(run.path),
        transferable_encoder(autoencoder),
        recording.preprocessing_for(autoencoder, data),
        _learner(autoencoder, data, schedule),
    )


def _data_of(run: Run) -> str | None:
    return run.read_json("run.json").get("data", {}).get("fingerprint")


def _ancestors(run: Run) -> Iterator[Run]:
    """The runs that a run came from, as far as they are still there."""
    settings = run.settings
    given = [settings.get("source") or (), settings.get("teacher") or ()]
    for path in [
        path for paths in given for path in ([paths] if isinstance(paths, str) else paths)
    ]:
        if (Path(path) / "run.json").is_file():
            yield Run(Path(path))
            yield from _ancestors(Run(Path(path)))


def _has_seen(name: str, data: Dataset, how: str) -> UserError:
    return UserError(
        f"--source {name} was given, expected a model that has not seen the examples of "
        f"{data.spec} that the folds hold out, but {how}: give a run of pretrain without labels, "
        "which is trained anew in every fold, or one of other data."
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
        "equal_budget": _equal_budget(comparison, rows),
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


def _equal_budget(comparison: Comparison, rows: list[dict]) -> str:
    """How long each method trains, in one sentence."""
    steps = {}
    for row in rows:
        steps.setdefault(row["method"], set()).add(row["steps"])
    networks = [name for name in ("scratch", "parameters") if name in steps]
    if "distilled" in steps:
        networks.append("the teachers of distilled")
    told = (
        f"equal budgets: {' and '.join(networks)} train {comparison.schedule.epochs} epochs over "
        f"the same labelled examples ({_span(steps['scratch'])} steps)"
    )
    if "distilled" in steps:
        told += f"; students take {_span(steps['distilled'])} steps over all unlabelled ones"
    regressions = [name for name in ("features", "linear") if name in steps]
    if regressions:
        told += f"; {' and '.join(regressions)}: logistic regression until it converges"
    return told


def _span(values: set[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def save_winner(
    config: CompareConfig, run: Run, data: Dataset, comparison: Comparison, winner: dict
) -> dict:
    """Refit the winner on all labels, measure it on the test split, save it as this run.

    Returns:
        Its scores on the test split, which is touched here and nowhere else.
    """
    method, source = winner["method"], winner["source"]
    (run.path / "history.csv").unlink(missing_ok=True)
    log = EpochLog(run.path / "history.csv")
    learned, labelled = comparison.refit(method, source, callbacks=[log])
    recording.note_data(run, data, train=labelled, labelled=labelled, validation=np.arange(0))
    given = open_source(source) if source in config.source else None
    recording.save_classifier(run, learned.network, learned.preprocessing, given, data)
    if method in TRANSFERS and comparison.sources[source].pretraining is not None:
        recording.save_autoencoder(
            run, comparison.sources[source].pretraining.autoencoder, learned.preprocessing, data
        )
    known = data.y_test >= 0
    logits = learned.logits(data.x_test)
    test = recording.test_metrics(data.y_test, logits)
    if known.any():
        test |= scores(data.y_test[known], logits[known])
        counts = confusion_matrix(
            data.y_test[known], logits[known].argmax(axis=1), data.num_classes
        )
        plot_confusion_matrix(
            counts, data.class_names, run.folder("plots") / "confusion_matrix.png"
        )
    metrics = {"test": test, "num_parameters": learned.network.count_params()}
    run.write_json("metrics.json", metrics)
    if log.rows:
        plot_history(log.rows, run.folder("plots") / "loss.png")
    return test


def tell(config: CompareConfig, run: Run, found: dict, version: Path) -> None:
    """The table, and what it means in plain words."""
    say = cli.say(config)
    say(f"{config.metric} on held-out examples of {config.data}, against scratch:\n")
    say(format_table(*_told_table(found)))
    say(f"\n{found['equal_budget']}")
    say(f"intervals are 95 % each; the verdicts hold for all {len(found['verdicts'])} together")
    for sentence in _told_worth(found):
        say(sentence)
    say(_told_winner(found))
    if "accuracy" in found["test"]:
        say(
            f"refitted on all {found['winner']['labels']} labels, on the test split, touched once: "
            f"{config.metric} {found['test'][config.metric]:.4f}"
        )
    say(f"run {run.path}   served model {version}: answers as Keras does, checked without Keras")
    say(f"next: python -m kt_transfer.predict --model {version} --data SPEC --out FILE.csv")
    folder = Path(version).resolve().parent
    say(f"      tensorflow_model_server --model_name={config.name} --model_base_path={folder}")


def _told_table(found: dict) -> tuple[list[str], list[list]]:
    costs_of = {(c["method"], c["source"], c["labels"]): c for c in found["costs"]}
    several = len({entry["source"] for entry in found["verdicts"]} - {NO_SOURCE}) > 1
    header = ["labels", "method", *["source"] * several, found["metric"], "difference"]
    header += ["95 % interval", "verdict", "seconds", "parameters", "ms"]
    rows = []
    for base in found["scratch"]:
        own = [{"method": "scratch", "source": NO_SOURCE, **base}]
        own += [entry for entry in found["verdicts"] if entry["labels"] == base["labels"]]
        for entry in own:
            cost = costs_of[entry["method"], entry["source"], entry["labels"]]
            rows.append(
                [
                    entry["labels"],
                    entry["method"],
                    *[entry["source"]] * several,
                    f"{entry['mean']:.4f}",
                    f"{entry['difference']:+.4f}" if "difference" in entry else "",
                    "{:+.4f} to {:+.4f}".format(*entry["interval"]) if "interval" in entry else "",
                    entry.get("verdict", ""),
                    f"{cost['seconds']:.1f}",
                    cost["num_parameters"],
                    f"{cost['latency_ms']:.2f}",
                ]
            )
    return header, rows


def _told_worth(found: dict) -> list[str]:
    """For each budget, what the best transfer is worth in labels."""
    means_of = {(v["method"], v["source"], v["labels"]): v["mean"] for v in found["verdicts"]}
    told = []
    for base in found["scratch"]:
        own = [
            w for w in found["worth"] if w["labels"] == base["labels"] and w["beyond"] is not None
        ]
        own = [w for w in own if w["method"] in TRANSFERS]
        if not own:
            continue
        best = max(
            own,
            key=lambda w: improvement(
                found["metric"], means_of[w["method"], w["source"], w["labels"]]
            ),
        )
        told.append(tell_worth(best, found["scratch"][-1]["labels"]))
    return told


def _told_winner(found: dict) -> str:
    winner = found["winner"]
    name = winner["method"]
    if winner["source"] != NO_SOURCE:
        name += f" from {winner['source']}"
    if winner["method"] == "scratch":
        return f"winner: scratch with {winner['labels']} labels: no transfer is worth it here"
    same = ("method", "source", "labels")
    judged = next(
        entry for entry in found["verdicts"] if all(entry[key] == winner[key] for key in same)
    )
    words = {
        "better": "better than scratch",
        "worse": "worse than scratch, but chosen as the smallest",
        "no difference": "not shown to differ from scratch: this much data shows differences from "
        f"{judged['detectable']:.3f} on",
    }[judged["verdict"]]
    return (
        f"winner: {name} with {winner['labels']} labels, {found['metric']} {winner['mean']:.4f} in "
        f"cross-validation, {judged['difference']:+.4f} to scratch: {words}"
    )
