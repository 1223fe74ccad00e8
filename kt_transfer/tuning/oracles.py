"""KerasTuner's oracles: the defaults first, the same trials for the same seed, safe on disk."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Literal

import keras_tuner
import numpy as np
from keras_tuner.engine.hyperparameters import HyperParameters
from threadpoolctl import threadpool_limits

from kt_transfer.errors import UserError, named
from kt_transfer.files.writing import replacing

Search = Literal["random", "bayesian", "hyperband", "grid"]
HYPERBAND_FACTOR = 3
# Of a setting that is a number without steps, so many values are a grid's, beside the default.
GRID_VALUES = 4
_NO_LIMIT = 10**9


def oracle_of(
    search: Search,
    space: HyperParameters,
    *,
    metric: str,
    direction: Literal["min", "max"],
    seed: int,
    max_trials: int,
    max_epochs: int,
) -> keras_tuner.Oracle:
    """The oracle of a kind of search.

    Args:
        search: ``"random"``, ``"bayesian"`` (a Gaussian process), ``"hyperband"`` or ``"grid"``.
        space: What is searched; the first trial takes its defaults.
        metric: What trials are judged by, as they report it.
        direction: Which way is better.
        seed: 0 or more; the same seed gives the same trials.
        max_trials: Trials at most (but for hyperband, which plans its own number).
        max_epochs: Epochs of its longest trials (hyperband).
    """
    shared = {
        "objective": keras_tuner.Objective(metric, direction),
        # Not 0, which KerasTuner takes for none.
        "seed": seed + 1,
        "hyperparameters": space,
        # What a model asks for that is not in the space, such as within a condition.
        "tune_new_entries": True,
        # Each is a row of the table; of rates that are too large there may be many.
        "max_consecutive_failed_trials": _NO_LIMIT,
    }
    if search == "hyperband":
        return _Hyperband(max_epochs=max_epochs, factor=HYPERBAND_FACTOR, **shared)
    if search == "bayesian":
        # KerasTuner's default, three times the number of settings, may be more than all trials.
        points = min(3 * len(space.space), max(3, max_trials // 3))
        return _Bayesian(max_trials=max_trials, num_initial_points=points, **shared)
    return {"random": _Random, "grid": _Grid}[search](max_trials=max_trials, **shared)


class _Kept:
    """An oracle whose state is on disk as a whole after every step, or as it was before it.

    Of a trial KerasTuner writes first its own file, then the oracle's: killed in between, it
    would count a trial that it never runs.
    """

    def save(self):
        write_state(self, self._get_oracle_fname())

    def _save_trial(self, trial):
        write_state(trial, Path(self._get_trial_dir(trial.trial_id), "trial.json"))

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


def write_state(state, path) -> None:
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


class _Random(_DefaultsFirst, keras_tuner.oracles.RandomSearchOracle):
    """Random search."""


class _Hyperband(_DefaultsFirst, keras_tuner.oracles.HyperbandOracle):
    """Hyperband (Li et al., 2018, https://arxiv.org/abs/1603.06560)."""


class _Bayesian(_DefaultsFirst, keras_tuner.oracles.BayesianOptimizationOracle):
    """Bayesian optimization with a Gaussian process."""

    def populate_space(self, trial_id):
        # KerasTuner does not keep this generator: a search that went on would try others.
        self._random_state = np.random.RandomState((self.seed, len(self.start_order)))
        # Its matrices are tiny: threads would wait for one another.
        with threadpool_limits(1):
            answer = super().populate_space(trial_id)
        if answer.get("values") and self._is_tried(answer["values"]):
            # The process is certain of its best: a random one tells more than that again.
            answer = self._random_populate_space()
        if answer.get("values"):  # NumPy's numbers are none to JSON
            answer["values"] = {
                name: value.item() if isinstance(value, np.generic) else value
                for name, value in answer["values"].items()
            }
        return answer

    def _is_tried(self, values: dict) -> bool:
        return any(trial.hyperparameters.values == values for trial in self.trials.values())


class _Grid(_Kept, keras_tuner.Oracle):
    """Every combination, the defaults first and the others in random order.

    In order, the first trials of many would differ in one setting alone. KerasTuner's own oracle
    cannot go on with a search that was interrupted.
    """

    def populate_space(self, trial_id):
        for values in self._combinations():
            if self._compute_values_hash(values) not in self._tried_so_far:
                self._tried_so_far.add(self._compute_values_hash(values))
                return {"status": "RUNNING", "values": values}
        return {"status": "STOPPED", "values": None}

    def _combinations(self):
        space = self.hyperparameters.space
        values = [[hp.default, *(v for v in grid_values(hp) if v != hp.default)] for hp in space]
        first, *others = itertools.product(*values)
        order = np.random.default_rng(self.seed).permutation(len(others))
        for combination in (first, *(others[index] for index in order)):
            found = self.hyperparameters.copy()
            found.values = {hp.name: v for hp, v in zip(space, combination, strict=True)}
            yield {hp.name: found.values[hp.name] for hp in space if found.is_active(hp)}


def grid_values(hp) -> list:
    """The values of a setting that a grid has, beside its default.

    Example:
        >>> space = HyperParameters()
        >>> rate = space.Float("rate", 1e-4, 1e-1, sampling="log", default=1e-3)
        >>> [round(value, 6) for value in grid_values(space.space[0])]
        [0.0001, 0.001, 0.01, 0.1]
    """
    if getattr(hp, "min_value", None) is None or hp.step is not None:
        return list(hp.values)
    ends = np.linspace(0.0, 1.0, GRID_VALUES)
    # From 0 to below 1, as KerasTuner maps them.
    return list(dict.fromkeys(hp.prob_to_value(min(end, 1 - 1e-9)) for end in ends))
