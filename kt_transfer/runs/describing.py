"""What a run is, in words, for a model card."""

from __future__ import annotations

from kt_transfer.files.portable import without_folders
from kt_transfer.reporting.calibration import wilson_interval
from kt_transfer.reporting.markdown import as_list, as_table
from kt_transfer.runs.folder import SESSION_SETTINGS, Run

# Settings that say nothing about what was learned.
_NOT_TOLD = SESSION_SETTINGS | {"export_dir", "data_dir", "name", "command"}
_MOST_CLASSES = 100


def describe_run(run: Run, licence: str | None) -> dict[str, str]:
    """Sections of a model card, as Markdown by their heads; no absolute path is in them.

    Args:
        run: A run whose models and metrics are written.
        licence: That of its data, if known.
    """
    return {
        "Data": as_list(_data(run, licence)),
        "Classes": _classes(run),
        "How good it is": as_list(_figures(run)),
        "What it was compared with": _compared(run),
        "Limits": as_list(_limits(run)),
        "How it was trained": _trained(run),
    }


def _data(run: Run, licence: str | None) -> list[str]:
    data = run.read_json("run.json").get("data") or {"spec": run.data}
    splits = run.read_arrays("splits.npz")
    counts = {
        "examples to train on": len(splits["train"]),
        "with a label": len(splits.get("labelled", ())),
        "held out to watch it": len(splits.get("validation", ())),
        "to test it": len(splits.get("test", ())),
    }
    fingerprint = f", fingerprint `{data['fingerprint']}`" if "fingerprint" in data else ""
    lines = [f"`{without_folders(data['spec'])}`{fingerprint}"]
    lines.append(", ".join(f"{count} {what}" for what, count in counts.items()))
    lines += [without_folders(note) for note in data.get("notes", ()) if "/" not in note]
    return [*lines, f"licence of the data: {licence or 'not known'}"]


def _classes(run: Run) -> str:
    names = [] if run.is_autoencoder else run.label_names
    shown = ", ".join(f"`{name}`" for name in names[:_MOST_CLASSES])
    more = len(names) - _MOST_CLASSES
    return f"{shown} and {more} more" if more > 0 else shown


def _figures(run: Run) -> list[str]:
    metrics = run.read_json("metrics.json")
    test, lines = metrics.get("test") or {}, []
    if {"accuracy", "num_examples"} <= set(test):
        count = test["num_examples"]
        low, high = wilson_interval(round(test["accuracy"] * count), count)
        lines.append(
            f"accuracy on the {count} test examples {test['accuracy']:.4f} "
            f"(95 % interval {low:.4f} to {high:.4f})"
        )
        lines.append(f"loss {test['loss']:.4f}, calibration error {test['calibration_error']:.4f}")
    elif "mse" in test:
        lines.append(f"mean squared error of the reconstruction of test examples {test['mse']:.4f}")
    else:
        lines.append("not measured: the test split has no labels")
    if found := _comparison(run):
        winner, metric = found["winner"], found["metric"]
        lines.append(
            f"{metric} in cross-validation {winner['mean']:.4f}; to be expected of the best of "
            f"several: {winner['expected']:.4f}, its bound with a confidence of 95 % "
            f"{winner['bound']:.4f}"
        )
    if "num_parameters" in metrics:
        lines.append(f"{metrics['num_parameters']:,} parameters")
    return lines


def _compared(run: Run) -> str:
    found = _comparison(run)
    if found:
        rows = [
            [entry["labels"], entry["method"], without_folders(entry["source"])]
            + [f"{entry['mean']:.4f}", f"{entry['difference']:+.4f}"]
            + [f"{entry['interval'][0]:+.4f} to {entry['interval'][1]:+.4f}", entry["verdict"]]
            for entry in found["verdicts"]
        ]
        head = ["labels", "method", "source", found["metric"], "against scratch"]
        winner = found["winner"]
        served = f"Served is `{winner['method']}` with {winner['labels']} labels."
        return f"{served}\n\n{as_table([*head, '95 % interval', 'verdict'], rows)}"
    comparison = run.read_json("metrics.json").get("comparison") or {}
    rows = [
        [name, f"{figures['accuracy']:.4f}", figures.get("num_parameters", "")]
        for name, figures in comparison.items()
        if "accuracy" in figures
    ]
    return as_table(["model", "test accuracy", "parameters"], rows)


def _limits(run: Run) -> list[str]:
    about = run.read_json("run.json").get("made_for") or {}
    lines = []
    if "value_range" in about and run.schema is None:
        low, high = about["value_range"]
        lines.append(f"made for examples like those of training, values from {low:g} to {high:g}")
    if run.usual_errors is not None:
        lines.append(
            "`unusual` is true for what the autoencoder reconstructs worse than 99 % of the "
            "training examples; what is usual may be answered wrongly, too"
        )
    if not run.is_autoencoder:
        lines.append(
            "every example gets one of the classes above, even if it belongs to none of them"
        )
        lines.append("the figures are those of one data set, and hold for examples drawn like it")
    return lines


def _trained(run: Run) -> str:
    description = run.read_json("run.json")
    settings = {
        key: without_folders(value)
        for key, value in run.settings.items()
        if key not in _NOT_TOLD and value not in (None, [], (), "")
    }
    versions = ", ".join(f"{name} {given}" for name, given in description["versions"].items())
    facts = {"command": description["command"], **settings, "versions": versions}
    if description.get("git_commit"):
        facts["git_commit"] = description["git_commit"]
    return as_table(["setting", "value"], [[f"`{key}`", value] for key, value in facts.items()])


def _comparison(run: Run) -> dict:
    return run.read_json("comparison.json") if run.has("comparison.json") else {}
