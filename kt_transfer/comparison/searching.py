"""A KerasTuner search in which every trial is a run folder of a command."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import math
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import keras_tuner
from keras_tuner.errors import FatalError

from kt_transfer.errors import TrainingFailed, UserError, named
from kt_transfer.files.writing import disk_errno, replacing

HYPERBAND_FACTOR = 3
_NO_LIMIT = 10**9


def search_settings(
    folder: Path,
    *,
    suggest: Callable,
    base,
    train: Callable,
    metric: str,
    direction: str,
    search: str,
    max_trials: int,
    say: Callable = print,
) -> list[dict]:
    """Search, or go on with the search that lies in the folder.

    Args:
        folder: Holds ``tuner/`` (KerasTuner's own state) and ``trials/`` (run folders).
        suggest: Function ``(hp, base) -> config``; the first trial takes its defaults.
        base: The settings to search around, a dataclass with ``out``, ``seed`` and ``epochs``.
        train: Function of such a config that writes the run folder ``config.out`` and
            returns it.
        metric: Name of the validation metric to judge by.
        direction: ``"min"`` or ``"max"``.
        search: ``"random"`` or ``"hyperband"``.
        max_trials: Trials of a random search.
        say: Where a line for each finished trial goes.

    Returns:
        For each trial its number, settings, score (``None`` if it failed) and run folder.
    """
    # KerasTuner prints that it reloads a search, whatever is asked of it.
    with contextlib.redirect_stdout(io.StringIO()):
        tuner = _CommandTuner(
            suggest,
            base,
            train,
            metric,
            say,
            folder / "trials",
            oracle=_oracle(search, suggest, base, metric, direction, max_trials),
            directory=folder,
            project_name="tuner",
            overwrite=False,
        )
    try:
        with warnings.catch_warnings():
            # Of a trial that diverged.
            warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)
            tuner.search(verbose=0)
    except FatalError as error:
        raise error.__cause__ or error from None
    # By number: a search that was continued holds them in another order.
    return [tuner.describe(trial) for _, trial in sorted(tuner.oracle.trials.items())]


def _oracle(search: str, suggest, base, metric: str, direction: str, max_trials: int):
    space = keras_tuner.HyperParameters()
    suggest(space, base)
    shared = {
        "objective": keras_tuner.Objective(f"val_{metric}", direction),
        # Not 0, which KerasTuner takes for none.
        "seed": base.seed + 1,
        "hyperparameters": space,
        "tune_new_entries": False,
        # Each is a row of the table; of rates that are too large there may be many.
        "max_consecutive_failed_trials": _NO_LIMIT,
    }
    if search == "random":
        return _RandomSearch(max_trials=max_trials, **shared)
    return _Hyperband(max_epochs=base.epochs, factor=HYPERBAND_FACTOR, **shared)


class _Kept:
    """An oracle whose state is on disk as a whole after every step, or as it was before it.

    Of a trial KerasTuner writes first its own file, then the oracle's: killed in between, it
    would count a trial that it never runs.
    """

    def save(self):
        _write_state(self, self._get_oracle_fname())

    def _save_trial(self, trial):
        _write_state(trial, Path(self._get_trial_dir(trial.trial_id), "trial.json"))

    def reload(self):
        try:
            super().reload()
            missing = sorted(set(self.start_order) - set(self.trials))
            if missing:
                raise ValueError(f"trial {missing[0]} is missing")
        except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            reason = str(error.__cause__ or error).split("\n")[0]
            raise UserError(
                setting="resume",
                given=True,
                expected="a search whose state can be read",
                but=f"that in {self._project_dir} is damaged ({reason})",
                remedy=f"start it again with {named('overwrite')}",
            ) from error
        # One that the oracle does not know yet is made again; one that has ended stays so.
        self.trials = {number: self.trials[number] for number in self.start_order}
        self._retry_queue = [n for n in self._retry_queue if n not in self.end_order]
        for number in self._retry_queue:
            self.trials[number].metrics = type(self.trials[number].metrics)()


def _write_state(state, path) -> None:
    """The state of an oracle, a trial or a tuner, where its next one or this one is read."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(state.get_state()))


class _DefaultsFirst(_Kept):
    """The first trial is what the user would get without a search."""

    def populate_space(self, trial_id):
        answer = super().populate_space(trial_id)
        if not self.start_order and answer.get("values"):
            answer["values"] |= {
                hp.name: hp.default
                for hp in self.hyperparameters.space
                if not hp.name.startswith("tuner/")
            }
        return answer


class _RandomSearch(_DefaultsFirst, keras_tuner.oracles.RandomSearchOracle):
    """Random search, the defaults first."""


class _Hyperband(_DefaultsFirst, keras_tuner.oracles.HyperbandOracle):
    """Hyperband (Li et al., 2018, https://arxiv.org/abs/1603.06560), the defaults first."""


class _CommandTuner(keras_tuner.Tuner):
    """Runs a command for each trial instead of building a model."""

    def __init__(self, suggest, base, train, metric, say, trials: Path, **kwargs):
        self.suggest, self.base, self.train_command = suggest, base, train
        self.metric, self.say, self.trials = metric, say, trials
        super().__init__(hypermodel=_no_model, **kwargs)

    def _populate_initial_space(self):
        # The space is in the oracle from the start; building a model to find it is not needed.
        return

    def save(self):
        """Write the state as a whole."""
        if not self._is_worker():
            self.oracle.save()
        _write_state(self, self._get_tuner_fname())

    def reload(self):
        """Read the oracle's state; the tuner has none of its own."""
        if not self._is_worker():
            self.oracle.reload()

    def run_trial(self, trial, **_):
        """Write the trial's run folder; its validation metric is the score."""
        path = self.trials / trial.trial_id
        shutil.rmtree(path, ignore_errors=True)
        session = {"quiet": True, "overwrite": False, "resume": False, "from_run": None}
        try:
            run = self.train_command(
                dataclasses.replace(self._settings(trial), out=path, **session)
            )
        except TrainingFailed as error:
            self.say(f"trial {trial.trial_id} failed: {error}")
            # Of an exception KerasTuner prints the traceback; with this score it has failed too.
            trial.message = str(error)
            return {f"val_{self.metric}": math.nan}
        except Exception as error:
            # The same in every trial: KerasTuner would count it as failed and go on.
            if isinstance(error, UserError) or disk_errno(error):
                raise FatalError(str(error)) from error
            raise
        score = self._score(run)
        self.say(f"trial {trial.trial_id}: validation {self.metric} {score:.4f}")
        return {f"val_{self.metric}": score}

    def _score(self, run) -> float:
        metrics = run.read_json("metrics.json")
        if "validation" not in metrics:
            share = getattr(self.base, "validation_split", 0.1)
            raise FatalError from UserError(
                setting="validation_split",
                given=share,
                expected="some held-out examples to judge the trials by",
                but="of so few examples it holds out none",
                remedy=f"give more {named('labels')}, or a larger share",
            )
        return metrics["validation"][self.metric]

    def describe(self, trial) -> dict:
        """A trial as the table shows it."""
        path = self.trials / trial.trial_id
        values = trial.hyperparameters.values
        return {
            "trial": trial.trial_id,
            "score": float(trial.score) if trial.status == "COMPLETED" else None,
            "settings": {k: v for k, v in values.items() if not k.startswith("tuner/")},
            "epochs": self._settings(trial).epochs,
            "status": str(trial.status),
            # Where KerasTuner keeps a traceback, its last line.
            "message": trial.message and trial.message.strip().split("\n")[-1],
            "run": str(path) if (path / "run.json").is_file() else None,
        }

    def _settings(self, trial):
        settings = self.suggest(trial.hyperparameters, self.base)
        # Hyperband gives each trial a budget; every rung starts from scratch.
        epochs = trial.hyperparameters.values.get("tuner/epochs", settings.epochs)
        return dataclasses.replace(settings, epochs=epochs)


def _no_model(hp):
    raise AssertionError("trials run commands, not models")
