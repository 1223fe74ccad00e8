"""Distillation: a small student learns from a teacher, on unlabelled examples too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from kt_transfer.methods.bounds import (
    AtLeastOne,
    Fraction,
    NotNegative,
    Positive,
    Units,
    Weight,
    require_fewer_epochs,
)
from kt_transfer.methods.parameters import Parameters
from kt_transfer.methods.steps import GIVEN_ANEW, Steps
from kt_transfer.methods.views import augmentation_of


@dataclass(frozen=True, kw_only=True)
class Distilled(Steps):
    """A dense student of a teacher of the same classes.

    Attributes:
        epochs: Passes over the examples, labelled or not.
        max_steps: Steps after which it stops in any case; ``None`` for no limit.
        teacher: The method that trains the teacher, where none is given: any but ``distilled``.
        student_units: Widths of the student's hidden layers.
        temperature: Temperature of the soft targets (``loss`` ``"kl"``, ``"decoupled"`` or
            ``"standardized"``).
        alpha: Weight of the hard-label loss; 1 - alpha weighs the soft one.
        loss: As for :class:`~kt_transfer.Distiller`, likewise ``beta`` and all that follow.
        hint_epochs: Train on the hint alone for the first so many epochs, and without it from
            then on (0: both together).
        augment: Random views of the examples: ``"affine[:STRENGTH]"``, ``"shift:PIXELS"`` or
            ``"noise:DEVIATION"``; ``None`` for none.
    """

    name: ClassVar[str] = "distilled"
    description: ClassVar[str] = (
        "a small student, taught by another method on the unlabelled data as well"
    )
    sees_unlabelled: ClassVar[bool] = True
    given_anew: ClassVar[tuple[str, ...]] = (*GIVEN_ANEW, "temperature", "alpha")

    epochs: AtLeastOne = 40
    max_steps: AtLeastOne | None = None
    teacher: Any = Parameters()
    student_units: Units = (32,)
    temperature: Positive = 4.0
    alpha: Fraction = 0.1
    loss: Literal["kl", "cross_entropy", "decoupled", "standardized", "none"] = "kl"
    beta: Weight = 8.0
    hint: str | None = None
    hint_student: str | None = None
    hint_weight: Weight = 1.0
    hint_loss: Literal["mse", "cosine"] = "mse"
    hint_epochs: NotNegative = 0
    augment: str | None = None

    @property
    def needs_source(self) -> bool:
        """Whether the teacher transfers from a source."""
        return self.teacher.needs_source

    def __post_init__(self) -> None:
        super().__post_init__()
        require_fewer_epochs("hint_epochs", self.hint_epochs, self.epochs)
        augmentation_of(self.augment)

    def prepare(self, problem):
        """A learner of this method; see :class:`~.students.StudentLearner`."""
        from kt_transfer.methods.students import StudentLearner

        return StudentLearner(self, problem)
