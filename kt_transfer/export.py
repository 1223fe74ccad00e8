"""``python -m kt_transfer.export``: write a run as a model to be served, versioned and checked."""

from __future__ import annotations

if __name__ == "__main__":  # answers --help and reports errors before TensorFlow is imported
    import sys

    from kt_transfer.shell.main import main

    sys.exit(main(["export", *sys.argv[1:]]))

import time
from pathlib import Path

import numpy as np

from kt_transfer.data import load_data
from kt_transfer.data.rows import take_rows
from kt_transfer.data.schema import Column, Schema
from kt_transfer.errors import UserError
from kt_transfer.files.reading import read_json
from kt_transfer.files.writing import replacing
from kt_transfer.reporting.terminal import format_table
from kt_transfer.runs import folder as runs
from kt_transfer.runs import session
from kt_transfer.runs.checks import UNUSUAL_BEYOND
from kt_transfer.runs.folder import Run
from kt_transfer.serving.formats import FORMATS, newest_version
from kt_transfer.serving.named_columns import served_names
from kt_transfer.settings import ExportConfig
from kt_transfer.sources.loading import like, preprocessing_for_new

# Random examples and real ones on which an export is checked.
NUM_CHECKED, NUM_REAL, SHARE_MISSING = 16, 32, 0.1


def run(**settings) -> Path:
    """The command as a function; ``settings`` are the fields of :class:`ExportConfig`.

    Returns:
        The folder of the new version, of several formats that of the first.

    Example:
        >>> from kt_transfer import export
        >>> export.run(run="runs/digits-student", name="small", quiet=True)
        PosixPath('saved_models/small/1')
    """
    return execute(ExportConfig(**settings))


def execute(config: ExportConfig) -> Path:
    """Run the command."""
    source, say = runs.open_run(config.run), session.say(config)
    name = config.name or source.path.resolve().name
    versions = []
    for format in dict.fromkeys(config.format):
        versions.append(write_version(source, name, config.export_dir, format))
        say(f"exported {source.path} as {versions[-1]}: {_CHECKED[format]}")
    if not source.is_autoencoder:
        if config.format != ("saved_model",):
            _compare_formats(config, source, Path(config.export_dir) / name)
        say(f"next: python -m kt_transfer.predict --model {versions[0]} --data SPEC --out FILE.csv")
    return versions[0]


def write_version(source: Run, name: str, export_dir: Path, format: str = "saved_model") -> Path:
    """Write the models of a run as the next version for ``export_dir/name``."""
    network, preprocessing = source.load_models()
    schema = source.schema
    classifier, autoencoder, autoencoder_preprocessing = _models(source, network)
    kept = source.read_examples(preprocessing)
    limit = None if autoencoder is None else _unusual_above(source)
    return FORMATS[format](
        Path(export_dir) / name,
        preprocessing=preprocessing,
        classifier=classifier,
        class_names=source.label_names if classifier is not None else (),
        autoencoder=autoencoder,
        autoencoder_preprocessing=autoencoder_preprocessing,
        unusual_above=limit,
        metadata=_metadata(source, name, classifier, schema) | _usual(source, limit),
        examples=_examples(source, preprocessing, schema),
        kept=None if kept is None else kept[0],
        schema=schema,
    )


# What was compared with Keras on raw examples, and in what.
_CHECKED = {
    "saved_model": "outputs match Keras, checked without Keras",
    "litert": "outputs match Keras, checked in LiteRT",
    "litert_int8": "classes match Keras within what 8 bits can tell, checked in LiteRT",
    "onnx": "outputs match Keras, checked in ONNX Runtime",
}


def _compare_formats(config: ExportConfig, source: Run, folder: Path) -> None:
    """Say and write what the newest version of each format of this run costs, beside them."""
    import pandas as pd

    from kt_transfer.serving.sizes_and_speeds import HEADER, as_cells, measure_formats

    newest = {name: newest_version(folder, name) for name in FORMATS}
    path = str(source.path.resolve())
    versions = {
        name: version
        for name, version in newest.items()
        if version is not None and read_json(version / "metadata.json").get("run") == path
    }
    say = session.say(config)
    data, why_not = _test_part(config, source)
    if data is None:
        say(f"the accuracy is left out: {why_not}")
        preprocessing = source.load_model("preprocessing.keras")
        x, labelled = _examples(source, preprocessing, source.schema), None
    else:
        x, labelled = data[0], data
    measured = measure_formats(versions, x, labelled)
    with replacing(folder / "formats.csv") as temporary:
        pd.DataFrame(measured).to_csv(temporary, index=False)
    say(format_table(HEADER, as_cells(measured)))
    say(
        "measured on this machine, in this process, from raw examples to probabilities as predict "
        f"asks for them; also in {folder / 'formats.csv'}"
    )


