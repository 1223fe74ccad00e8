"""``python -m kt_transfer.finetune``: transfer a source model to a target task with labels."""

from __future__ import annotations

if __name__ == "__main__":  # --help and mistakes are answered before TensorFlow loads
    import sys

    from kt_transfer.shell.main import main

    sys.exit(main(["finetune", *sys.argv[1:]]))

import dataclasses

import keras
import numpy as np

from kt_transfer.data import draw_labels, hold_out
from kt_transfer.methods import transferring
from kt_transfer.models.classifiers import classifier, dense_encoder
from kt_transfer.models.freezing import freeze_layers, layers_with_weights
from kt_transfer.reporting.layers import format_layers, layer_rows, layer_weights
from kt_transfer.reporting.savings import describe_savings
from kt_transfer.reporting.terminal import accuracy
from kt_transfer.runs import folder as runs
from kt_transfer.runs import recording, session
from kt_transfer.runs.folder import Run
from kt_transfer.settings import FinetuneConfig
from kt_transfer.sources.adapting import adapting_model, describe
from kt_transfer.sources.bodies import features_from
from kt_transfer.sources.loading import load_source


def run(**settings) -> Run:
    """The command as a function; ``settings`` are the fields of :class:`FinetuneConfig`.

    Example:
        >>> finetune.run(source="runs/mnist-source", labels=1000, out="runs/mnist-teacher")
        Run('runs/mnist-teacher')
    """
    return execute(FinetuneConfig(**settings))


def execute(config: FinetuneConfig) -> Run:
    """Strategy, data, the source's encoder with a new head, fit, save."""
    source = runs.open_source(config.source)
    config = dataclasses.replace(config, data=config.data or _data_of(source))
    with session.start_run("finetune", config) as run:
        strategy = recording.begin(run, config)
        data = session.load_data(config, config.data)
        data.require_labels()
        recording.check_data(session.say(config), data)
        drawn = draw_labels(data.y, config.labels, config.seed, data.copies)
        split = (config.validation_split, config.seed, data.copies[drawn])
        train, validation = (drawn[part] for part in hold_out(data.y[drawn], *split))
        recording.note_data(run, data, train=train, labelled=train, validation=validation)
        with strategy.scope():
            encoder, preprocessing, expected = _backbone(config, source, data)
            locked = freeze_layers(encoder, "all" if config.method == "features" else config.freeze)
            network = classifier(encoder, data.num_classes, dropout=config.dropout)
            layers = layers_with_weights(network)
            before = layer_weights(layers)
            _note_adaptation(config, run, data, expected)
            task = transferring.Task(
                config, run, network, preprocessing, data.x, data.y, train, validation
            )
            history = transferring.transfer(task)
        recording.save_classifier(run, network, preprocessing, source, data)
        metrics = recording.classifier_metrics(network, preprocessing, data, validation)
        metrics["locked_layers"] = locked
        metrics["num_trained_parameters"] = _count(network.trainable_weights)
        metrics["layers"] = layer_rows(layers, before, *transferring.learning_rates(task))
        scratch = []
        if transferring.is_scratch_worth_it(task):
            with strategy.scope():
                scratch = transferring.fit_from_scratch(task)
            if scratch:
                metrics["saved_by_transfer"] = transferring.saved(task, history, scratch, metrics)
        run.write_json("metrics.json", metrics)
        recording.plot_classifier(run, history, scratch)
    _tell(config, run, data, len(drawn), metrics)
    return run


def _data_of(source: Run | None) -> str:
    return "digits" if source is None else source.data


def _backbone(config: FinetuneConfig, source: Run | None, data):
    """The encoder, the preprocessing that makes raw examples fit it, and what it expects."""

    if config.source == "scratch":
        encoder = dense_encoder(data.input_dim, config.hidden_units, config.latent_dim)
        return encoder, recording.preprocessing_for(encoder, data), None
    encoder, expected = load_source(config.source, source, data, config.source_range)
    if config.reinitialize:
        encoder = keras.models.clone_model(encoder)
    preprocessing = adapting_model(*data.raw_for(expected.by_column), expected)
    return features_from(encoder, config.features_from), preprocessing, expected


def _note_adaptation(config: FinetuneConfig, run: Run, data, expected) -> None:
    """Say and write down how examples are made to fit the source."""
    if expected is None:
        return
    line = describe(data.input_shape, data.range_for(expected.by_column), expected)
    run.update_json("run.json", expects=expected.to_note(), adaptation=line)
    session.say(config)(line)


def _count(weights) -> int:
    return int(sum(np.prod(weight.shape) for weight in weights))


def _tell(config: FinetuneConfig, run: Run, data, num_labels: int, metrics: dict) -> None:
    say = session.say(config)
    say(format_layers(metrics["layers"]) + "\n")
    how = "scratch" if config.source == "scratch" else f"{config.method} of {config.source}"
    locked = f", {len(metrics['locked_layers'])} layers locked" if metrics["locked_layers"] else ""
    seconds = run.read_json("run.json")["wall_seconds"]
    say(f"fine-tuned on {data.spec}: {num_labels} labels, {how}{locked}, {seconds:.1f} s")
    say(f"  test accuracy {accuracy(metrics['test'])}   run {run.path}")
    if "saved_by_transfer" in metrics:
        say(f"  {describe_savings(metrics['saved_by_transfer'])}")
    say(f"next: python -m kt_transfer.distill --teacher {run.path}")
