"""What ``compare`` writes for people: ``report.html`` and the pictures in ``plots/``."""

from __future__ import annotations

import dataclasses
import os
import platform
import shlex
import time
from collections.abc import Sequence

import numpy as np

from kt_transfer.comparison.comparison import Comparison
from kt_transfer.comparison.forecast import describe_next
from kt_transfer.comparison.generalization import describe_shift
from kt_transfer.comparison.pairs import most_different, most_frequent_answers
from kt_transfer.comparison.summary import (
    describe_left,
    describe_student,
    describe_sure,
    describe_worths,
)
from kt_transfer.comparison.table import Table
from kt_transfer.comparison.verdicts import BASELINE
from kt_transfer.data import Dataset
from kt_transfer.data.rows import take_rows
from kt_transfer.data.splits import of_every_class
from kt_transfer.reporting.comparison_plots import (
    plot_folds,
    plot_label_efficiency,
    plot_reliability,
    plot_shift,
    save_png,
)
from kt_transfer.reporting.drawing import drawing
from kt_transfer.reporting.examples import Answers, Differing, differing_answers
from kt_transfer.reporting.explanations import Explanation
from kt_transfer.reporting.page import comparison_page
from kt_transfer.reporting.plots import plot_reconstructions
from kt_transfer.reporting.wording import improvement, is_same
from kt_transfer.runs import recording
from kt_transfer.runs.folder import SESSION_SETTINGS, Run, replacing

_NUM_DIFFERING = 8


def write_report(
    config,
    run: Run,
    data: Dataset,
    comparison: Comparison,
    found: dict,
    table: Table,
    answers: Answers,
    why: Explanation | None,
    then: Sequence[tuple[str, str]],
) -> None:
    """Write the pictures, then the page.

    Args:
        config: Every setting.
        run: Where to.
        data: The target.
        comparison: Whose autoencoder is shown.
        found: What ``comparison.json`` says.
        table: With the answers to held-out examples.
        answers: The winner's, on the test split.
        why: What carries them.
        then: What to do with the winner, and the command for it.
    """
    points, rows = found["curve"], list(table.rows.values())
    plots = run.folder("plots")
    budgets = sorted({row["labels"] for row in rows})
    figures = {}
    if len(budgets) > 1:
        figures["label_efficiency"] = plot_label_efficiency, points, config.metric
    for labels in budgets:
        figures[f"folds_{labels}"] = plot_folds, rows, labels, config.metric
    if "shift" in found:
        figures["shift"] = plot_shift, found["shift"]["rows"], config.metric
    if "calibration" in found:
        named = {"as trained": "before", "with the temperature": "after"}
        bins = {name: found["calibration"][key]["bins"] for name, key in named.items()}
        figures["reliability"] = plot_reliability, bins
    for name, (plot, *what) in figures.items():
        with drawing(path := plots / f"{name}.png"):
            save_png(plot(*what), path)
    shown = _reconstructions(run, data, comparison)
    if shown is not None:
        plot_reconstructions(*shown, plots / "reconstructions.png")
    with drawing(run.path / "report.html"):
        page = comparison_page(
            found,
            rows,
            curve=points,
            answers=answers,
            why=why,
            reconstructions=shown,
            held_up=list(describe_shift(found)) if "shift" in found else [],
            worth=[*describe_student(found), *describe_worths(found)],
            sure=[*describe_sure(found), *describe_left(found)],
            then=describe_next(found),
            differing=_differing(found, data, table),
            again=command_of(config),
            commands=then,
            settings=run.settings,
            environment=_environment(run),
        )
        with replacing(run.path / "report.html") as temporary:
            temporary.write_text(page)


def _differing(found: dict, data: Dataset, table: Table) -> dict:
    """Where the winner differs from scratch; where scratch wins, the best of the others does."""
    labels, winner = found["winner"]["labels"], found["winner"]
    judged = [entry for entry in found["verdicts"] if entry["labels"] == labels]
    own = next((entry for entry in judged if is_same(entry, winner)), None) or max(
        judged, key=lambda entry: improvement(found["metric"], entry["mean"])
    )
    counts = next(entry for entry in found["pairs"] if is_same(entry, own))
    pair = table.paired_answers((own["method"], own["source"]), BASELINE, labels)
    shown = []
    for rows in most_different(*pair, _NUM_DIFFERING):
        said = [most_frequent_answers(answers, rows) for answers in pair]
        examples = take_rows(data.x, rows)
        texts = None if data.schema is None else data.schema.texts_of(examples)
        shown.append(Differing(examples, data.rows[rows], data.y[rows], *said, texts))
    columns = () if data.schema is None else data.schema.names
    names = own["method"], BASELINE[0]
    return differing_answers(counts, names, *shown, data.class_names, data.value_range, columns)


def command_of(config) -> str:
    """The command line that asks for the same: every setting that is not the default.

    Example:
        >>> from kt_transfer.settings import CompareConfig
        >>> command_of(CompareConfig(labels=(50, 100), metric="auc"))
        'python -m kt_transfer.compare --labels 50 100 --metric auc'
    """
    words = ["python", "-m", "kt_transfer.compare"]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value == field.default or field.name in SESSION_SETTINGS:
            continue
        flag = f"--{field.name.replace('_', '-')}"
        values = [] if value is True else value if isinstance(value, tuple) else [value]
        words += [flag, *map(str, values)]
    return shlex.join(words)


def _reconstructions(run: Run, data: Dataset, comparison: Comparison):
    """Test examples, and what the autoencoder makes of them that the winner began with.

    Where it began with none, that of the first source which has one; ``None`` if none has.
    """
    autoencoder, preprocessing = _autoencoder(run, comparison)
    if data.schema is not None:
        return None  # features of a row, of which nobody sees whether they are right
    if autoencoder is None or int(np.prod(autoencoder.output_shape[1:])) != data.num_features:
        return None
    rows = of_every_class(data.y_test)
    shown = take_rows(data.x_test, rows), data.scaling_range, data.layout
    return recording.reconstructed(autoencoder, preprocessing, *shown)


def _autoencoder(run: Run, comparison: Comparison):
    autoencoder, preprocessing = run.load_autoencoder()
    if autoencoder is not None:
        return autoencoder, preprocessing or run.load_model("preprocessing.keras")
    for source in comparison.sources.values():
        if source.pretraining is not None:
            return source.pretraining.autoencoder, source.preprocessing
    return None, None


def _environment(run: Run) -> dict:
    """Where the numbers come from."""
    about = run.read_json("run.json")
    return {
        "finished": time.strftime("%-d %B %Y"),
        "data": f"{about['data']['spec']}, fingerprint {about['data']['fingerprint']}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "strategy": f"{about['strategy']}, replicas: {about['num_replicas']}",
        **about["versions"],
        "git commit": about["git_commit"],
    }
