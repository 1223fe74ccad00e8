"""``python -m kt_transfer.predict``: write predictions to a table."""

from __future__ import annotations

if __name__ == "__main__":  # answers --help and reports errors before TensorFlow is imported
    import sys

    from kt_transfer.shell.entry import main

    sys.exit(main(["predict", *sys.argv[1:]]))

import dataclasses
import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from kt_transfer.data import Dataset, Like
from kt_transfer.data.dataset import no_example
from kt_transfer.data.example_summary import ExampleSummary, why_not_cast
from kt_transfer.data.rows import take_rows
from kt_transfer.data.schema import NeedsWholeTableError
from kt_transfer.data.streams import (
    STANDARD_INPUT,
    Rows,
    Stream,
    can_stream,
    dataset_of,
)
from kt_transfer.engine.fused_model import FusedModel, scaling
from kt_transfer.errors import UserError, listed, named, settings_named
from kt_transfer.files.printing import print_to_nobody
from kt_transfer.files.table_writing import STANDARD_OUTPUT, require_format, writing_table
from kt_transfer.files.writing import require_free_file
from kt_transfer.reporting.classification import softmax
from kt_transfer.runs import folder as runs
from kt_transfer.runs import session
from kt_transfer.serving.loading import load_served
from kt_transfer.serving.remote import RemoteClassifier
from kt_transfer.settings import PredictConfig
from kt_transfer.settings.calling import takes
from kt_transfer.sources.loading import adaptation_to, like, preprocessing_for_new
from kt_transfer.sources.predictions import BESIDE, PREFIX

_ROWS_AT_ONCE = 2**15


@takes(PredictConfig)
def run(config: PredictConfig) -> Path:
    """The command as a function; its settings are the fields of :class:`PredictConfig`.

    Returns:
        The table: ``split`` and ``row`` of the example in its source, its name there (``id`` of a
        table, ``file`` of a picture; pictures without any class come in the order of their files,
        and have no ``split``), ``class_id``, ``label``, a column ``probability_LABEL`` for
        each class, and, of a SavedModel with an autoencoder, ``unusual``: whether that reconstructs
        the example worse than 99 % of its training examples.

    Example:
        >>> from kt_transfer import predict
        >>> predict.run(model="saved_models/digits/1", data="digits", out="new.csv", quiet=True)
        PosixPath('new.csv')
    """
    return execute(config)


def execute(config: PredictConfig) -> Path:
    """Run the command."""
    path = Path(config.out or f"runs/predict-{time.strftime('%Y%m%d-%H%M%S')}.csv")
    to = STANDARD_OUTPUT if str(path) == STANDARD_OUTPUT else path
    require_format(to)
    if to == path:
        require_free_file(path, overwrite=config.overwrite)
    config, spec, asked = _asked(config)
    say = session.say(config)
    if to == STANDARD_OUTPUT and not config.quiet:

        def say(message):
            print(message, file=sys.stderr)

    try:
        counts = _answer(config, spec, asked, to, say)
    except NeedsWholeTableError:
        asked.unanswered.clear()
        counts = _answer(config, spec, asked, to, say, whole=True)
    except BrokenPipeError:
        # Whoever reads has seen enough, as after a pipe into head.
        print_to_nobody()
        return path
    of_parts = f" ({' and '.join(counts)})" if counts and None not in counts else ""
    number = sum(counts.values())
    s = "s" if number != 1 else ""
    source = "standard input" if spec == STANDARD_INPUT else spec
    where = f"in {path}" if to == path else "on standard output"
    say(f"{number} prediction{s} of {source}{of_parts} {where}")
    if asked.unanswered:
        raise _unanswered(config, asked, to)
    return path


