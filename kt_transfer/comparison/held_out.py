"""What candidates answer to held-out examples: kept beside the table, and compared by example."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kt_transfer.files.writing import replacing


class HeldOut(NamedTuple):
    """The answers of one cell.

    Attributes:
        rows: Row numbers of the held-out examples in the training split, shape ``(n,)``.
        labels: Their true classes, shape ``(n,)``.
        logits: What the candidate answers, shape ``(n, classes)``.
        shares: What each class counts in this fold, as from :func:`~.folds.class_shares`.
    """

    rows: np.ndarray
    labels: np.ndarray
    logits: np.ndarray
    shares: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """The most probable class of each example."""
        return self.logits.argmax(axis=1)


class HeldOutFolder:
    """A folder with one file for each cell.

    Args:
        folder: Made when something is written.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)

    def write(self, cell: tuple, answers: HeldOut) -> None:
        """Keep the answers of a cell."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self._path(cell)) as unfinished, open(unfinished, "wb") as file:
            np.savez(file, **answers._asdict())

    def read(self, cell: tuple) -> HeldOut | None:
        """The answers of a cell; ``None`` if there are none, or none that can be read."""
        try:
            with np.load(self._path(cell)) as arrays:
                return HeldOut(**{name: arrays[name] for name in HeldOut._fields})
        except Exception:  # noqa: BLE001 - whatever damaged them, the cell is trained again
            return None

    def __contains__(self, cell: tuple) -> bool:
        return self.read(cell) is not None

    def _path(self, cell: tuple) -> Path:
        # Sources may be paths, which are no names of files.
        name = hashlib.sha256(repr(tuple(cell)).encode()).hexdigest()[:24]
        return self.folder / f"{name}.npz"


class Points(NamedTuple):
    """What each held-out example of a cell contributes to its score, which is their mean."""

    rows: np.ndarray
    values: np.ndarray


def differences(own: Iterable[Points], other: Iterable[Points]) -> list[Points]:
    """Contributions of one candidate less those of another, cell by cell, to the same examples."""
    return [
        Points(mine.rows, mine.values - theirs.values)
        for mine, theirs in zip(own, other, strict=True)
    ]
