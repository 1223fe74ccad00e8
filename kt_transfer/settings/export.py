"""The settings of ``export``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kt_transfer.methods.bounds import AtLeastOne, FolderName, require
from kt_transfer.serving.formats import FORMATS
from kt_transfer.settings.common import Common


@dataclass(frozen=True, kw_only=True)
class ExportConfig(Common):
    """Write a run as a versioned model to be served, by default a SavedModel for TF Serving."""

    run: Path
    """Run folder to export."""

    name: FolderName | None = None
    """Name of the served model (default: the run folder's name)."""

    format: tuple[Literal[tuple(FORMATS)], ...] = ("saved_model",)
    """Formats of the export: a SavedModel for TF Serving, LiteRT in float32 or in 8 bits, ONNX."""

    export_dir: Path = Path("saved_models")
    """Folder that holds the served models."""

    keep: AtLeastOne | None = None
    """Remove older versions once the new one is there, so that this many are left (default: keep
    all)."""

    def __post_init__(self) -> None:
        # In Python one name is easily given alone.
        if isinstance(self.format, str):
            object.__setattr__(self, "format", (self.format,))
        super().__post_init__()
        require(len(self.format) > 0, "format", self.format, "at least one format")
