"""An exported classifier that people try: where it is, what it was made from, what it says.

Nothing here knows of a page: :func:`open_trial` and :func:`answer` are what one shows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kt_transfer.data.example_summary import ExampleSummary
from kt_transfer.data.ranges import raw_rows
from kt_transfer.data.schema import OTHER as OTHER_WORD
from kt_transfer.data.schema import Column, Schema
from kt_transfer.data.table_features import MISSING, OTHER, VALUE, Feature
from kt_transfer.errors import UserError
from kt_transfer.explaining.columns import changes_by_column
from kt_transfer.explaining.occlusion import occlusion, square_size
from kt_transfer.files.reading import read_json
from kt_transfer.models.preprocessing import as_image, raw_values
from kt_transfer.serving import litert, onnx
from kt_transfer.serving.formats import newest_version
from kt_transfer.serving.loading import load_served
from kt_transfer.serving.named_columns import to_matrix
from kt_transfer.serving.requests import read_warmup
from kt_transfer.serving.versions import versions_in

# Columns beyond these are taken as they stand in a real example, and are not asked about.
MOST_COLUMNS = 300
FIRST_COLUMNS = 40
# What may be spent on the question what carries an answer, by the speed that is measured first.
_SECONDS, _TIMED = 0.3, 64
_FILES = ("saved_model.pb", litert.FILE, onnx.FILE)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A classifier that is tried.

    Attributes:
        name: What it is served as.
        called: Which one it is, such as ``version 3``.
        metadata: Content of its ``metadata.json``.
        model: As from :func:`~kt_transfer.serving.loading.load_served`.
        examples: Real raw examples, shape ``(n, ...)``; none where the export has none.
        columns: The columns of a row; ``None`` for pictures.
        summary: The examples that it was trained on, in numbers; ``None`` where that is not known.
        questions: How many examples it is asked about in a third of a second.
    """

    name: str
    called: str
    metadata: dict
    model: Callable
    examples: np.ndarray
    columns: Schema | None
    summary: ExampleSummary | None
    questions: int

    @property
    def labels(self) -> list[str]:
        """Names of the classes, by number."""
        return self.metadata["labels"]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one raw example."""
        return self.model.shape

    @property
    def value_range(self) -> tuple[float, float]:
        """The raw values of black and white."""
        if self.summary is not None:
            return self.summary.value_range
        return (0.0, 255.0) if self.model.dtype == "uint8" else (0.0, 1.0)

    @property
    def num_explained(self) -> int:
        """Of how many columns it is said what they carry: the first ones of very many."""
        count = len(self.columns)
        return count if count <= MOST_COLUMNS else FIRST_COLUMNS


class Answer(NamedTuple):
    """What a classifier says of one example.

    Attributes:
        example: The raw example.
        probabilities: Shape ``(classes,)``.
        error: Its reconstruction error; ``None`` without an autoencoder.
        unusual: Whether that is larger than 99 % of those of training; ``None`` if not known.
        reconstruction: A picture in raw values, or a text for each column; ``None`` where there is
            none that can be shown.
        carried: Of a picture the log-odds of the answer that each pixel carries, shape
            ``(height, width)``; of a row how much less probable the answer would be with each
            column from other examples, shape ``(columns,)``; ``None`` where nothing can be said.
        square: Side of the squares that were covered; ``None`` for a row.
    """

    example: np.ndarray
    probabilities: np.ndarray
    error: float | None
    unusual: bool | None
    reconstruction: np.ndarray | Sequence[str] | None
    carried: np.ndarray | None
    square: int | None


def find_version(path: Path) -> Path:
    """The exported model at a path: a file, the folder of a version, or the newest one in a folder.

    Args:
        path: A ``.tflite`` or ``.onnx`` file, ``saved_models/NAME/N`` or ``saved_models/NAME``.

    Raises:
        UserError: If there is none.

    Example:
        >>> find_version(Path("saved_models/digits"))
        PosixPath('saved_models/digits/1')
    """
    path = Path(path)
    if path.suffix in (".tflite", ".onnx") and path.is_file():
        return path
    if path.is_dir():
        for folder in (path, *reversed(versions_in(path))):
            if any((folder / name).is_file() for name in _FILES):
                return folder
    raise UserError(
        setting="model",
        given=path,
        expected="an exported model such as saved_models/NAME",
        but=f"it {'holds none' if path.exists() else 'does not exist'}",
        remedy="give the folder that `python -m kt_transfer.export --run RUN` wrote, one of its "
        "versions, or the folder of a run",
    )


def open_trial(version: Path, *, called: str | None = None, trust: bool = False) -> Trial:
    """Load an exported classifier, with real examples where it has some.

    Args:
        version: As from :func:`find_version`.
        called: Which one it is (default: its version).
        trust: Whether to load a SavedModel without inspecting its graph.

    Raises:
        UserError: If it is no classifier of pictures or rows, or cannot be loaded.

    Example:
        >>> trial = open_trial(Path("saved_models/digits/1"))
        >>> trial.name, trial.called, trial.examples.shape, trial.columns
        ('digits', 'version 1', (8, 8, 8), None)
    """
    model, metadata = load_served(version, trust=trust)
    if not metadata["labels"]:
        raise _unfit(version, "an exported classifier", "it is an autoencoder")
    image = as_image(model.shape)
    if len(model.shape) != 1 and (image is None or image[2] not in (1, 3)):
        wanted = "a classifier of pictures that are grey or coloured, or of rows"
        raise _unfit(version, wanted, f"its examples have the shape {model.shape}")
    folder = version if version.is_dir() else version.parent
    examples = _examples(folder, metadata, model)
    summary = ExampleSummary.from_note(metadata.get("made_for"))
    name, kind = metadata.get("name"), metadata.get("format", "saved_model")
    which = f"version {folder.resolve().name}" + ("" if kind == "saved_model" else f", {kind}")
    return Trial(
        name=name if isinstance(name, str) and name else folder.resolve().parent.name,
        called=called or which,
        metadata=metadata,
        model=model,
        examples=examples,
        columns=_columns(model, summary) if image is None else None,
        summary=summary,
        questions=_questions(model),
    )


def answer(trial: Trial, example: np.ndarray, content: bytes | None = None) -> Answer:
    """Ask a classifier about one example.

    Args:
        trial: The classifier.
        example: Raw, of its shape.
        content: The JPEG or PNG file that the example was read from, which the model is then
            asked about if it takes files.

    Example:
        >>> trial = open_trial(Path("saved_models/digits/1"))
        >>> said = answer(trial, trial.examples[0])
        >>> said.probabilities.shape, said.reconstruction.shape, said.carried.shape
        ((10,), (8, 8), (8, 8))
    """
    x = np.asarray(example)[None]
    takes_files = getattr(trial.model, "of_picture_files", None)
    if content is not None and takes_files is not None:
        probabilities = takes_files([content])[0]
    else:
        probabilities = trial.model(x)[0]
    label = int(probabilities.argmax())
    outputs = {}
    if (reconstruct := getattr(trial.model, "reconstruct", None)) is not None:
        outputs = reconstruct(x)
    if trial.columns is None:
        square = square_size(*x.shape[1:3], trial.questions)
        carried = occlusion(trial.model, x[0], label, ground(trial), square)
    else:
        square, carried = None, _carried_by_columns(trial, x[0], label)
    return Answer(
        example=x[0],
        probabilities=probabilities.astype(np.float64),
        error=float(outputs["reconstruction_error"][0]) if outputs else None,
        unusual=bool(outputs["unusual"][0]) if "unusual" in outputs else None,
        reconstruction=_reconstruction(trial, outputs["reconstruction"][0]) if outputs else None,
        carried=carried,
        square=square,
    )


def typical_row(trial: Trial) -> np.ndarray:
    """A row to begin with: a real one, or the middle of each column's range and its first word.

    Returns:
        ``float64`` of shape ``(columns,)``.
    """
    if len(trial.examples):
        return real_row(trial, 0)
    return np.array([_middle(column) for column in trial.columns])


def real_row(trial: Trial, number: int) -> np.ndarray:
    """One of the real examples as a row of numbers, of 32 bits by the fewest digits that tell them.

    Returns:
        ``float64`` of shape ``(columns,)``.
    """
    row = trial.examples[number]
    if row.dtype == np.float32:
        return np.array([float(str(value)) for value in row])
    return row.astype(np.float64)


def ground(trial: Trial) -> np.ndarray:
    """What covers a picture: the mean of the real examples, or a middle grey where there are few.

    Returns:
        A raw picture.
    """
    if len(trial.examples) > 1:
        mean = trial.examples.mean(axis=0, dtype=np.float64)
    else:
        mean = np.full(trial.shape, sum(trial.value_range) / 2)
    dtype = np.dtype(trial.model.dtype)
    return (np.round(mean) if dtype.kind in "iu" else mean).astype(dtype)


def _unfit(version: Path, expected: str, but: str) -> UserError:
    return UserError(
        setting="model",
        given=version,
        expected=expected,
        but=but,
        remedy="export a fine-tuned or distilled run, or ask this one with predict",
    )


# -- What is known of it ---------------------------------------------------------------------------


def _examples(folder: Path, metadata: dict, model) -> np.ndarray:
    """Real raw examples: those of the requests that a server warms up with.

    A format that is one file has none; a SavedModel of the same run beside it may.
    """
    found = _warmed_up_with(folder, model)
    if len(found) or (folder / "saved_model.pb").is_file():
        return found
    beside = newest_version(folder.resolve().parents[1], "saved_model")
    return _warmed_up_with(beside, model) if _is_of_same_run(beside, metadata) else found


def _is_of_same_run(beside: Path | None, metadata: dict) -> bool:
    if beside is None:
        return False
    try:
        other = read_json(beside / "metadata.json")
    except (OSError, ValueError):
        return False
    keys = ("run", "data_fingerprint", "metrics")
    return isinstance(other, dict) and all(other.get(key) == metadata.get(key) for key in keys)


def _warmed_up_with(folder: Path, model) -> np.ndarray:
    none = np.empty((0, *model.shape), model.dtype)
    try:
        requests = read_warmup(folder)
        inputs = [
            {name: tf.make_ndarray(given) for name, given in request.inputs.items()}
            for request in requests
            if request.model_spec.signature_name == "serving_default"
        ]
        found = [_raw(given, model) for given in inputs]
    # Removed with good reason, damaged, or of another model: it can be tried without.
    except Exception:
        return none
    fitting = [x for x in found if x.shape[1:] == tuple(model.shape)]
    return max(fitting, key=len, default=none)


def _raw(inputs: dict[str, np.ndarray], model) -> np.ndarray:
    if model.schema is None:
        (x,) = inputs.values()
        return x.astype(model.dtype)
    given = {name: tf.constant(cells) for name, cells in inputs.items()}
    return to_matrix(given, model.schema).numpy()


def _columns(model, summary: ExampleSummary | None) -> Schema:
    """The columns of a table, or of rows of numbers, which have none that are named."""
    if model.schema is not None:
        return model.schema
    (count,) = model.shape
    low = high = [None] * count
    if summary is not None and summary.columns is not None and len(summary.columns[0]) == count:
        low, high = summary.columns
    names = [f"value {number}" for number in range(1, count + 1)]
    ends = zip(names, low, high, strict=True)
    return Schema(columns=tuple(Column(name=n, kind="number", low=a, high=b) for n, a, b in ends))


def _middle(column: Column) -> float:
    if column.kind == "category":
        return 0.0 if column.vocabulary else np.nan
    if column.low is None:
        return 0.0
    middle = (column.low + column.high) / 2
    return middle if column.kind == "number" else float(np.floor(middle))


def _questions(model) -> int:
    """How many examples are answered in a third of a second, measured on blank ones."""
    blank = np.zeros((_TIMED, *model.shape), model.dtype)
    model(blank)  # the first call prepares
    if (reconstruct := getattr(model, "reconstruct", None)) is not None:
        reconstruct(blank[:1])
    began = time.perf_counter()
    model(blank)
    return max(int(_SECONDS * _TIMED / (time.perf_counter() - began)), 1)


# -- What carries an answer ------------------------------------------------------------------------


def _carried_by_columns(trial: Trial, x: np.ndarray, label: int) -> np.ndarray | None:
    count = trial.num_explained
    others = trial.examples if len(trial.examples) else typical_row(trial)[None]
    others = others[: trial.questions // count].astype(np.float64)
    if not len(others):
        return None

    def probabilities_of(first: np.ndarray) -> np.ndarray:
        # Of very many columns only the first ones are changed.
        rows = np.repeat(x[None], len(first), axis=0)
        rows[:, :count] = first
        return trial.model(rows)

    changed = changes_by_column(
        probabilities_of, x[None, :count], np.array([label]), others[:, :count]
    )
    return changed[0]


# -- What it is reconstructed as -------------------------------------------------------------------


def _reconstruction(trial: Trial, output: np.ndarray) -> np.ndarray | list[str] | None:
    """What an autoencoder makes of an example, as people see it."""
    if trial.columns is None:
        shape = _picture_shape(trial.shape, output)
        return None if shape is None else raw_values(output[None], shape, trial.value_range)[0]
    if trial.model.schema is not None:
        return _texts_by_column(trial, output)
    if trial.summary is None or output.size != len(trial.columns):
        return None
    return [f"{value:.4g}" for value in raw_values(output, trial.shape, _ranges(trial))[0]]


def _picture_shape(shape: tuple[int, ...], output: np.ndarray) -> tuple[int, ...] | None:
    """The shape of a reconstruction: as the example, unless the autoencoder takes another size."""
    if output.ndim == 3 and output.shape[2] in (1, 3):
        return output.shape
    if output.size == np.prod(shape):
        return shape
    for channels in (1, 3):
        side = round((output.size / channels) ** 0.5)
        if side * side * channels == output.size:
            return (side, side, channels)
    return None


def _ranges(trial: Trial):
    return trial.summary.scaling_range


def _texts_by_column(trial: Trial, output: np.ndarray) -> list[str] | None:
    """The value of each column that the autoencoder thinks most likely; "" for one it lacks."""
    note, schema = trial.metadata.get("features"), trial.columns
    if trial.summary is None or trial.summary.columns is None or not isinstance(note, list):
        return None
    features = [Feature(*feature) for feature in note]
    if len(features) != output.size:
        return None
    places = {column.name: place for place, column in enumerate(schema)}
    numbers = np.full((1, len(schema)), np.nan)
    likeliest = dict.fromkeys(places, (-np.inf, np.nan))
    for feature, value in zip(features, output.ravel().tolist(), strict=True):
        place = places.get(feature.column)
        if place is None:  # an autoencoder of another table knows further columns
            continue
        column = schema.columns[place]
        if feature.kind == VALUE:
            numbers[0, place] = value
        elif column.kind == "category" and value > likeliest[column.name][0]:
            likeliest[column.name] = (value, _code(feature, column))
    row = raw_rows(numbers, _ranges(trial))
    for place, column in enumerate(schema):
        if column.kind == "number":  # no more digits than it knows
            row[0, place] = float(f"{row[0, place]:.4g}")
    known = {feature.column for feature in features}
    for name, (value, code) in likeliest.items():
        if np.isfinite(value):
            row[0, places[name]] = code
    texts = schema.texts_of(row)[0]
    return [text if name in known else "" for name, text in zip(schema.names, texts, strict=True)]


def _code(feature: Feature, column: Column) -> float:
    if feature.kind == MISSING:
        return np.nan
    if feature.kind == OTHER or feature.word not in column.vocabulary:
        return float(column.words.index(OTHER_WORD))
    return float(column.vocabulary.index(feature.word))
