"""Examples for the report: images as embedded PNG, anything else as values."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kt_transfer.reporting.plots import as_picture

MOST_VALUES = 12
_LARGEST_SIDE = 160


class Answers(NamedTuple):
    """Predictions of a classifier for labelled examples.

    Attributes:
        examples: Raw examples, shape ``(n, …)``.
        labels: Shape ``(n,)``, without ``-1``.
        probabilities: Shape ``(n, classes)``.
        class_names: Class names by number.
        value_range: Smallest and largest raw value.
        texts: What stands in each example, value by value, where its numbers stand for words.
        columns: The names of these values.
    """

    examples: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    class_names: Sequence[str]
    value_range: tuple[float, float]
    texts: Sequence[Sequence[str]] | None = None
    columns: Sequence[str] = ()


def show(example: np.ndarray, value_range: tuple[float, float]) -> dict:
    """Format one raw example for the report.

    Returns:
        ``image`` (a data URI, ``None`` if it is not an image), or the first ``values`` and the
        number ``left_out``.

    Example:
        >>> show(np.array([1.0, 2.5]), (0.0, 4.0))
        {'image': None, 'values': ['1', '2.5'], 'left_out': 0}
    """
    if example.ndim in (2, 3):
        return {"image": _data_uri(example, value_range)}
    return _some_of([f"{value:.4g}" for value in example.ravel()])


def _some_of(values: Sequence[str]) -> dict:
    return {
        "image": None,
        "values": list(values[:MOST_VALUES]),
        "left_out": max(len(values) - MOST_VALUES, 0),
    }


def most_confident_mistakes(answers: Answers, count: int) -> list[dict]:
    """The wrong predictions with the highest probability, formatted for the report."""
    predicted = answers.probabilities.argmax(axis=1)
    sure = answers.probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != answers.labels)
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")][:count]
    return [_mistake(answers, row, predicted[row], sure[row]) for row in wrong]


def pairs(originals: np.ndarray, made: np.ndarray, value_range, count: int) -> list[dict]:
    """Inputs and their reconstructions, under ``made``."""
    return [
        show(original, value_range) | {"made": show(other, value_range)}
        for original, other in zip(originals[:count], made[:count], strict=True)
    ]


def _mistake(answers: Answers, row: int, predicted: int, sure: float) -> dict:
    if answers.texts is None:
        shown = show(answers.examples[row], answers.value_range)
        names = [f"value {number}" for number in range(1, 1 + len(shown.get("values", ())))]
    else:
        shown, names = _some_of(answers.texts[row]), list(answers.columns)
    true, predicted_name = (answers.class_names[n] for n in (answers.labels[row], predicted))
    return {
        "number": int(row),
        "true": true,
        "predicted": predicted_name,
        "sure": f"{100 * sure:.0f}\N{NO-BREAK SPACE}%",
        "alt": f"Test example {row}: {true}, predicted {predicted_name}",
        **shown,
        "names": names[:MOST_VALUES],
    }


def _data_uri(example: np.ndarray, value_range: tuple[float, float]) -> str:
    grey_or_colours = as_picture(example.astype(np.float64), np.array(value_range))
    return picture_uri(np.round(255 * grey_or_colours).astype(np.uint8))


def picture_uri(picture: np.ndarray) -> str:
    """A picture as a data URI, smaller if it is large.

    Args:
        picture: ``uint8``, shape ``(height, width)`` or ``(height, width, 3)``.
    """
    from PIL import Image

    image = Image.fromarray(picture)
    image.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    file = io.BytesIO()
    image.save(file, "png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
