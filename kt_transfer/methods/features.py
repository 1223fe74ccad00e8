"""Transfer of features: a new classifier on the frozen encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from kt_transfer.methods.bounds import Share
from kt_transfer.methods.steps import GIVEN_ANEW, Steps
from kt_transfer.methods.views import augmentation_of


@dataclass(frozen=True, kw_only=True)
class Features(Steps):
    """The source's encoder as it is, with a new head.

    Attributes:
        head: Logistic regression, whose regularization is chosen by cross-validation inside the
            given examples; or a dense layer that is trained by steps, to which the other settings
            belong.
        features_from: ``"bottleneck"`` for the encoder's output, the name of one of its layers,
            or ``"all"`` for those of every layer with weights.
        dropout: Share of the features dropped in training (a dense head).
        augment: Random views of the examples, as for :class:`~.scratch.Scratch` (a dense head).
    """

    name: ClassVar[str] = "features"
    description: ClassVar[str] = "the source's encoder as it is, with logistic regression on top"
    needs_source: ClassVar[bool] = True
    sees_unlabelled: ClassVar[bool] = False
    teacher: ClassVar[None] = None
    given_anew: ClassVar[tuple[str, ...]] = GIVEN_ANEW

    head: Literal["logistic_regression", "dense"] = "logistic_regression"
    features_from: str = "bottleneck"
    dropout: Share = 0.0
    augment: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        augmentation_of(self.augment)

    @property
    def regresses(self) -> bool:
        """Whether the head is a logistic regression."""
        return self.head == "logistic_regression"

    @property
    def takes_steps(self) -> bool:
        """Whether the head is trained by steps."""
        return not self.regresses

    def prepare(self, problem):
        """A learner of this method; see :class:`~.frozen.FeaturesLearner`."""
        from kt_transfer.methods.frozen import FeaturesLearner

        return FeaturesLearner(self, problem)
