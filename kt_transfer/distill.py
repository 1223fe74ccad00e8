"""``python -m kt_transfer.distill``: train a small student from a teacher's soft targets."""

from __future__ import annotations

if __name__ == "__main__":  # --help and mistakes are answered before TensorFlow loads
    import sys

    from kt_transfer.shell.entry import main

    sys.exit(main(["distill", *sys.argv[1:]]))

import dataclasses
import os
import sys

import keras
import numpy as np

from kt_transfer.data import Dataset
from kt_transfer.data.rows import take_rows
from kt_transfer.data.splits import draw_and_hold_out, without_copies_of
from kt_transfer.engine.fused_model import FusedModel, scaling
from kt_transfer.errors import TrainingFailed, UserError, named
from kt_transfer.files.reading import read_json
from kt_transfer.methods import Distilled
from kt_transfer.methods.learning import (
    Examples,
    Problem,
    RepeatedFit,
    copy_of,
    held_out,
    labels_of,
    on_raw,
)
from kt_transfer.methods.steps import Steps
from kt_transfer.methods.views import views_of
from kt_transfer.models.classifiers import compile_classifier, dense_encoder
from kt_transfer.models.freezing import layers_with_weights
from kt_transfer.reporting.distillation import (
    compare_answers,
    format_gained,
    labels_where_answered,
)
from kt_transfer.reporting.layers import format_layers, layer_rows, layer_weights
from kt_transfer.reporting.plots import plot_gained
from kt_transfer.reporting.speed import measure_speeds
from kt_transfer.runs import folder as runs
from kt_transfer.runs import recording, session
from kt_transfer.runs.folder import Run
from kt_transfer.settings import DistillConfig, narrow
from kt_transfer.settings.calling import takes
from kt_transfer.sources.adapting import adapted, describe_for
from kt_transfer.sources.loading import like, load_student
from kt_transfer.sources.predictions import Predictions, read_predictions
from kt_transfer.sources.teachers import (
    Teacher,
    load_teachers,
    no_better_than_chance,
    why_at_chance,
)
from kt_transfer.tuning.few_labels import Folds


@takes(DistillConfig)
def run(config: DistillConfig) -> Run:
    """The command as a function; its settings are the fields of :class:`DistillConfig`.

    Example:
        >>> from kt_transfer import distill
        >>> distill.run(teacher=["runs/digits-teacher"], epochs=1, out="runs/small", quiet=True)
        Run('runs/small')
    """
    return execute(config)


def execute(config: DistillConfig) -> Run:
    """Strategy, data, teacher and student, fit, save, what was gained."""
    opened, first = open_teachers(config)
    config = reading_as(config, first)
    with session.start_run("distill", config) as run:
        strategy = recording.begin(run, config)
        data = load_data(config, first)
        data.require_labels()
        recording.check_data(session.say(config), data)
        said = predictions_of(config, run, data)
        labelled, validation = rows_with_labels(config, first, data)
        train = without_copies_of(validation, data.copies)
        if said is not None:
            train = _worth_learning(config, said, train, labelled)
        recording.note_data(run, data, train=train, labelled=labelled, validation=validation)
        views = views_of(config.augment, data.input_shape, data.noise_range)
        with strategy.scope():
            teacher = teacher_of(config, opened, data) if said is None else None
            student, preprocessing = student_of(config, run, data)
            problem = Problem(
                data.num_classes,
                len(train),
                flat=preprocessing,
                teacher=teacher and teacher.model,
                student=student,
                augment=views,
                jit_compile=session.jit_choice(config),
            )
            learner = _prepare(config, problem)
            learner.initialize(config.seed)
            layers = layers_with_weights(learner.network)
            before, initial = layer_weights(layers), learner.network.get_weights()
            examples = _examples(data, train, labelled, validation)
            watching = recording.watching(
                run, config.epochs, f"distill {config.data}", config.quiet
            )
            taught = examples if said is None else _taught(examples, said, train, validation)
            learned = learner.learn(taught, seed=config.seed, callbacks=watching)
        run.update_json("run.json", execution=learned.execution)
        student = learned.network
        recording.save_classifier(run, student, preprocessing, first, data)
        metrics = recording.classifier_metrics(student, preprocessing, data, validation)
        metrics["layers"] = layer_rows(layers, before, *learner.learning_rates)
        scratch = None
        if _is_scratch_worth_it(config, student, examples):
            with strategy.scope():
                scratch = _fit_from_scratch(config, student, initial, problem, examples)
        metrics |= _gained(config, run, data, teacher or said, student, scratch, preprocessing)
        run.write_json("metrics.json", metrics)
        recording.plot_classifier(run, recording.history_of(run))
        if len(metrics["comparison"]) > 1:
            plot_gained(metrics["comparison"], run.folder("plots") / "gained.png")
    _tell(config, run, data, len(labelled), metrics)
    return run


