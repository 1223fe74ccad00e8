"""What of a comparison fits a time budget: a pure function of what everything takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from kt_transfer.comparison.pacing import Pace
from kt_transfer.errors import UserError, named

# What is left for surprises, as a share of the time budget.
RESERVE = 0.1
# What a fold takes beside training, as a share of it.
OVERHEAD = 0.2
# A verdict needs two folds; before it has these few, epochs are cut.
LEAST_FOLDS, FEW_FOLDS = 2, 3


def planned(config, methods: dict, elapsed: float, pace: Pace) -> dict:
    """What fits the time budget, and the sentence that says so.

    Repeats are cut first, then folds, then epochs as far as networks still learn, and then the
    slowest methods are left out.

    Args:
        config: The settings of ``compare``; no plan asks for more than they do.
        methods: The candidates by name.
        elapsed: Seconds that are gone.
        pace: What everything takes.

    Raises:
        UserError: If not even two folds of two methods fit.
    """
    budget = config.time_budget_seconds
    wanted = config.repeats * config.folds
    for remaining in _ever_fewer(config, methods, pace):
        for enough in sorted({min(FEW_FOLDS, config.folds), LEAST_FOLDS}, reverse=True):
            for share, pretrain_epochs in _ever_shorter(config, pace):
                given = (_shortened(remaining, share, pace), pretrain_epochs)
                each = pace.fold(*given) * (1 + OVERHEAD)
                end = pace.end(*given) * (1 + OVERHEAD)
                left = budget * (1 - RESERVE) - elapsed - end
                folds = min(int(left / each), wanted)
                if folds >= enough:
                    # Whole repeats, if there is one.
                    folds -= folds % config.folds if folds > config.folds else 0
                    return _plan(config, methods, *given, folds, elapsed + each * folds + end, end)
    raise not_enough(
        config,
        f"two folds of {' and '.join(remaining)} with enough steps to learn, and the export, take "
        f"about {_rounded(elapsed + 2 * each + end)}",
    )


def _plan(config, methods, remaining, pretrain_epochs, folds, expected, end) -> dict:
    repeats = -(-folds // config.folds)
    epochs = {n: method.epochs for n, method in remaining.items() if hasattr(method, "epochs")}
    shortest = min(epochs, key=lambda name: epochs[name] / methods[name].epochs)
    told = (
        f"planned for {config.time_budget}: {repeats} of {config.repeats} repeats, "
        f"{min(folds, config.folds)} of {config.folds} folds, "
        f"{epochs[shortest]} of {methods[shortest].epochs} epochs, "
        f"{pretrain_epochs} of {config.pretrain_epochs} in pretraining"
    )
    if left_out := [name for name in methods if name not in remaining]:
        told += f", without {' and '.join(left_out)}"
    return {
        "repeats": repeats,
        "folds": folds,
        "epochs": epochs,
        "pretrain_epochs": pretrain_epochs,
        "methods": list(remaining),
        "end_seconds": round(end, 1),
        "told": f"{told}; about {expected:.0f} s",
    }


def _ever_fewer(config, methods: dict, pace: Pace) -> Iterator[dict]:
    """All candidates, then ever fewer: without the slowest, but with one transfer if any is."""
    yield methods
    while len(methods) > 2:
        transfers = [name for name, method in methods.items() if method.needs_source]
        spared = {"scratch", *(transfers if len(transfers) == 1 else ())}
        without = [
            {other: method for other, method in methods.items() if other != name}
            for name in methods
            if name not in spared
        ]
        methods = min(without, key=lambda remaining: pace.fold(remaining, config.pretrain_epochs))
        yield methods


def _ever_shorter(config, pace: Pace) -> Iterator[tuple[int, int]]:
    """Tenths of the epochs, and epochs of pretraining: ever fewer, but enough to learn."""
    for tenths in range(10, 0, -1):
        least = min(pace.least_pretrain_epochs, config.pretrain_epochs)
        yield tenths, max(least, config.pretrain_epochs * tenths // 10)


def _shortened(methods: dict, tenths: int, pace: Pace) -> dict:
    """The candidates with some tenths of their epochs, but enough to learn."""
    return {
        name: dataclasses.replace(
            method,
            epochs=max(min(pace.least_epochs, method.epochs), method.epochs * tenths // 10),
        )
        if hasattr(method, "epochs")
        else method
        for name, method in methods.items()
    }


def not_enough(config, why: str) -> UserError:
    """The refusal of a budget in which nothing could be shown."""
    return UserError(
        setting="time_budget",
        given=config.time_budget,
        expected="time for a comparison",
        but=why,
        remedy=f"give more time, fewer {named('labels')}, or smaller {named('hidden_units')}",
    )


def _rounded(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
