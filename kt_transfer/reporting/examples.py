"""Examples as a page shows them: images as PNG inside it, anything else as its values."""

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
    """What a classifier said of labelled examples.

    Attributes:
        examples: Raw, shape ``(n, …)``.
        labels: Shape ``(n,)``, no ``-1``.
        probabilities: Shape ``(n, classes)``.
        class_names: By number.
        value_range: Smallest and largest raw value.
    """

    examples: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    class_names: Sequence[str]
    value_range: tuple[float, float]


def show(example: np.ndarray, value_range: tuple[float, float]) -> dict:
    """One raw example for the page.

    Returns:
        ``image`` (a data URI, ``None`` if it is no image), or ``values`` (the first of them) and
        ``left_out`` (how many more there are).

    Example:
        >>> show(np.array([1.0, 2.5]), (0.0, 4.0))
        {'image': None, 'values': ['1', '2.5'], 'left_out': 0}
    """
    if example.ndim in (2, 3):
        return {"image": _data_uri(example, value_range)}
    values = [f"{value:.4g}" for value in example.ravel()]
    return {
        "image": None,
        "values": values[:MOST_VALUES],
        "left_out": max(len(values) - MOST_VALUES, 0),
    }


def most_confident_mistakes(answers: Answers, count: int) -> list[dict]:
    """The wrong answers that were given with the highest probability, ready to be shown."""
    predicted = answers.probabilities.argmax(axis=1)
    sure = answers.probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != answers.labels)
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")][:count]
    return [_mistake(answers, row, predicted[row], sure[row]) for row in wrong]


def pairs(originals: np.ndarray, made: np.ndarray, value_range, count: int) -> list[dict]:
    """Inputs, each with its reconstruction under ``made``."""
    return [
        show(original, value_range) | {"made": show(other, value_range)}
        for original, other in zip(originals[:count], made[:count], strict=True)
    ]


def _mistake(answers: Answers, row: int, predicted: int, sure: float) -> dict:
    true, taken_for = (answers.class_names[n] for n in (answers.labels[row], predicted))
    return {
        "number": int(row),
        "true": true,
        "predicted": taken_for,
        "sure": f"{100 * sure:.0f}\N{NO-BREAK SPACE}%",
        "alt": f"Test example {row}: {true}, taken for {taken_for}",
        **show(answers.examples[row], answers.value_range),
    }


def _data_uri(example: np.ndarray, value_range: tuple[float, float]) -> str:
    from PIL import Image

    grey_or_colours = as_picture(example.astype(np.float64), np.array(value_range))
    image = Image.fromarray(np.round(255 * grey_or_colours).astype(np.uint8))
    image.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    file = io.BytesIO()
    image.save(file, "png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
