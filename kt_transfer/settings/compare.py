"""The settings of ``compare``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from kt_transfer.errors import UserError, named
from kt_transfer.methods import BY_NAME
from kt_transfer.methods.bounds import AtLeastOne, Bound, FolderName, Positive, Units, require
from kt_transfer.methods.pretraining import WIDE_LATENT_DIM, WIDE_UNITS
from kt_transfer.methods.views import augmentation_of
from kt_transfer.settings.common import Training

Method = Literal[tuple(BY_NAME)]
Metric = Literal["accuracy", "balanced_accuracy", "macro_f1", "auc", "log_loss"]
_TIME = re.compile(r"(\d+(?:\.\d+)?)([smh])")


def _is_time(given: str) -> bool:
    found = _TIME.fullmatch(given)
    return found is not None and float(found[1]) > 0


@dataclass(frozen=True, kw_only=True)
class CompareConfig(Training):
    """Cross-validate the ways of transferring against no transfer, and hand over the winner."""

    data: str = "digits"
    """Target data, such as digits, tfds:NAME[:VERSION], idx:DIR, images:DIR or npz:FILE."""

    source: tuple[str, ...] = ()
    """What to transfer from, each a candidate: run folders, FILE.keras, keras_applications:NAME.
    A run that was pretrained on the target data is trained anew in every fold."""

    source_data: str | None = None
    """Pretrain on this set (default, without --source: on the target's own training split)."""

    labels: (
        Annotated[tuple[AtLeastOne | Literal["all"], ...], Bound(len, "at least one budget")] | None
    ) = None
    """Label budgets: so many labelled examples are all that a method learns from (default: 50 and
    200, or all where there are fewer)."""

    folds: Annotated[int, Bound(lambda folds: folds >= 2, "at least 2")] = 5
    """Stratified folds: each is held out in turn, and judges what was learned without it."""

    repeats: AtLeastOne = 2
    """How often the examples are split into folds anew."""

    judge: Literal["all", "budget"] = "all"
    """What the folds split: all labelled examples, of which a budget draws its own from what a fold
    leaves; or those of the budget, so that a fifth of 50 labels judges what four fifths taught."""

    methods: tuple[Method, ...] = (
        "scratch",
        "parameters",
        "features",
        "distilled",
        "propagated",
        "linear",
    )
    """What to compare; scratch, no transfer, is what all others are held against. Of the default,
    propagated is left out for the rows of a table."""

    candidates: Path | None = None
    """JSON file of further candidates, [{"name": NAME, "method": METHOD, SETTING: VALUE, ...}]: a
    method with the settings that finetune or distill can set, or "run", a run folder of either."""

    teachers: tuple[str, ...] | None = None
    """Classifiers with scikit-learn's interface that are installed, by import path, such as
    catboost.CatBoostClassifier: each is a candidate, and the teacher of a student that also sees
    the unlabelled examples (default: sklearn.ensemble.ExtraTreesClassifier for the rows of a
    table, unless --methods says what to compare; none for pictures)."""

    metric: Metric = "accuracy"
    """What to judge by, on held-out examples."""

    margin: Annotated[float, Bound(lambda margin: 0 <= margin < float("inf"), "at least 0")] = 0.01
    """Differences up to this are of no importance, in units of the metric: 0.01 is a point of
    accuracy."""

    shift: bool = False
    """Judge what is learned with the most labels on changed examples, too: held-out pictures with
    noise, blur, less contrast, more light and turned, the rows of a table with noise, missing
    columns and drift."""

    shift_data: str | None = None
    """Judge it on a second set with the same classes as well, such as pictures of another camera:
    on its test part, or else on all of its labelled examples."""

    calibrate: bool = False
    """Export the winner with its logits divided by the temperature that makes its confidence fit
    its held-out answers best; its answers stay."""

    prefer: Literal["best", "smallest"] = "best"
    """The winner: the best mean at the largest budget, or the smallest network that is, with a
    probability of 90 %, not worse than it by more than the margin."""

    epochs: AtLeastOne = 100
    """Passes over the labelled examples, the same for scratch and transfer."""

    batch_size: AtLeastOne = 32
    """Examples per step, over all devices together."""

    learning_rate: Positive | None = None
    """Initial learning rate of Adam in all that is trained (default: 1e-3, and 1e-4 where
    pretrained parameters are trained further, as finetune has it)."""

    augment: str | None = None
    """Random views of the examples for every network that learns the task: affine or
    affine:STRENGTH (turned, stretched, slanted and shifted a little) or shift:PIXELS for images,
    noise:DEVIATION (of values scaled to [-1, 1]) for any data, or none (default: each method's own;
    affine for images where all layers are trained)."""

    pretrain_epochs: AtLeastOne = 50
    """Passes over the unlabelled examples in pretraining."""

    hidden_units: Units = WIDE_UNITS
    """Widths of the encoder's hidden layers (without --source)."""

    latent_dim: AtLeastOne = WIDE_LATENT_DIM
    """Width of its code (without --source)."""

    student_units: Units = (64,)
    """Widths of the hidden layers of the student (distilled)."""

    time_budget: Annotated[str, Bound(_is_time, "a time such as 90s, 10m or 2h")] | None = None
    """Time that all may take, such as 90s, 10m or 2h: after a few timed epochs, repeats are cut to
    fit, then folds, then epochs as far as networks still learn, then the slowest methods; what
    cannot fit is refused."""

    workers: AtLeastOne = 1
    """Processes of this machine that train different folds at the same time, each with its share of
    the cores and a copy of the data; the table is the same."""

    name: FolderName = "compare"
    """Name of the served model."""

    export_dir: Path = Path("saved_models")
    """Folder that holds the served models."""

    def __post_init__(self) -> None:
        super().__post_init__()
        augmentation_of(self.augment)
        require(
            "scratch" in self.methods and (self.candidates or len(set(self.methods)) > 1),
            "methods",
            self.methods,
            "scratch and at least one other",
        )
        require("scratch" not in self.source, "source", "scratch", "a model to transfer from")
        if self.workers > 1 and self.time_budget is not None:
            raise UserError(
                setting="workers",
                given=self.workers,
                when=f"with {named('time_budget', self.time_budget)}",
                expected="one process, whose speed tells what fits the time",
                remedy="leave one of them out",
            )
        if self.strategy == "multi_worker":
            raise UserError(
                setting="strategy",
                given="multi_worker",
                when="to compare",
                expected="one machine",
                remedy="leave it out, or give mirrored",
            )

    @property
    def time_budget_seconds(self) -> float | None:
        """``--time-budget`` in seconds."""
        if self.time_budget is None:
            return None
        found = _TIME.fullmatch(self.time_budget)
        return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]
