"""What a data set is: raw examples, their labels, and what the numbers mean."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from typing import NamedTuple

import numpy as np

from kt_transfer.errors import UserError

UNLABELLED = -1
_ROWS_AT_ONCE = 2**16


class Part(NamedTuple):
    """One split of a data set: its name, examples, labels, and their rows in the source."""

    name: str
    x: np.ndarray
    y: np.ndarray
    rows: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
    """Raw examples and labels, split into training and test part.

    Examples stay as they came (``uint8`` for images); scaling is the preprocessing model's.
    Large ones stay on disk, as :class:`~kt_transfer.rows.DiskRows`.

    Attributes:
        spec: The data spec that it was loaded from.
        x: Training examples, shape ``(n, ...)``.
        y: Training labels, ``int32`` of shape ``(n,)``; ``-1`` where there is none.
        x_test: Test examples.
        y_test: Test labels.
        class_names: Name of each class, by number; empty where nothing is labelled.
        value_range: Smallest and largest value that a raw number can have.
        has_observed_range: Whether this range is the one that the training examples span, since
            the source does not say.
        rows: For each training example, its row in the source it was read from.
        rows_test: The same for the test examples.
    """

    spec: str
    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    class_names: tuple[str, ...]
    value_range: tuple[float, float]
    rows: np.ndarray
    rows_test: np.ndarray
    has_observed_range: bool = False

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one raw example."""
        return self.x.shape[1:]

    @property
    def input_dim(self) -> int:
        """Numbers in one example."""
        return int(np.prod(self.input_shape))

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 where nothing is labelled."""
        return len(self.class_names)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of every example and label: equal for equal data, wherever it came from."""
        digest = hashlib.sha256()
        for array in (self.x, self.y, self.x_test, self.y_test):
            digest.update(f"{array.dtype}{array.shape}".encode())
            for start in range(0, len(array), _ROWS_AT_ONCE):
                digest.update(np.ascontiguousarray(array[start : start + _ROWS_AT_ONCE]).data)
        return digest.hexdigest()[:16]

    def parts(self, split: str) -> list[Part]:
        """The parts that ``"train"``, ``"test"`` or ``"all"`` stands for."""
        known = {
            "train": Part("train", self.x, self.y, self.rows),
            "test": Part("test", self.x_test, self.y_test, self.rows_test),
        }
        return list(known.values()) if split == "all" else [known[split]]

    def require_labels(self) -> None:
        """Refuse data that do not teach every one of at least two classes, where a task needs it.

        A class without examples anywhere is one that the source declares, and may stay.
        """
        taught = np.unique(self.y[self.y != UNLABELLED])
        if len(taught) < 2:
            only = ", ".join(self.class_names[number] for number in taught)
            raise UserError(
                f"--data {self.spec} was given, expected labelled examples of at least 2 classes, "
                f"but it has {len(taught)}{only and f' ({only}; -1 stands for no label)'}: give "
                "data with labels (npz: an array y)."
            )
        untaught = np.setdiff1d(self.y_test[self.y_test != UNLABELLED], taught)
        if len(untaught):
            raise UserError(
                f"--data {self.spec} was given with the class {self.class_names[untaught[0]]!r} in "
                "its test part alone, expected training examples of every class that is tested: "
                "add some, or drop that class."
            )
