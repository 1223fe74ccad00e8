"""Transfer of parameters: the pretrained encoder, trained further."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from kt_transfer.methods.bounds import Positive
from kt_transfer.methods.layered import Layered

# Steps ten times as large soon destroy what was pretrained.
TRANSFERRED_LEARNING_RATE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Parameters(Layered):
    """The source's weights, trained further on the labels.

    A random head distorts what it is put on while it learns (Kumar et al., 2022,
    https://arxiv.org/abs/2202.10054), so it starts from logistic regression on the features.

    Attributes:
        learning_rate: ``None``: 1e-4 with a head that starts from logistic regression, else 1e-3.
        head_start: What the head starts from: logistic regression, or random weights.
    """

    name: ClassVar[str] = "parameters"
    description: ClassVar[str] = "the source's weights, trained further on the labels"
    needs_source: ClassVar[bool] = True
    sees_unlabelled: ClassVar[bool] = False
    teacher: ClassVar[None] = None

    learning_rate: Positive | None = None
    head_start: Literal["logistic_regression", "random"] = "logistic_regression"

    @property
    def regresses(self) -> bool:
        """Whether the head starts from logistic regression."""
        return self.head_start == "logistic_regression"

    def __post_init__(self) -> None:
        if self.learning_rate is None:
            rate = TRANSFERRED_LEARNING_RATE if self.regresses else Layered.learning_rate
            object.__setattr__(self, "learning_rate", rate)
        super().__post_init__()
