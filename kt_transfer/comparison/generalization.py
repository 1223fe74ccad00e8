"""Conclusions about examples that differ from those learned from: which methods hold up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from kt_transfer.comparison.statistics import holm, verdict
from kt_transfer.comparison.verdicts import judge, means
from kt_transfer.data.shifts import Change
from kt_transfer.reporting.terminal import format_table
from kt_transfer.reporting.wording import (
    candidate_name,
    format_size,
    improvement,
    joined,
    num_sources,
)

CLEAN, SECOND_SET = "clean", "second set"
MARKS = {"better": "▲", "worse": "▼", "no difference": ""}
SHIFT_MARKS = "▲ better, ▼ worse than scratch on the same examples, all together (Holm)"


def judge_shift(rows: Iterable[dict], changes: Sequence[Change], metric: str) -> dict:
    """Compare every candidate with ``scratch``, and with itself on the clean held-out examples.

    A statement about a candidate joins verdicts on clean and on changed examples, so all verdicts
    are simultaneous (Holm): those on clean examples may be more reserved than in a table by
    themselves.

    Args:
        rows: Rows of :meth:`~.shifting.Shift.rows_of`, including ``scratch`` and ``"clean"``.
        changes: What was changed.
        metric: One of :data:`~.scoring.METRICS`.

    Returns:
        ``labels``, ``changes`` (name and description of each) and ``rows``, one for each candidate
        and change, the first change being ``"clean"``: ``method``, ``source``, ``change``,
        ``mean``, ``lost`` (against clean examples; positive if worse) and, but for ``scratch``,
        ``difference`` to it on the same examples, ``interval`` (95 %, by itself), ``p_value``,
        ``adjusted_p_value`` and ``verdict``.
    """
    given, rows = list(rows), []
    labels = max(row["labels"] for row in given)
    names = (CLEAN, *(change.name for change in changes))
    by_change = {name: [row for row in given if row["change"] == name] for name in names}
    unchanged = means(by_change[CLEAN], metric)
    for change, own in by_change.items():
        judged = {(entry["method"], entry["source"]): entry for entry in judge(own, metric)}
        for (method, source, _), mean in means(own, metric).items():
            lost = improvement(metric, unchanged[method, source, labels] - mean)
            row = {"method": method, "source": source, "change": change, "mean": mean, "lost": lost}
            if entry := judged.get((method, source)):
                row |= {name: entry[name] for name in ("difference", "interval", "p_value")}
            rows.append(row)
    compared = [row for row in rows if "p_value" in row]
    for row, p_value in zip(compared, holm([row["p_value"] for row in compared]), strict=True):
        row["adjusted_p_value"] = float(p_value)
        row["verdict"] = verdict(improvement(metric, row["difference"]), p_value)
    return {"labels": labels, "changes": [change._asdict() for change in changes], "rows": rows}


def describe_shift(found: dict) -> Iterator[str]:
    """Sentences about how the winner holds up, and whom changes turn from better to worse.

    Args:
        found: Content of ``comparison.json``, with ``metric``, ``winner`` and ``shift``.
    """
    metric, shift = found["metric"], found["shift"]
    winner = found["winner"]["method"], found["winner"]["source"]
    own = _by_change(shift, *winner)
    worst = max((row for name, row in own.items() if name != CLEAN), key=lambda row: row["lost"])
    name, on = _name(shift, *winner), _on(worst["change"])
    if worst["lost"] > 0:
        yield f"the winner, {name}, loses most {on}: {format_size(metric, worst['lost'])}"
    else:
        yield f"the winner, {name}, loses nothing on any of them"
    if "verdict" in own[CLEAN]:
        yield f"against scratch, {name} is {_by_verdict(own)}"
    turned = 0
    for method, source in _candidates(shift):
        own = _by_change(shift, method, source)
        before = own[CLEAN].get("verdict")
        after = {"better": "worse", "worse": "better"}.get(before)
        changes = [name for name, row in own.items() if row.get("verdict") == after and after]
        if changes:
            turned += 1
            words = {"better": "helps", "worse": "hurts"}
            what = "transferring" if source else "this"
            yield (
                f"{_name(shift, method, source)}: {what} {words[before]} on clean examples, but "
                f"{words[after]} {_on_each(changes)}"
            )
    if not turned:
        yield (
            "nothing that helps on clean examples was shown to hurt on these, nor the other way "
            "round"
        )


def shift_table(found: dict) -> str:
    """A compact table for the terminal: the mean scores, and who is better or worse than scratch.

    Args:
        found: As for :func:`describe_shift`.
    """
    shift = found["shift"]
    several = num_sources(shift["rows"]) > 1
    names = [CLEAN, *(change["name"] for change in shift["changes"])]
    rows = []
    for method, source in _candidates(shift):
        own = _by_change(shift, method, source)
        cells = [
            f"{own[name]['mean']:.4f} {MARKS[own[name].get('verdict', 'no difference')]}"
            for name in names
        ]
        rows.append([method, *[source] * several, *cells])
    return format_table(["method", *["source"] * several, *names], rows)


def _by_verdict(own: dict[str, dict]) -> str:
    words = {"better": "better", "no difference": "not shown to differ", "worse": "worse"}
    parts = []
    for kind, text in words.items():
        names = [name for name, row in own.items() if row["verdict"] == kind]
        if len(names) == len(own):
            return f"{text} on {'any' if kind == 'no difference' else 'all'} of these"
        if names:
            parts.append(f"{text} {_on_each(names)}")
    return "; ".join(parts)


def _on_each(changes: list[str]) -> str:
    return joined([_on(change) for change in changes])


def _on(change: str) -> str:
    sets = {CLEAN: "on clean examples", SECOND_SET: "on the second set"}
    return sets.get(change, f"with {change}")


def _candidates(shift: dict) -> list[tuple[str, str]]:
    return list(dict.fromkeys((row["method"], row["source"]) for row in shift["rows"]))


def _by_change(shift: dict, method: str, source: str) -> dict[str, dict]:
    return {
        row["change"]: row
        for row in shift["rows"]
        if (row["method"], row["source"]) == (method, source)
    }


def _name(shift: dict, method: str, source: str) -> str:
    return candidate_name(method, source, num_sources(shift["rows"]))