class _Asked(NamedTuple):
    """What predicts.

    Attributes:
        names: Names of the classes.
        like: The examples that it takes.
        prepare: From a data set of such examples, which it checks, to a function of raw ones that
            gives probabilities, NaN for those that it has no answer to.
        unusual: Tells which raw examples are unusual; ``None`` where that is not known.
        unanswered: The rows that a server has not answered, without the answers; filled on the
            way.
        reasons: Why not.
    """

    names: list[str]
    like: Like
    prepare: Callable[[Dataset, Callable], Callable[[np.ndarray], np.ndarray]]
    unanswered: list[pa.RecordBatch]
    unusual: Callable[[np.ndarray], np.ndarray] | None = None
    reasons: Sequence[str] = ()


def _asked(config: PredictConfig) -> tuple[PredictConfig, str, _Asked]:
    """The config with what it does not say of how a table is read, the data, and what predicts."""
    if config.run is not None:
        return _run_asked(config)
    if config.url is not None:
        return _server_asked(config)
    return _export_asked(config)


def _run_asked(config: PredictConfig):
    source = runs.open_run(config.run)
    network, raw = source.load_classifier()

    def prepare(data, say):
        preprocessing = preprocessing_for_new(source, raw, data, say)
        model = FusedModel(network, transform=scaling(preprocessing))
        return lambda x: softmax(model.answers(x))

    wanted = like(raw, schema=source.schema)
    config = session.reading_as(source, config)
    return config, config.data or source.data, _Asked(source.label_names, wanted, prepare, [])


def _export_asked(config: PredictConfig):
    model, metadata = load_served(config.model, trust=config.trust_model)
    if not metadata["labels"]:
        raise UserError(
            setting="model",
            given=config.model,
            expected="an exported classifier",
            but="it is an autoencoder",
            remedy="export a fine-tuned or distilled run",
        )

    return _served(config, config.model, model, metadata)


def _server_asked(config: PredictConfig):
    model = RemoteClassifier(config.url, config.model)
    config, spec, asked = _served(config, config.url, model, model.metadata)
    return config, spec, asked._replace(reasons=model.reasons)


def _served(config: PredictConfig, who, model, metadata: dict):
    def prepare(data, say):
        _require_alike(who, model, metadata, data, say)
        return model

    wanted = Like(model.shape, model.dtype, schema=model.schema)
    if model.schema is not None and config.label_column is None:
        config = dataclasses.replace(config, label_column=model.schema.label_column)
    # Only a SavedModel has the autoencoder beside the classifier.
    asked = _Asked(metadata["labels"], wanted, prepare, [], getattr(model, "unusual", None))
    return config, config.data or metadata["data"], asked


def _require_alike(who, model, metadata: dict, data: Dataset, say: Callable) -> None:
    """Refuse examples of another shape or in other units, and say how they are cast."""
    if data.input_shape != model.shape:
        raise UserError(
            given=data.spec,
            when=f"with examples of shape {data.input_shape}",
            but=f"{who} expects {model.shape}",
            remedy="give data of that shape",
        )
    summary = ExampleSummary.from_note(metadata.get("made_for"))
    if message := adaptation_to(who, summary, model.dtype, data):
        say(message)


def _unanswered(config, asked: _Asked, to) -> RuntimeError:
    """The error that names the rows without an answer, all of them in a table beside the others."""
    table = pa.Table.from_batches(asked.unanswered)
    rows = table["row"].to_numpy()
    ends = np.flatnonzero(np.diff(rows, append=rows[-1] + 2) != 1)
    spans = zip(rows[np.append(0, ends[:-1] + 1)], rows[ends], strict=True)
    told = listed([f"{a} to {b}" if a < b else str(a) for a, b in spans], 10)
    beside = ""
    if to != STANDARD_OUTPUT:
        path = to.with_name(f"{to.stem}.unanswered.csv")
        with writing_table(path, overwrite=True, as_they_are=tuple(table.column_names)) as write:
            for batch in table.to_batches():
                write(batch)
        beside = f", which {path} lists"
    s, why = "s"[: len(rows) > 1], listed(dict.fromkeys(asked.reasons), 3)
    return RuntimeError(
        f"{config.url} has not answered {len(rows)} row{s} (row {told}){beside}; all others are "
        f"written: {why}"
    )


