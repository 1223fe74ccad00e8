"""A search of the settings of a command or a method."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import keras_tuner

from kt_transfer.tuning.chief import Spread
from kt_transfer.tuning.oracles import Search, oracle_of
from kt_transfer.tuning.trials import TrialTuner, row_of


def search_settings(
    folder: Path,
    *,
    suggest: Callable,
    base,
    scores: Callable[[object, str], Iterator[float]],
    num_folds: int,
    metric: str,
    direction: str,
    search: Search,
    max_trials: int,
    seed: int,
    say: Callable = print,
    spread: Spread | None = None,
) -> list[dict]:
    """Search, or go on with the search that lies in the folder.

    Args:
        folder: Of KerasTuner's state.
        suggest: Function ``(hp, base) -> settings``; the first trial takes its defaults.
        base: The settings to search around, a dataclass; hyperband gives each trial its
            ``epochs``.
        scores: Function of such settings and the name of the trial that yields a score a fold.
        num_folds: How many it yields.
        metric: Name of the validation metric to judge by.
        direction: ``"min"`` or ``"max"``.
        search: As for :func:`~.oracles.oracle_of`.
        max_trials: Trials at most; hyperband plans its own number.
        seed: Of the trials.
        say: Where a line for each finished trial goes.
        spread: How the trials are spread over processes, if they are.

    Returns:
        For each trial its number, what was chosen as ``settings`` and all of them as ``suggested``,
        score (``None`` if it failed), scores by fold, status, message and seconds.
    """
    space = keras_tuner.HyperParameters()
    suggest(space, base)

    def settings_of(trial):
        settings = suggest(trial.hyperparameters, base)
        # Hyperband gives each trial a budget; every rung starts from scratch.
        epochs = trial.hyperparameters.values.get("tuner/epochs")
        return settings if epochs is None else dataclasses.replace(settings, epochs=epochs)

    tuner = TrialTuner(
        lambda trial: scores(settings_of(trial), trial.trial_id),
        num_folds=num_folds,
        metric=metric,
        say=say,
        oracle=oracle_of(
            search,
            space,
            metric=f"val_{metric}",
            direction=direction,
            seed=seed,
            max_trials=max_trials,
            max_epochs=getattr(base, "epochs", 1),
        ),
        folder=folder,
        spread=spread,
    )
    tuner.run_all()
    if tuner._is_worker():
        return []
    # By number: a search that was continued holds them in another order.
    return [
        {**row_of(trial), "suggested": settings_of(trial)}
        for _, trial in sorted(tuner.oracle.trials.items())
    ]
