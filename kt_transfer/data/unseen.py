"""What new rows of a table hold that no training row had."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kt_transfer.data.schema import MOST_WORDS, Column, short, shown

# Columns that are told, and words of each.
_MOST_COLUMNS, _MOST_WORDS = 3, 3
# A few numbers beyond the range of the training rows are nothing unusual: so many of them, and more
# than this share, are told.
_LEAST, _LEAST_SHARE = 3, 0.01


class Unseen:
    """Counts rows with words, numbers and dates that a model has not learned from.

    Example:
        >>> unseen, city = Unseen(), Column(name="city", kind="category", vocabulary=("Ulm",))
        >>> unseen.add(city, np.array([0.0, 1.0, np.nan]), ["Ulm", "Ys"])
        >>> unseen.notes()
        ['column city: 1 of 3 rows have words that training did not see (Ys)']
    """

    def __init__(self):
        self._counts: dict[Column, int] = {}
        self._rows: dict[Column, int] = {}
        self._words: dict[Column, list[str]] = {}

    def add(self, column: Column, values: np.ndarray, words: Sequence[str] | None) -> None:
        """Count some rows.

        Args:
            column: A column as the model knows it.
            values: Its values in these rows, as ``Schema.matrix`` has them.
            words: Of a category: the words that occur in these rows.
        """
        if column.kind == "category":
            unseen = values == len(column.vocabulary)
            if unseen.any():
                self._keep_words(column, words)
        elif column.kind != "boolean" and column.low is not None:
            unseen = (values < column.low) | (values > column.high)
        else:
            return
        self._rows[column] = self._rows.get(column, 0) + len(values)
        self._counts[column] = self._counts.get(column, 0) + int(unseen.sum())

    def _keep_words(self, column: Column, words: Sequence[str]) -> None:
        """A few of those that are unseen: a stream may have a new one in every row."""
        kept, known = self._words.setdefault(column, []), {*column.vocabulary}
        for word in words:
            if len(kept) > _MOST_WORDS:
                return
            if word not in known and word not in kept:
                kept.append(word)

    def notes(self) -> list[str]:
        """A line for each column, the first of many, those with most such rows first."""
        told = [column for column in self._counts if self._is_told(column)]
        told.sort(key=lambda column: -self._counts[column] / self._rows[column])
        lines = [
            f"column {short(column.name)}: {self._counts[column]:,} of {self._rows[column]:,} rows "
            f"{self._what(column)}"
            for column in told[:_MOST_COLUMNS]
        ]
        if further := [column.name for column in told[_MOST_COLUMNS:]]:
            lines.append(f"likewise: {shown(further, _MOST_COLUMNS)}")
        return lines

    def _is_told(self, column: Column) -> bool:
        count, rows = self._counts[column], self._rows[column]
        if column.kind == "category":
            return count > 0
        return count >= _LEAST and count > _LEAST_SHARE * rows

    def _what(self, column: Column) -> str:
        if column.kind != "category":
            return f"are beyond what training saw ({_end(column, 'low')} to {_end(column, 'high')})"
        kept = [short(word) for word in self._words[column]]
        words = ", ".join([*kept[:_MOST_WORDS], *["…"] * (len(kept) > _MOST_WORDS)])
        if len(column.vocabulary) == MOST_WORDS:
            return f"have words beside the {MOST_WORDS} that training told apart ({words})"
        return f"have words that training did not see ({words})"


def _end(column: Column, which: str) -> str:
    value = getattr(column, which)
    if column.kind == "number":
        return f"{value:g}"
    return str(np.datetime64("1970-01-01") + np.timedelta64(int(np.floor(value)), "D"))
