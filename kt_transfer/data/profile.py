"""What the columns, classes and pictures of a data set are like, in numbers."""

from __future__ import annotations

import numpy as np

from kt_transfer.data.dataset import UNLABELLED, Dataset
from kt_transfer.data.findings import alone, is_pictures, table_columns
from kt_transfer.data.schema import Column

_MOST_WORDS = 10
# Numbers of so few values are told like words.
_FEW_NUMBERS = 5
_MOST_ROWS = 100_000


def profile(data: Dataset) -> dict:
    """The facts of a data set, in types that JSON has.

    Returns:
        ``examples`` (how many are for training and for testing, and how many have no label),
        ``classes`` (the same by class), and for a table ``columns``, for pictures ``pictures``.

    Example:
        >>> from kt_transfer import load_data
        >>> facts = profile(load_data("digits"))
        >>> facts["examples"]["train"], facts["classes"][0]
        (1438, {'name': '0', 'train': 143, 'test': 35})
    """
    facts = {"examples": _examples(data), "classes": _classes(data)}
    if table_columns(data):
        facts["columns"] = _columns(data)
    if is_pictures(data):
        facts["pictures"] = _pictures(data)
    return facts


def _examples(data: Dataset) -> dict:
    y = np.concatenate([data.y, data.y_test])
    return {
        "train": len(data.y),
        "test": len(data.y_test),
        "test_is_given": data.has_own_test,
        "unlabelled": int((y == UNLABELLED).sum()),
        "different": len(np.unique(np.concatenate(data.same))),
    }


def _classes(data: Dataset) -> list[dict]:
    train, test = (
        np.bincount(y[y != UNLABELLED], minlength=data.num_classes) for y in (data.y, data.y_test)
    )
    return [
        {"name": name, "train": int(train[number]), "test": int(test[number])}
        for number, name in enumerate(data.class_names)
    ]


def _columns(data: Dataset) -> list[dict]:
    """Each column of the training part, of a very large one as some of its rows have it."""
    told = alone(data)
    rows = np.unique(np.linspace(0, len(data.x) - 1, _MOST_ROWS).astype(int))
    x = np.asarray(data.x[rows], np.float64)
    return [
        _column(column, x[:, place]) | {"alone": told.get(column.name)}
        for place, column in enumerate(table_columns(data))
    ]


def _column(column: Column, values: np.ndarray) -> dict:
    known = values[~np.isnan(values)]
    about = {"name": column.name, "kind": column.kind, "missing": 1 - len(known) / len(values)}
    distinct, counts = np.unique(known, return_counts=True)
    about["distinct"] = len(distinct)
    is_number = column.kind in ("number", "date")
    if not is_number or column.kind == "number" and len(distinct) <= _FEW_NUMBERS:
        order = np.argsort(-counts, kind="stable")[:_MOST_WORDS]
        shares = counts[order] / max(len(known), 1)
        named = (_word(column, distinct[place]) for place in order)
        about["words"] = dict(zip(named, map(float, shares), strict=True))
    if is_number and len(known):
        ends = known.min(), np.median(known), known.max()
        about |= dict(zip(("low", "median", "high"), map(_plain(column.kind), ends), strict=True))
    return about


def _word(column: Column, value: float) -> str:
    return column.words[int(value)] if column.words else f"{value:g}"


def _plain(kind: str):
    if kind == "date":
        return lambda value: str(np.datetime64(int(np.floor(value)), "D"))
    return float


def _pictures(data: Dataset) -> dict:
    height, width, *channels = data.input_shape
    return {
        "height": height,
        "width": width,
        "channels": channels[0] if channels else 1,
        "type": str(data.x.dtype),
        "range": [float(end) for end in data.value_range],
    }
