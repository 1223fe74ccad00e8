"""Examples for the report: images as embedded PNG, anything else as values."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kt_transfer.reporting.plots import as_picture

MOST_VALUES, MOST_CLASSES = 12, 30
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


class Differing(NamedTuple):
    """Held-out examples that one of two candidates gets right, and the other does not.

    Attributes:
        examples: Raw examples, shape ``(n, ...)``.
        rows: Their row numbers.
        labels: Their true classes.
        own: What the one answers most often.
        other: What the other does.
        texts: As for :class:`Answers`.
    """

    examples: np.ndarray
    rows: np.ndarray
    labels: np.ndarray
    own: np.ndarray
    other: np.ndarray
    texts: Sequence[Sequence[str]] | None = None


def differing_answers(
    counts: dict,
    names: tuple[str, str],
    helped: Differing,
    hurt: Differing,
    class_names: Sequence[str],
    value_range: tuple[float, float],
    columns: Sequence[str] = (),
) -> dict:
    """Where two candidates differ, formatted for the report.

    Args:
        counts: Counts of answers, as from :func:`~kt_transfer.comparison.pairs.paired_answers`.
        names: What the two are called.
        helped: Examples that only the first gets right.
        hurt: Examples that only the second does.
        class_names: Class names by number.
        value_range: Smallest and largest raw value.
        columns: The names of the values, where ``texts`` are given.

    Returns:
        ``own``, ``other``, ``sentence``, ``classes`` (a row for each that differs, the greatest
        net gain first) and ``groups`` of examples.
    """
    own, other = names
    classes = [
        {
            "name": class_names[number],
            "answers": f"{each['num_answers']:,}",
            "helped": f"{each['only_own']:,}",
            "hurt": f"{each['only_other']:,}",
            "net": f"{each['only_own'] - each['only_other']:+,}".replace("-", "\N{MINUS SIGN}"),
            "order": each["only_other"] - each["only_own"],
        }
        for number, each in enumerate(counts["by_class"])
        if each["only_own"] or each["only_other"]
    ]
    groups = [
        (f"Right with {own}, wrong with {other}", helped),
        (f"Wrong with {own}, right with {other}", hurt),
    ]
    return {
        "own": own,
        "other": other,
        "sentence": (
            f"Of {counts['num_answers']:,} answers to {counts['num_examples']:,} held-out "
            f"examples, {own} is right in {counts['only_own']:,} where {other} is wrong, and wrong "
            f"in {counts['only_other']:,} where {other} is right; both are right in "
            f"{counts['both_right']:,} and wrong in {counts['both_wrong']:,}."
        ),
        "classes": sorted(classes, key=lambda row: row["order"])[:MOST_CLASSES],
        "groups": [
            {
                "title": title,
                "examples": [
                    _differs(found, place, names, class_names, value_range, columns)
                    for place in range(len(found.rows))
                ],
            }
            for title, found in groups
            if len(found.rows)
        ],
    }


def _differs(
    found: Differing, place: int, names, class_names, value_range, columns: Sequence[str]
) -> dict:
    texts = None if found.texts is None else found.texts[place]
    true = class_names[found.labels[place]]
    answered = ", ".join(
        f"{name}: {class_names[said[place]]}"
        for name, said in zip(names, (found.own, found.other), strict=True)
    )
    return {
        "number": int(found.rows[place]),
        "true": true,
        "answered": answered,
        "alt": f"Training example {found.rows[place]}: {true}; {answered}",
        **_shown(found.examples[place], value_range, texts, columns),
    }


def _shown(example: np.ndarray, value_range, texts, columns: Sequence[str]) -> dict:
    """One example as :func:`show` has it or as texts, with the names of its values."""
    if texts is None:
        shown = show(example, value_range)
        names = [f"value {number}" for number in range(1, 1 + len(shown.get("values", ())))]
    else:
        shown, names = _some_of(texts), list(columns)
    return {**shown, "names": names[:MOST_VALUES]}


def _mistake(answers: Answers, row: int, predicted: int, sure: float) -> dict:
    texts = None if answers.texts is None else answers.texts[row]
    shown = _shown(answers.examples[row], answers.value_range, texts, answers.columns)
    true, predicted_name = (answers.class_names[n] for n in (answers.labels[row], predicted))
    return {
        "number": int(row),
        "true": true,
        "predicted": predicted_name,
        "sure": f"{100 * sure:.0f}\N{NO-BREAK SPACE}%",
        "alt": f"Test example {row}: {true}, predicted {predicted_name}",
        **shown,
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
