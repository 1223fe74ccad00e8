"""The settings of ``demo``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from kt_transfer.methods.bounds import Bound
from kt_transfer.settings.common import Common

Port = Annotated[int, Bound(lambda number: 0 <= number <= 65535, "a port from 0 to 65535")]


@dataclass(frozen=True, kw_only=True)
class DemoConfig(Common):
    """Serve a page to try a model on: draw, drop a picture or fill in a row, and see why."""

    model: Path
    """Exported model: saved_models/NAME, one of its versions, a .tflite or .onnx file; or a run
    folder, which is exported to a temporary folder first."""

    host: str = "127.0.0.1"
    """Address to listen on; the default is reached from this machine alone."""

    port: Port | None = None
    """Port to listen on, 0 for any free one (default: 7860, or the next one that is free)."""

    open: bool = False
    """Also open the page in a browser."""

    trust_model: bool = False
    """Load a --model that may touch files, a network, processes or Python, which is refused
    otherwise: a SavedModel is a program."""
