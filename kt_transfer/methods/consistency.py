"""Consistency: one answer for all views of an unlabelled example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from kt_transfer.methods.bounds import AtLeastOne, Positive, Share, Weight, require
from kt_transfer.methods.steps import Steps
from kt_transfer.methods.views import augmentation_of


@dataclass(frozen=True, kw_only=True)
class Consistency(Steps):
    """A network that learns from its own confident answers, on random views of the examples.

    What an average of its weights over the steps says of an unlabelled example, if it is confident
    enough, is what the network learns from a random view of it (FixMatch: Sohn et al., 2020,
    https://arxiv.org/abs/2001.07685, with the teacher of Tarvainen & Valpola, 2017,
    https://arxiv.org/abs/1703.01780).

    Attributes:
        epochs: Passes over the examples, labelled or not.
        batch_size: Labelled examples per step, over all devices together.
        unlabelled_ratio: Unlabelled examples per step, for each labelled one.
        max_steps: Steps after which it stops in any case; ``None`` for no limit.
        threshold: Probability from which on an answer is learned.
        unlabelled_weight: Weight of the unlabelled examples' loss; the labelled ones' is 1.
        averaging: Share that the averaged weights keep in each step.
        alignment: What the classes' shares among the answers are aligned with (Berthelot et al.,
            2020, https://arxiv.org/abs/1911.09785): ``"labels"``, their shares among the labels;
            ``"uniform"``, where labels were drawn evenly and classes are equal; or ``"none"``.
        augment: Random views of the examples: ``"affine[:STRENGTH]"`` or ``"shift:PIXELS"`` for
            images, ``"resample:SHARE"`` for the columns of a table, ``"noise:DEVIATION"`` for any
            data; ``"auto"`` is affine for images, else resample:0.2.
        initial_weights: ``"fresh"`` ones, or those of the ``"source"``, with a head that starts
            from logistic regression on its features; ``finetune`` takes a source's where it has
            one.
    """

    name: ClassVar[str] = "consistency"
    description: ClassVar[str] = (
        "the network taught by its own confident answers, on views of the unlabelled data"
    )
    sees_unlabelled: ClassVar[bool] = True
    teacher: ClassVar[None] = None

    epochs: AtLeastOne = 400
    batch_size: AtLeastOne = 64
    learning_rate: Positive = 1e-3
    unlabelled_ratio: AtLeastOne = 4
    max_steps: AtLeastOne | None = 3000
    threshold: Share = 0.9
    unlabelled_weight: Weight = 1.0
    averaging: Share = 0.999
    alignment: Literal["labels", "uniform", "none"] = "labels"
    augment: str = "auto"
    initial_weights: Literal["fresh", "source"] = "fresh"

    @property
    def needs_source(self) -> bool:
        """Whether it starts from the weights of a source."""
        return self.initial_weights == "source"

    @property
    def regresses(self) -> bool:
        """Whether the head starts from logistic regression."""
        return self.needs_source

    def __post_init__(self) -> None:
        super().__post_init__()
        has_views = self.augment not in (None, "none")
        require(has_views, "augment", self.augment, "random views, such as auto")
        augmentation_of(self.augment)

    def prepare(self, problem):
        """A learner of this method; see :class:`~.unlabelled.ConsistencyLearner`."""
        from kt_transfer.methods.unlabelled import ConsistencyLearner

        return ConsistencyLearner(self, problem)
