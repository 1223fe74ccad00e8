"""``report.html``: the results of a comparison as one self-contained file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kt_transfer.errors import counted
from kt_transfer.files.writing import size_in_words
from kt_transfer.reporting.calibration import describe_calibration
from kt_transfer.reporting.classification import confusion_matrix
from kt_transfer.reporting.comparison_plots import (
    as_svg,
    colour_variables,
    look_of,
    plot_folds,
    plot_label_efficiency,
    plot_reliability,
    plot_shift,
)
from kt_transfer.reporting.examples import Answers, most_confident_mistakes, pairs
from kt_transfer.reporting.explanations import Explanation, on_page
from kt_transfer.reporting.wording import (
    LOWER_IS_BETTER,
    METRICS,
    candidate_name,
    excludes_zero,
    format_gain,
    format_interval,
    format_reason,
    format_score,
    format_size,
    gains,
    headline,
    improvement,
    is_practically_equal,
    is_same,
    num_sources,
    percent,
)

_SCRATCH = {"method": "scratch", "source": ""}
_MOST_CLASSES = 30  # in a confusion matrix; beyond, the most frequent confusions are listed
_MOST_MISTAKES, _MOST_RECONSTRUCTIONS, _MOST_CONFUSIONS = 12, 24, 15


def comparison_page(
    comparison: dict,
    scores: Sequence[dict],
    *,
    curve: Sequence[dict],
    answers: Answers,
    why: Explanation | None = None,
    reconstructions: tuple[np.ndarray, np.ndarray] | None,
    worth: Sequence[str],
    sure: Sequence[str] = (),
    then: Sequence[str] = (),
    held_up: Sequence[str] = (),
    differing: dict | None = None,
    again: str,
    commands: Sequence[tuple[str, str]],
    settings: dict,
    environment: dict,
) -> str:
    """Render the report.

    Args:
        comparison: Content of ``comparison.json``.
        scores: Rows of ``comparison.csv``.
        curve: Mean and interval of each candidate and budget, as
            :func:`~kt_transfer.reporting.comparison_plots.plot_label_efficiency` takes it.
        answers: The winner's predictions on the test split.
        why: What carries them; ``None`` if there are so many columns that this was left out.
        reconstructions: Raw examples and their reconstructions by the source's autoencoder, in the
            same units; ``None`` if there is no autoencoder.
        worth: Sentences about what the transfers are worth.
        sure: Sentences about how sure the result is.
        then: Sentences about what to do next.
        held_up: Sentences about changed examples, if they were asked for.
        differing: Where the winner and scratch differ, as from
            :func:`~kt_transfer.reporting.examples.differing_answers`.
        again: The command line that asks for the same.
        commands: Pairs of a purpose and a command line.
        settings: All settings by name.
        environment: Data, machine and versions by name.

    Returns:
        HTML without scripts or external references.
    """
    metric = comparison["metric"]
    made = reconstructions or ((), ())
    budgets = sorted({row["labels"] for row in scores})
    return fill_template(
        "report.html",
        title=f"kt_transfer compare: {settings['data']}",
        eyebrow=f"kt_transfer compare · {settings['data']} · {environment['finished']}",
        headline=headline(comparison),
        lede=[_sentence(text) for text in worth],
        facts=_facts(comparison, answers),
        metric=METRICS[metric],
        num_folds=len({(row["repeat"], row["fold"]) for row in scores}),
        budgets=_budgets(comparison),
        beside=comparison["beside"] and METRICS[comparison["beside"]["metric"]],
        sure=[_sentence(text) for text in sure],
        next=[_sentence(text) for text in then],
        forecast=_forecast(comparison),
        differing=differing,
        methods=[(name, comparison["methods"][name]) for name in _present(scores)],
        has_curve=len(budgets) > 1,
        figures=_figures(curve, scores, metric),
        shift=_shift(comparison, held_up),
        cost_labels=[f"{labels:,}" for labels in budgets],
        costs=_costs(comparison, budgets),
        equal_budget=_sentence(comparison["equal_budget"]),
        guesses=_guesses(comparison),
        guess_sentence=_guess_sentence(comparison),
        similarities=_similarities(comparison),
        calibration=_calibration(comparison),
        confusion=_confusion(answers),
        mix_ups=_frequent_confusions(answers),
        mistakes=most_confident_mistakes(answers, _MOST_MISTAKES),
        why=on_page(why),
        reconstructions=pairs(*made, answers.value_range, _MOST_RECONSTRUCTIONS),
        looks={name: look_of(scores, name) for name in _present(scores)},
        again=again,
        commands=commands,
        settings=settings.items(),
        environment=environment.items(),
    )


def fill_template(name: str, **values) -> str:
    """A page of this package: HTML without scripts or external references.

    Args:
        name: A template beside this module.
        **values: What stands in it; texts are escaped.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader("kt_transfer", "reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    colours = {"light": colour_variables(dark=False), "dark": colour_variables(dark=True)}
    return pages.get_template(name).render(colours=colours, **values)


def _present(rows: Sequence[dict]) -> list[str]:
    return list(dict.fromkeys(row["method"] for row in rows))


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _facts(comparison: dict, answers: Answers) -> list[dict]:
    """Key facts about the winner."""
    winner, metric = comparison["winner"], comparison["metric"]
    costs = next(row for row in comparison["costs"] if is_same(row, winner))
    side = "at most" if metric in LOWER_IS_BETTER else "at least"
    bound = f"{side} {format_score(metric, winner['bound'])} with 95 % confidence"
    return [
        _fact("winner", winner["method"], winner["source"]),
        _fact(f"{METRICS[metric]} to be expected", format_score(metric, winner["expected"]), bound),
        *_tested(comparison, answers),
        _fact("parameters", f"{costs['num_parameters']:,}", size_in_words(costs["bytes"])),
        _fact("latency", f"{costs['latency_ms']:.2g} ms", "one example at a time"),
    ]


def _tested(comparison: dict, answers: Answers) -> list[dict]:
    """The test score; empty without test labels."""
    metric = comparison["metric"]
    if metric not in comparison["test"]:
        return []
    note = f"{len(answers.labels):,} examples, evaluated once"
    return [
        _fact(f"test {METRICS[metric]}", format_score(metric, comparison["test"][metric]), note)
    ]


def _fact(name: str, value: str, note: str) -> dict:
    return {"name": name, "value": value, "note": note}


def _budgets(comparison: dict) -> list[dict]:
    """The score of scratch and the verdicts at each label budget."""
    metric, verdicts = comparison["metric"], comparison["verdicts"]
    reach = max((abs(end) for row in verdicts for end in row["interval"]), default=1.0)
    several = num_sources(verdicts) > 1
    groups = []
    for base in comparison["scratch"]:
        own = [row for row in verdicts if row["labels"] == base["labels"]]
        rows = [_reference_row(metric, base), *(_verdict_row(metric, row, reach) for row in own)]
        for row, found in zip(rows, [_SCRATCH | base, *own], strict=True):
            row["source"] = found["source"] if several else ""
            row["beside"] = _beside(comparison, found)
            row["wins"] = is_same(found, comparison["winner"])
        groups.append({"labels": f"{base['labels']:,}", "rows": rows})
    return groups


def _beside(comparison: dict, row: dict) -> str:
    """The score of the metric that stands beside the one that is judged by."""
    if not comparison["beside"]:
        return ""
    mean = next(entry["mean"] for entry in comparison["beside"]["means"] if is_same(entry, row))
    return format_score(comparison["beside"]["metric"], mean)


def _forecast(comparison: dict) -> dict | None:
    """What more labels would bring: a row for each candidate."""
    entries, metric = comparison["forecast"]["more_labels"], comparison["metric"]
    if not entries:
        return None
    several = num_sources(comparison["verdicts"]) > 1
    rows: dict[tuple, dict] = {}
    for entry in entries:
        key = entry["method"], entry["source"]
        row = {"method": key[0], "source": key[1] if several else "", "cells": []}
        rows.setdefault(key, row)["cells"].append(
            {
                "score": format_score(metric, entry["score"]),
                "gain": format_gain(metric, entry["gain"]),
                "interval": format_interval(metric, entry["interval"]),
            }
        )
    numbers = dict.fromkeys(entry["labels"] for entry in entries)
    return {"labels": [f"{number:,}" for number in numbers], "rows": list(rows.values())}


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
        "verdict": _pill(row),
        "likely": _likely(row),
        "kind": row["verdict"].replace("no difference", "same"),
        # Of an open verdict the probabilities say more; what is detectable has its own column.
        "reason": (
            ""
            if row["verdict"] == "no difference" and not excludes_zero(row)
            else format_reason(metric, row)
        ),
        "detectable": format_size(metric, row["detectable"]),
    }


