"""The results of a comparison for the terminal: a table and a few sentences."""

from __future__ import annotations

from collections.abc import Iterator

from kt_transfer.comparison.generalization import SHIFT_MARKS, describe_shift, shift_table
from kt_transfer.comparison.table import NO_SOURCE
from kt_transfer.reporting.calibration import describe_calibration
from kt_transfer.reporting.terminal import format_table
from kt_transfer.reporting.wording import improvement, joined

_SMALLEST = "the smallest that is not significantly worse than the best"
_SAME = ("method", "source", "labels")


def describe_comparison(found: dict) -> Iterator[str]:
    """Lines of text about a comparison.

    Args:
        found: Content of ``comparison.json``, with ``metric``, ``verdicts``, ``scratch``,
            ``winner``, ``worth``, ``costs``, ``equal_budget`` and ``test``.
    """
    yield format_table(*_table(found))
    yield f"\n{found['equal_budget']}"
    count = len(found["verdicts"])
    together = f"; verdicts hold for all {count} together (Holm)" if count > 1 else ""
    yield f"each interval has a confidence of 95 %{together}"
    yield from describe_worths(found)
    yield from describe_student(found)
    yield _winner_line(found)
    if (score := found["test"].get(found["metric"])) is not None:
        yield (
            f"refitted on all {found['winner']['labels']} labels, measured once on the test "
            f"split: {found['metric']} {score:.4f}"
        )
    if "calibration" in found:
        yield describe_calibration(found["calibration"])
    if "shift" in found:
        labels = found["shift"]["labels"]
        yield f"\n{found['metric']} with {labels} labels, on changed examples as well:\n"
        yield shift_table(found)
        yield SHIFT_MARKS
        yield from describe_shift(found)


def describe_budget(rows: list[dict], methods: dict) -> str:
    """How long each method trains, in one sentence.

    Args:
        rows: Of a :class:`~.table.Table`.
        methods: The candidates by name.
    """
    steps: dict[str, set[int]] = {}
    for row in rows:
        steps.setdefault(row["method"], set()).add(row["steps"])
    epochs: dict[int, list[str]] = {}
    unlabelled = [name for name in steps if methods[name].sees_unlabelled]
    for name in steps:
        if name not in unlabelled and max(steps[name]) > 0:
            epochs.setdefault(methods[name].epochs, []).append(name)
    taught = dict.fromkeys(methods[name].teacher for name in unlabelled)
    for teacher in filter(None, taught):
        if teacher.sees_unlabelled or not teacher.takes_steps:
            continue
        of = [name for name in unlabelled if methods[name].teacher == teacher]
        epochs.setdefault(teacher.epochs, []).append(f"the teachers of {joined(of)}")
    each = [
        f"{joined(names)} train {number} epochs over the same labelled examples"
        + _steps_of(names, steps)
        for number, names in epochs.items()
    ]
    told = "equal budgets: " + "; ".join(each)
    if unlabelled:
        spans = set().union(*(steps[name] for name in unlabelled))
        told += f"; {joined(unlabelled)} {_span(spans)} steps over all examples"
    without = [name for name in steps if max(steps[name]) == 0]
    if regressions := [name for name in without if methods[name].regresses]:
        told += f"; {joined(regressions)}: logistic regression until it converges"
    if estimators := [name for name in without if not methods[name].regresses]:
        told += f"; {joined(estimators)}: fitted with its own defaults"
    return told


def _steps_of(names: list[str], steps: dict[str, set[int]]) -> str:
    found = set().union(*(steps.get(name, ()) for name in names))
    return f" ({_span(found)} steps)" if found else ""


def describe_worth(entry: dict, largest: int) -> str:
    """Describe one entry of :func:`~.verdicts.worth`; ``largest`` is the largest budget."""
    scratch_needs = f"to match {_name(entry)} at {entry['labels']} labels, scratch needs"
    if entry["beyond"]:
        return f"{scratch_needs} more than the {largest} labels that were tried"
    if entry["scratch_labels"] is None:
        return f"{scratch_needs} fewer labels than were tried"
    more = round(entry["scratch_labels"]) - entry["labels"]
    if more < 0:
        return f"{scratch_needs} about {-more} labels fewer"
    if more == 0:
        return f"{scratch_needs} as many"
    return f"{scratch_needs} about {more} labels more"


