"""Teachers of any origin, run folders, Keras files and SavedModels, and ensembles of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from kt_transfer.data import Dataset
from kt_transfer.data.example_summary import ExampleSummary
from kt_transfer.errors import UserError, named, settings_named
from kt_transfer.models.outputs import (
    infer_output_kind,
    output_kind_of_last_layer,
    with_logarithm,
    with_mapped_classes,
)
from kt_transfer.runs.folder import Run
from kt_transfer.serving.inspection import require_harmless
from kt_transfer.serving.served_layer import ServedLayer, names_of_export, note_of_export
from kt_transfer.sources.adapting import (
    Expected,
    adapted,
    describe_for,
    why_incompatible,
    with_own_features,
)
from kt_transfer.sources.loading import (
    adaptation_to,
    fill_shape,
    in_a_sentence,
    load_file,
    misfit,
    preprocessing_for_new,
    shape_for,
    values_for,
)

# Number of examples used to distinguish logits from probabilities.
NUM_PROBED = 256
_NO_PROBABILITY = 1e-12
# Most and fewest examples on which a teacher is evaluated, and the batch size.
_MOST_EVALUATED, _FEWEST_EVALUATED, _BATCH_SIZE = 500, 20, 64
# Ranges of values that a model of unknown origin may have been trained on.
_USUAL_VALUES = ((-1.0, 1.0), (0.0, 1.0), (0.0, 255.0))
_BEYOND_CHANCE = 1.645  # standard deviations, one-sided, 95 %
# A teacher with a lower error rate is not tried with other ranges of values.
_SMALL_ERROR = 0.02


class Teacher(NamedTuple):
    """A teacher as a Keras model, and its size.

    Attributes:
        model: Model from raw examples to logits.
        class_names: Names of its classes; ``None`` if unknown.
        num_parameters: Number of parameters.
        num_bytes: Size on disk.
    """

    model: keras.Model
    class_names: list[str] | None
    num_parameters: int
    num_bytes: int


def load_teachers(
    paths: Sequence[Path],
    opened: Sequence[Run | None],
    data: Dataset,
    *,
    output: str = "auto",
    value_range: tuple[float, float] | None = None,
    weights: Sequence[float] | None = None,
    class_map: dict[str, str] | None = None,
    shares_classes: bool = True,
    say: Callable[[str], None] = lambda line: None,
    trust: bool = False,
) -> Teacher:
    """Load teachers and average their probabilities.

    Args:
        paths: Run folders, ``FILE.keras`` and folders of SavedModels.
        opened: The run of each, as from :func:`~kt_transfer.runs.folder.open_teacher`.
        data: Raw examples, and the student's classes.
        output: Output of a file or SavedModel: ``"logits"``, ``"probabilities"``, or ``"auto"`` to
            infer it from the last layer or the name of the output, and from output values.
        value_range: The values that the smallest and largest raw value become for a file or
            SavedModel (default for a file: -1 and 1, or unscaled if it scales its own input; for a
            SavedModel: unscaled).
        weights: Relative weight of each teacher (default: equal weights).
        class_map: The student's class for each class of the teachers; several may map to one, and
            classes that are left out are dropped.
        shares_classes: Whether logits are for the student's classes; otherwise there is one
            teacher, for its features.
        say: Function that prints messages about how examples are adapted.
        trust: Whether to load SavedModels without inspecting their graphs.

    Raises:
        UserError: If a teacher cannot be loaded, does not match the data, or is far more accurate
            with another range of values than the default one.
    """
    if class_map and shares_classes:
        _require_known(f"a class of {data.spec}", class_map.values(), data.class_names)
    teachers = []
    for number, (path, run) in enumerate(zip(paths, opened, strict=True), 1):
        open_one = _open_saved_model if path.is_dir() else _open_file
        if run is None and path.is_dir() and not trust:
            _require_harmless(path, data)
        foreign = None if run is not None else open_one(path, data, value_range, say)

        def load(values, path=path, run=run, foreign=foreign):
            if foreign is None:
                teacher = _from_run(run, data, say)
            else:
                teacher = _from_foreign(path, foreign, data, output, values)
            return (
                _of_students_classes(path, teacher, data, class_map) if shares_classes else teacher
            )

        teacher = load(foreign and foreign.values)
        if foreign is not None and value_range is None and shares_classes:
            _require_right_values(path, teacher, foreign, data, load)
        teacher.model.name = f"teacher_{number}"
        teachers.append(teacher)
    if class_map and shares_classes:
        known = {name for teacher in teachers for name in teacher.class_names}
        _require_known("a class of the teacher", class_map, known)
    return Teacher(
        teachers[0].model if len(teachers) == 1 else _together(teachers, data, weights),
        list(data.class_names) if shares_classes else teachers[0].class_names,
        sum(teacher.num_parameters for teacher in teachers),
        sum(teacher.num_bytes for teacher in teachers),
    )


def _from_run(run: Run, data: Dataset, say: Callable) -> Teacher:
    with settings_named(run="teacher"):
        network, raw = run.load_classifier()
    preprocessing = preprocessing_for_new(run, raw, data, say)
    model = keras.Model(preprocessing.input, network(preprocessing.output))
    size = os.path.getsize(run.path / "model.keras")
    return Teacher(model, run.label_names, network.count_params(), size)


class _Foreign(NamedTuple):
    """A model from elsewhere, whose preprocessing is unknown."""

    network: keras.Model | ServedLayer
    shape: tuple[int, ...]
    values: tuple[float, float] | None
    declared: str | None
    class_names: list[str] | None
    num_parameters: int
    num_bytes: int


def _open_file(path: Path, data: Dataset, value_range, say: Callable) -> _Foreign:
    network = load_file(path, "teacher")
    try:
        if len(getattr(network, "inputs", ())) != 1 or len(network.outputs) != 1:
            raise ValueError("has not one input and one output")
        shape = shape_for(network.inputs[0], data)
        values = values_for(network, data, value_range)
        if values not in (None, value_range, (-1.0, 1.0)):
            expected = Expected(shape, values=values)
            say(describe_for(data, expected, who=str(path)))
        emitted = network.output_shape
        if len(emitted) != 2 or emitted[-1] < 2:
            raise ValueError(f"emits {emitted[1:]} for an example, expected a number for a class")
    except ValueError as error:
        raise _misfit(path, data, error) from error
    size = os.path.getsize(path)
    declared, num_parameters = output_kind_of_last_layer(network), network.count_params()
    return _Foreign(network, shape, values, declared, None, num_parameters, size)


def _require_harmless(path: Path, data: Dataset) -> None:
    try:
        require_harmless(path, "teacher", "trust_teacher")
    except ValueError as error:
        raise _misfit(path, data, error) from error


def _open_saved_model(path: Path, data: Dataset, value_range, say: Callable) -> _Foreign:
    try:
        served = ServedLayer(path)
        spec = served.input_spec_of_signature
        shape = tuple(spec.shape[1:]) if spec.shape.rank else data.input_shape
        shape = fill_shape(shape, data)
        adapt = _adapting(data, Expected(shape, values=value_range))
        if value_range is None:
            summary = ExampleSummary.from_note(note_of_export(path, "made_for"))
            if message := adaptation_to(path, summary, spec.dtype.name, data):
                say(message)
        served.measure(adapt(data.x[:1]))
    except ValueError as error:
        raise _misfit(path, data, error) from error
    counts = served.num_parameters, served.num_bytes
    return _Foreign(served, shape, value_range, served.declared, names_of_export(path), *counts)


def _from_foreign(path: Path, foreign: _Foreign, data: Dataset, output: str, values) -> Teacher:
    try:
        adapt = _adapting(data, Expected(foreign.shape, values=values))
        model = keras.Model(adapt.input, foreign.network(adapt.output))
    except ValueError as error:
        raise _misfit(path, data, error) from error
    model = _emitting_logits(path, model, data, output, foreign.declared)
    return Teacher(model, foreign.class_names, foreign.num_parameters, foreign.num_bytes)


def _require_right_values(path, teacher: Teacher, foreign: _Foreign, data: Dataset, load) -> None:
    """Refuse a model whose error rate halves with another usual range of values."""
    rows = _evaluation_rows(data)
    right = _is_correct(teacher.model, data, rows)
    shown = foreign.values or data.value_range
    for values in (data.value_range, *_USUAL_VALUES):
        if values == shown or (~right).mean() <= _SMALL_ERROR:
            continue
        try:
            other = _is_correct(load(values).model, data, rows)
        except UserError:  # with this range its outputs are not those of a classifier
            continue
        gained, lost = (other & ~right).sum(), (right & ~other).sum()
        halved = (~other).mean() < 0.5 * (~right).mean()
        if halved and gained - lost > 3 * np.sqrt(gained + lost):
            raise UserError(
                setting="teacher",
                given=path,
                expected="one that is right when it is shown values in "
                f"[{shown[0]:g}, {shown[1]:g}]",
                but=f"it is so for {right.mean():.1%} of {len(rows)} labelled examples of "
                f"{data.spec}, and for {other.mean():.1%} when it is shown values in "
                f"[{values[0]:g}, {values[1]:g}]",
                remedy="say which it takes, with "
                f"{named('teacher_range', tuple(map(float, values)))} or "
                f"{named('teacher_range', tuple(map(float, shown)))}",
            )


def no_better_than_chance(model: keras.Model, data: Dataset) -> str | None:
    """Describe a teacher that does not beat chance; ``None`` for one that does.

    A teacher beats chance if its accuracy is significantly higher than the frequency of the most
    frequent class, or its balanced accuracy significantly higher than 1 / K for K classes
    (one-sided, 5 %). With too few labels it gets the benefit of the doubt.

    Args:
        model: Model from raw examples to logits of the data's classes.
        data: Labelled examples.
    """
    rows = _evaluation_rows(data)
    if len(rows) < _FEWEST_EVALUATED:
        return None
    return why_at_chance(_is_correct(model, data, rows), data.y[rows], data)


def why_at_chance(right: np.ndarray, y: np.ndarray, data: Dataset) -> str | None:
    """The same from the answers to some examples.

    Args:
        right: Whether each answer is right, shape ``(n,)``.
        y: Labels of the examples, ``(n,)``.
        data: What they are examples of.
    """
    if len(y) < _FEWEST_EVALUATED:
        return None
    counts = np.bincount(y, minlength=data.num_classes)
    counts = counts[counts > 0]
    most = counts.max() / len(y)
    if len(counts) == 1:
        return None
    recalls = [right[y == number].mean() for number in np.unique(y)]
    one_of = 1 / len(counts)
    spread = np.sqrt(most * (1 - most) / len(y))
    balanced_spread = np.sqrt((one_of * (1 - one_of) / counts).sum()) / len(counts)
    if (
        right.mean() > most + _BEYOND_CHANCE * spread
        or np.mean(recalls) > one_of + _BEYOND_CHANCE * balanced_spread
    ):
        return None
    return (
        f"it is right for {right.mean():.1%} of {len(y)} labelled examples of {data.spec}, where "
        f"the most frequent class alone is right for {most:.1%}"
    )


def _evaluation_rows(data: Dataset) -> np.ndarray:
    """A fixed random sample of labelled examples."""
    labelled = np.flatnonzero(data.y >= 0)
    if len(labelled) > _MOST_EVALUATED:
        drawn = np.random.default_rng(0).choice(labelled, _MOST_EVALUATED, replace=False)
        labelled = np.sort(drawn)
    return labelled


def _is_correct(model: keras.Model, data: Dataset, rows: np.ndarray) -> np.ndarray:
    """Whether the model predicts the label of each of these examples."""
    predicted = [
        ops.convert_to_numpy(model(data.x[part], training=False)).argmax(axis=1)
        for part in np.split(rows, range(_BATCH_SIZE, len(rows), _BATCH_SIZE))
        if len(part)
    ]
    return np.concatenate([*predicted, np.empty(0, int)]) == data.y[rows]


def _adapting(data: Dataset, expected: Expected) -> keras.Model:
    expected = with_own_features(expected, data)
    if reason := why_incompatible(data.input_shape, expected, data.schema):
        raise ValueError(f"does not fit: {reason}")
    return adapted(data, expected)


def _emitting_logits(path, model: keras.Model, data: Dataset, output: str, declared: str | None):
    if output == "auto":
        rows = model(data.x[:NUM_PROBED], training=False)
        output = infer_output_kind(declared, ops.convert_to_numpy(rows))
    if output is None:
        raise UserError(
            setting="teacher",
            given=path,
            expected="one whose last layer or output tells logits from probabilities",
            but="here that is in doubt",
            remedy=f"say which it emits with {named('teacher_output', 'logits')} or "
            f"{named('teacher_output', 'probabilities')}",
        )
    return model if output == "logits" else with_logarithm(model)


def _of_students_classes(path, teacher: Teacher, data: Dataset, class_map) -> Teacher:
    width = teacher.model.output_shape[-1]
    names = teacher.class_names or [str(number) for number in range(width)]
    if class_map:
        return teacher._replace(
            model=_mapped(path, teacher.model, names, data, class_map), class_names=names
        )
    wrong_names = teacher.class_names and teacher.class_names != list(data.class_names)
    if wrong_names or width != data.num_classes:
        raise UserError(
            setting="teacher",
            given=path,
            when=f"with {_classes(names)}",
            but=f"{data.spec} has {_classes(data.class_names)}",
            remedy="teacher and student need the same classes; give data or a teacher that has "
            f"them, {named('class_map', 'FILE.json')}, or {named('hint', 'LAYER')} with "
            f"{named('loss', 'none')}",
        )
    return teacher


def _mapped(path, model: keras.Model, names: list[str], data: Dataset, class_map: dict):
    """Map logits to the student's classes, summing probabilities of merged classes."""
    pairs = [
        (number, data.class_names.index(class_map[name]))
        for number, name in enumerate(names)
        if name in class_map
    ]
    if not pairs:
        raise UserError(
            setting="class_map",
            but=f"it names no class of {named('teacher', path)} ({_classes(names)})",
            remedy="map the teacher's classes to the student's",
        )
    return with_mapped_classes(model, pairs, data.num_classes)


def _require_known(what: str, given, known) -> None:
    if unknown := sorted(set(given) - set(known)):
        raise UserError(
            f"{named('class_map')} names {unknown[0]!r}, expected {what} "
            f"({_classes(sorted(known))}): correct the file."
        )


def _together(teachers: list[Teacher], data: Dataset, weights) -> keras.Model:
    """Logits of the weighted mean of the teachers' probabilities."""
    shares = np.asarray(weights or [1.0] * len(teachers), np.float64)
    raw = keras.Input(data.input_shape, dtype=str(data.x.dtype), name="raw")
    mean = sum(
        float(share) * ops.softmax(teacher.model(raw))
        for share, teacher in zip(shares / shares.sum(), teachers, strict=True)
    )
    return keras.Model(raw, ops.log(ops.maximum(mean, _NO_PROBABILITY)), name="teachers")


def _misfit(path, data: Dataset, error: Exception) -> UserError:
    return misfit(path, data, f"it {in_a_sentence(error)}", "teacher", "a classifier")


def _classes(names) -> str:
    shown = ", ".join(list(names)[:10]) + (", …" if len(names) > 10 else "")
    return f"{len(names)} classes ({shown})"