def _pill(row: dict) -> str:
    if is_practically_equal(row):
        return "≈ practically equal"
    return {"better": "▲ better", "worse": "▼ worse"}.get(row["verdict"], row["verdict"])


def _likely(row: dict) -> str:
    """The probabilities of a verdict that is open."""
    if row["verdict"] != "no difference":
        return ""
    likely = row["probabilities"]
    return (
        f"better {percent(likely['better'])}, practically equal {percent(likely['equal'])}, "
        f"worse {percent(likely['worse'])}"
    )


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
    parts = []
    for method, source in candidates:
        values = [row[metric] for row in rows if (row["method"], row["source"]) == (method, source)]
        ends = f"{format_score(metric, min(values))} to {format_score(metric, max(values))}"
        parts.append(f"{candidate_name(method, source)}: {ends}")
    return "; ".join(parts)


def _costs(comparison: dict, budgets: Sequence[int]) -> list[dict]:
    """A row per candidate: seconds at each budget, then costs that do not depend on it."""
    rows = {}
    for cost in comparison["costs"]:
        own = rows.setdefault((cost["method"], cost["source"]), {"seconds": {}})
        own["seconds"][cost["labels"]] = {
            "all": _seconds(cost["seconds"]),
            "own": _seconds(cost["own_seconds"]) if _shares(cost) else "",
        }
        own["model"] = [
            f"{cost['num_parameters']:,}" if cost["num_parameters"] else "–",
            size_in_words(cost["bytes"]),
            f"{cost['latency_ms']:.2g} ms",
        ]
    several = num_sources(comparison["verdicts"]) > 1
    return [
        {
            "method": method,
            "source": source if several else "",
            "cells": [
                *(own["seconds"].get(labels, _plain("–")) for labels in budgets),
                _plain(_until_scratch(comparison, method, source)),
                *map(_plain, own["model"]),
            ],
        }
        for (method, source), own in rows.items()
    ]


