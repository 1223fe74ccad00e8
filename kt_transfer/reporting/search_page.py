"""The page of a search of settings: what won, by how much, and what was tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from kt_transfer.errors import counted
from kt_transfer.reporting.comparison_plots import as_svg
from kt_transfer.reporting.page import fill_template
from kt_transfer.reporting.terminal import short_value

_CAPTIONS = {
    "scores": "Every trial in the order in which they ran, and the best score so far.",
    "parallel_coordinates": "Each line is a trial, from its settings to its score on the right: "
    "the darker, the better; the best one stands out. Where good lines meet, the setting matters.",
    "importance": "How much of the differences between scores each setting accounts for, by a "
    "random forest of all trials: of few trials a hint, no more.",
}


def search_page(
    found: Mapping,
    trials: Sequence[Mapping],
    figures: Mapping[str, Figure],
    gain: str | None,
    rows: Sequence[Mapping],
) -> str:
    """The page as HTML, without scripts or external references.

    Args:
        found: ``command``, ``objective``, ``direction``, ``folds``, ``judged`` and ``best``.
        trials: With ``trial``, ``score``, ``settings`` and ``ended_early``.
        figures: By name; each has a caption here.
        gain: What the best one gains on the settings as given, in a sentence.
        rows: Of the table, one for each trial.
    """
    best = next(trial for trial in trials if trial["trial"] == found["best"])
    by_number = {row["trial"]: row for row in rows}
    done = sorted(
        (trial for trial in trials if trial["score"] is not None),
        key=lambda trial: trial["score"],
        reverse=found["direction"] == "max",
    )
    failed = [trial for trial in trials if trial["score"] is None]
    names = list(dict.fromkeys(name for trial in trials for name in trial["settings"]))
    judged = (
        f"{counted(found['judged'], 'label')} in {found['folds']} folds, the same for all trials"
        if found["folds"] > 1
        else "what each trial held out of its training examples"
    )
    return fill_template(
        "search.html",
        title=f"kt_transfer tune {found['command']}",
        headline=f"Trial {found['best']} is the best of {len(trials)}: {found['objective']} "
        f"{best['score']:.4f}",
        gain=gain and f"{gain[0].upper()}{gain[1:]}.",
        facts=[
            (
                "best settings",
                ", ".join(f"{k} {short_value(v)}" for k, v in best["settings"].items()),
            ),
            ("judged by", judged),
            ("trials", f"{len(done)} complete or ended early, {len(failed)} failed"),
        ],
        figures=[
            (as_svg(figure, name.replace("_", " "), _CAPTIONS[name]), _CAPTIONS[name])
            for name, figure in figures.items()
        ],
        names=names,
        objective=found["objective"],
        has_folds=found["folds"] > 1,
        rows=[
            {
                **by_number[trial["trial"]],
                "values": [short_value(trial["settings"].get(name)) for name in names],
                "is_best": trial is best,
            }
            for trial in (*done, *failed)
        ],
    )