def _test_part(config: ExportConfig, source: Run):
    """Raw examples of the run's test split and their labels, or ``None`` and why not."""
    preprocessing = source.load_model("preprocessing.keras")
    try:
        data = load_data(
            source.data,
            data_dir=config.data_dir,
            like=like(preprocessing, schema=source.schema),
            table=session.table_options(source.settings),
        ).with_classes(source.label_names, str(source.path))
        preprocessing_for_new(source, preprocessing, data, lambda message: None)
        known = data.y_test >= 0
    except (UserError, OSError) as error:
        return None, str(error).rstrip(".")
    if not known.any():
        return None, f"{source.data} has no labels in its test split"
    return (take_rows(data.x_test, np.flatnonzero(known))[:], data.y_test[known]), ""


def _models(source: Run, network):
    """The classifier, the autoencoder and its preprocessing; ``None`` for those the run lacks."""
    if source.is_autoencoder:
        return None, network, None
    names = ("autoencoder.keras", "autoencoder_preprocessing.keras")
    return network, *(source.load_model(name) if source.has(name) else None for name in names)


def _unusual_above(source: Run) -> float | None:
    """The largest reconstruction error that is not unusual; ``None`` where it was not recorded."""
    quantiles = source.usual_errors
    # A little more, so that training examples which lie at the limit are not called unusual here
    # and usual there, by rounding.
    return None if quantiles is None else quantiles[UNUSUAL_BEYOND] * (1 + 1e-4) + 1e-6


def _usual(source: Run, limit: float | None) -> dict:
    """What metadata say of reconstruction errors; nothing where there are none."""
    if limit is None:
        return {}
    return {"reconstruction_error": {"quantiles": source.usual_errors, "unusual_above": limit}}


def _metadata(source: Run, name: str, classifier, schema: Schema | None) -> dict:
    description = source.read_json("run.json")
    data = description.get("data", {})
    of_table = {}
    if schema is not None:
        of_table = {"schema": schema.to_note(), "columns": served_names(schema)}
    return of_table | {
        "name": name,
        "run": str(source.path.resolve()),
        "command": description["command"],
        "data": data.get("spec", source.data),
        "data_fingerprint": data.get("fingerprint"),
        "made_for": description.get("made_for"),
        "labels": source.label_names if classifier is not None else [],
        "metrics": source.read_json("metrics.json").get("test"),
        "versions": description["versions"],
        "exported": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "reconstruction": "scaled to [-1, 1], in the shape that the autoencoder emits",
    }


def _examples(source: Run, preprocessing, schema: Schema | None) -> np.ndarray:
    """Raw inputs on which the export is checked: real ones, if the run has kept any, and random
    ones, which also have values that no training example has."""
    random, kept = _random_examples(preprocessing, schema), source.read_examples(preprocessing)
    return random if kept is None else np.concatenate([kept[0][:NUM_REAL], random])


def _random_examples(preprocessing, schema: Schema | None) -> np.ndarray:
    """Random raw inputs; ``uint8`` values cover the whole range, categories the vocabulary."""
    raw = preprocessing.inputs[0]
    rng = np.random.default_rng(0)
    shape = (NUM_CHECKED, *raw.shape[1:])
    if schema is not None:
        rows = np.stack([_cells(column, rng) for column in schema.columns], axis=1)
        return np.where(rng.random(shape) < SHARE_MISSING, np.nan, rows)
    if raw.dtype == "uint8":
        return rng.integers(0, 256, shape, dtype=np.uint8)
    return rng.normal(size=shape).astype(raw.dtype)


def _cells(column: Column, rng) -> np.ndarray:
    """Random values of a column of a table: codes with an unknown one, days, or numbers."""
    if column.kind == "category":
        return rng.integers(0, len(column.vocabulary) + 1, NUM_CHECKED).astype(np.float64)
    low, high = (0.0 if end is None else end for end in (column.low, column.high))
    values = rng.uniform(low, high, NUM_CHECKED)
    return values if column.kind == "number" else np.round(values)
