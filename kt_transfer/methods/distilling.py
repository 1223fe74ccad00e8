"""How distill trains a student, and the same student without a teacher."""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

import keras
import numpy as np

from kt_transfer.data import Dataset
from kt_transfer.data.rows import quarter_of_memory, take_rows
from kt_transfer.engine.fused_model import FusedModel, is_faster_compiled, scaling
from kt_transfer.errors import TrainingFailed, UserError
from kt_transfer.files.reading import read_json
from kt_transfer.models.classifiers import classifier, dense_encoder
from kt_transfer.reporting.gained import compare_answers
from kt_transfer.reporting.speed import measure_speeds
from kt_transfer.runs import recording, session
from kt_transfer.runs.folder import Run
from kt_transfer.settings import DistillConfig, augmentation_of
from kt_transfer.sources.adapting import adapting_model, describe
from kt_transfer.sources.loading import load_student
from kt_transfer.sources.teachers import Teacher, load_teachers, no_better_than_chance
from kt_transfer.training.augmentation import augmentation
from kt_transfer.training.distiller import Distiller
from kt_transfer.training.diverging import StopOnDivergence
from kt_transfer.training.fitting import fit_in_folder
from kt_transfer.training.schedules import hints_first, learning_rate_callbacks


class Task(NamedTuple):
    """A student, its teacher, and what it is to learn from; labels are -1 where unknown."""

    config: DistillConfig
    run: Run
    data: Dataset
    teacher: Teacher
    student: keras.Model
    preprocessing: keras.Model
    labels: np.ndarray
    train: np.ndarray
    validation: np.ndarray


def build_teacher(config: DistillConfig, opened: list[Run | None], data: Dataset) -> Teacher:
    """The teachers that the settings name, as one that knows something of the labels."""
    _augmentation(config, data)  # what cannot be is said before teachers are asked
    teacher = load_teachers(
        config.teacher,
        opened,
        data,
        output=config.teacher_output,
        value_range=config.teacher_range,
        weights=config.teacher_weights,
        class_map=_class_map(config),
        shares_classes=config.loss != "none",
        say=session.say(config),
        trust=config.trust_teacher,
    )
    reason = None if config.loss == "none" else no_better_than_chance(teacher.model, data)
    if reason is None:
        return teacher
    names = " ".join(map(str, config.teacher))
    if config.teacher_range is None:
        raise UserError(
            f"--teacher {names} was given, expected one that knows something of the labels, but "
            f"{reason}: give another teacher, --class-map FILE.json if its classes have another "
            "order, or --teacher-range LOW HIGH to say which values it takes, and to go on in any "
            "case."
        )
    print(f"warning: --teacher {names} is no better than chance: {reason}", file=sys.stderr)
    return teacher


def build_student(config: DistillConfig, run: Run, data: Dataset):
    """The student, and the preprocessing that makes raw examples fit it."""
    if config.student is None:
        encoder = dense_encoder(data.input_dim, config.student_units)
        student = classifier(encoder, data.num_classes, name="student")
        return student, recording.preprocessing_for(student, data)
    student, expected = load_student(config.student, data, config.student_range)
    raw = data.raw_for(expected.by_column)
    line = describe(*raw[:2], expected, who="student")
    run.update_json("run.json", expects=expected.to_note(), adaptation=line)
    session.say(config)(line)
    return student, adapting_model(*raw, expected)


def distil(task: Task) -> list[dict]:
    """Fit the student to its teacher; the rows of the history, one an epoch."""
    config, data = task.config, task.data
    model = _distiller(task)
    # Once for every example, found again by its row: the teacher never runs in a step. Of views
    # that are new in every epoch it has to be asked each time.
    labels = task.labels[task.train]
    targets = labels if config.augment else _targets(model, data.x, labels, task.train)
    history = fit_in_folder(
        model,
        model.model,
        task.run,
        take_rows(data.x, task.train),
        targets,
        epochs=config.epochs,
        batch_size=config.batch_size,
        validation_data=_held_out(task, model),
        callbacks=_callbacks(config),
        title=f"distill {config.data}",
        quiet=config.quiet,
    )
    recording.note_execution(task.run, model)
    return history


def _distiller(task: Task) -> FusedModel:
    config = task.config
    distiller = _checked_distiller(task)
    distiller.compile(keras.optimizers.Adam(config.learning_rate), metrics=["accuracy"])
    return FusedModel(
        distiller,
        augment=_augmentation(task.config, task.data),
        seed=config.seed,
        jit_compile=_jit_choice(task),
    )


def _checked_distiller(task: Task) -> Distiller:
    """A distiller of raw examples, since a view of one is raw as well."""
    config = task.config
    try:
        return Distiller(
            teacher=task.teacher.model,
            student=on_raw(task.student, task.preprocessing),
            temperature=config.temperature,
            alpha=config.alpha,
            loss=config.loss,
            beta=config.beta,
            hint=config.hint,
            hint_student=config.hint_student,
            hint_weight=config.hint_weight,
            hint_loss=config.hint_loss,
        )
    except ValueError as error:
        raise UserError(
            f"--hint {config.hint} (--hint-student {config.hint_student}) was given, but {error}: "
            "name other layers, or give another teacher or student."
        ) from error


