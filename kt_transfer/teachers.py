"""Teachers of any origin: run folders, Keras files, SavedModels; alone or several together."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from kt_transfer.data import Dataset
from kt_transfer.errors import UserError
from kt_transfer.models.adapting import Expected, adapting_model, why_not
from kt_transfer.models.bodies import scales_itself
from kt_transfer.runs import Run
from kt_transfer.sources import in_a_sentence, load_file, require_examples, shape_for

# Examples on which logits and probabilities are told apart.
NUM_LOOKED_AT = 256
_NO_PROBABILITY = 1e-12
_NEVER = -1e4


class Teacher(NamedTuple):
    """A teacher as a Keras model, and what it costs.

    Attributes:
        model: From raw examples to logits.
        class_names: What the logits are of; ``None`` where it does not say.
        num_parameters: Numbers in its weights.
        num_bytes: What it takes on disk.
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
) -> Teacher:
    """The teachers as one, averaged in probability.

    Args:
        paths: Run folders, ``FILE.keras``, folders of SavedModels.
        opened: For each its run, as from :func:`~kt_transfer.runs.open_teacher`.
        data: Raw examples, and the student's classes.
        output: What a file or a SavedModel emits: ``"logits"``, ``"probabilities"`` or ``"auto"``
            to tell it from its last layer or output's name, and from what it emits.
        value_range: What the smallest and largest raw value become for a file or SavedModel
            (default for a file: -1 and 1, or as they are where it begins with a scaling of its
            own; for a SavedModel: as they are).
        weights: One for each teacher, in proportion (default: all alike).
        class_map: The student's class for classes of the teachers; several may become one, and
            those that are left out are dropped.
        shares_classes: Whether the logits are to be of the student's classes; otherwise there
            is one teacher, for its features.

    Raises:
        UserError: If one cannot be had, or does not fit.
    """
    if class_map and shares_classes:
        _require_known(f"a class of {data.spec}", class_map.values(), data.class_names)
    teachers = []
    for number, (path, run) in enumerate(zip(paths, opened, strict=True), 1):
        if run is not None:
            teacher = _from_run(run, data)
        elif path.is_dir():
            teacher = _from_saved_model(path, data, output, value_range)
        else:
            teacher = _from_file(path, data, output, value_range)
        if shares_classes:
            teacher = _of_students_classes(path, teacher, data, class_map)
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


def tell_output(said: str | None, rows: np.ndarray) -> str | None:
    """Whether a model emits logits or probabilities.

    Args:
        said: What its last layer or the name of its output says: ``"logits"``,
            ``"probabilities"`` or ``None``.
        rows: What it emits for some examples, ``(n, classes)``.

    Returns:
        ``"logits"`` or ``"probabilities"``; ``None`` where that is in doubt: values from 0 to 1
        that do not sum to one, or that do where logits were announced.

    Example:
        >>> tell_output(None, np.array([[2.0, -1.0]])), tell_output(None, np.array([[0.3, 0.7]]))
        ('logits', 'probabilities')
        >>> print(tell_output(None, np.array([[0.3, 0.3]])))
        None
    """
    within = bool(((rows >= 0) & (rows <= 1)).all())
    sums_to_one = within and bool(np.allclose(rows.sum(axis=1), 1.0, atol=1e-3))
    if said == "logits":
        return None if sums_to_one else "logits"
    if said == "probabilities" or sums_to_one:
        return "probabilities" if sums_to_one else None
    return None if within else "logits"


def _from_run(run: Run, data: Dataset) -> Teacher:
    if run.is_autoencoder:
        raise UserError(
            f"--teacher {run.path} was given, expected a classifier, but it is an autoencoder: "
            f"run `python -m kt_transfer.finetune --source {run.path}` first."
        )
    names, preprocessing = run.label_names, run.load_model("preprocessing.keras")
    require_examples(run, preprocessing, data)
    network = run.load_model()
    model = keras.Model(preprocessing.input, network(preprocessing.output))
    size = os.path.getsize(run.path / "model.keras")
    return Teacher(model, names, network.count_params(), size)