def open_teachers(config: DistillConfig) -> tuple[list[Run | None], Run | None]:
    """The teachers that are runs, ``None`` for each other one; and the first run among them."""
    opened = [runs.open_teacher(path) for path in config.teacher]
    return opened, next((run for run in opened if run is not None), None)


def reading_as(config: DistillConfig, first: Run | None) -> DistillConfig:
    """The settings with the data and the size of pictures that they leave to the teacher."""
    if first is not None:
        config = session.reading_as(first, config)
    config = dataclasses.replace(config, data=config.data or _data_of(first))
    return _with_image_size(config, first)


def method_of(config: DistillConfig) -> Distilled:
    """The method that the settings ask for; its teacher is given."""
    return narrow(config, Distilled, "teacher")


def folds_of(config: DistillConfig, data: Dataset, num_folds: int, run: Run) -> Folds:
    """Folds of the student's labels in which other settings of the method can be judged.

    The teacher is asked once for all of them. What it has learned of these labels itself raises
    the scores of all settings alike.

    Args:
        config: The settings, as from :func:`reading_as`.
        data: The examples.
        num_folds: How many.
        run: Where the file of a teacher's predictions is noted.
    """
    opened, first = open_teachers(config)
    said = predictions_of(config, run, data)
    teacher = teacher_of(config, opened, data) if said is None else None
    student, preprocessing = student_of(config, run, data)
    views = views_of(config.augment, data.input_shape, data.noise_range)
    usable = None if said is None else np.flatnonzero(said.is_taught)
    logits = None if said is None else said.train
    if teacher is not None and views is None and config.hint is None:
        logits, teacher = FusedModel(teacher.model).answers(data.x), None

    def problem_of(method: Distilled, num_examples: int) -> Problem:
        return Problem(
            data.num_classes,
            num_examples,
            flat=preprocessing,
            teacher=teacher and teacher.model,
            student=None if student is None else copy_of(student),
            augment=views,
            jit_compile=session.jit_choice(config),
        )

    return Folds(
        data,
        labels=None,
        num_folds=num_folds,
        seed=config.seed,
        problem_of=problem_of,
        targets_of=None if logits is None else lambda rows, labels: (labels, logits[rows]),
        rows=np.concatenate(rows_with_labels(config, first, data)),
        usable=usable,
    )


def teacher_of(config: DistillConfig, opened: list[Run | None], data: Dataset) -> Teacher:
    """The teachers that the settings name, as one that knows something of the labels."""
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
            setting="teacher",
            given=names,
            expected="one whose answers agree with some of the labels",
            but=reason,
            remedy=f"give another teacher, {named('class_map', 'FILE.json')} if its classes have "
            f"another order, or {named('teacher_range', ('LOW', 'HIGH'))} to state the range of "
            "its input, and to go on in any case",
        )
    print(f"warning: --teacher {names} is no better than chance: {reason}", file=sys.stderr)
    return teacher


def predictions_of(config: DistillConfig, run: Run, data: Dataset) -> Predictions | None:
    """What a teacher said of the examples, if that is given instead of a teacher."""
    path = config.teacher_predictions
    if path is None:
        return None
    said = read_predictions(
        path, data, output=config.teacher_output, id_column=config.id, say=session.say(config)
    )
    note = {"file": str(path), "sha256": said.sha256}
    before = run.read_json("run.json").get("teacher_predictions", note)
    if before["sha256"] != said.sha256:
        raise UserError(
            setting="teacher_predictions",
            given=path,
            when=f"with {named('resume', True)}",
            expected="the file that the run began with",
            but="it has changed since",
            remedy="restore it, or start again with another " + named("out"),
        )
    run.update_json("run.json", teacher_predictions=note)
    rows = np.flatnonzero(said.is_taught & (data.y >= 0))
    reason = why_at_chance(said.train[rows].argmax(axis=1) == data.y[rows], data.y[rows], data)
    if reason is not None:
        raise UserError(
            setting="teacher_predictions",
            given=path,
            expected="predictions that agree with some of the labels",
            but=reason,
            remedy="check that its rows are those of the data, in their order or by their ids, and "
            "its columns the classes",
        )
    return said


