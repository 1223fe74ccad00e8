"""The settings of ``predict``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kt_transfer.errors import UserError, named
from kt_transfer.settings.common import OnDevices


@dataclass(frozen=True, kw_only=True)
class PredictConfig(OnDevices):
    """Write the predictions of a run, an exported model or a running TF Serving to a table."""

    run: Path | None = None
    """Run folder that predicts."""

    model: Path | None = None
    """Exported model that predicts: saved_models/NAME/N, or a .tflite or .onnx file; with --url the
    one that the server was given, for its classes and columns."""

    url: str | None = None
    """Running TF Serving that predicts: http://HOST:8501/v1/models/NAME or grpc://HOST:8500/NAME."""

    trust_model: bool = False
    """Load a --model that may touch files, a network, processes or Python, which is refused
    otherwise: a SavedModel is a program."""

    data: str | None = None
    """Data to predict (default: the run's own), or - for standard input: CSV with the names of a
    table's columns, or rows of numbers."""

    split: Literal["test", "train", "all"] = "all"
    """Which part of the data."""

    out: Path | None = None
    """Table to write, .csv, .parquet or .jsonl, or - for CSV on standard output (default:
    runs/predict-TIME.csv). A run or a SavedModel with an autoencoder also says what is unusual; a
    .tflite or .onnx file has none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        ways = [name for name in ("run", "model", "url") if getattr(self, name) is not None]
        if len(ways) != 1 and ways != ["model", "url"]:
            given = f"none of {named('run')}, {named('model')} and {named('url')} was"
            if ways:
                given = f"both {named(ways[0])} and {named(ways[1])} were"
            raise UserError(
                f"{given} given, expected one of them: give {named('run', 'RUN')} for a run "
                f"folder, {named('model', 'saved_models/NAME/N')} for an export, or "
                f"{named('url', 'http://HOST:8501/v1/models/NAME')} for a server."
            )
        if self.run is None:
            self._require_own_devices()
            # Not shared by workers either, whatever the environment says.
            object.__setattr__(self, "strategy", "one_device")
        if self.url is not None and self.model is None and self.data is None:
            raise UserError(
                setting="url",
                given=self.url,
                when=f"without {named('data')}",
                expected="what the server is to be asked about",
                remedy=f"give {named('data', 'SPEC')}",
            )

    def _require_own_devices(self) -> None:
        """Refuse to share the work of what has its devices by itself."""
        for name in ("strategy", "num_devices"):
            if (given := getattr(self, name)) not in ("auto", "one_device", None):
                what = "a server has devices of its own" if self.url else "an export runs on one"
                raise UserError(
                    setting=name,
                    given=given,
                    when=f"with {named('url' if self.url else 'model')}",
                    expected=named("run", "RUN"),
                    but=what,
                    remedy="leave it out",
                )
