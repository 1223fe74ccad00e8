"""``report.html``: what a comparison found, as one file that needs no other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kt_transfer.reporting.classification import confusion_matrix
from kt_transfer.reporting.comparison_plots import (
    as_svg,
    colour_variables,
    plot_folds,
    plot_label_efficiency,
)
from kt_transfer.reporting.examples import Answers, most_confident_mistakes, pairs
from kt_transfer.reporting.wording import (
    METHODS,
    METRICS,
    candidate_name,
    format_gain,
    format_interval,
    format_reason,
    format_score,
    format_size,
    gains,
    headline,
    improvement,
    is_same,
    num_sources,
)

_SCRATCH = {"method": "scratch", "source": ""}
_MOST_CLASSES = 30  # of a confusion matrix; beyond, the most frequent confusions say more
_MOST_MISTAKES, _MOST_RECONSTRUCTIONS, _MOST_CONFUSIONS = 12, 8, 15


def comparison_page(
    comparison: dict,
    scores: Sequence[dict],
    *,
    curve: Sequence[dict],
    answers: Answers,
    reconstructions: tuple[np.ndarray, np.ndarray] | None,
    worth: Sequence[str],
    commands: Sequence[tuple[str, str]],
    settings: dict,
    environment: dict,
) -> str:
    """The page.

    Args:
        comparison: What ``comparison.json`` says.
        scores: The rows of ``comparison.csv``.
        curve: Mean of each candidate and budget with its interval, as
            :func:`~kt_transfer.reporting.comparison_plots.plot_label_efficiency` takes it.
        answers: The winner's, on the test split.
        reconstructions: Raw examples and what the source's autoencoder makes of them, in the
            same units; ``None`` where there is no autoencoder.
        worth: What the transfers are worth, in words.
        commands: Command lines, each under what it is for.
        settings: Every setting by name.
        environment: Data, machine and versions by name.

    Returns:
        HTML without scripts, and without references to anything outside it.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    metric = comparison["metric"]
    pages = Environment(
        loader=PackageLoader("kt_transfer", "reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    made = reconstructions or ((), ())
    budgets = sorted({row["labels"] for row in scores})
    return pages.get_template("report.html").render(
        title=f"kt_transfer compare: {settings['data']}",
        eyebrow=f"kt_transfer compare · {settings['data']} · {environment['finished']}",
        headline=headline(comparison),
        lede=[_sentence(told) for told in worth],
        facts=_facts(comparison, answers),
        metric=METRICS[metric],
        num_folds=len({(row["repeat"], row["fold"]) for row in scores}),
        budgets=_budgets(comparison),
        methods=[(name, METHODS[name]) for name in METHODS if name in _present(scores)],
        has_curve=len(budgets) > 1,
        figures=_figures(curve, scores, metric),
        cost_labels=[f"{labels:,}" for labels in budgets],
        costs=_costs(comparison, budgets),
        equal_budget=_sentence(comparison["equal_budget"]),
        guesses=_guesses(comparison),
        guess_sentence=_guess_sentence(comparison),
        similarities=_similarities(comparison),
        confusion=_confusion(answers),
        mix_ups=_frequent_confusions(answers),
        mistakes=most_confident_mistakes(answers, _MOST_MISTAKES),
        reconstructions=pairs(*made, answers.value_range, _MOST_RECONSTRUCTIONS),
        colours={"light": colour_variables(dark=False), "dark": colour_variables(dark=True)},
        commands=commands,
        settings=settings.items(),
        environment=environment.items(),
    )


def _present(rows: Sequence[dict]) -> set[str]:
    return {row["method"] for row in rows}


def _sentence(told: str) -> str:
    return f"{told[0].upper()}{told[1:]}."


def _facts(comparison: dict, answers: Answers) -> list[dict]:
    """What the winner is, at a glance."""
    winner = comparison["winner"]
    costs = next(row for row in comparison["costs"] if is_same(row, winner))
    return [
        _fact("winner", winner["method"], winner["source"]),
        *_tested(comparison, answers),
        _fact("parameters", f"{costs['num_parameters']:,}", _size(costs["bytes"])),
        _fact("answers in", f"{costs['latency_ms']:.2g} ms", "one example at a time"),
    ]


def _tested(comparison: dict, answers: Answers) -> list[dict]:
    """What the test split says; nothing where it has no labels."""
    metric = comparison["metric"]
    if metric not in comparison["test"]:
        return []
    looked = f"{len(answers.labels):,} examples, looked at once"
    return [
        _fact(f"test {METRICS[metric]}", format_score(metric, comparison["test"][metric]), looked)
    ]


def _fact(name: str, value: str, note: str) -> dict:
    return {"name": name, "value": value, "note": note}


def _budgets(comparison: dict) -> list[dict]:
    """The verdicts of each label budget, below the score of scratch."""
    metric, verdicts = comparison["metric"], comparison["verdicts"]
    reach = max((abs(end) for row in verdicts for end in row["interval"]), default=1.0)
    several = num_sources(verdicts) > 1
    groups = []
    for base in comparison["scratch"]:
        own = [row for row in verdicts if row["labels"] == base["labels"]]
        rows = [_reference_row(metric, base), *(_verdict_row(metric, row, reach) for row in own)]
        for row, found in zip(rows, [_SCRATCH | base, *own], strict=True):
            row["source"] = found["source"] if several else ""
            row["wins"] = is_same(found, comparison["winner"])
        groups.append({"labels": f"{base['labels']:,}", "rows": rows})
    return groups


def _reference_row(metric: str, base: dict) -> dict:
    return {"method": "scratch", "mean": format_score(metric, base["mean"]), "verdict": None}


def _verdict_row(metric: str, row: dict, reach: float) -> dict:
    low, high = gains(metric, row["interval"])
    middle = improvement(metric, row["difference"])
    return {
        "method": row["method"],
        "mean": format_score(metric, row["mean"]),
        "gain": format_gain(metric, row["difference"]),
        "interval": format_interval(metric, row["interval"]),
        "span": {
            name: round(50 + 46 * value / reach, 1)
            for name, value in (("low", low), ("middle", middle), ("high", high))
        },
        "verdict": {"better": "▲ better", "worse": "▼ worse"}.get(row["verdict"], row["verdict"]),
        "kind": row["verdict"].replace("no difference", "same"),
        "reason": format_reason(metric, row),
        "detectable": format_size(metric, row["detectable"]),
    }


def _figures(curve: Sequence[dict], scores: Sequence[dict], metric: str) -> list:
    from markupsafe import Markup

    budgets = sorted({row["labels"] for row in scores})
    figures = []
    if len(budgets) > 1:
        described = "; ".join(
            f"{candidate_name(row['method'], row['source'])} with {row['labels']:,} labels: "
            f"{format_score(metric, row['mean'])}"
            for row in curve
        )
        title = f"Mean {METRICS[metric]} by number of labels"
        figures.append(as_svg(plot_label_efficiency(curve, metric), title, described))
    for labels in budgets:
        title = f"{METRICS[metric].capitalize()} of every fold with {labels:,} labels"
        described = _spread([row for row in scores if row["labels"] == labels], metric)
        figures.append(as_svg(plot_folds(scores, labels, metric), title, described))
    return [Markup(figure) for figure in figures]  # noqa: S704 - its texts are escaped


def _spread(rows: Sequence[dict], metric: str) -> str:
    candidates = dict.fromkeys((row["method"], row["source"]) for row in rows)
    told = []
    for method, source in candidates:
        values = [row[metric] for row in rows if (row["method"], row["source"]) == (method, source)]
        ends = f"{format_score(metric, min(values))} to {format_score(metric, max(values))}"
        told.append(f"{candidate_name(method, source)}: {ends}")
    return "; ".join(told)


def _costs(comparison: dict, budgets: Sequence[int]) -> list[dict]:
    """A row for each candidate: seconds at each budget, then what does not depend on it."""
    rows = {}
    for cost in comparison["costs"]:
        own = rows.setdefault((cost["method"], cost["source"]), {"seconds": {}})
        own["seconds"][cost["labels"]] = _seconds(cost["seconds"])
        own["model"] = [
            f"{cost['num_parameters']:,}",
            _size(cost["bytes"]),
            f"{cost['latency_ms']:.2g} ms",
        ]
    several = num_sources(comparison["verdicts"]) > 1
    return [
        {
            "method": method,
            "source": source if several else "",
            "cells": [
                *(own["seconds"].get(labels, "–") for labels in budgets),
                _until_scratch(comparison, method, source),
                *own["model"],
            ],
        }
        for (method, source), own in rows.items()
    ]


def _until_scratch(comparison: dict, method: str, source: str) -> str:
    """Epochs until the accuracy that scratch ends with, at the largest budget."""
    own = {"method": method, "source": source, "labels": comparison["winner"]["labels"]}
    found = next((row for row in comparison["until_scratch"] if is_same(row, own)), None)
    if found is None:
        return "–"
    if found["epochs"] is None:
        return "never"
    return f"{found['epochs']} epochs, {_seconds(found['seconds'])}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:,.0f} s"


def _size(num_bytes: int) -> str:
    for unit in ("B", "kB", "MB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} GB"


def _guesses(comparison: dict) -> list[dict]:
    """The scores of each source, beside the best that cross-validation found of it."""
    metric = comparison["metric"]
    rows = []
    for guess in comparison["transferability"]:
        best = _best_use(comparison, guess)
        rows.append(
            {
                "source": guess["source"],
                "labels": f"{guess['labels']:,}",
                "logme": f"{guess['logme']:.3f}".replace("-", "−"),
                "cka": f"{guess['cka']:.3f}",
                "method": best["method"] if best else "–",
                "gain": format_gain(metric, best["difference"]) if best else "–",
            }
        )
    return rows


def _similarities(comparison: dict) -> list[dict]:
    """Linear CKA of each source, a row for each of its layers."""
    return [
        {
            "source": entry["source"],
            "names": entry["target_layers"],
            "rows": [
                {"name": name, "cells": [round(value, 2) for value in row]}
                for name, row in zip(entry["source_layers"], entry["cka"], strict=True)
            ],
        }
        for entry in comparison["layers"]
    ]


def _best_use(comparison: dict, guess: dict) -> dict | None:
    keys = ("source", "labels")
    own = [v for v in comparison["verdicts"] if all(v[key] == guess[key] for key in keys)]
    return max(
        own,
        key=lambda row: improvement(comparison["metric"], row["difference"]),
        default=None,
    )


def _best_gain(comparison: dict, guess: dict) -> float:
    return improvement(comparison["metric"], _best_use(comparison, guess)["difference"])


def _guess_sentence(comparison: dict) -> str:
    """Whether the guess would have picked the source that turned out best."""
    guesses = [guess for guess in comparison["transferability"] if _best_use(comparison, guess)]
    if len({guess["source"] for guess in guesses}) < 2:
        return "With one source there is nothing to choose between: these scores compare sources."
    most = max(guess["labels"] for guess in guesses)
    guesses = [guess for guess in guesses if guess["labels"] == most]
    guessed = max(guesses, key=lambda guess: guess["logme"])["source"]
    found = max(guesses, key=lambda guess: _best_gain(comparison, guess))["source"]
    agrees = "and so did cross-validation" if guessed == found else f"cross-validation {found}"
    return f"With {most:,} labels LogME picks {guessed}, {agrees}."


def _confusion(answers: Answers) -> dict | None:
    if not len(answers.labels):
        return None
    counts = _counts(answers)
    right, total = int(np.trace(counts)), int(counts.sum())
    rows = [
        {
            "name": answers.class_names[number],
            "cells": [
                {"count": int(count), "share": round(float(count / max(row.sum(), 1)), 3)}
                for count in row
            ],
        }
        for number, row in enumerate(counts)
    ]
    return {
        "sentence": f"{right:,} of {total:,} test examples are right.",
        "names": answers.class_names,
        "rows": rows if len(rows) <= _MOST_CLASSES else [],
    }


def _frequent_confusions(answers: Answers) -> list[dict]:
    """Pairs of classes that are confused most, where there are too many for a matrix."""
    if len(answers.class_names) <= _MOST_CLASSES or not len(answers.labels):
        return []
    counts = _counts(answers)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:_MOST_CONFUSIONS]
    return [
        {
            "true": answers.class_names[true],
            "predicted": answers.class_names[predicted],
            "count": int(counts[true, predicted]),
        }
        for true, predicted in zip(*np.unravel_index(order, counts.shape), strict=True)
        if counts[true, predicted]
    ]


def _counts(answers: Answers) -> np.ndarray:
    predicted = answers.probabilities.argmax(axis=1)
    return confusion_matrix(answers.labels, predicted, len(answers.class_names))
