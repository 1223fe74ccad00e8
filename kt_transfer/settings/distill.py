"""The settings of ``distill``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kt_transfer.errors import UserError, named
from kt_transfer.methods import Distilled
from kt_transfer.methods.bounds import (
    AtLeastOne,
    Fraction,
    Positive,
    Share,
    Units,
    ValueRange,
    Weight,
    require,
    require_fewer_epochs,
)
from kt_transfer.methods.steps import LearningRateDecay
from kt_transfer.methods.views import augmentation_of
from kt_transfer.settings.common import Training

# What only a model can be: asked about views or a layer, given other values, mapped, averaged.
_OF_MODELS = ("teacher_weights", "teacher_range", "trust_teacher", "class_map", "hint", "augment")


@dataclass(frozen=True, kw_only=True)
class DistillConfig(Training):
    """Train a small student from the soft targets of one or more teachers."""

    teacher: tuple[Path, ...] = ()
    """Teachers: run folders, FILE.keras or SavedModel folders; the answers of several are
    averaged."""

    teacher_predictions: Path | None = None
    """FILE.csv, FILE.parquet or FILE.npz with the predictions of a teacher that lives elsewhere,
    instead of --teacher: a column for each class, the rows in the order of the data, named by --id
    or as predict writes them; an empty row is no prediction."""

    teacher_weights: tuple[float, ...] | None = None
    """Weight of each teacher in that average (default: all alike)."""

    teacher_output: Literal["auto", "logits", "probabilities"] = "auto"
    """What a FILE.keras or a SavedModel emits, or --teacher-predictions hold; auto tells it from
    the last layer or the name of the output, and from the values."""

    teacher_range: ValueRange | None = None
    """What the smallest and the largest raw value become for a FILE.keras (default: -1 1, or raw
    values where it scales by itself) or a SavedModel (default: raw values)."""

    trust_teacher: bool = False
    """Load a SavedModel that may touch files, a network, processes or Python, which is refused
    otherwise: a SavedModel is a program."""

    class_map: Path | None = None
    """JSON file {"teacher's class": "student's class", ...}, where the classes differ: those that
    become one add up, those that are left out are dropped. A model without class names has
    numbers: "0", "1", ..."""

    data: str | None = None
    """Transfer data (default: the data of the first teacher that is a run; else digits)."""

    epochs: AtLeastOne = Distilled.epochs
    """Passes over the transfer examples, labelled or not."""

    student_units: Units = Distilled.student_units
    """Widths of the student's hidden layers."""

    student: Path | None = None
    """FILE.keras whose layers and weights the student starts from, instead of --student-units; it
    gets a new head where its own has not as many units as there are classes."""

    student_range: ValueRange | None = None
    """What the smallest and the largest raw value become for --student (default: as for a
    teacher's FILE.keras)."""

    temperature: Positive = Distilled.temperature
    """Temperature of the soft targets (--loss kl, decoupled or standardized)."""

    alpha: Fraction = Distilled.alpha
    """Weight of the hard-label loss; 1 - alpha weighs the soft one."""

    loss: Literal["kl", "cross_entropy", "decoupled", "standardized", "none"] = Distilled.loss
    """Temperature KL divergence; cross-entropy with the teacher's probabilities; decoupled
    KL, the target class and the others apart; standardized KL, of logits with mean 0 and deviation
    1 over three classes or more; or none, for a teacher of other classes that gives hints alone."""

    beta: Weight = Distilled.beta
    """Weight of the classes that are not the target, where that of the target is 1
    (--loss decoupled)."""

    hint: str | None = None
    """Layer of the first teacher that the student's features learn to predict."""

    hint_student: str | None = None
    """Layer of the student that gives these features (default: its last hidden one)."""

    hint_weight: Weight = Distilled.hint_weight
    """Weight of the hint's loss."""

    hint_loss: Literal["mse", "cosine"] = Distilled.hint_loss
    """Mean squared error or cosine distance of the features."""

    hint_epochs: int = Distilled.hint_epochs
    """Train on the hint alone for the first so many epochs, and without it from then on
    (0: the hint and the soft targets together)."""

    augment: str | None = None
    """Random views of the examples, which teacher and student see alike: affine or
    affine:STRENGTH (turned, stretched, slanted and shifted a little) or shift:PIXELS for images,
    noise:DEVIATION (of values scaled to [-1, 1]) for any data."""

    compare_scratch: Literal["auto", "yes", "no"] = "auto"
    """Train the same student on the labels alone too, with as many steps, to say what
    distillation gained; auto where that takes seconds."""

    labels: AtLeastOne | None = None
    """Draw this many labels (default: exactly the labels that the teacher saw)."""

    validation_split: Share = 0.1
    """Share of the labelled examples held out to watch the training (with --labels)."""

    lr_decay: LearningRateDecay = "none"
    """How the learning rate falls over the epochs."""

    warmup_epochs: int = 0
    """Epochs over which the learning rate rises to its initial value."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_fewer_epochs("hint_epochs", self.hint_epochs, self.epochs)
        require_fewer_epochs("warmup_epochs", self.warmup_epochs, self.epochs)
        self._require_one_kind_of_teacher()
        self._require_weights_of_the_teachers()
        augmentation_of(self.augment)
        self._require_settings_that_agree()

    def _require_one_kind_of_teacher(self) -> None:
        """Models that teach or what they said, and no setting that needs a model of the latter."""
        if bool(self.teacher) == (self.teacher_predictions is not None):
            models, said = named("teacher"), named("teacher_predictions")
            given = f"neither {models} nor {said} was"
            if self.teacher:
                given = f"both {models} and {said} were"
            raise UserError(
                f"{given} given, expected one of them: give {named('teacher', 'RUN')} for a "
                f"model or {named('teacher_predictions', 'FILE.csv')} for what one said."
            )
        if self.teacher:
            return
        for name in _OF_MODELS:
            if value := getattr(self, name):
                raise UserError(
                    setting=name,
                    given=value,
                    when=f"with {named('teacher_predictions', self.teacher_predictions)}",
                    expected="a teacher that can be asked",
                    but="a file holds answers alone",
                    remedy=f"leave it out, or give {named('teacher', 'RUN')}",
                )

    def _require_weights_of_the_teachers(self) -> None:
        """One weight a teacher, not all of them zero."""
        weights = self.teacher_weights
        if weights is None:
            return
        positive = all(0 <= weight < math.inf for weight in weights) and sum(weights) > 0
        require(
            len(weights) == len(self.teacher) and positive,
            "teacher_weights",
            weights,
            f"a weight of 0 or more for each of the {len(self.teacher)} teachers",
        )

    def _require_settings_that_agree(self) -> None:
        if self.loss == "none" and self.hint is None:
            raise UserError(
                setting="loss",
                given="none",
                when=f"without {named('hint')}",
                expected="something to learn from the teacher",
                remedy=f"add {named('hint', 'LAYER')}, or give another {named('loss')}",
            )
        if self.loss == "none" and len(self.teacher) > 1:
            raise UserError(
                setting="loss",
                given="none",
                when=f"with {len(self.teacher)} teachers",
                expected="one, whose layer is the hint",
                remedy=f"give one {named('teacher')}, or another {named('loss')}",
            )
        if self.hint is None and (self.hint_epochs or self.hint_student):
            raise UserError(
                f"{named('hint_epochs')} or {named('hint_student')} was given without "
                f"{named('hint')}, expected the teacher's layer: add {named('hint', 'LAYER')}, or "
                "leave it out."
            )
        if self.student_range and self.student is None:
            raise UserError(
                setting="student_range",
                given=self.student_range,
                when=f"without {named('student')}",
                expected="a FILE.keras",
                remedy=f"add {named('student', 'FILE.keras')}, or leave it out",
            )