def _from_file(path: Path, data: Dataset, output: str, value_range) -> Teacher:
    network = load_file(path, "--teacher")
    try:
        if len(getattr(network, "inputs", ())) != 1 or len(network.outputs) != 1:
            raise ValueError("has not one input and one output")
        shape = shape_for(network.inputs[0], data)
        values = value_range or (None if scales_itself(network) else (-1.0, 1.0))
        adapt = _adapting(data, Expected(shape, values=values))
        model = keras.Model(adapt.input, network(adapt.output))
        _require_row(model.output_shape)
    except ValueError as error:
        raise _misfit(path, data, f"it {in_a_sentence(error)}") from error
    model = _emitting_logits(path, model, data, output, _ending(network))
    return Teacher(model, None, network.count_params(), os.path.getsize(path))


def _from_saved_model(path: Path, data: Dataset, output: str, value_range) -> Teacher:
    loaded, signature = _load_signature(path)
    inputs = signature.structured_input_signature[1]
    if len(inputs) != 1:
        raise _misfit(path, data, f"it takes {len(inputs)} inputs ({', '.join(inputs)})")
    ((key, spec),) = inputs.items()
    name = _named_output(path, data, signature.structured_outputs)
    try:
        shape = tuple(spec.shape[1:]) if spec.shape.rank else data.input_shape
        adapt = _adapting(data, Expected(_filled(shape, data), values=value_range))
        answer = signature(**{key: _as_type(adapt(data.x[:1]), spec.dtype)})[name]
        _require_row(answer.shape)
    except (ValueError, tf.errors.OpError) as error:
        raise _misfit(path, data, f"it {in_a_sentence(error)}") from error
    served = _Served(loaded, signature, key, spec.dtype, name, answer.shape[-1])
    model = keras.Model(adapt.input, served(adapt.output))
    said = {"probabilities": "probabilities", "softmax": "probabilities", "logits": "logits"}
    model = _emitting_logits(path, model, data, output, said.get(name))
    num_parameters = sum(int(np.prod(variable.shape)) for variable in signature.variables)
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return Teacher(model, _names_of_export(path), num_parameters, size)


class _Served(layers.Layer):
    """One output of a SavedModel's signature."""

    def __init__(self, loaded, signature, key: str, dtype, name: str, width: int):
        super().__init__(trainable=False)
        # In a closure, where Keras does not look; the loaded model has to stay alive.
        self._answer = lambda x: (loaded, signature(**{key: _as_type(x, dtype)})[name])[1]
        self._width = width
        self.supports_jit = False  # it may hold what XLA does not know, such as words

    def call(self, x):
        return ops.cast(self._answer(x), "float32")

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self._width)


def _load_signature(path: Path):
    try:
        loaded = tf.saved_model.load(os.fspath(path))
        return loaded, loaded.signatures["serving_default"]
    except (OSError, ValueError, KeyError, AttributeError, tf.errors.OpError) as error:
        raise UserError(
            f"--teacher {path} was given, expected a SavedModel with the signature "
            f"serving_default, but it cannot be had ({in_a_sentence(error)}): give a run folder, a "
            ".keras file, or a SavedModel such as TF Serving takes."
        ) from error


def _named_output(path: Path, data: Dataset, outputs: dict) -> str:
    """The output to learn from: by its name, or the only one there is."""
    for name in ("probabilities", "logits", "softmax"):
        if name in outputs:
            return name
    if len(outputs) == 1:
        return next(iter(outputs))
    raise _misfit(
        path, data, f"none of its outputs ({', '.join(outputs)}) is probabilities or logits"
    )


def _names_of_export(path: Path) -> list[str] | None:
    """The classes, where the SavedModel is one of our exports."""
    try:
        return json.loads((path / "metadata.json").read_text())["labels"] or None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _adapting(data: Dataset, expected: Expected) -> keras.Model:
    if reason := why_not(data.input_shape, expected):
        raise ValueError(f"does not fit: {reason}")
    return adapting_model(data.input_shape, data.value_range, data.x.dtype, expected)


