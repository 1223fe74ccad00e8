"""The data set class: raw examples, their labels, and the range of their values."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kt_transfer.data.overlap import joined, same_examples
from kt_transfer.data.ranges import Range, range_of
from kt_transfer.data.schema import Schema
from kt_transfer.data.table_features import Layout, category_sizes, features_of
from kt_transfer.errors import UserError, listed, named

UNLABELLED = -1
_ROWS_AT_ONCE = 2**16


class Like(NamedTuple):
    """The form of examples that a model takes, so that new ones are read in the same form.

    Attributes:
        input_shape: Shape of one raw example.
        dtype: Name of its type.
        least: Minimum number of examples: 1 for predictions, 2 for training.
        schema: The columns of a table that it takes, if it takes one.
    """

    input_shape: tuple[int, ...]
    dtype: str
    least: int = 1
    schema: Schema | None = None


class Part(NamedTuple):
    """One split of a data set: its name, examples, labels, and their rows in the source."""

    name: str
    x: np.ndarray
    y: np.ndarray
    rows: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
    """Raw examples and labels, split into a training and a test part.

    Examples keep their type (``uint8`` for images); the preprocessing model scales them.
    Large arrays stay on disk, as :class:`~kt_transfer.data.rows.DiskRows`.

    Attributes:
        spec: Its data spec.
        x: Training examples, shape ``(n, ...)``.
        y: Training labels, ``int32`` of shape ``(n,)``; ``-1`` for none.
        x_test: Test examples.
        y_test: Test labels.
        class_names: Name of each class, by number; empty if nothing is labelled.
        value_range: Smallest and largest possible raw value.
        has_observed_range: Whether this is the range of the training examples, since the source
            states none.
        rows: The row of each training example in the source.
        rows_test: The same for the test examples.
        notes: Messages about how the source was read, one line each.
        left_out: Files of the source that were not read, each with what it is instead.
        schema: Of a table: its columns. Only then may values be missing, as NaN.
        ids: Of a table: the name of each row of the source, in its order; ``ids[rows]`` are those
            of the training examples, ``ids[rows_test]`` those of the test examples.
        groups: The group of each row of the source, in its order, or ``-1``: no split separates
            the rows of a group.
        files: Of pictures: the file of each row, in its order, of the training and of the test part
            of the source, which are the same where it has no test part.
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
    left_out: tuple[tuple[str, str], ...] = ()
    schema: Schema | None = None
    ids: np.ndarray | None = None
    groups: np.ndarray | None = None
    files: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one raw example."""
        return self.x.shape[1:]

    @property
    def input_dim(self) -> int:
        """Number of values of one example."""
        return int(np.prod(self.input_shape))

    @property
    def num_features(self) -> int:
        """Number of features that a flat network takes of one example."""
        return self.input_dim if self.layout is None else len(self.layout.features)

    @functools.cached_property
    def layout(self) -> Layout | None:
        """The features of the columns of a table; ``None`` for data without a schema."""
        if self.schema is None:
            return None
        rows = self.x if len(self.x) else self.x_test
        return Layout(features_of(self.schema, rows), self.schema)

    @property
    def category_sizes(self) -> tuple[int, ...]:
        """Number of features of each category of a table; none for other data."""
        return () if self.layout is None else category_sizes(self.layout.features)

    @property
    def has_own_test(self) -> bool:
        """Whether the source has a test part of its own, rather than one that was split off."""
        # Rows are counted in each part of a source; those of one part are in train or in test.
        return len(self.x_test) > 0 and bool(np.isin(self.rows_test, self.rows).any())

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 if nothing is labelled."""
        return len(self.class_names)

    @property
    def num_labelled(self) -> int:
        """Number of labelled examples that may be learned from."""
        return int(np.sum((self.y != UNLABELLED) & (self.copies >= 0)))

    @functools.cached_property
    def scaling_range(self) -> Range:
        """The raw values that become -1 and 1.

        This is ``value_range``, except for a table whose source states no range: there each
        column has its own, estimated from the training examples.
        """
        if not self.has_observed_range:
            return self.value_range
        return range_of(self.x if len(self.x) else self.x_test)

    def range_for(self, by_column: bool) -> Range:
        """``scaling_range`` for a network trained on columns scaled individually; ``value_range``
        for any other."""
        return self.scaling_range if by_column else self.value_range

    @property
    def noise_range(self) -> Range:
        """``scaling_range`` for random views: of width 0 for codes, to which no noise is added."""
        if self.schema is None:
            return self.scaling_range
        codes = np.array([column.kind == "category" for column in self.schema.columns])
        return tuple(np.where(codes, 0.0, end) for end in self.scaling_range)

    def raw_for(self, by_column: bool) -> tuple:
        """Shape, range and type of raw examples, as a preprocessing model takes them."""
        return self.input_shape, self.range_for(by_column), self.x.dtype

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of all examples and labels, independent of where they came from."""
        digest = hashlib.sha256()
        for array in (self.x, self.y, self.x_test, self.y_test):
            digest.update(f"{array.dtype}{array.shape}".encode())
            for start in range(0, len(array), _ROWS_AT_ONCE):
                digest.update(np.ascontiguousarray(array[start : start + _ROWS_AT_ONCE]).data)
        return digest.hexdigest()[:16]

    @functools.cached_property
    def copies(self) -> np.ndarray:
        """A number for each training example, shared by those that no split may separate, of shape
        ``(n,)``: equal ones, and those of a group.

        ``-1`` for those that also occur in the test part, which are excluded from training.
        """
        train, test = self.same
        groups = None if self.groups is None else self.groups[self.rows]
        return np.where(np.isin(train, test), -1, joined(train, groups))

    @functools.cached_property
    def same(self) -> tuple[np.ndarray, np.ndarray]:
        """A number for each training and test example, shared by equal ones."""
        return tuple(same_examples(self.x, self.x_test))

    def parts(self, split: str) -> list[Part]:
        """The non-empty parts of the split ``"train"``, ``"test"`` or ``"all"``.

        Raises:
            UserError: If all are empty.
        """
        known = {
            "train": Part("train", self.x, self.y, self.rows),
            "test": Part("test", self.x_test, self.y_test, self.rows_test),
        }
        wanted = list(known.values()) if split == "all" else [known[split]]
        parts = [part for part in wanted if len(part.x)]
        if not parts:
            raise no_example(self.spec, split)
        return parts

    def files_of(self, part: Part) -> np.ndarray | None:
        """The file of each picture of a part, below the folder; ``None`` for other data."""
        if self.files is None:
            return None
        return self.files[part.name == "test"][part.rows]

    def with_classes(self, names: Sequence[str], owner: str) -> Dataset:
        """The same examples with their labels numbered as in ``names``.

        Args:
            names: Classes, including those that do not occur here.
            owner: What the classes belong to, for the message.

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
        # One more entry, which -1 indexes.
        numbers = np.full(self.num_classes + 1, UNLABELLED, np.int32)
        for name in own:
            numbers[self.class_names.index(name)] = names.index(name)
        return dataclasses.replace(
            self, y=numbers[self.y], y_test=numbers[self.y_test], class_names=names
        )

    def require_labels(self) -> None:
        """Require labelled training examples of at least two classes."""
        taught = np.unique(self.y[self.y != UNLABELLED])
        if len(taught) < 2:
            only = ", ".join(self.class_names[number] for number in taught)
            raise UserError(
                setting="data",
                given=self.spec,
                expected="labelled examples of at least 2 classes",
                but=f"it has {len(taught)}{only and f' ({only}; -1 stands for no label)'}",
                remedy="give data with labels (npz: an array y; images: a folder for each class; "
                f"csv, parquet: {named('label_column', 'COLUMN')})",
            )


def no_example(spec: str, split: str) -> UserError:
    """The error for a split in which there is no example."""
    return UserError(
        setting="split",
        given=split,
        but=f"{spec} has no example in that split",
        remedy=f"give {named('split', 'all')}",
    )
