"""The floor: logistic regression on the scaled inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, kw_only=True)
class Linear:
    """Logistic regression on the inputs; its regularization is chosen by cross-validation."""

    name: ClassVar[str] = "linear"
    description: ClassVar[str] = "logistic regression on the raw input: the floor"
    needs_source: ClassVar[bool] = False
    sees_unlabelled: ClassVar[bool] = False
    teacher: ClassVar[None] = None
    is_network: ClassVar[bool] = True
    takes_steps: ClassVar[bool] = False
    regresses: ClassVar[bool] = True

    def prepare(self, problem):
        """A learner of this method: features of an encoder without layers."""
        from kt_transfer.methods.features import Features
        from kt_transfer.methods.frozen import FeaturesLearner
        from kt_transfer.models.classifiers import dense_encoder

        nothing = dense_encoder(problem.flat.output_shape[-1], ())
        inputs = problem._replace(encoder=nothing, preprocessing=problem.flat)
        return FeaturesLearner(Features(), inputs)
