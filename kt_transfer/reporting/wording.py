"""What a comparison found, in plain words."""

from __future__ import annotations

from collections.abc import Iterable

METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "auc": "AUC",
    "log_loss": "log loss",
}
METHODS = {
    "scratch": "the network from fresh weights: nothing is transferred",
    "linear": "logistic regression on the raw input: the floor",
    "parameters": "the source's weights, trained further on the labels",
    "distilled": "a small student, taught by a fine-tuned teacher on the unlabelled data as well",
    "features": "the source's encoder as it is, with logistic regression on top",
}
LOWER_IS_BETTER = frozenset({"log_loss"})
IN_PERCENT = ("accuracy", "balanced_accuracy", "macro_f1")
_NO_TRANSFER = ("scratch", "linear")


def improvement(metric: str, difference):
    """A difference in the metric, positive where it is for the better."""
    return -difference if metric in LOWER_IS_BETTER else difference


def candidate_name(method: str, source: str, sources: int = 2) -> str:
    """A method, with its source where there are several to tell apart."""
    return f"{method} · {shorten(source)}" if source and sources > 1 else method


def num_sources(rows: Iterable[dict]) -> int:
    """How many sources there are among rows; the source of a method without one is empty."""
    return len({row["source"] for row in rows if row["source"]})


def shorten(name: str, length: int = 24) -> str:
    """A long name with its middle left out.

    Example:
        >>> shorten("runs/denoising-mnist-1000-500-250", 20)
        'runs/deno…00-500-250'
    """
    half = (length - 1) // 2
    return name if len(name) <= length else f"{name[:half]}…{name[half + 1 - length :]}"


def format_score(metric: str, value: float) -> str:
    """A score as it is read: ``"91.2 %"``, ``"0.312"``."""
    return f"{100 * value:.1f} %" if metric in IN_PERCENT else f"{value:.3f}"


def format_gain(metric: str, difference: float) -> str:
    """A difference to scratch, positive where it is for the better: ``"+4.2 points"``."""
    return _number(metric, improvement(metric, difference), "+") + _unit(metric)


def format_interval(metric: str, ends: Iterable[float]) -> str:
    """Both ends of a difference, the unit once: ``"+1.1 to +7.3 points"``."""
    low, high = gains(metric, ends)
    return f"{_number(metric, low, '+')} to {_number(metric, high, '+')}{_unit(metric)}"


def gains(metric: str, ends: Iterable[float]) -> list[float]:
    """The ends of a difference as improvements, ascending."""
    return sorted(improvement(metric, end) for end in ends)


def format_size(metric: str, value: float) -> str:
    """How large a difference is, whichever way: ``"4.2 points"``."""
    if metric in IN_PERCENT and abs(value) > 1:
        return "> 100 points"
    return _number(metric, abs(value)) + _unit(metric)


def format_reason(metric: str, verdict: dict) -> str:
    """What a verdict rests on: its interval, or what would have shown with this much data."""
    if verdict["verdict"] == "no difference":
        if metric in IN_PERCENT and verdict["detectable"] >= 1:
            return "so little data can show none"
        return f"{format_size(metric, verdict['detectable'])} or more would probably have shown"
    near, far = sorted(map(abs, verdict["interval"]))
    transferred = verdict["method"] not in _NO_TRANSFER
    return f"by {_number(metric, near)} to {format_size(metric, far)}" + ": negative transfer" * (
        transferred and verdict["verdict"] == "worse"
    )


def _number(metric: str, value: float, sign: str = "") -> str:
    digits = 1 if metric in IN_PERCENT else 3
    rounded = round(100 * value if metric in IN_PERCENT else value, digits)
    # No sign where nothing is left of it.
    return f"{rounded or 0.0:{sign if rounded else ''}.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _unit(metric: str) -> str:
    return " points" if metric in IN_PERCENT else ""


def is_same(one: dict, other: dict) -> bool:
    """Whether two rows are about the same method, source and number of labels."""
    return all(one.get(key) == other.get(key) for key in ("method", "source", "labels"))


def headline(comparison: dict) -> str:
    """The answer in one sentence: whether transferring is worth it, and how.

    It follows from the verdicts: what is called better was shown to be, with these labels.
    """
    winner = comparison["winner"]
    own = next((row for row in comparison["verdicts"] if is_same(row, winner)), None)
    with_labels = f"with {winner['labels']:,} labels"
    if own is not None and own["verdict"] == "better":
        if winner["method"] in _NO_TRANSFER:
            reached = _reached(comparison, own)
            return f"Nothing needs to be transferred: {with_labels} a linear model {reached}."
        name = _name(comparison, own)
        return f"Transferring is worth it: {with_labels} {name} {_reached(comparison, own)}."
    better = [row for row in _better_transfers(comparison) if row["labels"] == winner["labels"]]
    if better:
        best = max(better, key=lambda row: improvement(comparison["metric"], row["mean"]))
        return (
            f"Transferring was shown to be better than training from scratch: {with_labels} "
            f"{_name(comparison, best)} {_reached(comparison, best)}; {_other_winner(own)}."
        )
    return _nothing_shown(comparison, with_labels)


def _better_transfers(comparison: dict) -> list[dict]:
    return [
        row
        for row in comparison["verdicts"]
        if row["verdict"] == "better" and row["method"] not in _NO_TRANSFER
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
    """A winner that was not shown to be better, where something else was."""
    if own is None:
        return "the winner is scratch all the same, by its size"
    differs = {"no difference": "not shown to differ from", "worse": "worse than"}[own["verdict"]]
    return f"the winner, {own['method']}, is {differs} scratch itself"


def _nothing_shown(comparison: dict, with_labels: str) -> str:
    winner, sentence = comparison["winner"], "No way of transferring was shown to be better than"
    sentence += f" training from scratch {with_labels}"
    if elsewhere := sorted({row["labels"] for row in _better_transfers(comparison)}):
        sentence += f"; with {_listed(elsewhere)} labels one was"
    if any(
        row["method"] == "linear"
        and row["verdict"] == "better"
        and row["labels"] == winner["labels"]
        for row in comparison["verdicts"]
    ):
        sentence += "; a linear model, which transfers nothing, was"
    return sentence + "."


def _listed(numbers: list[int]) -> str:
    words = [f"{number:,}" for number in numbers]
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
