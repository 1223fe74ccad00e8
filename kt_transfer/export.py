"""``python -m kt_transfer.export``: write a run as a model to be served, versioned and checked."""

from __future__ import annotations

if __name__ == "__main__":  # answers --help and reports errors before TensorFlow is imported
    import sys

    from kt_transfer.shell.entry import main

    sys.exit(main(["export", *sys.argv[1:]]))

import time
from pathlib import Path

import numpy as np

from kt_transfer.data import Dataset, load_data
from kt_transfer.data.licences import licence_of
from kt_transfer.data.rows import take_rows
from kt_transfer.data.schema import Column, Schema
from kt_transfer.errors import UserError, listed
from kt_transfer.files.portable import without_folders
from kt_transfer.files.reading import read_json
from kt_transfer.files.writing import replacing, require_writable
from kt_transfer.models.preprocessing import as_image
from kt_transfer.reporting.terminal import format_table
from kt_transfer.runs import folder as runs
from kt_transfer.runs import session
from kt_transfer.runs.describing import describe_run
from kt_transfer.runs.folder import Run
from kt_transfer.serving.card import model_card
from kt_transfer.serving.formats import FORMATS, newest_version
from kt_transfer.serving.named_columns import column_specs, served_names
from kt_transfer.serving.proof import require_same_figure
from kt_transfer.serving.requests import as_json
from kt_transfer.serving.saved_model import ANSWER, REQUEST
from kt_transfer.serving.server import (
    curl_line,
    docker_line,
    edited_server_files,
    write_server_files,
)
from kt_transfer.settings import ExportConfig
from kt_transfer.settings.calling import takes
from kt_transfer.sources.loading import examples_of, like

# Random examples and real ones on which an export is checked.
NUM_CHECKED, NUM_REAL, SHARE_MISSING = 16, 32, 0.1
# Longer answers are cut short on the terminal; the file has them whole.
_LONGEST_ANSWER = 300


@takes(ExportConfig)
def run(config: ExportConfig) -> Path:
    """The command as a function; its settings are the fields of :class:`ExportConfig`.

    Returns:
        The folder of the new version, of several formats that of the first.

    Raises:
        UserError: If the run cannot be written in one of the formats; all others are written.

    Example:
        >>> from kt_transfer import export
        >>> export.run(run="runs/digits-student", name="small", quiet=True)
        PosixPath('saved_models/small/1')
    """
    return execute(config)


def execute(config: ExportConfig) -> Path:
    """Run the command."""
    source, say = runs.open_run(config.run), session.say(config)
    name = config.name or source.path.resolve().name
    folder = Path(config.export_dir) / name
    require_writable(folder, "export_dir", config.export_dir)
    models = source.load_models()
    data, why_not = _data_of(config, source, models[1])
    model = exported_of(source, name, models, data, config.data_dir)
    versions, failed = {}, {}
    for format in dict.fromkeys(config.format):
        try:
            versions[format] = _write(folder, format, model, config.keep)
        except (UserError, RuntimeError) as error:
            failed[format] = error
            continue
        say(f"exported {source.path} as {versions[format]}: {checked(versions[format])}")
    if not versions:
        raise _failure(failed)
    if data is None:
        say(f"its figure on the test split is not measured again: {why_not}")
    if "saved_model" in versions:
        for line in how_to_serve(versions["saved_model"]):
            say(line)
    first = next(iter(versions.values()))
    if not source.is_autoencoder:
        # A table that is there would speak of older versions.
        if [*versions] != ["saved_model"] or (folder / "formats.csv").exists():
            _compare_formats(config, source, folder, data, model["examples"])
        say(f"next: {asking(first)}")
    if failed:
        raise _failure(failed, f"written: {listed(map(str, versions.values()))}")
    return first


def _failure(failed: dict[str, Exception], note: str | None = None) -> Exception:
    """The error that ends it, of one format its own: what failed, why, and what to do."""
    if len(failed) == 1:
        (error,) = failed.values()
    else:
        reasons = "; ".join(f"{format}: {_reason(error)}" for format, error in failed.items())
        error = UserError(
            setting="format",
            given=(*failed,),
            but=f"none of these is written ({reasons})",
            remedy="leave them out, or do what is said of each",
        )
        if not all(isinstance(one, UserError) for one in failed.values()):
            error = RuntimeError(str(error))
    if note:
        error.add_note(note)
    return error


def _reason(error: Exception) -> str:
    if not isinstance(error, UserError):
        return str(error)
    return f"{error.but}, so {error.remedy}"


def asking(model: Path) -> str:
    """The command that asks a served model, as it is typed."""
    words = ("--model", model, "--data", "SPEC", "--out", "FILE.csv")
    return runs.command_line("predict", *words)


