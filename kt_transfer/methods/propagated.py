"""Label propagation: a network learns what a graph of all examples says of the few labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from kt_transfer.methods.bounds import AtLeastOne, NotNegative, Share
from kt_transfer.methods.steps import LearningRateDecay, Steps
from kt_transfer.methods.views import augmentation_of


@dataclass(frozen=True, kw_only=True)
class Propagated(Steps):
    """The architecture of the source, from fresh weights, on labels that a graph propagates.

    Examples, labelled or not, are joined to their nearest neighbours; labels spread along these
    edges (Zhou et al., 2004, "Learning with local and global consistency"), and a network is
    trained on what every example is given (Iscen et al., 2019,
    https://arxiv.org/abs/1904.04717). What is ``None`` is chosen by what the given labels say of
    those among them that are held out.

    Attributes:
        max_steps: Steps after which the network stops in any case; ``None`` for no limit.
        graph_features: By what examples are near to one another: ``"raw"``, their scaled values;
            ``"gradients"``, histograms of oriented gradients, of pictures;
            ``"encoder"``, the features of the source's encoder.
        neighbours: Nearest neighbours of each example.
        graph_views: Random views of each example, made by ``augment``, that say how far it may
            change before it is farther from its neighbours; 0 for none.
        alpha: How far labels spread, from 0 to below 1.
        class_mass: Whether the sums of the scores of the classes are made as the shares of the
            classes among the labels, or left as they are.
        dropout: Share of the encoder's outputs dropped in training.
        augment: Random views of the examples that the network is trained on:
            ``"affine[:STRENGTH]"`` or ``"shift:PIXELS"`` for images, ``"noise:DEVIATION"`` for any
            data, or ``"none"``; ``"auto"`` is affine for images, else none.
    """

    name: ClassVar[str] = "propagated"
    description: ClassVar[str] = (
        "a fresh network, taught by labels that spread from neighbour to neighbour among the "
        "unlabelled data"
    )
    sees_unlabelled: ClassVar[bool] = True
    teacher: ClassVar[None] = None

    epochs: AtLeastOne = 100
    batch_size: AtLeastOne = 256
    lr_decay: LearningRateDecay = "cosine"
    max_steps: AtLeastOne | None = 6000
    graph_features: Literal["raw", "gradients", "encoder"] | None = None
    neighbours: AtLeastOne = 10
    graph_views: NotNegative = 12
    alpha: Share | None = None
    class_mass: bool | None = None
    dropout: Share = 0.0
    augment: str | None = "auto"

    @property
    def needs_source(self) -> bool:
        """Whether the graph is one of the features of a source."""
        return self.graph_features == "encoder"

    def __post_init__(self) -> None:
        super().__post_init__()
        augmentation_of(self.augment)

    def prepare(self, problem):
        """A learner of this method; see :class:`~.propagation.PropagatedLearner`."""
        from kt_transfer.methods.propagation import PropagatedLearner

        return PropagatedLearner(self, problem)
