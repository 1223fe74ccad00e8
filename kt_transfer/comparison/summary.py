"""The results of a comparison for the terminal: a table and a few sentences."""

from __future__ import annotations

from collections.abc import Iterator

from kt_transfer.comparison.forecast import describe_next
from kt_transfer.comparison.generalization import SHIFT_MARKS, describe_shift, shift_table
from kt_transfer.comparison.table import NO_SOURCE
from kt_transfer.errors import counted
from kt_transfer.reporting.calibration import describe_calibration
from kt_transfer.reporting.terminal import format_table
from kt_transfer.reporting.wording import (
    LOWER_IS_BETTER,
    excludes_zero,
    has_more,
    improvement,
    is_practically_equal,
    joined,
)

_SMALLEST = "the smallest that is practically as good as the best"
_SAME = ("method", "source", "labels")


def describe_comparison(found: dict) -> Iterator[str]:
    """Lines of text about a comparison.

    Args:
        found: Content of ``comparison.json``, with ``metric``, ``verdicts``, ``scratch``,
            ``winner``, ``worth``, ``costs``, ``equal_budget`` and ``test``.
    """
    yield format_table(*_table(found))
    yield f"\n{found['equal_budget']}"
    yield describe_verdicts(found)
    if told := describe_constant(found):
        yield told
    yield from describe_left(found)
    yield from describe_worths(found)
    yield from describe_student(found)
    yield _winner_line(found)
    yield describe_expected(found)
    if (score := found["test"].get(found["metric"])) is not None:
        yield (
            f"refitted on all {found['winner']['labels']} labels, measured once on the test "
            f"split: {found['metric']} {score:.4f}"
        )
    yield from describe_next(found)
    if "calibration" in found:
        yield describe_calibration(found["calibration"])
    if "shift" in found:
        labels = found["shift"]["labels"]
        yield f"\n{found['metric']} with {labels} labels, on changed examples as well:\n"
        yield shift_table(found)
        yield SHIFT_MARKS
        yield from describe_shift(found)


def describe_sure(found: dict) -> Iterator[str]:
    """How sure the result is, beside the table."""
    yield describe_verdicts(found)
    yield describe_expected(found)
    if told := describe_constant(found):
        yield told


def describe_verdicts(found: dict) -> str:
    """What intervals and verdicts mean, in one sentence."""
    count = len(found["verdicts"])
    together = f"; verdicts hold for all {count} together (Holm)" if count > 1 else ""
    equal = [entry for entry in found["verdicts"] if is_practically_equal(entry)]
    margin = (
        f"; practically equal: a difference of at most {found['margin']:g}, with a probability of "
        "90 % or more"
        if equal
        else ""
    )
    alone = [
        f"{_name(entry)} with {counted(entry['labels'], 'label')}"
        for entry in found["verdicts"]
        if entry["verdict"] == "no difference" and excludes_zero(entry)
    ]
    chance = (
        f"; the interval of {joined(alone)} leaves 0 out and is no verdict, since one of {count} "
        "may do so by chance"
        if alone
        else ""
    )
    return f"each interval has a confidence of 95 %{together}{chance}{margin}"


def describe_left(found: dict) -> Iterator[str]:
    """Who left early, and after how many folds."""
    left = {(entry["method"], entry["source"]): entry for entry in found["left"]}
    for entry in left.values():
        yield (f"{_name(entry)} left after {entry['folds']} folds, since it could not win any more")


def describe_constant(found: dict) -> str | None:
    """What a constant answer gets, where classes are unequal."""
    if not found["beside"]:
        return None
    constant = found["constant"]
    return (
        f"always answering {constant['label']} has an accuracy of {constant['accuracy']:.4f}, and "
        f"a balanced accuracy of {constant['balanced_accuracy']:.4f}"
    )


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
        f"{joined(names)} train {counted(number, 'epoch')} over the same labelled examples"
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
        own = [w for w in found["worth"] if w["labels"] == base["labels"] and has_more(found, w)]
        if own:
            best = max(own, key=lambda w: improvement(found["metric"], judged[_key(w)]["mean"]))
            text = describe_worth(best, found["scratch"][-1]["labels"])
            shown = judged[_key(best)]["verdict"] != "no difference"
            yield text if shown else f"{text} (the difference is not significant)"


def _table(found: dict) -> tuple[list[str], list[list]]:
    costs = {_key(cost): cost for cost in found["costs"]}
    several = len({entry["source"] for entry in found["verdicts"]} - {NO_SOURCE}) > 1
    beside = found["beside"] or {"metric": None, "means": []}
    means = {_key(entry): f"{entry['mean']:.4f}" for entry in beside["means"]}
    header = ["labels", "method", *["source"] * several, found["metric"]]
    header += [*[beside["metric"]] * bool(means), "difference", "95 % interval", "verdict"]
    # All that it takes, and without what another candidate has computed.
    header += ["seconds", "own", "parameters", "ms"]
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
                    *[f"{entry['mean']:.4f}", *[means.get(_key(entry), "")] * bool(means)],
                    *_judged(entry),
                    *[f"{cost['seconds']:.1f}", f"{cost['own_seconds']:.1f}"],
                    *[cost["num_parameters"] or "", f"{cost['latency_ms']:.2f}"],
                ]
            )
    return header, rows


def _judged(entry: dict) -> list[str]:
    if "verdict" not in entry:
        return ["", "", ""]
    low, high = entry["interval"]
    words = "practically equal" if is_practically_equal(entry) else entry["verdict"]
    return [f"{entry['difference']:+.4f}", f"{low:+.4f} to {high:+.4f}", words]


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
    likely = judged["probabilities"]
    words = {
        "better": "better than scratch",
        "worse": f"worse than scratch, chosen as {_SMALLEST}",
        "no difference": "no significant difference from scratch; the smallest that would be "
        f"detected is {judged['detectable']:.3f}. Better by more than {found['margin']:g} with a "
        f"probability of {likely['better']:.0%}, practically equal {likely['equal']:.0%}, worse "
        f"{likely['worse']:.0%}",
    }[judged["verdict"]]
    if is_practically_equal(judged):
        words = (
            f"practically equal to scratch: within {found['margin']:g} with a probability of "
            f"{likely['equal']:.0%}"
        )
    return (
        f"winner: {_name(winner)} with {winner['labels']} labels, {found['metric']} "
        f"{winner['mean']:.4f} in cross-validation, {judged['difference']:+.4f} against scratch: "
        + words
    )


def describe_expected(found: dict) -> str:
    """What the winner may be expected to reach, since it is the best of several."""
    winner = found["winner"]
    side = "at most" if found["metric"] in LOWER_IS_BETTER else "at least"
    less = abs(winner["mean"] - winner["expected"])
    chosen = f", {less:.4f} less for being the best of several" if less >= 0.00005 else ""
    return (
        f"to be expected of it: {found['metric']} {winner['expected']:.4f}{chosen}; {side} "
        f"{winner['bound']:.4f} with a confidence of 95 %"
    )


def _key(entry: dict) -> tuple:
    return tuple(entry[name] for name in _SAME)


def _name(entry: dict) -> str:
    source = entry["source"]
    return entry["method"] if source == NO_SOURCE else f"{entry['method']} from {source}"


def _span(values: set[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
