"""What the page to try a model on shows: what the model is, an answer, a mistake.

Parts of a page as HTML, all of whose words are text: class names, columns and cells are data.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kt_transfer.errors import listed
from kt_transfer.reporting.calibration import wilson_interval
from kt_transfer.reporting.examples import show
from kt_transfer.reporting.explanations import AGAINST, FOR, PixelExplanation, blended

# Classes and columns that are shown at once.
MOST_CLASSES, MOST_COLUMNS = 10, 12
# Changes of a probability below this are none that anybody sees; a bar is that much at least.
_LEAST_CHANGE, _FULL_BAR = 0.0005, 0.1


class Usual(NamedTuple):
    """How well an autoencoder reconstructs an example.

    Attributes:
        error: Its reconstruction error; ``None`` without an autoencoder.
        quantiles: Those of the training examples, by share; empty where they are not known.
        unusual: Whether it is called unusual; ``None`` where that is not known.
    """

    error: float | None
    quantiles: dict[str, float]
    unusual: bool | None


class Cell(NamedTuple):
    """A column of a row that was asked about.

    Attributes:
        name: Of the column.
        value: What stands there.
        reconstruction: What the autoencoder makes of it; "" where it says nothing.
        change: How much less probable the answer would be with it from other examples; ``None``
            where that was not asked.
    """

    name: str
    value: str
    reconstruction: str
    change: float | None


def style() -> str:
    """The style sheet of the page."""
    return (Path(__file__).parent / "trying.css").read_text()


def heading(metadata: dict, name: str, called: str) -> str:
    """What is tried: its name and version, how good it is, and on which data.

    Args:
        metadata: Content of ``metadata.json``.
        name: What it is served as.
        called: Which one it is, such as ``version 3``.

    Example:
        >>> metrics = {"accuracy": 0.95, "num_examples": 100}
        >>> "95.0 % of 100 test" in heading({"metrics": metrics, "data": "digits"}, "small", "1")
        True
    """
    return _render("heading", name=name, called=called, facts=facts(metadata))


def facts(metadata: dict) -> list[tuple[str, str, str]]:
    """Facts about an export as a head, a value and a note; those that are known.

    Example:
        >>> facts({"metrics": {"accuracy": 0.95, "num_examples": 100}, "data": "digits"})[:1]
        [('right on', '95.0 % of 100 test examples', '95 % interval 88.8 to 97.8 %')]
    """
    metrics, found = metadata.get("metrics"), []
    metrics = metrics if isinstance(metrics, dict) else {}
    accuracy, count = metrics.get("accuracy"), metrics.get("num_examples")
    if _is_share(accuracy) and isinstance(count, int) and count > 0:
        low, high = wilson_interval(round(accuracy * count), count)
        interval = f"95 % interval {100 * low:.1f} to {100 * high:.1f} %"
        found.append(("right on", f"{100 * accuracy:.1f} % of {count:,} test examples", interval))
    else:
        found.append(("right on", "not known", "its test split has no labels"))
    found.append(("learned from", str(metadata.get("data")), f"by {metadata.get('command', '')}"))
    labels = metadata.get("labels") or []
    shown = listed([name if len(name) <= 20 else f"{name[:19]}…" for name in labels], 4)
    found.append(("tells apart", f"{len(labels):,} classes", shown))
    if isinstance(exported := metadata.get("exported"), str):
        found.append(("exported", exported[:10], exported[11:16]))
    return found


def answered(
    names: Sequence[str],
    probabilities: np.ndarray,
    *,
    asked: str,
    usual: Usual,
    pictures: Sequence[dict] = (),
    cells: Sequence[Cell] = (),
    carried: str = "",
    done: Sequence[str] = (),
) -> str:
    """An answer.

    Args:
        names: Of the classes.
        probabilities: Shape ``(classes,)``.
        asked: What the probabilities are those of, such as a signature of a SavedModel.
        usual: How usual the example is.
        pictures: The example, its reconstruction and what carries the answer, each from
            :func:`picture` or :func:`carried_by_pixels`.
        cells: The columns of a row.
        carried: What is shown of what carries the answer, in words.
        done: What was done to what was given.

    Returns:
        HTML without scripts or external references.
    """
    order = np.argsort(-probabilities, kind="stable")[:MOST_CLASSES]
    ordered = sorted(cells, key=lambda cell: -abs(cell.change or 0.0))
    most = max([abs(cell.change or 0.0) for cell in cells], default=0.0)
    return _render(
        "answer",
        label=names[order[0]],
        sure=percent(probabilities[order[0]]),
        classes=[
            {"name": names[place], "share": percent(probabilities[place])}
            | {"width": round(100 * float(probabilities[place]), 2)}
            for place in order
        ],
        left_out=len(names) - len(order),
        rest=percent(max(1 - float(probabilities[order].sum()), 0.0)),
        asked=asked,
        usual=_usual(usual),
        pictures=pictures,
        rows=[_row(cell, most) for cell in ordered],
        most_rows=MOST_COLUMNS,
        has_reconstruction=any(cell.reconstruction for cell in cells),
        has_change=any(cell.change is not None for cell in cells),
        carried=carried,
        done=done,
        colours={"for": f"rgb{FOR}", "against": f"rgb{AGAINST}"},
    )


def eyebrow(words: str) -> str:
    """A few words above what they name.

    Example:
        >>> eyebrow("Real rows")
        '<p class="kt-eyebrow">Real rows</p>'
    """
    return _render("eyebrow", words=words).strip()


def nothing(sentence: str, *, is_mistake: bool = False) -> str:
    """A sentence in the place of an answer.

    Example:
        >>> "a &lt; b" in nothing("a < b")
        True
    """
    return _render("nothing", sentence=sentence, is_mistake=is_mistake)


def picture(raw: np.ndarray, value_range: tuple[float, float], caption: str) -> dict:
    """A raw picture for the page."""
    return show(raw, value_range) | {"caption": caption, "shades": False}


def carried_by_pixels(
    raw: np.ndarray, value_range: tuple[float, float], carried: np.ndarray, caption: str
) -> dict:
    """What its pixels say for and against the answer, in colours."""
    alone = PixelExplanation((), "", raw[None], value_range, carried[None], np.zeros(1))
    coloured = blended(alone, 0)
    return show(coloured, (0.0, 255.0)) | {"caption": caption, "shades": True}


def percent(share: float) -> str:
    """A probability in words, without calling certain what is not.

    Example:
        >>> percent(0.5), percent(0.99997), percent(0.0000001), percent(0.0)
        ('50.0 %', '> 99.9 %', '< 0.1 %', '< 0.1 %')
    """
    if share >= 0.9995:
        return "> 99.9 %"
    return f"{100 * share:.1f} %" if share >= 0.0005 else "< 0.1 %"


def usual_in_words(usual: Usual) -> str:
    """How usual an example is, in a sentence.

    Example:
        >>> usual_in_words(Usual(31.0, {"0.5": 4.0, "0.99": 10.0}, True))
        'its reconstruction error, 31, is 3.1 times the 0.99 quantile of the training examples'
        >>> usual_in_words(Usual(3.0, {"0.5": 4.0, "0.99": 10.0}, False))
        'its reconstruction error, 3, is below the 0.5 quantile of the training examples, 4'
    """
    if usual.error is None:
        return "this model has no autoencoder, by which that could be told"
    error = f"its reconstruction error, {usual.error:.3g},"
    limit = usual.quantiles.get("0.99")
    if not limit:
        return f"{error} has nothing to be compared with: that of training was not recorded"
    if usual.unusual:
        times = usual.error / limit
        told = f"{times:.1f}" if times < 100 else f"{times:,.0f}"
        return f"{error} is {told} times the 0.99 quantile of the training examples"
    above = [quantile for quantile in usual.quantiles.items() if quantile[1] >= usual.error]
    above = min(above, key=lambda quantile: quantile[1], default=("0.99", limit))
    return f"{error} is below the {above[0]} quantile of the training examples, {above[1]:.3g}"


def _usual(usual: Usual) -> dict:
    limit = usual.quantiles.get("0.99") or 0.0
    heads = {True: "Unusual", False: "Usual", None: "How usual it is, is not known"}
    # The limit stands in the middle, so that twice as much is at the end.
    at = 50 * usual.error / limit if usual.error is not None and limit else None
    return {
        "head": heads[usual.unusual],
        "words": usual_in_words(usual),
        "kind": {True: "unusual", False: "usual", None: "unknown"}[usual.unusual],
        "at": None if at is None or usual.unusual is None else round(min(at, 100.0), 1),
    }


def _row(cell: Cell, most: float) -> dict:
    change = cell.change or 0.0
    seen = abs(change) >= _LEAST_CHANGE
    points = f"{100 * change:+.1f}".replace("-", "\N{MINUS SIGN}") if seen else "0"
    width = round(50 * abs(change) / max(most, _FULL_BAR), 1)
    return cell._asdict() | {"points": points, "speaks": change > 0, "width": width}


def _is_share(value) -> bool:
    return isinstance(value, float | int) and 0 <= value <= 1


def _render(macro: str, **values) -> str:
    module = _template()
    return str(getattr(module, macro)(**values))


@functools.cache
def _template():
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader("kt_transfer", "reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return pages.get_template("trying.html").module
