"""``python -m kt_transfer.evaluate``: measure a run on a data set."""

from __future__ import annotations

if __name__ == "__main__":  # answers --help and reports errors before TensorFlow is imported
    import sys

    from kt_transfer.shell.entry import main

    sys.exit(main(["evaluate", *sys.argv[1:]]))

import functools
from pathlib import Path

import numpy as np

from kt_transfer.comparison.scoring import scores
from kt_transfer.data.rows import take_rows
from kt_transfer.data.splits import of_every_class
from kt_transfer.engine.fused_model import predict_raw
from kt_transfer.engine.replicas import among_workers
from kt_transfer.errors import UserError, named
from kt_transfer.explaining.explanation import explain
from kt_transfer.files.writing import require_writable
from kt_transfer.reporting import classification
from kt_transfer.reporting.calibration import error_interval, reliability
from kt_transfer.reporting.comparison_plots import plot_reliability, save_png
from kt_transfer.reporting.drawing import drawing
from kt_transfer.reporting.explanations import describe_explanation, save_explanation
from kt_transfer.reporting.plots import plot_confusion_matrix, plot_reconstructions
from kt_transfer.reporting.terminal import format_table
from kt_transfer.runs import folder as runs
from kt_transfer.runs import recording, session, workers
from kt_transfer.runs.folder import Run
from kt_transfer.settings import EvaluateConfig
from kt_transfer.settings.calling import takes
from kt_transfer.sources.loading import examples_of, like, preprocessing_for_new


@takes(EvaluateConfig)
def run(config: EvaluateConfig) -> dict:
    """The command as a function; its settings are the fields of :class:`EvaluateConfig`.

    Returns:
        The content of ``evaluation.json``.

    Example:
        >>> from kt_transfer import evaluate
        >>> measured = evaluate.run(run="runs/digits-teacher", data="digits", quiet=True)
        >>> measured["num_examples"]
        359
    """
    return execute(config)


def execute(config: EvaluateConfig) -> dict:
    """Run the command."""
    source = runs.open_run(config.run)
    config = session.reading_as(source, config)
    spec = config.data or source.data
    out = workers.output(config, Path(config.out or source.path))
    if config.explain and source.is_autoencoder:
        raise UserError(
            setting="run",
            given=config.run,
            when=f"with {named('explain', True)}",
            expected="a classifier, whose answers can be explained",
            but="it is an autoencoder",
            remedy=f"give a fine-tuned, distilled or compared run, or leave {named('explain')} out",
        )
    require_writable(out)
    _require_free(out / "evaluation.json", spec, config)
    strategy = workers.devices(config)
    with strategy.scope():
        network, preprocessing = source.load_models()
    data = session.load_data(config, spec, like=like(preprocessing, schema=source.schema))
    preprocessing = preprocessing_for_new(source, preprocessing, data, session.say(config))
    measure = _reconstruction if source.is_autoencoder else _classification
    results = {
        "run": str(source.path),
        "data": spec,
        "split": config.split,
        "fingerprint": data.fingerprint,
        **measure(config, source, network, preprocessing, data, out),
    }
    Run(out).write_json("evaluation.json", results)
    workers.exit_together(config)
    session.say(config)(f"  evaluation {out / 'evaluation.json'}   plots {out / 'plots'}")
    if not source.is_autoencoder:
        following = runs.command_line("export", "--run", source.path, "--name", "NAME")
        session.say(config)(f"next: {following}")
    return results


def _require_free(path: Path, spec: str, config: EvaluateConfig) -> None:
    """Refuse to replace an evaluation of another run, data set or split."""
    if not path.exists() or config.overwrite:
        return
    earlier = Run(path.parent).read_json(path.name)
    measured = {"run": str(config.run), "data": spec, "split": config.split}
    if any(earlier.get(name) != value for name, value in measured.items()):
        raise UserError(
            setting="data",
            given=spec,
            when=f"with {named('split', config.split)}",
            but=f"{path} already holds the evaluation on {earlier.get('data')} "
            f"({earlier.get('split')})",
            remedy=f"give {named('out', 'DIR')} for another folder, or "
            f"{named('overwrite', True)} to replace it",
        )


