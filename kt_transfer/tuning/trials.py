"""A KerasTuner tuner whose trials are judged fold by fold."""

from __future__ import annotations

import contextlib
import io
import math
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import keras_tuner
import numpy as np
import tensorflow as tf
from keras_tuner.errors import FatalError
from keras_tuner.src.engine.metrics_tracking import MetricObservation

from kt_transfer.errors import TrainingFailed, UserError
from kt_transfer.files.writing import disk_errno
from kt_transfer.tuning.chief import Client, Spread, serve
from kt_transfer.tuning.oracles import write_state
from kt_transfer.tuning.pruning import cannot_win, estimate


class TrialTuner(keras_tuner.Tuner):
    """Runs trials that yield one score a fold, and ends those that cannot win.

    Args:
        scores: Function of a trial that yields its score in one fold after the other, the same
            folds for all trials. It raises :class:`~kt_transfer.errors.TrainingFailed` where the
            trial, but not the search, has failed.
        num_folds: How many it yields.
        metric: What they are.
        say: Where a line for each finished trial goes.
        oracle: As from :func:`~.oracles.oracle_of`.
        folder: Of KerasTuner's state, which a search goes on from.
        spread: How its trials are spread over processes, if they are.
    """

    def __init__(
        self,
        scores: Callable[[keras_tuner.engine.trial.Trial], Iterator[float]],
        *,
        num_folds: int,
        metric: str,
        say: Callable[[str], None],
        oracle: keras_tuner.Oracle,
        folder: Path,
        spread: Spread | None = None,
    ):
        self.scores, self.num_folds = scores, num_folds
        self.metric, self.say = metric, say
        self.spread = spread
        # KerasTuner prints that it goes on with a search, whatever is asked of it.
        with contextlib.redirect_stdout(io.StringIO()):
            super().__init__(
                oracle=oracle,
                hypermodel=_no_model,
                directory=str(folder.parent),
                project_name=folder.name,
                overwrite=False,
            )
        if self._is_worker():
            self.oracle = Client(oracle)

    def _populate_initial_space(self):
        # The space is in the oracle from the start; building a model to find it is not needed.
        return

    def save(self):
        """Write the state as a whole."""
        if not self._is_worker():
            self.oracle.save()
        write_state(self, self._get_tuner_fname())

    def reload(self):
        """Read the oracle's state; the tuner has none of its own."""
        if not self._is_worker():
            self.oracle.reload()

    def run_all(self) -> None:
        """Run every trial that the oracle asks for and that has not ended yet; as the chief of
        several processes, have them run."""
        if self.spread is not None and not self._is_worker():
            self.oracle.verbose = 0
            self.save()
            serve(self.oracle, self.spread, self._best_before, self._tell_of, self.say)
            self._settle()
            return
        try:
            with warnings.catch_warnings():
                # Of a trial that diverged.
                warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)
                self.search(verbose=0)
        except FatalError as error:
            raise error.__cause__ or error from None
        if self.num_folds > 1 and not self._is_worker():
            self._settle()  # some may be of several processes that were interrupted

    def run_trial(self, trial, **_):
        """The scores of the trial's folds, and their mean by which it is judged."""
        found, began = [], time.perf_counter()
        sign = 1.0 if self.oracle.objective.direction == "max" else -1.0
        best, working = None, contextlib.nullcontext()
        if self._is_worker():
            working = self.oracle.at_work()
        else:
            best = self._best_before(trial.trial_id)
        try:
            with working:
                for score in self.scores(trial):
                    found.append(float(score))
                    if self._is_worker():
                        best = self.oracle.best_before(trial.trial_id)
                    if best and _is_beaten(found, best, sign, self.num_folds):
                        break
        except (TrainingFailed, MemoryError, tf.errors.ResourceExhaustedError) as error:
            reason = str(error).split("\n")[0] if isinstance(error, TrainingFailed) else ""
            trial.message = reason or "out of memory"
            self.say(f"trial {trial.trial_id} failed: {trial.message}")
            # Of an exception KerasTuner prints the traceback; with this score it has failed too.
            return {self.oracle.objective.name: math.nan}
        except Exception as error:
            # The same in every trial: KerasTuner would count it as failed and go on.
            if isinstance(error, UserError) or disk_errno(error):
                raise FatalError(str(error)) from error
            raise
        mean = estimate(found, best)
        self._tell(trial, found, mean, best, sign)
        return {
            self.oracle.objective.name: mean,
            **{_fold(number): score for number, score in enumerate(found)},
            "seconds": time.perf_counter() - began,
        }

    def _best_before(self, number: str) -> list[float] | None:
        """The scores of the best trial with a lower number, once all of those have ended."""
        oracle = self.oracle
        before = [trial for other, trial in sorted(oracle.trials.items()) if other < number]
        if any(trial.trial_id not in oracle.end_order for trial in before):
            return None
        return self._settled(before)[0]

    def _settled(self, trials: list) -> tuple[list[float] | None, dict[str, tuple]]:
        """The trials as one process would have run them, one after the other.

        Returns:
            The scores of the best one; and of each that was completed its scores as far as it
            would have come, with what it is judged by.
        """
        best, best_mean, found = None, None, {}
        sign = 1.0 if self.oracle.objective.direction == "max" else -1.0
        for trial in trials:
            if trial.status != "COMPLETED":
                continue
            scores = scores_of(trial)
            for count in range(1, len(scores)):
                if best and _is_beaten(scores[:count], best, sign, self.num_folds):
                    scores = scores[:count]
                    break
            mean = estimate(scores, best)
            found[trial.trial_id] = scores, mean
            if best is None or sign * (mean - best_mean) > 0:
                best, best_mean = scores, mean
        return best, found

    def _settle(self) -> None:
        """Leave of each trial what one process would have, whichever ended first."""
        trials = [trial for _, trial in sorted(self.oracle.trials.items())]
        for number, (scores, mean) in self._settled(trials)[1].items():
            trial = self.oracle.trials[number]
            for fold in range(len(scores), self.num_folds):
                trial.metrics.metrics.pop(_fold(fold), None)
            trial.metrics.metrics[self.oracle.objective.name].set_history(
                [MetricObservation(value=[mean], step=0)]
            )
            self.oracle.score_trial(trial)
            self.oracle._save_trial(trial)
        self.save()

    def _tell_of(self, trial) -> None:
        """A line for a trial that a worker has ended."""
        if trial.status != "COMPLETED":
            self.say(f"trial {trial.trial_id} failed: {message_of(trial)}")
            return
        others = [
            other
            for _, other in sorted(self.oracle.trials.items())
            if other is not trial and other.trial_id in self.oracle.end_order
        ]
        sign = 1.0 if self.oracle.objective.direction == "max" else -1.0
        self._tell(trial, scores_of(trial), trial.score, self._settled(others)[0], sign)

    def _tell(self, trial, found: list[float], mean: float, best, sign: float) -> None:
        line = f"trial {trial.trial_id}: validation {self.metric} {mean:.4f}"
        if self.num_folds > 1:
            line += f" ± {np.std(found, ddof=1) if len(found) > 1 else 0:.4f}"
        if len(found) < self.num_folds:
            line += f", ended after {len(found)} of {self.num_folds} folds: it cannot win any more"
        elif best is None or sign * (mean - np.mean(best)) > 0:
            line += ", the best so far"
        self.say(line)


