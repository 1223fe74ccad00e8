"""The settings of ``tune``, one class for each command that it searches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from kt_transfer.methods.bounds import AtLeastOne, Share
from kt_transfer.settings.distill import DistillConfig
from kt_transfer.settings.finetune import HELD_OUT_SHARE, FinetuneConfig
from kt_transfer.settings.pretrain import PretrainConfig


@dataclass(frozen=True, kw_only=True)
class Search:
    """What a search understands beside the searched command's own flags."""

    search: Literal["random", "hyperband"] = "random"
    """Search algorithm."""

    max_trials: AtLeastOne = 10
    """Trials to run (random); Hyperband plans its own number from --epochs."""


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

    validation_split: Share = HELD_OUT_SHARE
    """Share of the labelled examples held out to judge the trials by."""


@dataclass(frozen=True, kw_only=True)
class TuneDistillConfig(Search, DistillConfig):
    """Search the settings of distill with KerasTuner."""

    searched: ClassVar[str] = "distill"
    """The command whose settings are searched."""
