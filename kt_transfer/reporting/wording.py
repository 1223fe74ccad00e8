"""Words and number formats for the results of a comparison."""

from __future__ import annotations

from collections.abc import Iterable

METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "auc": "AUC",
    "log_loss": "log loss",
}
LOWER_IS_BETTER = frozenset({"log_loss"})
IN_PERCENT = ("accuracy", "balanced_accuracy", "macro_f1")


def improvement(metric: str, difference):
    """A difference in the metric, positive for an improvement."""
    return -difference if metric in LOWER_IS_BETTER else difference


def candidate_name(method: str, source: str, sources: int = 2) -> str:
    """A method, with its source if there are several."""
    return f"{method} · {shorten(source)}" if source and sources > 1 else method


def num_sources(rows: Iterable[dict]) -> int:
    """Number of distinct sources; a method without source has an empty one."""
    return len({row["source"] for row in rows if row["source"]})


def shorten(name: str, length: int = 24) -> str:
    """Elide the middle of a long name.

    Example:
        >>> shorten("runs/denoising-mnist-1000-500-250", 20)
        'runs/deno…00-500-250'
    """
    half = (length - 1) // 2
    return name if len(name) <= length else f"{name[:half]}…{name[half + 1 - length :]}"


def format_score(metric: str, value: float) -> str:
    """Format a score: ``"91.2 %"``, ``"0.312"``."""
    return f"{100 * value:.1f} %" if metric in IN_PERCENT else f"{value:.3f}"


def format_gain(metric: str, difference: float) -> str:
    """Format a difference, positive for an improvement: ``"+4.2 points"``."""
    return _number(metric, improvement(metric, difference), "+") + _unit(metric)


def format_interval(metric: str, ends: Iterable[float]) -> str:
    """Format the interval of a difference: ``"+1.1 to +7.3 points"``."""
    low, high = gains(metric, ends)
    return f"{_number(metric, low, '+')} to {_number(metric, high, '+')}{_unit(metric)}"


def gains(metric: str, ends: Iterable[float]) -> list[float]:
    """The ends of an interval as improvements, ascending."""
    return sorted(improvement(metric, end) for end in ends)


def format_size(metric: str, value: float) -> str:
    """Format the absolute value of a difference: ``"4.2 points"``."""
    if metric in IN_PERCENT and abs(value) > 1:
        return "> 100 points"
    return _number(metric, abs(value)) + _unit(metric)


def format_reason(metric: str, verdict: dict) -> str:
    """What a verdict rests on: the interval, or why it is no more than "no difference"."""
    if verdict["verdict"] == "no difference":
        return "its interval leaves 0 out, but one of so many may do so by chance"
    near, far = sorted(map(abs, verdict["interval"]))
    transferred = bool(verdict["source"])
    return f"by {_number(metric, near)} to {format_size(metric, far)}" + ": negative transfer" * (
        transferred and verdict["verdict"] == "worse"
    )


def _number(metric: str, value: float, sign: str = "") -> str:
    digits = 1 if metric in IN_PERCENT else 3
    rounded = round(100 * value if metric in IN_PERCENT else value, digits)
    # No sign if it rounds to zero.
    return f"{rounded or 0.0:{sign if rounded else ''}.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _unit(metric: str) -> str:
    return " points" if metric in IN_PERCENT else ""


def is_same(one: dict, other: dict) -> bool:
    """Whether two rows have the same method, source and number of labels."""
    return all(one.get(key) == other.get(key) for key in ("method", "source", "labels"))


def has_more(comparison: dict, row: dict) -> bool:
    """Whether a candidate has more to go by than labels: a source, or unlabelled examples."""
    return bool(row["source"]) or row["method"] in comparison["uses_unlabelled"]


def excludes_zero(row: dict) -> bool:
    """Whether the interval of a row would alone be a verdict."""
    low, high = row["interval"]
    return low > 0 or high < 0


def is_practically_equal(row: dict) -> bool:
    """Whether a candidate is not shown to differ, and is shown not to differ by much."""
    return row["verdict"] == "no difference" and row["practically_equal"]