def exported_of(
    source: Run,
    name: str,
    models: tuple,
    data: Dataset | None = None,
    data_dir: Path | None = None,
) -> dict:
    """What is exported of a run, read once for all formats.

    Args:
        source: The run.
        name: Name of the served model.
        models: The run's network and preprocessing, as it loads them.
        data: The run's data, whose test split is measured again through what is exported; ``None``
            if they cannot be read.
        data_dir: TensorFlow Datasets directory, which knows licences.

    Returns:
        What each of ``FORMATS`` takes, by name.
    """
    network, preprocessing = models
    schema = source.schema
    classifier, (autoencoder, autoencoder_preprocessing) = network, source.load_autoencoder()
    if source.is_autoencoder:
        classifier, autoencoder = None, network
    kept = source.read_examples(preprocessing)
    limit = None if autoencoder is None else source.unusual_above
    measured = source.read_json("metrics.json").get("test") or {}

    def prove(ask) -> dict[str, float]:
        if data is None:
            return {}
        return require_same_figure(ask, data.x_test, data.y_test, measured)

    def describe(unfinished: Path, version: Path, served) -> str:
        about = describe_run(source, licence_of(source.data, data_dir))
        return model_card(name, version.name, unfinished, about, served)

    return {
        "preprocessing": preprocessing,
        "classifier": classifier,
        "class_names": source.label_names if classifier is not None else (),
        "autoencoder": autoencoder,
        "autoencoder_preprocessing": autoencoder_preprocessing,
        "unusual_above": limit,
        "metadata": _metadata(source, name, classifier, schema, preprocessing)
        | _usual(source, limit),
        "examples": _examples(kept, preprocessing, schema),
        "kept": None if kept is None else kept[0],
        "schema": schema,
        "picture_files": _are_picture_files(source, preprocessing),
        "prove": prove,
        "describe": describe,
    }


def write_version(
    source: Run,
    name: str,
    export_dir: Path,
    format: str = "saved_model",
    *,
    data: Dataset | None = None,
    data_dir: Path | None = None,
    keep: int | None = None,
) -> Path:
    """Write the models of a run as the next version for ``export_dir/name``, in one format.

    Args:
        source: The run.
        name: Name of the served model.
        export_dir: Folder that holds the served models.
        format: One of ``FORMATS``.
        data: As for :func:`exported_of`.
        data_dir: The same.
        keep: How many versions to keep (default: all).

    Returns:
        The folder of the version.
    """
    model = exported_of(source, name, source.load_models(), data, data_dir)
    return _write(Path(export_dir) / name, format, model, keep)


def _write(folder: Path, format: str, model: dict, keep: int | None) -> Path:
    """Write the next version of what is exported, in ``saved_models/NAME``."""
    version = FORMATS[format](folder, keep=keep, **model)
    if format == "saved_model":
        write_server_files(folder, folder.name)
    return version


def checked(version: Path) -> str:
    """What was checked before a version was published, in words."""
    metadata = read_json(version / "metadata.json")
    figures = metadata.get("test_as_served", {})
    again = "".join(f"; test {name} {value:.4f}, as trained" for name, value in figures.items())
    return f"{_CHECKED[metadata.get('format', 'saved_model')]}{again}"


# What was compared with Keras on raw examples, and in what.
_CHECKED = {
    "saved_model": "outputs match Keras, checked without Keras",
    "litert": "outputs match Keras, checked in LiteRT",
    "litert_int8": "classes match Keras within what 8 bits can tell, checked in LiteRT",
    "onnx": "outputs match Keras, checked in ONNX Runtime",
}


def _compare_formats(
    config: ExportConfig, source: Run, folder: Path, data: Dataset | None, examples: np.ndarray
) -> None:
    """Say and write what the newest version of each format of this run costs, beside them."""
    import pandas as pd

    from kt_transfer.serving.sizes_and_speeds import HEADER, as_cells, measure_formats

    newest = {name: newest_version(folder, name) for name in FORMATS}
    versions = {name: v for name, v in newest.items() if v is not None and _is_of(v, source)}
    say = session.say(config)
    if data is not None and (data.y_test >= 0).any():
        known = np.flatnonzero(data.y_test >= 0)
        labelled = take_rows(data.x_test, known)[:], data.y_test[known]
        x = labelled[0]
    else:
        x, labelled = examples, None
        say("the accuracy is left out, since it cannot be measured again")
    measured = measure_formats(versions, x, labelled)
    with replacing(folder / "formats.csv") as temporary:
        pd.DataFrame(measured).to_csv(temporary, index=False)
    say(format_table(HEADER, as_cells(measured)))
    say(
        "measured on this machine, in this process, from raw examples to probabilities as predict "
        f"asks for them; also in {folder / 'formats.csv'}"
    )


