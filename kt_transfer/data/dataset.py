"""What a data set is: raw examples, their labels, and what the numbers mean."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kt_transfer.data.overlap import same_examples
from kt_transfer.data.ranges import Range, range_of
from kt_transfer.errors import UserError, listed, named

UNLABELLED = -1
_ROWS_AT_ONCE = 2**16


class Like(NamedTuple):
    """What examples a model was made for, so that new ones are read in the same way.

    Attributes:
        input_shape: Shape of one raw example.
        dtype: Name of its type.
        least: How many examples are enough: 1 to be answered, 2 to be learned from.
    """

    input_shape: tuple[int, ...]
    dtype: str
    least: int = 1


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
    Large ones stay on disk, as :class:`~kt_transfer.data.rows.DiskRows`.

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
        notes: What there is to say of how the source was read, a line each.
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
    notes: tuple[str, ...] = ()

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
    def scaling_range(self) -> Range:
        """The raw values that become -1 and 1.

        That is ``value_range``, but for a table whose source does not say: there each column has
        a range of its own, which the training examples tell.
        """
        if not self.has_observed_range:
            return self.value_range
        return range_of(self.x if len(self.x) else self.x_test)

    def range_for(self, by_column: bool) -> Range:
        """``scaling_range`` for a network that was trained on columns of their own ranges; for
        any other ``value_range``, one for all."""
        return self.scaling_range if by_column else self.value_range

    def raw_for(self, by_column: bool) -> tuple:
        """Shape, range and type of raw examples, what a preprocessing is made for."""
        return self.input_shape, self.range_for(by_column), self.x.dtype

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of every example and label: equal for equal data, wherever it came from."""
        digest = hashlib.sha256()
        for array in (self.x, self.y, self.x_test, self.y_test):
            digest.update(f"{array.dtype}{array.shape}".encode())
            for start in range(0, len(array), _ROWS_AT_ONCE):
                digest.update(np.ascontiguousarray(array[start : start + _ROWS_AT_ONCE]).data)
        return digest.hexdigest()[:16]

    @functools.cached_property
    def copies(self) -> np.ndarray:
        """For each training example, a number that equal ones share: of shape ``(n,)``.

        ``-1`` for those that the test part holds as well, which therefore must not teach.
        """
        train, test = self.same
        return np.where(np.isin(train, test), -1, train)

    @functools.cached_property
    def same(self) -> tuple[np.ndarray, np.ndarray]:
        """For each training and each test example, a number that equal ones share."""
        return tuple(same_examples(self.x, self.x_test))

    def parts(self, split: str) -> list[Part]:
        """The parts that ``"train"``, ``"test"`` or ``"all"`` stands for, but for empty ones.

        Raises:
            UserError: If there is no example in them.
        """
        known = {
            "train": Part("train", self.x, self.y, self.rows),
            "test": Part("test", self.x_test, self.y_test, self.rows_test),
        }
        wanted = list(known.values()) if split == "all" else [known[split]]
        parts = [part for part in wanted if len(part.x)]
        if not parts:
            raise UserError(
                setting="split",
                given=split,
                but=f"{self.spec} has no example in that split",
                remedy=f"give {named('split', 'all')}",
            )
        return parts

    def with_classes(self, names: Sequence[str], owner: str) -> Dataset:
        """The same examples with their labels numbered as in ``names``.

        Args:
            names: Classes; those that do not occur here are kept.
            owner: Whose they are, for the message.

        Raises:
            UserError: If an example is of another class.
        """
        names, occurring = tuple(names), np.union1d(np.unique(self.y), np.unique(self.y_test))
        own = [self.class_names[number] for number in occurring if number != UNLABELLED]
        if unknown := [name for name in own if name not in names]:
            near = difflib.get_close_matches(unknown[0], names, 1, 0.5)
            meant = f" (did you mean {near[0]!r}?)" if near else ""
            raise UserError(
                setting="data",
                given=self.spec,
                when=f"with the class {listed(unknown, 5)}",
                but=f"{owner} knows {listed(names)}{meant}",
                remedy="rename it, or leave its examples out",
            )
        # One entry more, at the end, which -1 finds.
        numbers = np.full(self.num_classes + 1, UNLABELLED, np.int32)
        for name in own:
            numbers[self.class_names.index(name)] = names.index(name)
        return dataclasses.replace(
            self, y=numbers[self.y], y_test=numbers[self.y_test], class_names=names
        )

    def require_labels(self) -> None:
        """Refuse a data set that does not teach at least two classes, where a task needs it."""
        taught = np.unique(self.y[self.y != UNLABELLED])
        if len(taught) < 2:
            only = ", ".join(self.class_names[number] for number in taught)
            raise UserError(
                setting="data",
                given=self.spec,
                expected="labelled examples of at least 2 classes",
                but=f"it has {len(taught)}{only and f' ({only}; -1 stands for no label)'}",
                remedy="give data with labels (npz: an array y; images: a folder for each class)",
            )
