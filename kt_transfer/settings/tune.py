"""The settings of ``tune``, one class for each command that it searches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from kt_transfer.methods.bounds import AtLeastOne, Bound, FolderName, Share, require
from kt_transfer.settings.compare import CompareConfig, Method
from kt_transfer.settings.distill import DistillConfig
from kt_transfer.settings.finetune import FinetuneConfig
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

    workers: AtLeastOne = 1
    """Processes of this machine that share the trials; for several machines start the same command
    on each, with KERASTUNER_TUNER_ID (chief, or any other name), KERASTUNER_ORACLE_IP and
    KERASTUNER_ORACLE_PORT set, and an --out that all share."""


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

    validation_split: Share | None = None
    """Share of the labelled examples held out to judge the trials by, with --folds 1 (default:
    0.1); with more it is only the best trial's own, as in finetune."""


@dataclass(frozen=True, kw_only=True)
class TuneDistillConfig(Search, DistillConfig):
    """Search the settings of distill with KerasTuner."""

    searched: ClassVar[str] = "distill"
    """The command whose settings are searched."""

    folds: AtLeastOne | None = None
    """Judge each trial by so many folds of the student's labels, the same for all; one that cannot
    win any more ends early (default: 1, what the teacher held out or --validation-split, where
    that is something; else 5)."""


@dataclass(frozen=True, kw_only=True)
class TuneCompareConfig(Search, CompareConfig):
    """Compare methods with their settings searched: is searching worth it, and which one wins?"""

    searched: ClassVar[str] = "compare"
    """The command whose candidates are searched."""

    repeats: AtLeastOne = 1
    """How often the examples are split into folds anew."""

    methods: tuple[Method, ...] = ("scratch", "parameters", "features")
    """What to compare: each as it is, and with its settings searched in every fold anew, by folds
    of what that fold learns from."""

    inner_folds: Annotated[int, Bound(lambda folds: folds >= 2, "at least 2")] = 5
    """Folds of what an outer fold learns from, by which its search judges a trial."""

    workers: AtLeastOne = 1
    """Processes of this machine that train different folds at the same time, each with its share of
    the cores and a copy of the data; the table is the same."""

    name: FolderName = "tuned"
    """Name of the served model."""

    space: Path | None = None
    """JSON file of what to search, by method: {"parameters": {"dropout": [0.0, 0.5]}}; a method
    that is not in it has its own space."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.time_budget is None, "time_budget", self.time_budget, "none for a search")
        is_planned = self.search != "hyperband"
        require(is_planned, "search", self.search, "random, bayesian or grid within a comparison")
