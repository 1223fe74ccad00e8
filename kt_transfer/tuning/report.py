"""What a search writes for people: ``trials.csv``, pictures, ``report.html``, TensorBoard."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kt_transfer.comparison.statistics import corrected_interval
from kt_transfer.files.spreadsheets import harmless
from kt_transfer.files.writing import replacing
from kt_transfer.reporting.comparison_plots import save_png
from kt_transfer.reporting.drawing import drawing
from kt_transfer.reporting.search_page import search_page
from kt_transfer.reporting.search_plots import (
    plot_importance,
    plot_parallel_coordinates,
    plot_scores,
)
from kt_transfer.tuning.importance import importance

_FIRST_COLUMNS = ("trial", "status", "score", "deviation", "folds", "epochs", "seconds")


def write_report(folder: Path, found: Mapping) -> None:
    """Write the table, then the pictures, the page, and the summaries of TensorBoard.

    Args:
        folder: The run folder.
        found: ``objective`` (what a score is), ``direction``, ``folds``, ``best`` (the number of
            the best trial) and ``trials``, as from :func:`~.searching.search_settings`.
    """
    folder = Path(folder)
    write_table(folder / "trials.csv", found)
    trials = [{**t, "ended_early": len(t["scores"]) < found["folds"]} for t in found["trials"]]
    shares = importance(trials)
    figures = {"scores": plot_scores(trials, found["best"], found["direction"], found["objective"])}
    if shares:
        figures["importance"] = plot_importance(shares)
    figures["parallel_coordinates"] = plot_parallel_coordinates(
        trials, found["best"], found["objective"]
    )
    (folder / "plots").mkdir(exist_ok=True)
    for name, figure in figures.items():
        path = folder / "plots" / f"{name}.png"
        with drawing(path):
            save_png(figure, path)
    with drawing(folder / "report.html"), replacing(folder / "report.html") as unfinished:
        gain = describe_gain(found) if found["folds"] > 1 else None
        page = search_page(found, trials, figures, gain, table_rows(found))
        unfinished.write_text(page, encoding="utf-8")
    write_summaries(folder / "logs", found)


def table_rows(found: Mapping) -> list[dict]:
    """A row for each trial: its scores, then its settings."""
    rows = []
    for trial in found["trials"]:
        scores = trial["scores"]
        row = {
            "trial": trial["trial"],
            "status": _status(trial, found["folds"]),
            "score": trial["score"],
            "deviation": float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
            "folds": len(scores),
            "epochs": trial["epochs"],
            "seconds": trial["seconds"],
        }
        folds = {f"fold_{number}": score for number, score in enumerate(scores)}
        rows.append({**row, **trial["settings"], **folds, "message": trial["message"]})
    return rows


def _status(trial: Mapping, num_folds: int) -> str:
    if trial["score"] is None:
        return "failed"
    return "complete" if len(trial["scores"]) == num_folds else "ended early"


def write_table(path: Path, found: Mapping) -> None:
    """Write ``trials.csv``, a row for each trial."""
    rows = table_rows(found)
    settings = list(dict.fromkeys(n for trial in found["trials"] for n in trial["settings"]))
    folds = [f"fold_{number}" for number in range(found["folds"])]
    with replacing(path) as unfinished, open(unfinished, "w", newline="") as file:
        writer = csv.DictWriter(file, [*_FIRST_COLUMNS, *settings, *folds, "message"])
        writer.writeheader()
        for row in rows:
            writer.writerow({n: harmless(v) if isinstance(v, str) else v for n, v in row.items()})


def write_summaries(folder: Path, found: Mapping) -> None:
    """Write each trial as a run of TensorBoard's page HParams."""
    import tensorflow as tf
    from tensorboard.plugins.hparams import api

    for trial in found["trials"]:
        if trial["score"] is None:
            continue
        with tf.summary.create_file_writer(str(folder / trial["trial"])).as_default():
            api.hparams(trial["settings"], trial_id=trial["trial"])
            tf.summary.scalar(found["objective"], trial["score"], step=trial["epochs"])


def describe_gain(found: Mapping) -> str:
    """What the best trial gains on the settings as given, the first trial, in a sentence.

    The interval is that of Nadeau & Bengio, of the two by themselves: that one of them is the best
    of many is not in it.

    Example:
        >>> trials = [
        ...     {"trial": "0", "score": 0.8, "scores": [0.8, 0.82, 0.78]},
        ...     {"trial": "1", "score": 0.9, "scores": [0.9, 0.91, 0.89]},
        ... ]
        >>> found = {"trials": trials, "best": "1", "folds": 3, "judged": 300, "direction": "max"}
        >>> print(describe_gain(found))
        the best gains 0.1000 on the settings as given, trial 0, interval 0.0607 to 0.1393; as the
        best of 2 it is less on new examples
    """
    by_number = {trial["trial"]: trial for trial in found["trials"]}
    best, first = by_number[found["best"]], found["trials"][0]
    tried = [trial for trial in found["trials"] if trial["score"] is not None]
    # Hyperband gives them first the fewest epochs, and more later if it comes so far.
    same = [
        trial
        for trial in tried
        if trial.get("settings") == first.get("settings") and len(trial["scores"]) == found["folds"]
    ]
    if not same:
        return f"the settings as given, trial {first['trial']}, failed: {first.get('message')}"
    first = max(same, key=lambda trial: trial.get("epochs") or 0)
    given = f"the settings as given, trial {first['trial']}"
    if best is first:
        return f"none of {len(tried)} trials is better than {given}"
    sign = 1.0 if found["direction"] == "max" else -1.0
    gained = sign * (np.array(best["scores"]) - np.array(first["scores"]))
    held_out = found["judged"] / found["folds"]
    interval = corrected_interval(gained, found["judged"] - held_out, held_out)
    beyond = "" if interval.low > 0 else ", so that it may be chance"
    return (
        f"the best gains {interval.mean:.4f} on {given}, interval "
        f"{interval.low:.4f} to {interval.high:.4f}{beyond}; as the best of {len(tried)} it is "
        "less on new examples"
    )
