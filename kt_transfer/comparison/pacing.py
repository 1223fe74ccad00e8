"""How long a comparison takes: a few epochs of everything are timed before it is planned."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

import keras
import numpy as np

from kt_transfer.comparison.comparison import TRANSFERS, Comparison
from kt_transfer.comparison.table import NO_SOURCE

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
        network: Of one epoch, by source and labels.
        regression: Of logistic regression on the most labels, by source.
        student: Of all epochs of a student; 0 where there is none.
        least_epochs: Epochs below which a network of the fewest labels has not learned.
        least_pretrain_epochs: The same of the autoencoder.
        export: What describing, saving and exporting the winner takes.
    """

    pretraining: dict[str, float]
    network: dict[tuple[str, int], float]
    regression: dict[str, float]
    student: float
    least_epochs: int
    least_pretrain_epochs: int
    export: float = 0.0

    def method(self, name: str, epochs: int, pretrain_epochs: int, labels=None) -> float:
        """Seconds that a method takes by itself in one fold, from all sources and budgets.

        Args:
            name: The method; what it shares with others is counted by :meth:`fold`.
            epochs: Of its networks.
            pretrain_epochs: Of the autoencoders.
            labels: Of this budget alone.
        """
        budgets = {found for _, found in self.network if labels in (None, found)}
        if name == "linear":
            return self.regression.get(NO_SOURCE, 0.0) * len(budgets)
        own = {key: each for key, each in self.network.items() if key[1] in budgets}
        if name == "scratch":
            return sum(each * epochs for key, each in own.items() if key[0] == NO_SOURCE)
        sources = [source for source in self.regression if source != NO_SOURCE]
        if name == "features":
            return sum(self.regression[source] for source in sources) * len(budgets)
        if name == "distilled":
            return self.student * len(budgets) * len(sources)
        return sum(each * epochs for key, each in own.items() if key[0] != NO_SOURCE)

    def fold(self, methods, epochs: int, pretrain_epochs: int, labels=None) -> float:
        """Seconds of one fold of some methods; of one budget where ``labels`` are given."""
        needed = set(methods)
        if "distilled" in needed:  # its teachers
            needed.add("parameters")
        if "parameters" in needed:  # its heads
            needed.add("features")
        seconds = sum(self.method(name, epochs, pretrain_epochs, labels) for name in needed)
        if needed & set(TRANSFERS):
            seconds += sum(self.pretraining.values()) * pretrain_epochs
        return seconds

    def end(self, methods, epochs: int, pretrain_epochs: int) -> float:
        """Seconds of what follows the folds: the winner anew, scratch for its layers, export."""
        labels = max(found for _, found in self.network)
        refit = self.fold(methods, epochs, pretrain_epochs, labels)
        return refit + self.method("scratch", epochs, pretrain_epochs, labels) + self.export


def measure_pace(comparison: Comparison, ends: float) -> Pace:
    """Train everything for a few epochs on the first fold.

    Args:
        comparison: Whose programs are prepared by that.
        ends: When the time for it is up.

    Raises:
        OutOfTime: If not even these epochs fit.
    """
    parts = list(comparison.parts(repeats=1, num_folds=1))
    largest, methods = parts[-1], {method for method, _ in comparison.candidates}
    pretraining, network, regression, student = {}, {}, {}, 0.0
    least_pretrain = 1
    if methods & set(TRANSFERS):
        for source in comparison.sources.values():
            if source.pretraining is not None:
                x = comparison.pretraining_examples(source, largest)
                learn = source.pretraining.learn
                pretraining[source.name] = _epoch(ends, learn, x, seed=0)
                steps = -(-len(x) // source.pretraining.schedule.batch_size)
                least_pretrain = max(least_pretrain, -(-LEAST_PRETRAIN_STEPS // steps))
            given = source.encoder, source.preprocessing
            regression[source.name] = _regression(comparison, *given, parts)
    if "linear" in methods:
        given = comparison.nothing, comparison.preprocessing
        regression[NO_SOURCE] = _regression(comparison, *given, parts)
    for name, part in _networks(comparison, methods, parts):
        x, y = comparison.examples(part, part.train), comparison.y[part.train]
        learner = comparison.network(name, part.labels)
        network[name, part.labels] = _epoch(ends, learner.learn, x, y, seed=0)
    if "distilled" in methods:
        learner, x = comparison.student, comparison.examples(largest, largest.seen)
        labels, logits = comparison.y[largest.seen], np.zeros((len(x), comparison.num_classes))
        student = _epoch(ends, learner.learn, x, labels, logits.astype(np.float32), seed=0)
        student *= learner.epochs(len(x))
    batch_size, fewest = comparison.schedule.batch_size, len(parts[0].train)
    return Pace(
        pretraining,
        network,
        regression,
        student,
        -(-LEAST_STEPS // -(-fewest // batch_size)),
        least_pretrain,
    )


def _networks(comparison: Comparison, methods, parts) -> Iterator:
    trained = methods & {"parameters", "distilled"}
    names = [NO_SOURCE, *(comparison.sources if trained else ())]
    return ((name, part) for name in names for part in parts)


def _regression(comparison: Comparison, encoder, preprocessing, parts) -> float:
    """Seconds of one with the most labels, after one that prepares what it needs."""
    comparison.regress(encoder, preprocessing, parts[0])
    began = now()
    comparison.regress(encoder, preprocessing, parts[-1])
    return now() - began


def _epoch(ends: float, learn, *given, **options) -> float:
    """Seconds of one epoch, without what comes before the first."""
    watch = Watch(ends, TIMED_EPOCHS, most_seconds=TIMED_SHARE * (ends - now()))
    learn(*given, callbacks=[watch], **options)
    return float(np.mean(watch.seconds[1:] or watch.seconds))
