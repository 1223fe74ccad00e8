"""The settings of ``evaluate``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kt_transfer.settings.common import OnDevices


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(OnDevices):
    """Measure a run on a data set."""

    run: Path
    """Run folder to measure."""

    data: str | None = None
    """Data to measure on (default: the run's own)."""

    split: Literal["test", "train", "all"] = "test"
    """Which part of the data."""

    out: Path | None = None
    """Folder for evaluation.json and the plots (default: the run folder)."""

    explain: bool = False
    """Also say which pixels or columns carry the answers of a classifier, in plots/ and in
    evaluation.json."""