def on_raw(network: keras.Model, preprocessing: keras.Model) -> keras.Model:
    """A network as a model of raw examples, over the same layers."""
    return keras.Model(preprocessing.input, network(preprocessing.output), name=network.name)


def _augmentation(config: DistillConfig, data: Dataset):
    chosen = augmentation_of(config.augment)
    if chosen is None:
        return None
    if chosen[0] == "shift" and len(data.input_shape) < 2:
        raise UserError(
            f"--augment {config.augment} was given, expected images, but an example of "
            f"{data.spec} is a row of {data.input_dim} values: give noise:DEVIATION."
        )
    return augmentation(*chosen, data.scaling_range)


def _jit_choice(task: Task):
    choice = session.jit_choice(task.config)
    in_step = task.config.augment is not None
    if choice == "auto" and in_step and not is_faster_compiled(task.teacher.model):
        return False
    return choice


def _targets(model: FusedModel, x, labels: np.ndarray, rows: np.ndarray):
    ask = FusedModel(model.target_model).answers
    return model.complete_targets(take_rows(x, rows), labels, ask, quarter_of_memory())


def _held_out(task: Task, model: FusedModel):
    rows = task.validation
    if not len(rows):
        return None
    targets = _targets(model, task.data.x, task.data.y[rows], rows)
    return take_rows(task.data.x, rows), targets


def _callbacks(config: DistillConfig) -> list[keras.callbacks.Callback]:
    stages = [hints_first(config.hint_epochs, config.hint_weight)] if config.hint_epochs else []
    return stages + learning_rate_callbacks(
        config.lr_decay, config.learning_rate, config.epochs, config.warmup_epochs
    )


def is_scratch_worth_it(task: Task) -> bool:
    """Whether to train the same student without a teacher as well, to compare with."""
    config = task.config
    if not (task.labels[task.train] >= 0).any():
        return False
    return recording.wants_scratch(config, len(task.train), task.student)


def fit_from_scratch(task: Task, initial: list[np.ndarray]) -> keras.Model | None:
    """The same student from the same initial weights, trained on the labels alone; ``None`` where
    that diverges.

    It takes as many steps of as many examples: the labelled ones are repeated until they are
    as many as the examples that the distilled one sees in an epoch.
    """
    config = task.config
    fresh = type(task.student).from_config(task.student.get_config())
    fresh.set_weights(initial)
    recording.compile_classifier(fresh, keras.optimizers.Adam(config.learning_rate))
    labelled = task.train[task.labels[task.train] >= 0]
    repeated = np.resize(labelled, len(task.train))
    try:
        FusedModel(
            fresh,
            transform=scaling(task.preprocessing),
            augment=_augmentation(task.config, task.data),
            seed=config.seed,
            jit_compile=session.jit_choice(config),
        ).fit(
            take_rows(task.data.x, repeated),
            task.labels[repeated],
            batch_size=config.batch_size,
            epochs=config.epochs,
            callbacks=[
                *learning_rate_callbacks(
                    config.lr_decay, config.learning_rate, config.epochs, config.warmup_epochs
                ),
                StopOnDivergence(fresh),
            ],
            verbose=0,
        )
    except TrainingFailed as error:
        session.say(config)(f"without a teacher there is nothing to compare with: {error}")
        return None
    return fresh


def compare(task: Task, scratch: keras.Model | None) -> dict[str, dict]:
    """What ``metrics.json`` says of teacher, student from scratch and distilled student."""
    data, teacher = task.data, task.teacher
    size = os.path.getsize(task.run.path / "model.keras")
    models = {"teacher": (teacher.model, teacher.num_parameters, teacher.num_bytes)}
    for name, student in (("scratch", scratch), ("distilled", task.student)):
        if student is not None:
            models[name] = on_raw(student, task.preprocessing), student.count_params(), size
    says = {name: FusedModel(model).answers(data.x_test) for name, (model, *_) in models.items()}
    if task.config.loss == "none":  # its classes are others: there is nothing to compare
        del says["teacher"]
    quality = compare_answers(data.y_test, says)
    speeds = measure_speeds({name: model for name, (model, *_) in models.items()}, data.x_test)
    figures = {
        name: quality.get(name, {})
        | {"num_parameters": num_parameters, "num_bytes": num_bytes}
        | speeds[name]
        for name, (_, num_parameters, num_bytes) in models.items()
    }
    metrics = {"comparison": figures}
    if "teacher" in says:
        metrics["teacher"] = recording.test_metrics(data.y_test, says["teacher"])
        metrics["agreement_with_teacher"] = figures["distilled"]["agreement"]
    return metrics


def _class_map(config: DistillConfig) -> dict[str, str] | None:
    if config.class_map is None:
        return None
    try:
        found = read_json(config.class_map)
        if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
            raise ValueError("it is not an object of strings")
    except (OSError, ValueError) as error:
        raise UserError(
            f"--class-map {config.class_map} was given, expected a JSON file such as "
            f'{{"tabby": "cat"}}, but it cannot be read ({error}): correct it.'
        ) from error
    return found
