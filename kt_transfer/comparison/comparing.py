"""The cells of a comparison, trained into a run folder, within a time budget if there is one."""

from __future__ import annotations

import dataclasses

import numpy as np

from kt_transfer.comparison import pacing
from kt_transfer.comparison.comparison import Comparison
from kt_transfer.comparison.evidence import by_candidate
from kt_transfer.comparison.folds import resolve_budgets
from kt_transfer.comparison.planning import LEAST_FOLDS, not_enough, planned
from kt_transfer.comparison.racing import raced_out
from kt_transfer.comparison.shifting import Shift, shift_of
from kt_transfer.comparison.spreading import take_what_is_left, train_by_workers
from kt_transfer.comparison.table import Table
from kt_transfer.comparison.transfer_sources import for_folds, sources_of
from kt_transfer.comparison.verdicts import (
    BASELINE,
)
from kt_transfer.data import Dataset
from kt_transfer.errors import UserError, named
from kt_transfer.models.preprocessing import preprocessing_model
from kt_transfer.runs import session
from kt_transfer.runs.folder import Run
from kt_transfer.training.progress import progress_bar

# Saving, exporting and checking the winner and writing the report: seconds of a small network, and
# what a large one adds, as a multiple of what it takes to describe the candidates.
EXPORT_SECONDS, EXPORT_SHARE = 15.0, 2.0
# How much of the time budget may go into timing a few epochs.
TIMING_SHARE = 1 / 3


def comparison_of(config, methods: dict, data: Dataset, run: Run) -> Comparison:
    """The comparison that the settings ask for; a mistake in them is found before any training."""
    budgets = resolve_budgets(
        data.y,
        config.labels,
        num_folds=config.folds,
        repeats=config.repeats,
        seed=config.seed,
        copies=data.copies,
        judge=config.judge,
    )
    comparison = Comparison(
        data.x,
        data.y,
        num_classes=data.num_classes,
        preprocessing=for_folds(
            preprocessing_model(
                data.input_shape, data.scaling_range, data.x.dtype, layout=data.layout
            ),
            data,
        ),
        budgets=budgets,
        num_folds=config.folds,
        seed=config.seed,
        methods=methods,
        sources=sources_of(config, data),
        copies=data.copies,
        has_groups=data.groups is not None,
        judge=config.judge,
        value_range=data.noise_range,
        # What was kept with other epochs is of no use.
        folder=run.checkpoint / f"{config.epochs}-{config.pretrain_epochs}",
    )
    if config.metric == "auc":
        _require_two_classes(config, comparison)
    return comparison


def _require_two_classes(config, comparison: Comparison) -> None:
    for cell, part in comparison.cells(config.repeats):
        if len(np.unique(comparison.y[part.held_out])) < 2:
            raise UserError(
                setting="metric",
                given="auc",
                when=f"with {named('labels', cell.labels)} and {named('folds', config.folds)}",
                expected="at least two classes in what every fold holds out",
                but="one fold has a single class",
                remedy="give more labels, fewer folds, or another metric",
            )


def fill(
    config, methods: dict, run: Run, data: Dataset, table: Table, began: float | None = None
) -> Comparison:
    """Train every cell that the table does not hold yet, within the time budget if there is one.

    Args:
        config: The settings of ``compare``.
        methods: The candidates by name.
        run: Where the plan is kept.
        data: The target.
        table: What is trained already, and what is added.
        began: When the command began, by :data:`.pacing.now` (default: now).
    """
    shift = shift_of(config, data, run.path)
    if not config.time_budget_seconds:
        comparison = comparison_of(config, methods, data, run)
        _ask_too(comparison, shift, table)
        if config.workers == 1:
            _train(config, comparison, table)
        else:
            _train_by_workers(config, comparison, table, run)
        return comparison
    # Seconds of an interrupted run count as well.
    began = (pacing.now() if began is None else began) - run.read_json("run.json").get(
        "wall_seconds", 0.0
    )
    comparison = comparison_of(config, methods, data, run)
    plan = run.read_json("run.json").get("plan")
    if plan is None:
        plan = _planned(config, comparison, began)
        run.update_json("run.json", plan=plan)
    session.say(config)(plan["told"])
    settled = dataclasses.replace(
        config, repeats=plan["repeats"], pretrain_epochs=plan["pretrain_epochs"]
    )
    remaining = _as_planned(methods, plan)
    if settled != config or remaining != methods:
        served, comparison = comparison.served, comparison_of(settled, remaining, data, run)
        comparison.served = served  # measured already
    _ask_too(comparison, shift, table)
    _train_in_time(settled, comparison, table, run, began, config.repeats)
    return comparison


def _ask_too(comparison: Comparison, shift: Shift | None, table: Table) -> None:
    """Have what is learned with the most labels asked about other examples as well."""
    comparison.shift = shift
    if shift is not None:
        shift.forget_unasked(table, comparison.budgets[-1])


def _as_planned(methods: dict, plan: dict) -> dict:
    """The candidates that fit the time, with as many epochs as do."""
    epochs = plan["epochs"]
    return {
        name: dataclasses.replace(methods[name], epochs=epochs[name])
        if name in epochs
        else methods[name]
        for name in plan["methods"]
    }


