"""Settings of a network that is trained layer by layer: what scratch and parameters share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kt_transfer.methods.steps import Steps


@dataclass(frozen=True, kw_only=True)
class Layered(Steps):
    """An encoder with a new dense head.

    Attributes:
        freeze: Lock the first layers of the encoder that have weights, or all of them.
        head_epochs: Train the head alone for this many epochs first (``None``: 0, or
            ``unfreeze_every``).
        unfreeze_every: Gradual unfreezing: from the head down, unlock one more layer every so
            many epochs (Howard & Ruder, 2018, https://arxiv.org/abs/1801.06146).
        layer_decay: Discriminative learning rates: each layer's is this share of the one above.
        dropout: Share of the encoder's outputs dropped in training.
    """

    freeze: int | Literal["all"] = 0
    head_epochs: int | None = None
    unfreeze_every: int | None = None
    layer_decay: float = 1.0
    dropout: float = 0.0

    def prepare(self, problem):
        """A learner of this method; see :class:`~.networks.NetworkLearner`."""
        from kt_transfer.methods.networks import NetworkLearner

        return NetworkLearner(self, problem)
