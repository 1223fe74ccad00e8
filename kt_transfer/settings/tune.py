"""The settings of ``tune``, one class for each command that it searches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from kt_transfer.methods.bounds import AtLeastOne, Share
from kt_transfer.settings.distill import DistillConfig
from kt_transfer.settings.finetune import HELD_OUT_SHARE, FinetuneConfig
from kt_transfer.settings.pretrain import PretrainConfig


@dataclass(frozen=True, kw_only=True)
class Search:
    """What a search understands beside the searched command's own flags."""

    search: Literal["random", "bayesian", "hyperband", "grid"] = "random"
    """Search algorithm: settings at random; by a Gaussian process of what was tried; with few
    epochs for many and all for few; or every combination, in random order."""

    max_trials: AtLeastOne = 10
    """Trials to run, the first of them with the settings as given; hyperband plans its own number
    from --epochs."""

    space: Path | None = None
    """JSON file of what to search instead of the command's own space: of each setting its values,
    [16, 32, 64], or a range, {"min": 1e-4, "max": 1e-2, "sampling": "log"}."""


@dataclass(frozen=True, kw_only=True)
class TunePretrainConfig(Search, PretrainConfig):
    """Search the settings of pretrain with KerasTuner."""

    searched: ClassVar[str] = "pretrain"
    """The command whose settings are searched."""


@dataclass(frozen=True, kw_only=True)
class TuneFinetuneConfig(Search, FinetuneConfig):
    """Search the settings of finetune with KerasTuner."""

    searched: ClassVar[str] = "finetune"
    """The command whose settings are searched."""

    folds: AtLeastOne | None = None
    """Judge each trial by so many folds of the given labels, the same for all; one that cannot win
    any more ends early (default: 5 for fewer than 1,000 labels; 1, a single hold-out of
    --validation-split, for more)."""

    validation_split: Share = HELD_OUT_SHARE
    """Share of the labelled examples held out to judge the trials by, with --folds 1; with more it
    is only the best trial's own, as in finetune."""


@dataclass(frozen=True, kw_only=True)
class TuneDistillConfig(Search, DistillConfig):
    """Search the settings of distill with KerasTuner."""

    searched: ClassVar[str] = "distill"
    """The command whose settings are searched."""

    folds: AtLeastOne | None = None
    """Judge each trial by so many folds of the student's labels, the same for all; one that cannot
    win any more ends early (default: 1, what the teacher held out or --validation-split, where
    that is something; else 5)."""
