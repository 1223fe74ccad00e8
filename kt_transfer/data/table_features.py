"""How the columns of a table become the features of a network: which feature stands where.

A table is one matrix: numbers as they are, categories as codes, what is missing as NaN. A network
takes more columns than that: a scaled value for each number, then 1 or 0 for each word of a
category, for words that are not in its vocabulary, and for what is missing. Features are named by
column and word, so that a network can be given the rows of another table with the same columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kt_transfer.data.schema import Schema

VALUE, WORD, OTHER, MISSING = "value", "word", "other", "missing"


class Feature(NamedTuple):
    """One feature of a network that takes the rows of a table.

    Attributes:
        column: Name of the column.
        kind: ``"value"`` for the scaled number; otherwise a feature is 1 or 0: ``"word"`` where the
            category is ``word``, ``"other"`` where it is a word that has no feature, ``"missing"``
            where there is none.
        word: The word.
    """

    column: str
    kind: str
    word: str = ""


class Layout(NamedTuple):
    """The features of a network, and the schema of the table that they are made from."""

    features: tuple[Feature, ...]
    schema: Schema


def features_of(schema: Schema, x: np.ndarray) -> tuple[Feature, ...]:
    """The features that training rows give rise to.

    A feature for what is missing, or for words outside the vocabulary, exists only if that occurs
    in them: its weights would not be trained otherwise.

    Args:
        schema: The columns.
        x: Training rows, as from ``schema.matrix``, shape ``(n, columns)``.

    Returns:
        Values first, then what is missing of them, then the features of each category together.

    Example:
        >>> from kt_transfer.data.schema import Column
        >>> age = Column(name="age", kind="number")
        >>> pet = Column(name="pet", kind="category", vocabulary=("cat", "dog"))
        >>> x = np.array([[20.0, 0.0], [np.nan, 1.0]])
        >>> [feature[1:] for feature in features_of(Schema(columns=(age, pet)), x)]
        [('value', ''), ('missing', ''), ('word', 'cat'), ('word', 'dog')]
    """
    columns = schema.columns
    is_missing = [bool(np.isnan(x[:, place]).any()) for place in range(len(columns))]
    numbers = [place for place, column in enumerate(columns) if column.kind != "category"]
    features = [Feature(columns[place].name, VALUE) for place in numbers]
    features += [Feature(columns[place].name, MISSING) for place in numbers if is_missing[place]]
    for place, column in enumerate(columns):
        if column.kind != "category":
            continue
        features += [Feature(column.name, WORD, word) for word in column.vocabulary]
        if (x[:, place] == len(column.vocabulary)).any():
            features.append(Feature(column.name, OTHER))
        if is_missing[place]:
            features.append(Feature(column.name, MISSING))
    return tuple(features)


def category_sizes(features: Sequence[Feature]) -> tuple[int, ...]:
    """Number of features of each category; they are the last ones, category by category.

    Example:
        >>> word, value = Feature("pet", "word", "cat"), Feature("age", "value")
        >>> category_sizes([value, word, Feature("pet", "missing")])
        (2,)
    """
    named = {feature.column for feature in features if feature.kind == VALUE}
    sizes: dict[str, int] = {}
    for feature in features:
        if feature.column not in named:
            sizes[feature.column] = sizes.get(feature.column, 0) + 1
    return tuple(sizes.values())
