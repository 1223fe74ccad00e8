"""How long a comparison takes: a few epochs of everything are timed before it is planned."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import keras
import numpy as np

from kt_transfer.comparison.comparison import Comparison
from kt_transfer.comparison.table import NO_SOURCE
from kt_transfer.methods import Features, Linear, Scratch
from kt_transfer.methods.learning import Regression, Start

# Of each network so many epochs are timed: the first prepares the program, the last counts.
TIMED_EPOCHS = 3
# Of the time that is left for it a network is timed no longer than this share.
TIMED_SHARE = 0.1
# Steps below which a network has not learned from few labels, or an autoencoder from many examples.
LEAST_STEPS, LEAST_PRETRAIN_STEPS = 100, 300

now = time.perf_counter


class OutOfTime(Exception):
    """The time is up before a training is done."""


class Watch(keras.callbacks.Callback):
    """Notes how long epochs take, and ends a fit in time.

    Args:
        ends: When the time is up, by :data:`now`; then a fit raises :class:`OutOfTime`.
        most_epochs: A fit simply ends after so many.
        most_seconds: And after the epoch in which it has taken so many seconds.
    """

    def __init__(
        self,
        ends: float | None = None,
        most_epochs: int | None = None,
        most_seconds: float = float("inf"),
    ):
        super().__init__()
        self.ends, self.most_epochs, self.most_seconds = ends, most_epochs, most_seconds
        self.seconds: list[float] = []

    def on_train_begin(self, logs=None):
        """Note the time."""
        self.seconds, self._last = [], now()

    def on_epoch_end(self, epoch, logs=None):
        """Look at the clock."""
        time_now = now()
        self.seconds.append(time_now - self._last)
        self._last = time_now
        if self.ends is not None and time_now > self.ends:
            raise OutOfTime
        if len(self.seconds) == self.most_epochs or sum(self.seconds) > self.most_seconds:
            self.model.stop_training = True


class Pace(NamedTuple):
    """Seconds of everything that a fold consists of.

    Attributes:
        pretraining: Of one epoch, by source; only those that are pretrained.
        epoch: Of one epoch of a method's own training, by candidate, source and labels.
        regression: Of logistic regression on the most labels, by source.
        least_epochs: Epochs below which a network of the fewest labels has not learned.
        least_pretrain_epochs: The same of the autoencoder.
        export: What describing, saving and exporting the winner takes.
        most_epochs: Epochs of a candidate that takes fewer of many examples.
        before: Of what comes before the first epoch, as ``epoch``; only where there is something.
    """

    pretraining: dict[str, float]
    epoch: dict[tuple[str, str, int], float]
    regression: dict[str, float]
    least_epochs: int
    least_pretrain_epochs: int
    export: float = 0.0
    most_epochs: dict[str, int] = {}
    before: dict[tuple[str, str, int], float] = {}

    def method(self, name: str, method, labels=None) -> float:
        """Seconds that a candidate takes by itself in one fold, from all sources and budgets.

        Args:
            name: Name of the candidate.
            method: Its settings; what it shares with others is counted by :meth:`fold`.
            labels: Of this budget alone.
        """

        def own(seconds: dict) -> float:
            return sum(
                each
                for (trained, _, found), each in seconds.items()
                if trained == name and labels in (None, found)
            )

        epochs = getattr(method, "epochs", 0)
        epochs = min(epochs, self.most_epochs.get(name, epochs))
        return own(self.before) + own(self.epoch) * epochs

    def fold(self, methods: dict, pretrain_epochs: int, labels=None) -> float:
        """Seconds of one fold of some candidates; of one budget where ``labels`` are given."""
        every = {**{str(teacher): teacher for teacher in teachers_of(methods)}, **methods}
        seconds = sum(self.method(name, method, labels) for name, method in every.items())
        budgets = {found for *_, found in self.epoch if labels in (None, found)}
        regressed = {
            source
            for source in self.regression
            if any(m.regresses and m.needs_source == bool(source) for m in every.values())
        }
        seconds += sum(self.regression[source] for source in regressed) * max(len(budgets), 1)
        if any(method.needs_source for method in methods.values()):
            seconds += sum(self.pretraining.values()) * pretrain_epochs
        return seconds

    def end(self, methods: dict, pretrain_epochs: int) -> float:
        """Seconds of what follows the folds: the winner anew, scratch for its layers, export."""
        labels = max((found for *_, found in self.epoch), default=None)
        refit = self.fold(methods, pretrain_epochs, labels)
        scratch = [(n, m) for n, m in methods.items() if isinstance(m, Scratch)]
        return refit + sum(self.method(n, m, labels) for n, m in scratch) + self.export


def teachers_of(methods: dict) -> list:
    """The methods that train teachers and are no candidates themselves."""
    teachers = dict.fromkeys(method.teacher for method in methods.values() if method.teacher)
    return [teacher for teacher in teachers if teacher not in methods.values()]


def measure_pace(comparison: Comparison, ends: float) -> Pace:
    """Train everything for a few epochs on the first fold.

    Args:
        comparison: Whose programs are prepared by that.
        ends: When the time for it is up.

    Raises:
        OutOfTime: If not even these epochs fit.
    """
    parts = list(comparison.parts(repeats=1, num_folds=1))
    pretraining, epoch, regression, most, before, least_pretrain = {}, {}, {}, {}, {}, 1
    methods = comparison.methods
    every = {**methods, **{str(teacher): teacher for teacher in teachers_of(methods)}}
    if any(method.needs_source for method in methods.values()):
        for source in comparison.sources.values():
            if source.pretraining is not None:
                x = comparison.pretraining_examples(source, parts[-1])
                pretraining[source.name] = _timed(ends, source.pretraining.learn, x, seed=0)[0]
                steps = -(-len(x) // source.pretraining.settings.batch_size)
                least_pretrain = max(least_pretrain, -(-LEAST_PRETRAIN_STEPS // steps))
    # Teachers first: a student asks them.
    for name, method in sorted(every.items(), key=lambda item: item[1].teacher is not None):
        for source in comparison.sources if method.needs_source else (NO_SOURCE,):
            if method.regresses and source not in regression:
                regression[source] = _regression(comparison, source, parts)
            if method.is_network and not method.takes_steps:
                continue
            for part in parts:
                learner = comparison.learner(method, source, part.labels)
                examples = comparison.examples_of(method, part)
                key = name, source, part.labels
                if not method.is_network:
                    before[key] = _timed(ends, learner.learn, examples, seed=0)[0]
                    continue
                # The regression is timed apart.
                start = Start(regressions={"bottleneck": _no_regression(learner)})
                given = {"seed": 0, "start": start}
                if getattr(method, "max_steps", None):
                    most[name] = learner.epochs(len(examples.x))
                epoch[key], learned = _timed(ends, learner.learn, examples, **given)
                if learned.head_seconds:
                    before[key] = learned.head_seconds
    stepping = [method for method in methods.values() if method.takes_steps]
    batch_size = min((method.batch_size for method in stepping), default=1)
    fewest = len(parts[0].train)
    return Pace(
        pretraining,
        epoch,
        regression,
        -(-LEAST_STEPS // -(-fewest // batch_size)),
        least_pretrain,
        most_epochs=most,
        before=before,
    )


def _no_regression(learner) -> Regression:
    kernel, bias = learner.network.get_layer("head").get_weights()
    return Regression(np.zeros_like(kernel), np.zeros_like(bias), 1.0, 0.0)


def _regression(comparison: Comparison, source: str, parts) -> float:
    """Seconds of one with the most labels, after one that prepares what it needs."""
    features = Features() if source else Linear()
    for part in (parts[0], parts[-1]):
        learner = comparison.learner(features, source, part.labels)
        learned = learner.learn(comparison.examples_of(features, part), seed=0)
    return learned.seconds


def _timed(ends: float, learn, *given, **options) -> tuple[float, Any]:
    """Seconds of one epoch, without what comes before the first; and what was learned."""
    watch = Watch(ends, TIMED_EPOCHS, most_seconds=TIMED_SHARE * (ends - now()))
    learned = learn(*given, callbacks=[watch], **options)
    return float(np.mean(watch.seconds[1:] or watch.seconds)), learned