def headline(comparison: dict) -> str:
    """The conclusion in one sentence: whether transfer pays off, and how.

    It follows from the verdicts: "better" means significantly better with this number of labels.
    """
    winner = comparison["winner"]
    own = next((row for row in comparison["verdicts"] if is_same(row, winner)), None)
    with_labels = f"with {winner['labels']:,} labels"
    if own is not None and own["verdict"] == "better":
        if not winner["source"] and has_more(comparison, winner):
            return (
                f"The unlabelled examples are worth it: {with_labels} {winner['method']} "
                f"{_reached(comparison, own)}."
            )
        if not winner["source"]:
            model = "a linear model" if winner["method"] == "linear" else winner["method"]
            reached = _reached(comparison, own)
            return f"Nothing needs to be transferred: {with_labels} {model} {reached}."
        name = _name(comparison, own)
        return f"Transferring is worth it: {with_labels} {name} {_reached(comparison, own)}."
    better = [row for row in _better_transfers(comparison) if row["labels"] == winner["labels"]]
    if better:
        best = max(better, key=lambda row: improvement(comparison["metric"], row["mean"]))
        return (
            f"{_what(best)} shown to be better than training from scratch: {with_labels} "
            f"{_name(comparison, best)} {_reached(comparison, best)}; {_other_winner(own)}."
        )
    return _nothing_shown(comparison, with_labels)


def _what(row: dict) -> str:
    return "Transferring was" if row["source"] else "The unlabelled examples were"


def _better_transfers(comparison: dict) -> list[dict]:
    return [
        row
        for row in comparison["verdicts"]
        if row["verdict"] == "better" and has_more(comparison, row)
    ]


def _name(comparison: dict, row: dict) -> str:
    return candidate_name(row["method"], row["source"], num_sources(comparison["verdicts"]))


def _reached(comparison: dict, row: dict) -> str:
    metric = comparison["metric"]
    return (
        f"reaches {format_score(metric, row['mean'])} {METRICS[metric]}, "
        f"{format_size(metric, row['difference'])} better than training from scratch"
    )


def _other_winner(own: dict | None) -> str:
    """Describe a winner that was not shown to be better although another candidate was."""
    if own is None:
        return "the winner is scratch all the same, by its size"
    differs = {"no difference": "not shown to differ from", "worse": "worse than"}[own["verdict"]]
    return f"the winner, {own['method']}, is {differs} scratch itself"


def _nothing_shown(comparison: dict, with_labels: str) -> str:
    winner, sentence = comparison["winner"], "No way of transferring was shown to be better than"
    sentence += f" training from scratch {with_labels}"
    if elsewhere := sorted({row["labels"] for row in _better_transfers(comparison)}):
        sentence += f"; with {joined([format(n, ',') for n in elsewhere])} labels one was"
    if any(
        row["method"] == "linear"
        and row["verdict"] == "better"
        and row["labels"] == winner["labels"]
        for row in comparison["verdicts"]
    ):
        sentence += "; a linear model, which transfers nothing, was"
    own = next((row for row in comparison["verdicts"] if is_same(row, winner)), None)
    if own is not None and own["practically_equal"]:
        within = format_size(comparison["metric"], comparison["margin"])
        likely = percent(own["probabilities"]["equal"])
        sentence += (
            f"; {_name(comparison, own)} is practically equal to it (within {within} with a "
            f"probability of {likely}), so the smaller will do"
        )
    return sentence + "."


def percent(share: float) -> str:
    """A share in percent, where 0 and 100 stand for none and all.

    Example:
        >>> percent(0.25), percent(0.9996), percent(1.0), percent(0.0002)
        ('25 %', '99.96 %', '100 %', '0.02 %')
    """
    if share in (0, 1) or 0.01 <= share <= 0.99:
        return f"{100 * share:.0f} %"
    small = max(100 * min(share, 1 - share), 0.01)
    return f"{small:.1g} %" if share < 0.5 else f"{100 - float(f'{small:.1g}'):g} %"


def joined(words: list[str]) -> str:
    """Join words with commas and "and"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
