"""The settings of ``label``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kt_transfer.methods.bounds import AtLeastOne, NotNegative
from kt_transfer.settings.common import Reading


@dataclass(frozen=True, kw_only=True)
class LabelConfig(Reading):
    """Choose which unlabelled examples to label next: uncertain ones that differ."""

    run: Path
    """Run folder of a classifier, whose uncertainty counts."""

    data: str | None = None
    """Data with the unlabelled examples (default: the run's own)."""

    count: AtLeastOne = 50
    """Examples to choose."""

    out: Path = Path("label_next.csv")
    """CSV file to write; images are also shown together in a picture beside it."""

    seed: NotNegative = 0
    """Seed of the clustering that makes the examples differ."""
