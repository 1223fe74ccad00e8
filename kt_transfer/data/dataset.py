"""What a data set is: raw examples, their labels, and what the numbers mean."""

from __future__ import annotations

import dataclasses
import functools
import hashlib

import numpy as np

from kt_transfer.errors import UserError

UNLABELLED = -1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
    """Raw examples and labels, split into training and test part.

    Examples stay as they came (``uint8`` for images); scaling is the preprocessing model's.

    Attributes:
        spec: The data spec that it was loaded from.
        x: Training examples, shape ``(n, ...)``.
        y: Training labels, ``int32`` of shape ``(n,)``; ``-1`` where there is none.
        x_test: Test examples.
        y_test: Test labels.
        class_names: Name of each class, by number; empty where nothing is labelled.
        value_range: Smallest and largest value that a raw number can have.
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
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:16]

    def part(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Examples and labels of ``"train"``, ``"test"`` or ``"all"``."""
        if split == "train":
            return self.x, self.y
        if split == "test":
            return self.x_test, self.y_test
        return np.concatenate([self.x, self.x_test]), np.concatenate([self.y, self.y_test])

    def require_labels(self) -> None:
        """Refuse a data set without classes, where a task needs them."""
        if self.num_classes < 2:
            raise UserError(
                f"--data {self.spec} was given, expected labelled examples of at least 2 classes, "
                f"but it has {self.num_classes}: give data with labels (npz: an array y)."
            )