def _worth_learning(
    config: DistillConfig, said: Predictions, train: np.ndarray, labelled: np.ndarray
) -> np.ndarray:
    """The training rows of which the teacher said something or that have a label: of the others
    there is nothing to learn, and a step over them would take as long."""
    if not said.is_taught[train].any():
        raise UserError(
            setting="teacher_predictions",
            given=config.teacher_predictions,
            expected="predictions for training examples",
            but="it has none for any of them",
            remedy="add some: those for test examples are only compared with",
        )
    return train[said.is_taught[train] | np.isin(train, labelled)]


def _taught(examples: Examples, said: Predictions, train, validation) -> Examples:
    """The same examples with what the teacher said of each."""
    held = examples.validation
    if held is not None:
        held = (held[0], (held[1], said.train[validation]))
    return examples._replace(y=(examples.y, said.train[train]), validation=held)


def student_of(config: DistillConfig, run: Run, data: Dataset):
    """The student that is given, if any, and the preprocessing that makes raw examples fit it."""
    if config.student is None:
        return None, recording.preprocessing_for(dense_encoder(data.num_features, ()), data)
    student, expected = load_student(config.student, data, config.student_range)
    line = describe_for(data, expected, who="student")
    run.update_json("run.json", expects=expected.to_note(), adaptation=line)
    session.say(config)(line)
    return student, adapted(data, expected)


def _class_map(config: DistillConfig) -> dict[str, str] | None:
    if config.class_map is None:
        return None
    try:
        found = read_json(config.class_map)
        if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
            raise ValueError("it is not an object of strings")
    except (OSError, ValueError) as error:
        raise UserError(
            setting="class_map",
            given=config.class_map,
            expected='a JSON file such as {"tabby": "cat"}',
            but=f"it cannot be read ({error})",
            remedy="correct it",
        ) from error
    return found


def _prepare(config: DistillConfig, problem: Problem):
    try:
        return method_of(config).prepare(problem)
    except ValueError as error:
        raise UserError(
            setting="hint",
            given=config.hint,
            when=f"with {named('hint_student', config.hint_student)}",
            but=str(error),
            remedy="name other layers, or give another teacher or student",
        ) from error


def _examples(data: Dataset, train, labelled, validation) -> Examples:
    """All examples, with the labels that may be seen."""
    watched = held_out(data.x, data.y, validation)
    y = labels_of(data.y, labelled)[train]
    return Examples(take_rows(data.x, train), y, validation=watched)


def _is_scratch_worth_it(config: DistillConfig, student, examples: Examples) -> bool:
    """Whether to train the same student without a teacher as well, to compare with."""
    if not (examples.y >= 0).any():
        return False
    return recording.wants_scratch(config, len(examples.x), student)


def _fit_from_scratch(
    config: DistillConfig, student, initial: list[np.ndarray], problem: Problem, examples: Examples
) -> keras.Model | None:
    """The same student from the same initial weights, trained on the labels alone; ``None`` where
    that diverges.

    It takes as many steps of as many examples: the labelled ones are repeated until they are
    as many as the examples that the distilled one sees in an epoch.
    """
    fresh = copy_of(student)
    fresh.set_weights(initial)
    compile_classifier(fresh, keras.optimizers.Adam(config.learning_rate))
    repeated = np.resize(np.flatnonzero(examples.y >= 0), len(examples.y))
    alone = Examples(take_rows(examples.x, repeated), examples.y[repeated])
    try:
        RepeatedFit(
            fresh,
            fresh,
            narrow(config, Steps),
            len(alone.x),
            scaling(problem.flat),
            augment=problem.augment,
            jit_compile=problem.jit_compile,
        ).fit(alone, seed=config.seed)
    except TrainingFailed as error:
        session.say(config)(f"without a teacher there is nothing to compare with: {error}")
        return None
    return fresh


