"""The settings of ``inspect``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kt_transfer.settings.common import Reading


@dataclass(frozen=True, kw_only=True)
class InspectConfig(Reading):
    """Look at data before training: what they hold, and what would mislead. Nothing is trained."""

    data: str
    """Data, such as csv:FILE, images:DIR, npz:FILE, idx:DIR, tfds:NAME[:VERSION] or digits."""

    out: Path | None = None
    """Folder to write, with the pictures and inspect.json (default: runs/inspect-TIME)."""
