"""``python -m kt_transfer.distill``: train a small student from a teacher's soft targets."""

from __future__ import annotations

import dataclasses

import numpy as np

from kt_transfer import cli, runs
from kt_transfer.config import DistillConfig
from kt_transfer.rows import take_rows
from kt_transfer.runs import Run


def run(**settings) -> Run:
    """The command as a function; ``settings`` are the fields of :class:`DistillConfig`.

    Example:
        >>> distill.run(teacher=["runs/mnist-teacher"], student_units=(32,))
        Run('runs/distill-20260923-120000')
    """
    settings["teacher"] = tuple(settings["teacher"])
    return execute(DistillConfig(**settings))


def execute(config: DistillConfig) -> Run:
    """Strategy, data, the teachers' soft targets, a student, fit, save."""
    from kt_transfer import recording
    from kt_transfer.data import load_data
    from kt_transfer.models.classifiers import classifier, dense_encoder
    from kt_transfer.models.freezing import layers_with_weights
    from kt_transfer.reporting.layers import layer_rows, layer_weights
    from kt_transfer.sources import average_in_probability, teacher_logits
    from kt_transfer.training.fitting import fit_in_folder
    from kt_transfer.training.schedules import learning_rate_callbacks
    from kt_transfer.training.steps import predict_raw

    teachers = [runs.open_run(path, "--teacher") for path in config.teacher]
    config = dataclasses.replace(config, data=config.data or teachers[0].settings["data"])
    with cli.start_run("distill", config) as run:
        strategy = recording.begin(run, config)
        data = load_data(config.data, data_dir=config.data_dir)
        data.require_labels()
        # Once for every example, found again by its row: the teacher never runs in a step.
        soft_targets, test_targets = (
            average_in_probability([teacher_logits(teacher, data, x) for teacher in teachers])
            for x in (data.x, data.x_test)
        )
        labelled, validation = _labels(config, teachers[0], data)
        train = np.setdiff1d(np.arange(len(data.x)), validation)
        recording.note_data(run, data, train=train, labelled=labelled, validation=validation)
        labels = np.full_like(data.y, -1)
        labels[labelled] = data.y[labelled]
        with strategy.scope():
            student = classifier(
                dense_encoder(data.input_dim, config.student_units),
                data.num_classes,
                name="student",
            )
            preprocessing = recording.preprocessing_for(student, data)
            model = _trainer(config, teachers[0].load_model(), student, preprocessing)
        layers = layers_with_weights(student)
        before = layer_weights(layers)
        history = fit_in_folder(
            model,
            student,
            run,
            take_rows(data.x, train),
            (labels[train], soft_targets[train]),
            epochs=config.epochs,
            batch_size=config.batch_size,
            validation_data=(
                (take_rows(data.x, validation), (data.y[validation], soft_targets[validation]))
                if len(validation)
                else None
            ),
            callbacks=learning_rate_callbacks(
                config.lr_decay, config.learning_rate, config.epochs, config.warmup_epochs
            ),
            title=f"distill {config.data}",
            quiet=config.quiet,
        )
        recording.save_classifier(run, student, preprocessing, teachers[0], data)
        metrics = recording.classifier_metrics(student, preprocessing, data, validation)
        metrics["layers"] = layer_rows(layers, before, config.learning_rate, {})
        metrics["teacher"] = recording.test_metrics(data.y_test, test_targets)
        metrics["agreement_with_teacher"] = _agreement(
            predict_raw(student, preprocessing, data.x_test), test_targets
        )
        run.write_json("metrics.json", metrics)
        recording.note_execution(run, model)
        recording.plot_classifier(run, history)
    _tell(config, run, data, len(labelled), metrics)
    return run


def _labels(config: DistillConfig, teacher: Run, data) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose label the student may see, and rows held out to watch it.

    By default those of the teacher, so that distillation costs no further label. Of data
    that the teacher never saw, none.
    """
    from kt_transfer.data import draw_labels, hold_out

    if config.labels is not None:
        drawn = draw_labels(data.y, config.labels, config.seed)
        labelled, held = hold_out(data.y[drawn], config.validation_split, config.seed)
        return drawn[labelled], drawn[held]
    if teacher.read_json("run.json").get("data", {}).get("fingerprint") != data.fingerprint:
        return np.arange(0), np.arange(0)
    splits = teacher.read_arrays("splits.npz")
    return splits["labelled"], splits["validation"]


def _trainer(config: DistillConfig, teacher, student, preprocessing):
    import keras

    from kt_transfer.training.distiller import Distiller
    from kt_transfer.training.steps import FusedModel, scaling

    distiller = Distiller(
        teacher=teacher,
        student=student,
        temperature=config.temperature,
        alpha=config.alpha,
        loss=config.loss,
    )
    distiller.compile(keras.optimizers.Adam(config.learning_rate), metrics=["accuracy"])
    return FusedModel(
        distiller,
        transform=scaling(preprocessing),
        seed=config.seed,
        jit_compile=cli.jit_choice(config),
    )


def _agreement(logits: np.ndarray, teacher: np.ndarray) -> float:
    return float((logits.argmax(axis=1) == teacher.argmax(axis=1)).mean())


def _tell(config: DistillConfig, run: Run, data, num_labels: int, metrics: dict) -> None:
    from kt_transfer.reporting.layers import format_layers
    from kt_transfer.reporting.terminal import accuracy

    say = cli.say(config)
    say(format_layers(metrics["layers"]) + "\n")
    seconds = run.read_json("run.json")["wall_seconds"]
    say(
        f"distilled on {data.spec}: {len(data.x)} examples, {num_labels} of them with a label, "
        f"{seconds:.1f} s"
    )
    say(
        f"  test accuracy {accuracy(metrics['test'])} (teacher {accuracy(metrics['teacher'])}), "
        f"{metrics['num_parameters']:,} parameters   "
        f"run {run.path}"
    )
    say(f"next: python -m kt_transfer.export --run {run.path} --name NAME")


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    cli.main("distill", DistillConfig, execute, argv)


if __name__ == "__main__":
    main()
