"""``python -m kt_transfer.inspect``: look at data before anything is trained on them."""

from __future__ import annotations

if __name__ == "__main__":  # answers --help and reports errors before anything heavy is imported
    import sys

    from kt_transfer.shell.entry import main

    sys.exit(main(["inspect", *sys.argv[1:]]))

import json
from collections import Counter
from pathlib import Path

import numpy as np

from kt_transfer.data import Dataset, images
from kt_transfer.data.findings import (
    SAY_THE_SAME,
    Finding,
    column_findings,
    further_findings,
    is_pictures,
    size_findings,
    table_columns,
)
from kt_transfer.data.profile import profile
from kt_transfer.data.remarks import remarks_on_examples
from kt_transfer.data.schema import Column, short
from kt_transfer.files.writing import replacing_folder, require_free_folder
from kt_transfer.reporting import inspection_plots
from kt_transfer.reporting.terminal import format_table
from kt_transfer.reporting.wording import percent
from kt_transfer.runs import folder as runs
from kt_transfer.runs import session
from kt_transfer.settings import CompareConfig, InspectConfig
from kt_transfer.settings.calling import takes

_REPORT = "inspect.json"
_MOST_CLASSES, _MOST_COLUMNS, _MOST_WORDS = 10, 30, 3
_PICTURES_PER_CLASS, _MOST_SIZES = 10, 3
_MOST_DRAWN = 20_000


@takes(InspectConfig)
def run(config: InspectConfig) -> dict:
    """The command as a function; its settings are the fields of :class:`InspectConfig`.

    Returns:
        The content of ``inspect.json``: the facts of :func:`~.data.profile.profile`, and
        ``findings``, each with a ``kind``, a ``text`` and the ``columns`` or ``rows`` that it is
        about.

    Example:
        >>> from kt_transfer import inspect
        >>> found = inspect.run(data="digits", out="looked", quiet=True)
        >>> found["pictures"]["height"], found["findings"]
        (8, [])
    """
    return execute(config)


def execute(config: InspectConfig) -> dict:
    """Read the data, look at them, write down and say what there is to see."""
    out = Path(config.out) if config.out else runs.fresh_path("inspect")
    require_free_folder(out, _REPORT, overwrite=config.overwrite)
    data = session.load_data(config, config.data)
    facts = profile(data)
    findings = _findings(data, facts)
    kind, _, where = config.data.partition(":")
    if kind == "images":
        sizes = images.file_sizes(config.data, Path(where).expanduser())
        facts["pictures"]["files"] = _most_frequent(sizes)
        findings = [*size_findings(sizes), *findings]
    report = {
        "data": data.spec,
        "fingerprint": data.fingerprint,
        "notes": list(data.notes),
        **facts,
        "findings": [finding._asdict() for finding in findings],
    }
    with replacing_folder(out, _REPORT, overwrite=config.overwrite) as unfinished:
        drawn = _draw(data, facts, findings, unfinished)
        (unfinished / _REPORT).write_text(json.dumps(report, indent=2) + "\n")
    say = session.say(config)
    for line in [*_examples(facts), *_columns(facts), *_pictures(facts), *_told(findings)]:
        say(line)
    say(f"pictures: {', '.join(str(out / name) for name in drawn) or 'none'}")
    say(f"all of it: {out / _REPORT}")
    say(f"next: {_next(config, data)}")
    return report


def _findings(data: Dataset, facts: dict) -> list[Finding]:
    """All there is to look at, what misleads most at first."""
    told = {
        column["name"]: column["alone"]
        for column in facts.get("columns", ())
        if column["alone"] is not None
    }
    examples = (
        Finding("examples", line.removeprefix(f"{data.spec}: "))
        for line in remarks_on_examples(data, CompareConfig.folds)
    )
    return [*column_findings(data, told), *further_findings(data), *examples]


def _most_frequent(sizes: dict[str | None, list[tuple[int, int]]]) -> dict[str, int]:
    """The sizes that most files have, and how many have each."""
    counts = Counter(size for of_class in sizes.values() for size in of_class)
    return {f"{height} x {width}": n for (height, width), n in counts.most_common(_MOST_SIZES)}


# -- What is said ----------------------------------------------------------------------------------


def _examples(facts: dict) -> list[str]:
    examples, classes = facts["examples"], facts["classes"]
    total = examples["train"] + examples["test"]
    split = "given by the source" if examples["test_is_given"] else "split off by kt_transfer"
    without = examples["unlabelled"]
    labelled = "all with a label"
    if without:
        labelled = f"{'none' if without == total else percent(1 - without / total)} with a label"
    lines = [
        f"{total:,} examples, {labelled}: {examples['train']:,} to train with, "
        f"{examples['test']:,} to test ({split})"
    ]
    if classes:
        counts = {row["name"]: row["train"] + row["test"] for row in classes}
        ordered = sorted(counts, key=lambda name: -counts[name])
        told = [
            f"{short(name)} {counts[name]:,} ({percent(counts[name] / max(total - without, 1))})"
            for name in ordered
        ]
        if len(told) > _MOST_CLASSES:
            told = [*told[: _MOST_CLASSES - 1], f"… {told[-1]}"]
        kinds = "class" if len(classes) == 1 else "classes"
        lines.append(f"{len(classes)} {kinds}: {', '.join(told)}")
    return lines


