"""The settings of ``predict``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kt_transfer.errors import UserError, named
from kt_transfer.settings.common import Reading


@dataclass(frozen=True, kw_only=True)
class PredictConfig(Reading):
    """Write the predictions of a run or an exported model to a CSV file."""

    run: Path | None = None
    """Run folder that predicts."""

    model: Path | None = None
    """Exported model that predicts: saved_models/NAME/N."""

    trust_model: bool = False
    """Load a --model that may touch files, a network, processes or Python, which is refused
    otherwise: a SavedModel is a program."""

    data: str | None = None
    """Data to predict (default: the run's own)."""

    split: Literal["test", "train", "all"] = "all"
    """Which part of the data."""

    out: Path | None = None
    """CSV file to write (default: runs/predict-TIME.csv)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.run is None) == (self.model is None):
            run, model = named("run"), named("model")
            given = f"neither {run} nor {model} was"
            if self.run is not None:
                given = f"both {run} and {model} were"
            raise UserError(
                f"{given} given, expected one of them: give {named('run', 'RUN')} for a run "
                f"folder or {named('model', 'saved_models/NAME/N')} for an export."
            )
