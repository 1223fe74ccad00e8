"""``python -m kt_transfer.distill``: train a small student from a teacher's soft targets."""

from __future__ import annotations

if __name__ == "__main__":  # --help and mistakes are answered before TensorFlow loads
    import sys

    from kt_transfer.shell.main import main

    sys.exit(main(["distill", *sys.argv[1:]]))

import dataclasses
from pathlib import Path

import numpy as np

from kt_transfer.data import draw_labels, hold_out
from kt_transfer.data.splits import without_copies_of
from kt_transfer.methods import distilling
from kt_transfer.models.freezing import layers_with_weights
from kt_transfer.reporting.gained import format_gained
from kt_transfer.reporting.layers import format_layers, layer_rows, layer_weights
from kt_transfer.reporting.plots import plot_gained
from kt_transfer.runs import folder as runs
from kt_transfer.runs import recording, session
from kt_transfer.runs.folder import Run
from kt_transfer.settings import DistillConfig
from kt_transfer.sources.loading import like


def run(**settings) -> Run:
    """The command as a function; ``settings`` are the fields of :class:`DistillConfig`.

    Example:
        >>> distill.run(teacher=["runs/mnist-teacher"], student_units=(32,))
        Run('runs/distill-20260923-120000')
    """
    settings["teacher"] = tuple(Path(path) for path in settings["teacher"])
    return execute(DistillConfig(**settings))


def execute(config: DistillConfig) -> Run:
    """Strategy, data, teacher and student, fit, save, what was gained."""
    opened = [runs.open_teacher(path) for path in config.teacher]
    first = next((run for run in opened if run is not None), None)
    config = dataclasses.replace(config, data=config.data or _data_of(first))
    with session.start_run("distill", config) as run:
        strategy = recording.begin(run, config)
        data = _data(config, first)
        data.require_labels()
        recording.check_data(session.say(config), data)
        labelled, validation = _labels(config, first, data)
        train = without_copies_of(validation, data.copies)
        recording.note_data(run, data, train=train, labelled=labelled, validation=validation)
        labels = np.full_like(data.y, -1)
        labels[labelled] = data.y[labelled]
        with strategy.scope():
            teacher = distilling.build_teacher(config, opened, data)
            student, preprocessing = distilling.build_student(config, run, data)
            task = distilling.Task(
                config, run, data, teacher, student, preprocessing, labels, train, validation
            )
            layers = layers_with_weights(student)
            before, initial = layer_weights(layers), student.get_weights()
            history = distilling.distil(task)
        recording.save_classifier(run, student, preprocessing, first, data)
        metrics = recording.classifier_metrics(student, preprocessing, data, validation)
        metrics["layers"] = layer_rows(layers, before, config.learning_rate, {})
        scratch = None
        if distilling.is_scratch_worth_it(task):
            with strategy.scope():
                scratch = distilling.fit_from_scratch(task, initial)
        metrics |= distilling.compare(task, scratch)
        run.write_json("metrics.json", metrics)
        recording.plot_classifier(run, history)
        plot_gained(metrics["comparison"], run.folder("plots") / "gained.png")
    _tell(config, run, data, len(labelled), metrics)
    return run


def _data(config: DistillConfig, teacher: Run | None):
    """The examples as the first teacher that is a run takes them, its classes in its order."""
    if teacher is None:
        return session.load_data(config, config.data)
    wanted = like(teacher.load_model("preprocessing.keras"), least=2)
    data = session.load_data(config, config.data, like=wanted)
    shares_classes = config.class_map is None and config.loss != "none"
    if shares_classes and set(data.class_names) == set(teacher.label_names):
        return data.with_classes(teacher.label_names, str(teacher.path))
    return data


def _data_of(teacher: Run | None) -> str:
    return "digits" if teacher is None else teacher.data


def _labels(config: DistillConfig, teacher: Run | None, data) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose label the student may see, and rows held out to watch it.

    By default those of the teacher, so that distillation costs no further label. Of data
    that the teacher never saw, none.
    """
    if config.labels is not None:
        drawn = draw_labels(data.y, config.labels, config.seed, data.copies)
        split = (config.validation_split, config.seed, data.copies[drawn])
        labelled, held = hold_out(data.y[drawn], *split)
        return drawn[labelled], drawn[held]
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
    say(f"next: python -m kt_transfer.export --run {run.path} --name NAME")
