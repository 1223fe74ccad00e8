"""Settings of a network that is trained layer by layer: what scratch and parameters share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from kt_transfer.methods.bounds import (
    AtLeastOne,
    LayerDecay,
    NotNegative,
    Share,
    require_fewer_epochs,
)
from kt_transfer.methods.steps import GIVEN_ANEW, Steps
from kt_transfer.methods.views import augmentation_of


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
        augment: Random views of the examples, as of a picture that is turned a little:
            ``"affine[:STRENGTH]"`` or ``"shift:PIXELS"`` for images, ``"noise:DEVIATION"`` for any
            data, or ``"none"``; ``"auto"`` is affine for images where no layer is ever locked,
            else none: what locked layers make of an example is computed once.
    """

    given_anew: ClassVar[tuple[str, ...]] = GIVEN_ANEW

    freeze: NotNegative | Literal["all"] = 0
    head_epochs: NotNegative | None = None
    unfreeze_every: AtLeastOne | None = None
    layer_decay: LayerDecay = 1.0
    dropout: Share = 0.0
    augment: str | None = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_fewer_epochs("head_epochs", self.head_epochs, self.epochs)
        augmentation_of(self.augment)
        if self.augment == "auto" and (self.freeze or self.head_epochs or self.unfreeze_every):
            object.__setattr__(self, "augment", "none")

    def prepare(self, problem):
        """A learner of this method; see :class:`~.networks.NetworkLearner`."""
        from kt_transfer.methods.networks import NetworkLearner

        return NetworkLearner(self, problem)