# -- From rows to answers --------------------------------------------------------------------------


def _answer(config, spec: str, asked: _Asked, to, say, whole: bool = False) -> dict:
    """Write what is predicted of all rows; the number of those of each part."""
    own = _own_column(config, spec, asked)
    if can_stream(spec, asked.like) and not whole:
        with settings_named(id_column="id", group_column="group"):
            options = session.table_options(vars(config))
            stream = Stream(spec, asked.like, options)
            _require_no_split(config, stream)
            return _write_stream(config, stream, asked, own, to, say)
    data = session.load_data(dataclasses.replace(config, quiet=True), spec, like=asked.like)
    _say_notes(say, spec, data.notes)
    predict = asked.prepare(data, say)
    batches = (_batch(asked, own, rows, predict) for rows in _rows_of(data, config.split))
    return _write(batches, asked, spec, to, config, own)


def _say_notes(say, spec: str, notes) -> None:
    for note in notes:
        say(f"{spec}: {note}")


def _own_column(config, spec: str, asked: _Asked) -> str:
    """The column of what rows are called: that of a table, or ``file`` of a picture."""
    if spec.startswith("images:"):
        return "file"
    taken = ({*BESIDE} - {"file"}) | {f"{PREFIX}{name}" for name in asked.names}
    return "id" if config.id in taken or config.id is None else config.id


def _require_no_split(config, stream: Stream) -> None:
    if stream.spec == STANDARD_INPUT and config.split != "all":
        raise UserError(
            setting="split",
            given=config.split,
            when=f"with {named('data', STANDARD_INPUT)}",
            expected="all",
            but="rows that come one after the other have no parts",
            remedy="leave it out",
        )


def _rows_of(data: Dataset, split: str) -> Iterator[Rows]:
    if split == "all" and data.files is not None and not (data.class_names or data.has_own_test):
        yield from _new_pictures(data)
        return
    for part in data.parts(split):
        names = data.files_of(part) if data.ids is None else data.ids[part.rows]
        for start in range(0, len(part.x), _ROWS_AT_ONCE):
            some = slice(start, start + _ROWS_AT_ONCE)
            own = None if names is None else names[some]
            yield Rows(part.x[some], part.rows[some], part.name, own)


def _new_pictures(data: Dataset) -> Iterator[Rows]:
    """Pictures in the order of their files: those of no class at all have no test part to tell."""
    in_order = np.argsort(np.concatenate([data.rows, data.rows_test]))
    for start in range(0, len(in_order), _ROWS_AT_ONCE):
        places = in_order[start : start + _ROWS_AT_ONCE]
        is_train = places < len(data.x)
        x = np.empty((len(places), *data.input_shape), data.x.dtype)
        x[is_train] = take_rows(data.x, places[is_train])[:]
        x[~is_train] = take_rows(data.x_test, places[~is_train] - len(data.x))[:]
        numbers = np.arange(start, start + len(places))
        yield Rows(x, numbers, None, data.files[0][numbers])


def _batch(asked: _Asked, own: str, rows: Rows, predict: Callable) -> pa.RecordBatch:
    """The rows of the table, in its columns."""
    probabilities = predict(rows.x)
    class_id = probabilities.argmax(axis=1)
    columns = {} if rows.part is None else {"split": pa.array([rows.part] * len(rows.x))}
    columns["row"] = rows.numbers
    if rows.names is not None:
        columns[own] = pa.array(rows.names, pa.string())
    columns["class_id"] = class_id
    columns["label"] = pa.array(asked.names, pa.string()).take(pa.array(class_id))
    for number, name in enumerate(asked.names):
        columns[f"{PREFIX}{name}"] = np.ascontiguousarray(probabilities[:, number])
    if asked.unusual is not None:
        columns["unusual"] = asked.unusual(rows.x)
    batch, missing = pa.record_batch(columns), np.isnan(probabilities[:, 0])
    if not missing.any():
        return batch
    beside = [name for name in batch.schema.names[:3] if name in ("split", "row", own)]
    asked.unanswered.append(batch.filter(pa.array(missing)).select(beside))
    return batch.filter(pa.array(~missing))


