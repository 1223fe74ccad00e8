"""Settings of every training that takes steps with an optimizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from kt_transfer.methods.bounds import (
    AtLeastOne,
    NotNegative,
    Positive,
    require_bounds,
    require_fewer_epochs,
)

LearningRateDecay = Literal["none", "exponential", "step", "cosine", "plateau"]
# Settings of steps that a compiled program is given anew in every fit.
GIVEN_ANEW = ("learning_rate", "lr_decay", "warmup_epochs", "patience")


@dataclass(frozen=True, kw_only=True)
class Steps:
    """How long to train, and with what steps of Adam.

    Attributes:
        epochs: Passes over the examples.
        batch_size: Examples per step, over all devices together.
        learning_rate: Initial learning rate.
        lr_decay: How the learning rate falls over the epochs.
        warmup_epochs: Epochs over which it rises to its initial value.
        patience: Epochs without a better validation loss before training stops, with the best
            weights; ``None`` trains to the end.
    """

    # Settings that a learner can be given anew, with the program that it has: see `reused`.
    given_anew: ClassVar[tuple[str, ...]] = ()

    epochs: AtLeastOne = 100
    batch_size: AtLeastOne = 32
    learning_rate: Positive = 1e-3
    lr_decay: LearningRateDecay = "none"
    warmup_epochs: NotNegative = 0
    patience: AtLeastOne | None = None

    @property
    def is_network(self) -> bool:
        """Whether a Keras model results, which can be exported."""
        return True

    @property
    def takes_steps(self) -> bool:
        """Whether it is trained by steps of an optimizer."""
        return True

    @property
    def regresses(self) -> bool:
        """Whether it fits a logistic regression on features."""
        return False

    def __post_init__(self) -> None:
        require_bounds(self)
        require_fewer_epochs("warmup_epochs", self.warmup_epochs, self.epochs)