def _plain(text: str) -> dict:
    return {"all": text, "own": ""}


def _shares(cost: dict) -> bool:
    """Whether a good part of what a candidate takes is computed for others as well."""
    return cost["own_seconds"] < 0.95 * cost["seconds"]


def _until_scratch(comparison: dict, method: str, source: str) -> str:
    """Epochs until the final accuracy of scratch, at the largest budget."""
    own = {"method": method, "source": source, "labels": comparison["winner"]["labels"]}
    found = next((row for row in comparison["until_scratch"] if is_same(row, own)), None)
    if found is None:
        return "–"
    if found["epochs"] is None:
        return "never"
    return f"{counted(found['epochs'], 'epoch')}, {_seconds(found['seconds'])}"


def _shift(comparison: dict, held_up: Sequence[str]) -> dict | None:
    """The scores on clean and on changed examples; ``None`` if there are none."""
    from markupsafe import Markup

    if "shift" not in comparison:
        return None
    shift, metric = comparison["shift"], comparison["metric"]
    several = num_sources(shift["rows"]) > 1
    reach = max((abs(row.get("difference", 0.0)) for row in shift["rows"]), default=0.0) or 1.0
    rows: dict[tuple, dict] = {}
    for row in shift["rows"]:
        method, source = row["method"], row["source"]
        wins = all(row[key] == comparison["winner"][key] for key in ("method", "source"))
        named = {"method": method, "source": source if several else "", "wins": wins, "cells": []}
        rows.setdefault((method, source), named)["cells"].append(_shift_cell(metric, row, reach))
    described = "; ".join(
        f"{candidate_name(row['method'], row['source'])}, {row['change']}: "
        f"{format_score(metric, row['mean'])}"
        for row in shift["rows"]
    )
    title = f"Mean {METRICS[metric]} on changed examples"
    figure = as_svg(plot_shift(shift["rows"], metric), title, described)
    return {
        "labels": f"{shift['labels']:,}",
        "sentences": [_sentence(text) for text in held_up],
        "changes": shift["changes"],
        "rows": list(rows.values()),
        "figure": Markup(figure),  # noqa: S704 - its texts are escaped
    }


