"""Virtual adversarial training: one answer all around every example, labelled or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from kt_transfer.methods.bounds import AtLeastOne, Positive, Share, Weight
from kt_transfer.methods.steps import LearningRateDecay, Steps


@dataclass(frozen=True, kw_only=True)
class Vat(Steps):
    """A network whose answers stay as they are where unlabelled examples are perturbed.

    It learns to answer an example and the worst small perturbation of it alike, and to be decided
    on it, so that its answers change only where examples are few (Miyato et al., 2018,
    https://arxiv.org/abs/1704.03976). Unlike random views, perturbations ask for no knowledge of
    what may change in an example, but classes have to be clusters.

    Attributes:
        epochs: Passes over the examples, labelled or not.
        batch_size: Labelled examples per step, over all devices together.
        max_steps: Steps after which it stops in any case; ``None`` for no limit.
        first: What the network begins with: what ``"propagated"`` labels have taught it, by that
            method's own settings without views, or ``"fresh"`` weights.
        unlabelled_ratio: Unlabelled examples per step, for each labelled one.
        unlabelled_weight: Weight of the unlabelled examples' loss; the labelled ones' is 1.
        averaging: Share that the averaged weights keep in each step.
        epsilon: Euclidean length of a perturbation of a scaled example; ``None`` for half the
            distance to its nearest neighbour, in the median of the examples.
    """

    name: ClassVar[str] = "vat"
    description: ClassVar[str] = (
        "the network taught to answer alike all around the unlabelled examples, without views"
    )
    needs_source: ClassVar[bool] = False
    sees_unlabelled: ClassVar[bool] = True
    teacher: ClassVar[None] = None

    epochs: AtLeastOne = 400
    batch_size: AtLeastOne = 64
    lr_decay: LearningRateDecay = "cosine"
    max_steps: AtLeastOne | None = 3000
    first: Literal["propagated", "fresh"] = "propagated"
    unlabelled_ratio: AtLeastOne = 4
    unlabelled_weight: Weight = 1.0
    averaging: Share = 0.998
    epsilon: Positive | None = None

    def prepare(self, problem):
        """A learner of this method; see :class:`~.adversarial.VatLearner`."""
        from kt_transfer.methods.adversarial import VatLearner

        return VatLearner(self, problem)
