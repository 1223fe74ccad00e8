"""``python -m kt_transfer.export``: write a run as a model to be served, versioned and checked."""

from __future__ import annotations

if __name__ == "__main__":  # answers --help and reports errors before TensorFlow is imported
    import sys

    from kt_transfer.shell.entry import main

    sys.exit(main(["export", *sys.argv[1:]]))

import time
from pathlib import Path

import numpy as np

from kt_transfer.data.schema import Column, Schema
from kt_transfer.runs import folder as runs
from kt_transfer.runs import session
from kt_transfer.runs.folder import Run
from kt_transfer.serving.formats import FORMATS
from kt_transfer.serving.named_columns import served_names
from kt_transfer.settings import ExportConfig
from kt_transfer.settings.calling import takes

NUM_CHECKED, SHARE_MISSING = 16, 0.1


@takes(ExportConfig)
def run(config: ExportConfig) -> Path:
    """The command as a function; its settings are the fields of :class:`ExportConfig`.

    Returns:
        The folder of the new version.

    Example:
        >>> from kt_transfer import export
        >>> export.run(run="runs/digits-student", name="small", quiet=True)
        PosixPath('saved_models/small/1')
    """
    return execute(config)


def execute(config: ExportConfig) -> Path:
    """Run the command."""
    source = runs.open_run(config.run)
    name = config.name or source.path.resolve().name
    version = write_version(source, name, config.export_dir, config.format)
    say = session.say(config)
    say(f"exported {source.path} as {version}: outputs match Keras, checked without Keras")
    if config.format == "saved_model" and not source.is_autoencoder:
        say(f"next: python -m kt_transfer.predict --model {version} --data SPEC --out FILE.csv")
    return version


def write_version(source: Run, name: str, export_dir: Path, format: str = "saved_model") -> Path:
    """Write the models of a run as the next version for ``export_dir/name``."""
    network, preprocessing = source.load_models()
    schema = source.schema
    classifier, autoencoder, autoencoder_preprocessing = _models(source, network)
    return FORMATS[format](
        Path(export_dir) / name,
        preprocessing=preprocessing,
        classifier=classifier,
        class_names=source.label_names if classifier is not None else (),
        autoencoder=autoencoder,
        autoencoder_preprocessing=autoencoder_preprocessing,
        metadata=_metadata(source, name, classifier, schema),
        examples=_examples(preprocessing, schema),
        schema=schema,
    )


def _models(source: Run, network):
    """The classifier, the autoencoder and its preprocessing; ``None`` for those the run lacks."""
    if source.is_autoencoder:
        return None, network, None
    names = ("autoencoder.keras", "autoencoder_preprocessing.keras")
    return network, *(source.load_model(name) if source.has(name) else None for name in names)


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


def _examples(preprocessing, schema: Schema | None) -> np.ndarray:
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