def describe_worths(found: dict) -> Iterator[str]:
    """The worth of the best transfer at each budget in labels, and whether it is significant."""
    judged = {_key(entry): entry for entry in found["verdicts"]}
    for base in found["scratch"]:
        own = [w for w in found["worth"] if w["labels"] == base["labels"] and w["source"]]
        if own:
            best = max(own, key=lambda w: improvement(found["metric"], judged[_key(w)]["mean"]))
            text = describe_worth(best, found["scratch"][-1]["labels"])
            shown = judged[_key(best)]["verdict"] != "no difference"
            yield text if shown else f"{text} (the difference is not significant)"


def _table(found: dict) -> tuple[list[str], list[list]]:
    costs = {_key(cost): cost for cost in found["costs"]}
    several = len({entry["source"] for entry in found["verdicts"]} - {NO_SOURCE}) > 1
    header = ["labels", "method", *["source"] * several, found["metric"], "difference"]
    header += ["95 % interval", "verdict", "seconds", "parameters", "ms"]
    rows = []
    for base in found["scratch"]:
        scratch = {"method": "scratch", "source": NO_SOURCE, **base}
        own = [entry for entry in found["verdicts"] if entry["labels"] == base["labels"]]
        for entry in [scratch, *own]:
            cost = costs[_key(entry)]
            rows.append(
                [
                    *[entry["labels"], entry["method"]],
                    *[entry["source"]] * several,
                    *[f"{entry['mean']:.4f}", *_judged(entry)],
                    f"{cost['seconds']:.1f}",
                    *[cost["num_parameters"] or "", f"{cost['latency_ms']:.2f}"],
                ]
            )
    return header, rows


def _judged(entry: dict) -> list[str]:
    if "verdict" not in entry:
        return ["", "", ""]
    low, high = entry["interval"]
    return [f"{entry['difference']:+.4f}", f"{low:+.4f} to {high:+.4f}", entry["verdict"]]


def describe_student(found: dict) -> Iterator[str]:
    """What it costs that a student wins for its teacher, if it does."""
    taught = found["winner"].get("student_of")
    if taught is None:
        return
    low, high = taught["interval"]
    yield (
        f"the best, {taught['method']} ({found['metric']} {taught['mean']:.4f}), is no network and "
        f"cannot be exported: its student wins in its place, {taught['difference']:+.4f} against "
        f"it ({low:+.4f} to {high:+.4f})"
    )


def _winner_line(found: dict) -> str:
    winner = found["winner"]
    if winner["method"] == "scratch":
        own = improvement(found["metric"], winner["mean"])
        others = [v["mean"] for v in found["verdicts"] if v["labels"] == winner["labels"]]
        higher = any(improvement(found["metric"], mean) > own for mean in others)
        why = f"chosen as {_SMALLEST}" if higher else "nothing else scores higher"
        return f"winner: scratch with {winner['labels']} labels: {why}"
    judged = next(entry for entry in found["verdicts"] if _key(entry) == _key(winner))
    words = {
        "better": "better than scratch",
        "worse": f"worse than scratch, chosen as {_SMALLEST}",
        "no difference": "no significant difference from scratch; the smallest that would be "
        f"detected is {judged['detectable']:.3f}",
    }[judged["verdict"]]
    return (
        f"winner: {_name(winner)} with {winner['labels']} labels, {found['metric']} "
        f"{winner['mean']:.4f} in cross-validation, {judged['difference']:+.4f} against scratch: "
        + words
    )


def _key(entry: dict) -> tuple:
    return tuple(entry[name] for name in _SAME)


def _name(entry: dict) -> str:
    source = entry["source"]
    return entry["method"] if source == NO_SOURCE else f"{entry['method']} from {source}"


def _span(values: set[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