def _classification(config, source: Run, network, preprocessing, data, out: Path) -> dict:
    names = source.label_names
    data = data.with_classes(names, str(source.path))
    parts = data.parts(config.split)
    y = np.concatenate([part.y for part in parts])
    if not (y >= 0).any():
        raise UserError(
            setting="data",
            given=data.spec,
            when=f"without labels in its {config.split} split",
            expected="labels to measure against",
            remedy="give labelled data, or use predict"
            if data.schema is None
            else f"name their column with {named('label_column', 'COLUMN')}, or use predict",
        )
    answer = among_workers(
        network.distribute_strategy, functools.partial(predict_raw, network, preprocessing)
    )
    logits = np.concatenate([answer(part.x) for part in parts])
    logits, y = logits[y >= 0], y[y >= 0]
    predicted = logits.argmax(axis=1)
    counts = classification.confusion_matrix(y, predicted, len(names))
    plots = Run(out).folder("plots")
    plot_confusion_matrix(counts, names, plots / "confusion_matrix.png")
    per_class = classification.per_class_metrics(y, predicted, names)
    metrics = classification.classification_metrics(y, logits)
    probabilities = classification.softmax(logits.astype(np.float64))
    interval = error_interval(y, probabilities)
    metrics["calibration_error_interval"] = list(interval)
    answers = {"answers of the model": reliability(y, probabilities)}
    with drawing(path := plots / "reliability.png"):
        save_png(plot_reliability(answers), path)

    say = session.say(config)
    rows = [list(row.values()) for row in per_class]
    say(format_table(["class", "precision", "recall", "f1", "examples"], rows))
    say(
        f"{data.spec} ({config.split}): accuracy {metrics['accuracy']:.4f}, loss "
        f"{metrics['loss']:.4f}, calibration error {metrics['calibration_error']:.4f} "
        f"({interval[0]:.4f} to {interval[1]:.4f}), {metrics['num_examples']} examples"
    )
    measured = {**metrics, "per_class": per_class, "confusion_matrix": counts}
    if not config.explain:
        return measured
    return measured | {"explanations": _explained(config, network, preprocessing, data, plots)}


def _explained(config, network, preprocessing, data, plots: Path) -> dict:
    """Draw and say what carries the answers: of all parts, to the last one that has labels."""
    part = [part for part in data.parts(config.split) if (part.y >= 0).any()][-1]
    explanation = explain(
        network,
        preprocessing,
        data,
        part,
        metric="accuracy",
        score=lambda y, logits: scores(y, logits)["accuracy"],
    )
    session.say(config)(describe_explanation(explanation))
    return save_explanation(explanation, plots)


def _reconstruction(config, source: Run, network, preprocessing, data, out: Path) -> dict:
    parts = data.parts(config.split)
    squared_errors = among_workers(
        network.distribute_strategy,
        functools.partial(recording.squared_errors, network, preprocessing),
    )
    errors = np.concatenate([squared_errors(part.x) for part in parts])
    plots, summary = Run(out).folder("plots"), examples_of(source)
    scaling_range = data.value_range if summary is None else summary.scaling_range
    rows = of_every_class(parts[0].y)
    shown = take_rows(parts[0].x, rows), scaling_range, data.layout
    plot_reconstructions(
        *recording.reconstructed(network, preprocessing, *shown), plots / "reconstructions.png"
    )
    metrics = {
        "mse": float(errors.mean() / np.prod(network.output_shape[1:])),
        "squared_error": float(errors.mean()),
        "num_examples": len(errors),
    }
    session.say(config)(
        f"{data.spec} ({config.split}): mse {metrics['mse']:.4f}, squared error "
        f"{metrics['squared_error']:.2f} an example, {len(errors)} examples"
    )
    return metrics
