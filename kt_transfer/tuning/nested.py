"""What searching was worth in a comparison, and how far a search overrates what it finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kt_transfer.comparison.evidence import by_candidate, interval_of
from kt_transfer.comparison.table import COLUMNS, Cell, read_rows
from kt_transfer.files.reading import read_json
from kt_transfer.reporting.wording import (
    METRICS,
    format_gain,
    format_interval,
    gains,
    improvement,
)

SUFFIX = " tuned"


def searches_of(folder: Path, metric: str) -> list[dict]:
    """What each searched candidate has in the folds that chose and in those that judge.

    Args:
        folder: Run folder of a comparison in which candidates ``NAME tuned`` stand beside ``NAME``.
        metric: Of the comparison.

    Returns:
        For each, by ``method``, ``source`` and ``labels``: ``gain`` (over the settings as given, in
        the outer folds) with its ``interval``; ``chosen_by`` (mean accuracy of the chosen settings
        in the folds that chose them), ``reached`` (mean accuracy in the outer folds), their
        difference ``optimism``; and the ``settings`` that each fold has chosen.
    """
    rows = read_rows(Path(folder) / "comparison.csv", COLUMNS)
    chosen = [(Cell(*cell), own) for *cell, own in read_json(Path(folder) / "choices.json")]
    found = by_candidate(rows, metric)
    accuracies = by_candidate(rows, "accuracy")
    searches = []
    for method, source, labels in found:
        plain = method.removesuffix(SUFFIX), source, labels
        if not method.endswith(SUFFIX) or plain not in found:
            continue
        key = method, source, labels
        interval = interval_of(found[key], found[plain])
        choices = [own for cell, own in chosen if cell[:3] == key]
        chosen_by = float(np.mean([choice["score"] for choice in choices]))
        reached = float(accuracies[key].values.mean())
        searches.append(
            {
                "method": plain[0],
                "source": source,
                "labels": labels,
                "gain": improvement(metric, interval.mean),
                "interval": gains(metric, (interval.low, interval.high)),
                "chosen_by": chosen_by,
                "reached": reached,
                "optimism": chosen_by - reached,
                "settings": [choice["settings"] for choice in choices],
            }
        )
    return searches


def describe_searches(searches: list[dict], metric: str) -> list[str]:
    """The same in sentences, one for each.

    Example:
        >>> search = {"method": "scratch", "source": "", "labels": 50, "gain": 0.012}
        >>> search |= {"interval": [-0.01, 0.03], "chosen_by": 0.88, "reached": 0.85}
        >>> for line in describe_searches([search | {"optimism": 0.03}], "accuracy"):
        ...     print(line)
        searching the settings of scratch with 50 labels gains +1.2 points of accuracy (−1.0 to
        +3.0 points), which may be chance; the folds that chose them, of fewer labels, say 88.0 %,
        new examples give 85.0 %
    """
    lines = []
    for search in searches:
        low, high = search["interval"]
        verdict = "" if low > 0 or high < 0 else ", which may be chance"
        source = f" of {search['source']}" if search["source"] else ""
        lines.append(
            f"searching the settings of {search['method']}{source} with {search['labels']} labels "
            f"gains {format_gain(metric, search['gain'])} of {METRICS[metric]} "
            f"({format_interval(metric, (low, high))}){verdict}; the folds that chose them, of "
            f"fewer labels, say {100 * search['chosen_by']:.1f} %, new examples give "
            f"{100 * search['reached']:.1f} %"
        )
    return lines