def _train(config, comparison: Comparison, table: Table) -> None:
    """All cells, under a progress bar."""
    cells = list(comparison.cells(config.repeats))
    done = sum(cell in table for cell, _ in cells)
    with progress_bar(f"compare {config.data}", len(cells), done, config.quiet) as advance:
        for cell, part in cells:
            if cell not in table:
                comparison.measure(table, cell, part)
                advance(f"{cell.method}, {cell.labels} labels")


def _train_by_workers(config, comparison: Comparison, table: Table, run: Run) -> None:
    """The same by several processes, which train different folds."""

    def take(folder) -> None:
        if comparison.shift is not None:
            # Before the row is there that marks a cell as finished.
            comparison.shift.take(folder)
        table.take(Table(folder))

    take_what_is_left(run.path, take)
    cells = [cell for cell, _ in comparison.cells(config.repeats)]
    missing = [cell for cell in cells if cell not in table]
    folds = list(dict.fromkeys((cell.repeat, cell.fold) for cell in missing))
    done = len(cells) - len(missing)
    with progress_bar(f"compare {config.data}", len(cells), done, config.quiet) as advance:
        train_by_workers(config, comparison.methods, run.path, folds, take, advance)
    table.order(cells)
    if comparison.shift is not None:
        comparison.shift.order(cells)


def _planned(config, comparison: Comparison, began: float) -> dict:
    """The plan, by what a few epochs take."""
    try:
        pace = pacing.measure_pace(comparison, began + TIMING_SHARE * config.time_budget_seconds)
    except pacing.OutOfTime as error:
        reason = "an epoch of each network takes more than a third of it"
        raise not_enough(config, reason) from error
    timed = pacing.now()
    comparison.serving_costs()
    export = EXPORT_SECONDS + EXPORT_SHARE * (pacing.now() - timed)
    return planned(config, comparison.methods, pacing.now() - began, pace._replace(export=export))


def _train_in_time(
    config, comparison: Comparison, table: Table, run: Run, began: float, most_repeats: int
) -> None:
    """Fold by fold while there is time, as the plan in the run folder says.

    Candidates that cannot win any more leave; what they would have taken goes into further folds,
    of at most so many repeats.
    """
    plan = run.read_json("run.json")["plan"]
    ends = began + config.time_budget_seconds - plan["end_seconds"]
    comparison.watch = (pacing.Watch(ends),)
    folds: dict[tuple[int, int], list] = {}
    for cell, part in comparison.cells(most_repeats):
        folds.setdefault((cell.repeat, cell.fold), []).append((cell, part))
    planned_folds = list(folds)[: plan["folds"]]
    total, trained, last = sum(len(folds[key]) for key in planned_folds), 0, 0.0
    done = sum(cell in table for key in planned_folds for cell, _ in folds[key])
    left: dict[tuple[str, str], int] = {}
    with progress_bar(f"compare {config.data}", total, done, config.quiet) as advance:
        for key, cells in folds.items():
            if key not in planned_folds and (not left or plan.get("stopped")):
                break
            cells = [(cell, part) for cell, part in cells if cell[:2] not in left]
            fold_began = pacing.now()
            waits = any(cell not in table for cell, _ in cells)
            if waits and trained >= LEAST_FOLDS and fold_began + last > ends:
                break
            try:
                for cell, part in cells:
                    if cell not in table:
                        if pacing.now() > ends:
                            raise pacing.OutOfTime
                        comparison.measure(table, cell, part)
                        advance(f"{cell.method}, {cell.labels} labels")
            except pacing.OutOfTime:
                break
            last = pacing.now() - fold_began
            trained += 1
            for candidate in _leaving(config, comparison, table, left, list(folds)[:trained]):
                left[candidate] = trained
                session.say(config)(
                    f"{candidate[0]} cannot win any more after {trained} folds, and is left out of "
                    "those that follow"
                )
    comparison.watch = ()
    for key in list(folds)[trained:]:
        table.forget(*key)
    if trained < LEAST_FOLDS:
        raise not_enough(
            config, f"the time was up after {trained} of the {LEAST_FOLDS} folds that it needs"
        )
    if trained != len(planned_folds):
        run.update_json("run.json", plan=plan | {"folds": trained, "stopped": True})
        why = f"to keep within {config.time_budget}" if trained < len(planned_folds) else "spared"
        session.say(config)(f"{why}: {trained} folds, where {len(planned_folds)} were planned")
    comparison.num_trained = min(trained, config.folds)


def _leaving(
    config, comparison: Comparison, table: Table, left: dict, trained: list[tuple[int, int]]
) -> list[tuple[str, str]]:
    """The candidates that leave after some folds; scratch stays, since all are held against it.

    The student of one that is no network stays with it.
    """
    # Of a run that is resumed, the table holds later folds as well.
    rows = [row for cell, row in table.rows.items() if (cell.repeat, cell.fold) in trained]
    remaining = set(comparison.candidates) - set(left)
    found = by_candidate(rows, config.metric, table.points(config.metric))
    leaving = raced_out(found, config.metric, remaining) - {BASELINE}
    stay = {student for own, student in comparison.students().items() if own not in leaving}
    return sorted(leaving - stay)
