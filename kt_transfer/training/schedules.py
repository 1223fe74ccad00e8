"""Schedules as pure functions of the epoch: learning rates, frozen layers, loss weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import keras

Schedule = Callable[[int], float]


def constant(learning_rate: float) -> Schedule:
    """η(e) = η₀."""
    return lambda epoch: learning_rate


def exponential(learning_rate: float, epochs: int, *, final_share: float = 0.01) -> Schedule:
    """η(e) = η₀ · s^(e / (E − 1)): decays by the same factor each epoch.

    Args:
        learning_rate: η₀, more than 0.
        epochs: E, number of epochs of the decay.
        final_share: s, the last epoch's learning rate as a share of η₀.

    Example:
        >>> [round(exponential(1.0, 3)(epoch), 3) for epoch in range(3)]
        [1.0, 0.1, 0.01]
    """
    return lambda epoch: learning_rate * final_share ** _progress(epoch, epochs)


def step(learning_rate: float, epochs: int, *, num_steps: int = 3, factor: float = 0.1) -> Schedule:
    """η(e) = η₀ · f^⌊n · e / E⌋: drops by ``factor`` at n − 1 equally spaced epochs.

    Args:
        learning_rate: η₀.
        epochs: E.
        num_steps: n, number of levels.
        factor: f, ratio of each level to the one before.

    Example:
        >>> [round(step(1.0, 6)(epoch), 3) for epoch in range(6)]
        [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]
    """
    return lambda epoch: learning_rate * factor ** min(num_steps * epoch // epochs, num_steps - 1)


def cosine(learning_rate: float, epochs: int, *, min_learning_rate: float = 0.0) -> Schedule:
    """η(e) = η_min + (η₀ − η_min)(1 + cos(π e / E)) / 2.

    Without restarts (Loshchilov & Hutter, 2017, https://arxiv.org/abs/1608.03983). In the last
    epoch, e = E − 1, the learning rate is still above η_min.

    Args:
        learning_rate: η₀.
        epochs: E.
        min_learning_rate: η_min.

    Example:
        >>> [round(cosine(1.0, 2)(epoch), 3) for epoch in range(2)]
        [1.0, 0.5]
    """
    span = learning_rate - min_learning_rate
    return lambda epoch: (
        min_learning_rate + span * 0.5 * (1.0 + math.cos(math.pi * min(epoch / epochs, 1.0)))
    )


class Stage(NamedTuple):
    """Epochs ``first`` to ``end - 1``, in which the first ``num_frozen`` layers are frozen."""

    first: int
    end: int
    num_frozen: int


def unfreezing(
    num_layers: int,
    epochs: int,
    *,
    num_frozen: int = 0,
    head_epochs: int | None = None,
    unfreeze_every: int | None = None,
) -> list[Stage]:
    """Stages of training the head first, then all layers at once or one after the other.

    ``head_epochs`` alone is fastai's ``fine_tune``; with ``unfreeze_every`` it is gradual
    unfreezing, from the head down (Howard & Ruder, 2018, https://arxiv.org/abs/1801.06146).

    Args:
        num_layers: Number of layers of the body.
        epochs: Epochs of the whole fit.
        num_frozen: Number of first layers that stay frozen throughout.
        head_epochs: Epochs in which the whole body is frozen (default: ``unfreeze_every``, or 0).
        unfreeze_every: Epochs between unfreezing one layer and the next; ``None`` to unfreeze all
            at once.

    Returns:
        Consecutive, non-empty stages from epoch 0 to ``epochs``.

    Example:
        >>> unfreezing(3, 10, head_epochs=2)
        [Stage(first=0, end=2, num_frozen=3), Stage(first=2, end=10, num_frozen=0)]
    """
    begins = [(0, num_layers)]
    first = (unfreeze_every or 0) if head_epochs is None else head_epochs
    if unfreeze_every is None:
        begins.append((first, num_frozen))
    else:
        for number, frozen in enumerate(range(num_layers - 1, num_frozen - 1, -1)):
            begins.append((first + number * unfreeze_every, frozen))
    ends = [first for first, _ in begins[1:]] + [epochs]
    stages = [
        Stage(first, min(end, epochs), frozen)
        for (first, frozen), end in zip(begins, ends, strict=True)
    ]
    return [stage for stage in stages if stage.first < stage.end]


def with_warmup(schedule: Schedule, warmup_epochs: int) -> Schedule:
    """Rise linearly to the schedule's first value, then follow it.

    η(e) = (e + 1) / (w + 1) · η₀ for e < w, and the schedule at e − w afterwards.

    Args:
        schedule: The schedule that follows.
        warmup_epochs: w, 0 or more.

    Example:
        >>> [round(with_warmup(constant(1.0), 3)(epoch), 2) for epoch in range(5)]
        [0.25, 0.5, 0.75, 1.0, 1.0]
    """

    def rate(epoch: int) -> float:
        if epoch < warmup_epochs:
            return schedule(0) * (epoch + 1) / (warmup_epochs + 1)
        return schedule(epoch - warmup_epochs)

    return rate


def learning_rate_callbacks(
    decay: str, learning_rate: float, epochs: int, warmup_epochs: int = 0
) -> list[keras.callbacks.Callback]:
    """Callbacks for a learning-rate schedule.

    Args:
        decay: ``"none"``, ``"exponential"``, ``"step"``, ``"cosine"`` or ``"plateau"`` (see
            :class:`PlateauDecay`).
        learning_rate: Initial learning rate.
        epochs: Epochs of the whole fit.
        warmup_epochs: Epochs of linear warm-up before the decay.

    Returns:
        Stock Keras callbacks.

    Raises:
        ValueError: If ``decay`` is none of these.
    """
    falling = epochs - warmup_epochs
    schedules = {
        "none": lambda: constant(learning_rate),
        "plateau": lambda: constant(learning_rate),
        "exponential": lambda: exponential(learning_rate, falling),
        "step": lambda: step(learning_rate, falling),
        "cosine": lambda: cosine(learning_rate, falling),
    }
    if decay not in schedules:
        raise ValueError(f"decay {decay!r}, expected one of {', '.join(schedules)}")
    rate = with_warmup(schedules[decay](), warmup_epochs)
    if decay != "plateau":
        return [keras.callbacks.LearningRateScheduler(lambda epoch, _: rate(epoch))]
    return [WarmUp(rate, warmup_epochs), PlateauDecay()]


class SettingSchedule(keras.callbacks.Callback):
    """Sets attributes of the model at the beginning of each epoch.

    Args:
        **settings: For each attribute, a function from the epoch, counted from 0, to its value.

    Example:
        >>> from kt_transfer import Distiller
        >>> teacher = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> student = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> cooling = SettingSchedule(temperature=lambda epoch: max(4.0 - 0.1 * epoch, 1.0))
        >>> distiller = Distiller(teacher=teacher, student=student)
        >>> distiller.compile("adam")
        >>> x, y = np.ones((8, 4)), np.array([0, 1, 2, -1] * 2)
        >>> history = distiller.fit(x, y, epochs=3, callbacks=[cooling], verbose=0)
        >>> round(distiller.temperature, 1)
        3.8
    """

    def __init__(self, **settings: Schedule):
        super().__init__()
        self.settings = settings

    def on_epoch_begin(self, epoch, logs=None):
        """Set the values for this epoch."""
        for name, value in self.settings.items():
            setattr(self.model, name, value(epoch))


def hints_first(hint_epochs: int, hint_weight: float) -> SettingSchedule:
    """Train on hints alone for the first epochs, then on soft targets and labels alone.

    The two stages of FitNets (Romero et al., 2015, https://arxiv.org/abs/1412.6550).
    """
    return SettingSchedule(
        hint_weight=lambda epoch: hint_weight if epoch < hint_epochs else 0.0,
        distillation_weight=lambda epoch: 0.0 if epoch < hint_epochs else 1.0,
    )


class WarmUp(keras.callbacks.Callback):
    """Sets the learning rate during warm-up only; other callbacks may set it afterwards."""

    def __init__(self, rate: Schedule, warmup_epochs: int):
        super().__init__()
        self.rate = rate
        self.warmup_epochs = warmup_epochs

    def on_epoch_begin(self, epoch, logs=None):
        """Set the learning rate of this epoch, up to the first one after the warm-up."""
        if epoch <= self.warmup_epochs:
            self.model.optimizer.learning_rate = self.rate(epoch)


class PlateauDecay(keras.callbacks.ReduceLROnPlateau):
    """Divides the learning rate by ten after 5 epochs without improvement.

    It monitors the validation loss or, in a fit without validation, the training loss.
    """

    def __init__(self):
        super().__init__(monitor="val_loss", factor=0.1, patience=5)

    def on_epoch_end(self, epoch, logs=None):
        """Update the learning rate after an epoch."""
        self.monitor = "val_loss" if "val_loss" in (logs or {}) else "loss"
        super().on_epoch_end(epoch, logs)


def _progress(epoch: int, epochs: int) -> float:
    return min(epoch / max(epochs - 1, 1), 1.0)