def _gained(
    config: DistillConfig,
    run: Run,
    data: Dataset,
    teacher: Teacher | Predictions,
    distilled: keras.Model,
    scratch: keras.Model | None,
    preprocessing: keras.Model,
) -> dict[str, dict]:
    """What ``metrics.json`` says of teacher, student from scratch and distilled student."""
    size = os.path.getsize(run.path / "model.keras")
    models = {}
    if isinstance(teacher, Teacher):
        models["teacher"] = (teacher.model, teacher.num_parameters, teacher.num_bytes)
    for name, student in (("scratch", scratch), ("distilled", distilled)):
        if student is not None:
            models[name] = on_raw(student, preprocessing), student.count_params(), size
    says = {name: FusedModel(model).answers(data.x_test) for name, (model, *_) in models.items()}
    if config.loss == "none":  # its classes are others: there is nothing to compare
        del says["teacher"]
    # Of a teacher that is no model nothing else is known than what it said.
    if isinstance(teacher, Predictions) and not np.isnan(teacher.test).all():
        says = {"teacher": teacher.test, **says}
    quality = compare_answers(data.y_test, says)
    speeds = measure_speeds({name: model for name, (model, *_) in models.items()}, data.x_test)
    figures = {name: quality.get(name, {}) for name in {**says, **models}}
    for name, (_, num_parameters, num_bytes) in models.items():
        figures[name] |= {"num_parameters": num_parameters, "num_bytes": num_bytes}
        figures[name] |= speeds[name]
    metrics = {"comparison": figures}
    if "teacher" in says:
        known = labels_where_answered(data.y_test, says["teacher"])
        metrics["teacher"] = recording.test_metrics(known, says["teacher"])
        metrics["agreement_with_teacher"] = figures["distilled"]["agreement"]
    return metrics


def load_data(config: DistillConfig, teacher: Run | None) -> Dataset:
    """The examples as the first teacher that is a run takes them, its classes in its order."""
    if teacher is None:
        return session.load_data(config, config.data)
    preprocessing = teacher.load_model("preprocessing.keras")
    wanted = like(preprocessing, least=2, schema=teacher.schema)
    data = session.load_data(config, config.data, like=wanted)
    shares_classes = config.class_map is None and config.loss != "none"
    if shares_classes and set(data.class_names) == set(teacher.label_names):
        return data.with_classes(teacher.label_names, str(teacher.path))
    return data


def _with_image_size(config: DistillConfig, teacher: Run | None) -> DistillConfig:
    """The size of pictures: that of the first teacher that is a run, which takes no other."""
    sized = session.with_image_size(config, {"teacher": teacher})
    size = sized.image_size
    if teacher is not None and size is not None and size != teacher.image_size:
        raise UserError(
            setting="image_size",
            given=config.image_size,
            when=f"with the teacher {teacher.path}",
            expected=f"the {teacher.image_size} that it has",
            remedy="leave it out",
        )
    return sized


def _data_of(teacher: Run | None) -> str:
    return "digits" if teacher is None else teacher.data


def rows_with_labels(
    config: DistillConfig, teacher: Run | None, data: Dataset
) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose label the student may see, and rows held out to watch it.

    By default those of the teacher, so that distillation costs no further label. Of data
    that the teacher never saw, none.
    """
    if config.labels is not None:
        draw = (config.labels, config.validation_split, config.seed, data.copies)
        return draw_and_hold_out(data.y, *draw)
    seen = {} if teacher is None else teacher.read_json("run.json").get("data", {})
    if seen.get("fingerprint") != data.fingerprint:
        return np.arange(0), np.arange(0)
    splits = teacher.read_splits(len(data.x))
    return splits["labelled"], splits["validation"]


def _tell(config: DistillConfig, run: Run, data, num_labels: int, metrics: dict) -> None:
    say = session.say(config)
    say(format_layers(metrics["layers"]) + "\n")
    seconds = run.read_json("run.json")["wall_seconds"]
    say(
        f"distilled on {data.spec}: {len(data.x)} examples, {num_labels} of them with a label, "
        f"{seconds:.1f} s   run {run.path}\n"
    )
    say(format_gained(metrics["comparison"]) + "\n")
    say(f"next: {runs.command_line('export', '--run', run.path, '--name', 'NAME')}")