def _shift_cell(metric: str, row: dict, reach: float) -> dict:
    """A mean, the gain over scratch, and how strong its shade is; words and marks say it too."""
    is_clean = row["change"] == "clean"
    lost = "" if is_clean else f"{_bare(format_gain(metric, improvement(metric, -row['lost'])))}"
    cell = {"mean": format_score(metric, row["mean"]), "lost": lost}
    if "verdict" not in row:
        return cell | {"kind": "", "share": 0, "gain": "", "interval": ""}
    gained = improvement(metric, row["difference"])
    mark = {"better": "▲ ", "worse": "▼ "}.get(row["verdict"], "")
    return cell | {
        "kind": "better" if gained > 0 else "worse",
        "share": round(abs(gained) / reach, 3),
        "gain": mark + _bare(format_gain(metric, row["difference"])),
        "interval": _bare(format_interval(metric, row["interval"])),
    }


def _bare(text: str) -> str:
    """A number without its unit, which the caption says once."""
    return text.removesuffix(" points")


def _seconds(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:,.0f} s"


def _guesses(comparison: dict) -> list[dict]:
    """The transferability scores of each source, beside its best result in cross-validation."""
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
    """Linear CKA of each source, with a row per layer."""
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
    """Whether LogME selects the best source in cross-validation."""
    guesses = [guess for guess in comparison["transferability"] if _best_use(comparison, guess)]
    if len({guess["source"] for guess in guesses}) < 2:
        return "These scores compare sources; here there is only one."
    most = max(guess["labels"] for guess in guesses)
    guesses = [guess for guess in guesses if guess["labels"] == most]
    guessed = max(guesses, key=lambda guess: guess["logme"])["source"]
    found = max(guesses, key=lambda guess: _best_gain(comparison, guess))["source"]
    agrees = "and so did cross-validation" if guessed == found else f"cross-validation {found}"
    return f"With {most:,} labels LogME picks {guessed}, {agrees}."


def _calibration(comparison: dict) -> dict | None:
    """The reliability of the winner's held-out answers; ``None`` if they are not known."""
    from markupsafe import Markup

    if "calibration" not in comparison:
        return None
    found = comparison["calibration"]
    named = {"as trained": found["before"], "with the temperature": found["after"]}
    rows = [
        {
            "name": name,
            "error": f"{100 * own['calibration_error']:.1f} %",
            "interval": " to ".join(f"{100 * end:.1f}" for end in own["interval"]) + " %",
            "loss": f"{own['loss']:.3f}",
        }
        for name, own in named.items()
    ]
    described = "; ".join(
        f"{name}, confidence {each['confidence']:.2f}: accuracy {each['accuracy']:.2f}"
        for name, own in named.items()
        for each in own["bins"]
    )
    figure = plot_reliability({name: own["bins"] for name, own in named.items()})
    svg = as_svg(figure, "Accuracy by confidence of the winner's held-out answers", described)
    return {
        "sentence": _sentence(describe_calibration(found)),
        "num_examples": f"{found['num_examples']:,}",
        "rows": rows,
        "figure": Markup(svg),  # noqa: S704 - its texts are escaped
    }


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
        "sentence": f"{right:,} of {total:,} test examples are classified correctly.",
        "names": answers.class_names,
        "rows": rows if len(rows) <= _MOST_CLASSES else [],
    }


def _frequent_confusions(answers: Answers) -> list[dict]:
    """The most frequently confused classes, if there are too many for a matrix."""
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
