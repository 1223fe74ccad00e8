"""What is concluded from a finished comparison: the content of ``comparison.json``."""

from __future__ import annotations

import numpy as np

from kt_transfer.comparison.comparison import Comparison
from kt_transfer.comparison.evidence import by_candidate, grouped
from kt_transfer.comparison.forecast import labels_for_verdict, more_labels, repeats_for_verdict
from kt_transfer.comparison.generalization import judge_shift
from kt_transfer.comparison.guesses import guesses, layer_similarities
from kt_transfer.comparison.pairs import paired_answers
from kt_transfer.comparison.scoring import constant_answer, metric_beside
from kt_transfer.comparison.summary import describe_budget
from kt_transfer.comparison.table import Table
from kt_transfer.comparison.verdicts import (
    BASELINE,
    choose,
    curve,
    judge,
    means,
    until_scratch,
    worth,
)
from kt_transfer.methods.candidates import describe, to_json


def summarize(config, comparison: Comparison, table: Table, class_names) -> dict:
    """What ``comparison.json`` says, but for the winner's test."""
    rows, metric = list(table.rows.values()), config.metric
    points, margin = table.points(metric), config.margin
    beside = metric_beside(metric, comparison.labels_judged)
    found, verdicts = by_candidate(rows, metric, points), judge(rows, metric, points, margin)
    summary = {
        "metric": metric,
        "margin": margin,
        "verdicts": verdicts,
        "scratch": [
            {"labels": labels, "mean": mean}
            for (method, _, labels), mean in means(rows, metric).items()
            if method == "scratch"
        ],
        "winner": choose(rows, metric, config.prefer, comparison.students(), points, margin),
        "curve": curve(rows, metric, points),
        "beside": beside
        and {
            "metric": beside,
            "means": [
                {"method": method, "source": source, "labels": labels, "mean": mean}
                for (method, source, labels), mean in means(rows, beside).items()
            ],
        },
        "constant": constant_answer(comparison.labels_judged, class_names),
        "pairs": _pairs(comparison, table),
        "left": _left(found),
        "forecast": {
            "more_labels": more_labels(found, metric, comparison.num_labelled),
            "verdicts": _ways_to_verdicts(config, found, verdicts),
        },
        "uses_unlabelled": [n for n, own in comparison.methods.items() if own.sees_unlabelled],
        "worth": worth(rows, metric),
        "until_scratch": until_scratch(rows, table.curves),
        "costs": _costs(comparison, rows),
        "methods": {name: describe(name, own) for name, own in comparison.methods.items()},
        "settings": {name: to_json(own) for name, own in comparison.methods.items()},
        "equal_budget": describe_budget(rows, comparison.methods),
        "transferability": guesses(comparison),
        "layers": layer_similarities(comparison),
    }
    if (shift := comparison.shift) is not None:
        summary["shift"] = judge_shift(shift.rows_of(table), shift.changes, metric)
    return summary


def _left(found: dict) -> list[dict]:
    """The candidates that left early, and after how many folds."""
    most = max(len(own.folds) for own in found.values())
    return [
        {"method": method, "source": source, "labels": labels, "folds": len(own.folds)}
        for (method, source, labels), own in found.items()
        if len(own.folds) < most
    ]


def _ways_to_verdicts(config, found: dict, verdicts: list[dict]) -> list[dict]:
    """For each candidate without a verdict, what would probably lead to one."""
    entries = []
    largest = max(entry["labels"] for entry in verdicts)
    for entry in verdicts:
        if entry["verdict"] != "no difference":
            continue
        own = {name: entry[name] for name in ("method", "source", "labels")}
        pair = found[tuple(own.values())], found[(*BASELINE, entry["labels"])]
        repeats = repeats_for_verdict(*pair, config.repeats, len(verdicts))
        at_labels = None
        # Once for each candidate that has no verdict at any budget.
        if entry["labels"] == largest and not _is_judged(verdicts, entry):
            at_labels = labels_for_verdict(found, verdicts, entry, config.metric, BASELINE)
        entries.append({**own, "repeats": repeats, "at_labels": at_labels})
    return entries


def _is_judged(verdicts: list[dict], entry: dict) -> bool:
    same = [v for v in verdicts if (v["method"], v["source"]) == (entry["method"], entry["source"])]
    return any(v["verdict"] != "no difference" for v in same)


def _pairs(comparison: Comparison, table: Table) -> list[dict]:
    """For each candidate and budget, the answers in which it differs from scratch."""
    entries = []
    for method, source, labels in grouped(table.rows.values()):
        if (method, source) == BASELINE:
            continue
        pair = table.paired_answers((method, source), BASELINE, labels)
        found = paired_answers(*pair, comparison.num_classes)
        entries.append({"method": method, "source": source, "labels": labels, **found})
    return entries


def _costs(comparison: Comparison, rows: list[dict]) -> list[dict]:
    """Seconds of learning, and what the network costs where it is served."""
    served = comparison.serving_costs()
    taken: dict[tuple, list[dict]] = {}
    for row in rows:
        taken.setdefault((row["method"], row["source"], row["labels"]), []).append(row)
    return [
        {
            "method": method,
            "source": source,
            "labels": labels,
            # The median: the first fold also traces and compiles.
            "seconds": float(np.median([row["seconds"] for row in own])),
            # Where what it rests on is at hand, since another candidate needed it.
            "own_seconds": float(np.median([row["fit_seconds"] for row in own])),
            "pretrain_seconds": float(np.median([row["pretrain_seconds"] for row in own])),
            **served[method, source],
        }
        for (method, source, labels), own in taken.items()
    ]
