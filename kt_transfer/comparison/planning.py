"""What of a comparison fits a time budget: a pure function of what everything takes."""

from __future__ import annotations

from collections.abc import Iterator

from kt_transfer.comparison.comparison import TRANSFERS
from kt_transfer.comparison.pacing import Pace
from kt_transfer.errors import UserError
from kt_transfer.settings import CompareConfig

# What is left for surprises, as a share of the time budget.
RESERVE = 0.1
# What a fold takes beside training, as a share of it.
OVERHEAD = 0.2
# A verdict needs two folds; before it has these few, epochs are cut.
LEAST_FOLDS, FEW_FOLDS = 2, 3


def planned(config: CompareConfig, elapsed: float, pace: Pace) -> dict:
    """What fits the time budget, and the sentence that says so.

    Repeats are cut first, then folds, then epochs as far as networks still learn, and then the
    slowest methods are left out.

    Args:
        config: The settings; no plan asks for more than they do.
        elapsed: Seconds that are gone.
        pace: What everything takes.

    Raises:
        UserError: If not even two folds of two methods fit.
    """
    budget = config.time_budget_seconds
    wanted = config.repeats * config.folds
    for methods in _ever_fewer(config, pace):
        for enough in sorted({min(FEW_FOLDS, config.folds), LEAST_FOLDS}, reverse=True):
            for epochs, pretrain_epochs in _ever_shorter(config, pace):
                given = (methods, epochs, pretrain_epochs)
                each = pace.fold(*given) * (1 + OVERHEAD)
                end = pace.end(*given) * (1 + OVERHEAD)
                left = budget * (1 - RESERVE) - elapsed - end
                folds = min(int(left / each), wanted)
                if folds >= enough:
                    # Whole repeats, if there is one.
                    folds -= folds % config.folds if folds > config.folds else 0
                    return _plan(config, *given, folds, elapsed + each * folds + end, end)
    raise not_enough(
        config,
        f"two folds of {' and '.join(methods)} with enough steps to learn, and the export, take "
        f"about {_rounded(elapsed + 2 * each + end)}",
    )


def _plan(config, methods, epochs, pretrain_epochs, folds, expected, end) -> dict:
    repeats = -(-folds // config.folds)
    told = (
        f"planned for {config.time_budget}: {repeats} of {config.repeats} repeats, "
        f"{min(folds, config.folds)} of {config.folds} folds, {epochs} of {config.epochs} epochs, "
        f"{pretrain_epochs} of {config.pretrain_epochs} in pretraining"
    )
    if left_out := [name for name in config.methods if name not in methods]:
        told += f", without {' and '.join(left_out)}"
    return {
        "repeats": repeats,
        "folds": folds,
        "epochs": epochs,
        "pretrain_epochs": pretrain_epochs,
        "methods": list(methods),
        "end_seconds": round(end, 1),
        "told": f"{told}; about {expected:.0f} s",
    }


def _ever_fewer(config: CompareConfig, pace: Pace) -> Iterator[tuple[str, ...]]:
    """All methods, then ever fewer: without the slowest, but with one transfer if there was one."""
    methods, epochs = config.methods, (config.epochs, config.pretrain_epochs)
    yield methods
    while len(methods) > 2:
        transfers = [name for name in methods if name in TRANSFERS]
        spared = {"scratch", *(transfers if len(transfers) == 1 else ())}
        without = [
            tuple(other for other in methods if other != name)
            for name in methods
            if name not in spared
        ]
        methods = min(without, key=lambda remaining: pace.fold(remaining, *epochs))
        yield methods


def _ever_shorter(config: CompareConfig, pace: Pace) -> Iterator[tuple[int, int]]:
    """Epochs, and those of pretraining: all, then ever fewer, but enough to learn."""
    for tenths in range(10, 0, -1):
        yield (
            max(min(pace.least_epochs, config.epochs), config.epochs * tenths // 10),
            max(
                min(pace.least_pretrain_epochs, config.pretrain_epochs),
                config.pretrain_epochs * tenths // 10,
            ),
        )


def not_enough(config: CompareConfig, why: str) -> UserError:
    """The refusal of a budget in which nothing could be shown."""
    return UserError(
        f"--time-budget {config.time_budget} was given, expected time for a comparison, but {why}: "
        "give more time, fewer --labels, or smaller --hidden-units."
    )


def _rounded(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