def _write(batches: Iterator[pa.RecordBatch], asked: _Asked, spec: str, to, config, own) -> dict:
    counts: dict[str | None, int] = {}
    # But for the ids, by which the answers are joined, and which stay as they are.
    as_they_are = () if own == "file" else (own,)
    with writing_table(to, overwrite=config.overwrite, as_they_are=as_they_are) as write:
        for batch in batches:
            if batch.num_rows:
                counts[_part_of(batch)] = counts.get(_part_of(batch), 0) + batch.num_rows
            write(batch)
        if not counts and not asked.unanswered:
            raise no_example(spec, config.split)
    return counts


def _part_of(batch: pa.RecordBatch) -> str | None:
    return batch["split"][0].as_py() if "split" in batch.schema.names else None


def _write_stream(config, stream: Stream, asked: _Asked, own: str, to, say) -> dict:
    """Write what is predicted of rows as they come; where only all of them tell which belong to
    the test part, by way of a temporary file."""
    answers = _streamed(stream, asked, own, say)
    first = next(answers, None)
    if first is None:
        raise UserError(
            setting="data",
            given=stream.spec,
            expected="names of columns, and rows",
            but="it has no row",
            remedy="add rows",
        )

    batches = itertools.chain([first], answers)
    if "split" in first.schema.names:
        wanted = ("train", "test") if config.split == "all" else (config.split,)
        some = (b for b in batches if b.num_rows and _part_of(b) in wanted)
        counts = _write(some, asked, stream.spec, to, config, own)
    elif not stream.splits:
        counts = _write(batches, asked, stream.spec, to, config, own)
    else:
        with tempfile.TemporaryFile() as aside:
            with pa.ipc.new_file(pa.PythonFile(aside, "w"), first.schema) as file:
                for batch in batches:
                    file.write_batch(batch)
            parts = _in_parts(aside, stream.is_test(), config.split)
            counts = _write(parts, asked, stream.spec, to, config, own)
    _say_notes(say, stream.spec, stream.notes)
    return counts


def _streamed(stream: Stream, asked: _Asked, own: str, say) -> Iterator[pa.RecordBatch]:
    predict = None
    for rows in stream:
        if predict is None:
            predict = asked.prepare(dataset_of(stream.spec, rows, asked.like), say)
        elif rows.x.dtype != asked.like.dtype:
            _require_castable(dataset_of(stream.spec, rows, asked.like), asked.like.dtype)
        yield _batch(asked, own, rows, predict)


def _require_castable(data: Dataset, dtype: str) -> None:
    """Of later rows, too, no value may change by being taken as another type."""
    if reason := why_not_cast(data, dtype):
        raise UserError(
            setting="data",
            given=data.spec,
            but=f"the model was made for {reason} (rows {data.rows[0]} to {data.rows[-1]})",
            remedy="convert the values to those that it was made for",
        )


def _in_parts(aside, is_test: np.ndarray, split: str) -> Iterator[pa.RecordBatch]:
    """The rows of the training part, and then those of the test part."""
    for part in ("train", "test") if split == "all" else (split,):
        aside.seek(0)
        with pa.ipc.open_file(pa.PythonFile(aside, "r")) as file:
            for number in range(file.num_record_batches):
                batch = file.get_batch(number)
                wanted = is_test[np.asarray(batch["row"])] == (part == "test")
                if wanted.any():
                    some = batch.filter(pa.array(wanted))
                    yield _beside(some, part)


def _beside(batch: pa.RecordBatch, part: str) -> pa.RecordBatch:
    columns = {"split": pa.array([part] * batch.num_rows)}
    return pa.record_batch(columns | dict(zip(batch.schema.names, batch.columns, strict=True)))
