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
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from kt_transfer.data import Dataset
from kt_transfer.data.dataset import no_example
from kt_transfer.data.example_summary import why_not_cast
from kt_transfer.data.rows import take_rows
from kt_transfer.data.schema import NeedsWholeTableError
from kt_transfer.data.streams import (
    STANDARD_INPUT,
    Rows,
    Stream,
    can_stream,
    dataset_of,
)
from kt_transfer.errors import UserError, counted, listed, named, settings_named
from kt_transfer.files.printing import print_to_nobody
from kt_transfer.files.table_writing import STANDARD_OUTPUT, require_format, writing_table
from kt_transfer.files.writing import require_free_file
from kt_transfer.runs import folder as runs
from kt_transfer.runs import session, workers
from kt_transfer.settings import PredictConfig
from kt_transfer.settings.calling import takes
from kt_transfer.sources.predictions import BESIDE, PREFIX
from kt_transfer.sources.predictors import (
    Predictor,
    predictor_of_export,
    predictor_of_run,
    predictor_of_server,
)

_ROWS_AT_ONCE = 2**15


@takes(PredictConfig)
def run(config: PredictConfig) -> Path:
    """The command as a function; its settings are the fields of :class:`PredictConfig`.

    Returns:
        The table: ``split`` and ``row`` of the example in its source, its name there (``id`` of a
        table, ``file`` of a picture; pictures without any class come in the order of their files,
        and have no ``split``), ``class_id``, ``label``, a column ``probability_LABEL`` for
        each class, and, of a run or a SavedModel with an autoencoder, ``unusual``: whether that
        reconstructs the example worse than 99 % of its training examples.

    Example:
        >>> from kt_transfer import predict
        >>> predict.run(model="saved_models/digits/1", data="digits", out="new.csv", quiet=True)
        PosixPath('new.csv')
    """
    return execute(config)


def execute(config: PredictConfig) -> Path:
    """Run the command."""
    path = Path(config.out or f"runs/predict-{time.strftime('%Y%m%d-%H%M%S')}.csv")
    _require_files_of_workers(config)
    to = STANDARD_OUTPUT if str(path) == STANDARD_OUTPUT else workers.output(config, path)
    require_format(to)
    if to != STANDARD_OUTPUT:
        require_free_file(to, overwrite=config.overwrite)
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
    workers.exit_together(config)
    of_parts = f" ({' and '.join(counts)})" if counts and None not in counts else ""
    number = sum(counts.values())
    s = "s" if number != 1 else ""
    source = "standard input" if spec == STANDARD_INPUT else spec
    where = f"in {path}" if to != STANDARD_OUTPUT else "on standard output"
    say(f"{number} prediction{s} of {source}{of_parts} {where}")
    if asked.unanswered:
        raise _unanswered(config, asked, to)
    return path


def _require_files_of_workers(config: PredictConfig) -> None:
    place = workers.place_of(config)
    if place is None:
        return
    for name, use in (("data", "every worker reads"), ("out", "the chief writes")):
        if str(getattr(config, name)) == "-":
            raise UserError(
                setting=name,
                given=getattr(config, name),
                when=f"with {counted(place.count, 'worker')} in TF_CONFIG",
                expected=f"a file, which {use}",
                remedy="give one",
            )


def _asked(config: PredictConfig) -> tuple[PredictConfig, str, Predictor]:
    """The config with what it does not say of how a table is read, the data, and what predicts."""
    if config.run is not None:
        source = runs.open_run(config.run)
        with workers.devices(config).scope():
            predictor = predictor_of_run(source)
        config = session.reading_as(source, config)
        return config, config.data or source.data, predictor
    if config.url is not None:
        predictor = predictor_of_server(config.url, config.model)
    else:
        predictor = predictor_of_export(config.model, config.trust_model)
    schema = predictor.like.schema
    if schema is not None and config.label_column is None:
        config = dataclasses.replace(config, label_column=schema.label_column)
    return config, config.data or predictor.data, predictor


def _unanswered(config, asked: Predictor, to) -> RuntimeError:
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


def _answer(config, spec: str, asked: Predictor, to, say, whole: bool = False) -> dict:
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


def _own_column(config, spec: str, asked: Predictor) -> str:
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


def _batch(asked: Predictor, own: str, rows: Rows, predict: Callable) -> pa.RecordBatch:
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


def _write(batches: Iterator[pa.RecordBatch], asked: Predictor, spec: str, to, config, own) -> dict:
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


def _write_stream(config, stream: Stream, asked: Predictor, own: str, to, say) -> dict:
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


def _streamed(stream: Stream, asked: Predictor, own: str, say) -> Iterator[pa.RecordBatch]:
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