def _is_of(version: Path, source: Run) -> bool:
    """Whether a version was exported from this run."""
    metadata = read_json(version / "metadata.json")
    description = source.read_json("run.json")
    return (
        metadata.get("run") == without_folders(source.path)
        and metadata.get("data_fingerprint") == description.get("data", {}).get("fingerprint")
        and metadata.get("metrics") == source.read_json("metrics.json").get("test")
    )


def how_to_serve(version: Path) -> list[str]:
    """Lines that say how a version is served and asked, and what it answers."""
    folder, name = version.parent, version.parent.name
    answer = as_json(read_json(version / ANSWER), digits=4)
    shown = answer if len(answer) <= _LONGEST_ANSWER else f"{answer[:_LONGEST_ANSWER]}…"
    lines = [
        f"serve:  {docker_line(str(folder), name)}",
        f"ask:    {curl_line(str(version / REQUEST), name)}",
        f"answer: {shown}",
        f'gRPC:   PredictionServiceStub(grpc.insecure_channel("localhost:8500")).Predict(request), '
        f"whole in {version / 'README.md'}",
    ]
    edited = [f"{path} was edited, and stays as it is" for path in edited_server_files(folder)]
    return lines + edited


def _data_of(config: ExportConfig, source: Run, preprocessing) -> tuple[Dataset | None, str]:
    """The data of a run as it read them, or ``None`` and why they are not to be had."""
    try:
        data = load_data(
            source.data,
            data_dir=config.data_dir or source.settings.get("data_dir"),
            like=like(preprocessing, least=2, schema=source.schema),
            table=session.table_options(source.settings),
        )
        if not source.is_autoencoder:
            data = data.with_classes(source.label_names, str(source.path))
    except (UserError, OSError):
        return None, f"{source.data} cannot be read any more as the run read it"
    if data.fingerprint != source.read_json("run.json").get("data", {}).get("fingerprint"):
        return None, f"{source.data} has changed since the run"
    return data, ""


def _usual(source: Run, limit: float | None) -> dict:
    """What metadata say of reconstruction errors; nothing where there are none."""
    if limit is None:
        return {}
    return {"reconstruction_error": {"quantiles": source.usual_errors, "unusual_above": limit}}


def _are_picture_files(source: Run, preprocessing) -> bool:
    """Whether raw examples are pictures as they stand in files, with values from 0 to 255."""
    summary, raw = examples_of(source), preprocessing.inputs[0]
    image = as_image(tuple(raw.shape[1:]))
    is_stated = summary is not None and summary.is_declared and summary.value_range == (0, 255)
    return is_stated and raw.dtype == "uint8" and image is not None and image[2] in (1, 3)


def _metadata(source: Run, name: str, classifier, schema: Schema | None, preprocessing) -> dict:
    description = source.read_json("run.json")
    data = description.get("data", {})
    of_table = {}
    if schema is not None:
        of_table = {"schema": schema.to_note(), "columns": served_names(schema)}
        # What each value of reconstruct's output is: a column, its kind, and the word of a flag.
        of_table["features"] = source.features
    return of_table | {
        "name": name,
        "run": without_folders(source.path),
        "command": description["command"],
        "data": without_folders(data.get("spec", source.data)),
        "data_fingerprint": data.get("fingerprint"),
        "made_for": description.get("made_for"),
        "input": _input(source, preprocessing, schema),
        "labels": source.label_names if classifier is not None else [],
        "metrics": source.read_json("metrics.json").get("test"),
        "versions": description["versions"],
        "exported": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "reconstruction": "scaled to [-1, 1], in the shape that the autoencoder emits",
    }


def _input(source: Run, preprocessing, schema: Schema | None) -> dict:
    """What raw examples are, for those who prepare them elsewhere."""
    if schema is not None:
        return {"columns": {name: spec.dtype.name for name, spec in column_specs(schema).items()}}
    raw = preprocessing.inputs[0]
    note = {"shape": list(raw.shape[1:]), "dtype": str(raw.dtype)}
    if _are_picture_files(source, preprocessing):
        height, width = raw.shape[1:3]
        note["resize"] = (
            f"upright, transparent on white, then to {height} x {width} whatever its proportions, "
            "by Pillow's bilinear filter"
        )
    return note


def _examples(kept: tuple | None, preprocessing, schema: Schema | None) -> np.ndarray:
    """Raw inputs on which the export is checked: real ones, if the run has kept any, and random
    ones, which also have values that no training example has."""
    random = _random_examples(preprocessing, schema)
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