def scores_of(trial) -> list[float]:
    """The scores by fold of a trial that has ended."""
    names = (_fold(number) for number in range(len(trial.metrics.metrics)))
    return [
        float(trial.metrics.get_last_value(name)) for name in names if trial.metrics.exists(name)
    ]


def message_of(trial) -> str | None:
    """Why a trial failed, in a line: where KerasTuner keeps a traceback, its last one."""
    return trial.message and trial.message.strip().split("\n")[-1]


def row_of(trial) -> dict:
    """A trial as the table shows it."""
    values, scores = trial.hyperparameters.values, scores_of(trial)
    done = trial.status == "COMPLETED"
    seconds = trial.metrics.get_last_value("seconds") if trial.metrics.exists("seconds") else None
    return {
        "trial": trial.trial_id,
        "score": float(trial.score) if done else None,
        "scores": scores,
        "settings": {k: v for k, v in values.items() if not k.startswith("tuner/")},
        "status": str(trial.status),
        "message": message_of(trial),
        "seconds": seconds if seconds is None else round(float(seconds), 3),
    }


def _is_beaten(found: list[float], best: list[float], sign: float, num_folds: int) -> bool:
    return cannot_win([sign * s for s in found], [sign * s for s in best], num_folds)


def _fold(number: int) -> str:
    return f"fold_{number}"


def _no_model(hp):
    raise AssertionError("trials yield scores, not models")