def _columns(facts: dict) -> list[str]:
    columns = facts.get("columns", [])
    if not columns:
        return []
    shown = columns[:_MOST_COLUMNS]
    is_told = any(column["alone"] is not None for column in shown)
    rows = [
        [short(column["name"]), column["kind"], _values(column)]
        + [percent(column["missing"]) if column["missing"] else ""]
        + ["" if column["alone"] is None else percent(column["alone"])] * is_told
        for column in shown
    ]
    header = ["column", "kind", "values", "missing", *["alone"] * is_told]
    lines = ["", format_table(header, rows)]
    if len(columns) > len(shown):
        lines.append(f"{len(columns) - len(shown)} more columns are in {_REPORT}")
    if is_told:
        chance = percent(1 / len(facts["classes"]))
        lines.append(
            f"alone: the share of each class that a column tells by itself, by chance {chance}"
        )
    return [*lines, ""]


def _values(column: dict) -> str:
    if words := column.get("words"):
        first = [f"{short(word)} {percent(share)}" for word, share in words.items()][:_MOST_WORDS]
        more = column["distinct"] - len(first)
        return ", ".join(first) + (f" and {more} more" if more else "")
    if "low" not in column:
        return ""
    ends = [column[name] for name in ("low", "median", "high")]
    low, median, high = ends if column["kind"] == "date" else (f"{end:.6g}" for end in ends)
    return f"{low} to {high}, median {median}"


def _pictures(facts: dict) -> list[str]:
    if "pictures" not in facts:
        return []
    about = facts["pictures"]
    colours = {1: "grey", 3: "of three colours"}
    channels = colours.get(about["channels"], f"of {about['channels']} channels")
    low, high = about["range"]
    files = ", ".join(f"{size} ({count:,})" for size, count in about.get("files", {}).items())
    return [
        f"pictures of {about['height']} x {about['width']}, {channels}, {about['type']} values "
        f"from {low:g} to {high:g}" + (f"; most files have {files}" if files else "")
    ]


def _told(findings: list[Finding]) -> list[str]:
    if not findings:
        return ["nothing that would mislead was found"]
    return ["to look at:", *(f"- {finding.text}" for finding in findings)]


def _next(config: InspectConfig, data: Dataset) -> str:
    """The command to go on with, which reads the data in the same way."""
    command = "compare" if len(np.unique(data.y[data.y >= 0])) > 1 else "pretrain"
    words = ["--data", config.data]
    if config.data_dir:
        words += ["--data-dir", config.data_dir]
    for name in session.OF_TABLES:
        if value := getattr(config, name):
            words += [
                f"--{name.replace('_', '-')}",
                *([value] if isinstance(value, str) else value),
            ]
    return runs.command_line(command, *words)


# -- What is drawn ---------------------------------------------------------------------------------


def _draw(data: Dataset, facts: dict, findings: list[Finding], folder: Path) -> list[str]:
    """Draw what there is; the names of the files."""
    drawn = []
    if facts["classes"]:
        counts = zip(*[(c["name"], c["train"], c["test"]) for c in facts["classes"]], strict=True)
        inspection_plots.plot_classes(*counts, folder / "classes.png")
        drawn.append("classes.png")
    if table_columns(data):
        _draw_columns(data, facts, findings, folder / "columns.png")
        drawn.append("columns.png")
    if is_pictures(data):
        rows = _some_of_each_class(data)
        inspection_plots.plot_pictures(rows, data.value_range, folder / "examples.png")
        drawn.append("examples.png")
    return drawn


def _draw_columns(data: Dataset, facts: dict, findings: list[Finding], path: Path) -> None:
    rows = np.unique(np.linspace(0, len(data.x) - 1, _MOST_DRAWN).astype(int))
    x, y = np.asarray(data.x[rows], np.float64), data.y[rows]
    others = (finding for finding in findings if finding.kind != SAY_THE_SAME)
    doubtful = {name for finding in others for name in finding.columns}
    columns = []
    for place, (column, about) in enumerate(
        zip(table_columns(data), facts["columns"], strict=True)
    ):
        codes, words = _words(column, x[:, place], is_number="words" not in about)
        alone = about["alone"]
        values = inspection_plots.Values(
            column.name,
            codes,
            words=words,
            is_date=column.kind == "date",
            note=f"tells {percent(alone)} alone" if alone is not None else "",
        )
        columns.append((column.name not in doubtful, -(alone or 0), place, values))
    ordered = [values for *_, values in sorted(columns, key=lambda column: column[:3])]
    inspection_plots.plot_columns(ordered, y, data.class_names, path)


def _words(column: Column, values: np.ndarray, is_number: bool) -> tuple[np.ndarray, tuple]:
    """Codes and their words; numbers as they are and none. Numbers of few values are words too."""
    if column.words or is_number:
        return values, column.words
    distinct = np.unique(values[~np.isnan(values)])
    codes = np.where(np.isnan(values), np.nan, np.searchsorted(distinct, values))
    return codes, tuple(f"{value:g}" for value in distinct)


def _some_of_each_class(data: Dataset) -> list[tuple[str, np.ndarray]]:
    """Training pictures drawn at random, the same every time."""
    rng = np.random.default_rng(0)
    rows = []
    for label in [*range(data.num_classes), -1]:
        members = rng.permutation(np.flatnonzero(data.y == label))[:_PICTURES_PER_CLASS]
        if len(members):
            name = "no label" if label < 0 else data.class_names[label]
            rows.append((name, np.asarray(data.x[np.sort(members)])))
    return rows