def _filled(shape: tuple, data: Dataset) -> tuple[int, ...]:
    if None not in shape:
        return shape
    if len(shape) != len(data.input_shape):
        raise ValueError(f"takes examples of shape {shape}")
    return tuple(b if a is None else a for a, b in zip(shape, data.input_shape, strict=True))


def _as_type(x, dtype):
    return tf.cast(tf.round(x) if dtype.is_integer else x, dtype)


def _require_row(shape) -> None:
    if len(shape) != 2 or shape[-1] is None or shape[-1] < 2:
        raise ValueError(f"emits {tuple(shape)[1:]} for an example, expected a number for a class")


def _ending(model: keras.Model) -> str | None:
    """What the last layer of a model says that it emits."""
    last = keras.Model(model.input, model.output).operations[-1]
    if isinstance(last, keras.Model):
        return _ending(last)
    activation = getattr(getattr(last, "activation", None), "__name__", None)
    if activation == "softmax" or type(last).__name__ == "Softmax":
        return "probabilities"
    return "logits" if isinstance(last, layers.Dense) and activation == "linear" else None


def _emitting_logits(path, model: keras.Model, data: Dataset, output: str, said: str | None):
    if output == "auto":
        output = tell_output(said, model.predict(data.x[:NUM_LOOKED_AT], verbose=0))
    if output is None:
        raise UserError(
            f"--teacher {path} was given, expected one whose last layer or output tells logits "
            "from probabilities, but here that is in doubt: say which it emits with "
            "--teacher-output logits or --teacher-output probabilities."
        )
    return model if output == "logits" else keras.Model(model.input, _logarithm(model.output))


def _logarithm(probabilities):
    return ops.log(ops.maximum(probabilities, 1e-30))


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
            f"--teacher {path} was given with {_classes(names)}, but {data.spec} has "
            f"{_classes(data.class_names)}: teacher and student need the same classes; give "
            "data or a teacher that has them, --class-map FILE.json, or --hint LAYER with "
            "--loss none."
        )
    return teacher


def _mapped(path, model: keras.Model, names: list[str], data: Dataset, class_map: dict):
    """Logits of the student's classes: what is mapped to one adds up, in probability."""
    pairs = [
        (number, data.class_names.index(class_map[name]))
        for number, name in enumerate(names)
        if name in class_map
    ]
    if not pairs:
        raise UserError(
            f"--class-map was given, but it names no class of --teacher {path} "
            f"({_classes(names)}): map the teacher's classes to the student's."
        )
    mask = np.full((len(names), data.num_classes), _NEVER, np.float32)
    mask[tuple(zip(*pairs, strict=True))] = 0.0
    log_p = ops.expand_dims(ops.log_softmax(model.output), -1)
    return keras.Model(model.input, ops.logsumexp(log_p + mask[None], axis=1))


def _require_known(what: str, given, known) -> None:
    if unknown := sorted(set(given) - set(known)):
        raise UserError(
            f"--class-map names {unknown[0]!r}, expected {what} ({_classes(sorted(known))}): "
            "correct the file."
        )


def _together(teachers: list[Teacher], data: Dataset, weights) -> keras.Model:
    """Logits of the weighted mean of several teachers' probabilities."""
    shares = np.asarray(weights or [1.0] * len(teachers), np.float64)
    raw = keras.Input(data.input_shape, dtype=str(data.x.dtype), name="raw")
    mean = sum(
        float(share) * ops.softmax(teacher.model(raw))
        for share, teacher in zip(shares / shares.sum(), teachers, strict=True)
    )
    return keras.Model(raw, ops.log(ops.maximum(mean, _NO_PROBABILITY)), name="teachers")


def _misfit(path, data: Dataset, reason: str) -> UserError:
    return UserError(
        f"--teacher {path} was given, expected a classifier that examples of {data.spec} can be "
        f"made to fit, but {reason}: give another teacher, or other --data."
    )


def _classes(names) -> str:
    shown = ", ".join(list(names)[:10]) + (", …" if len(names) > 10 else "")
    return f"{len(names)} classes ({shown})"
