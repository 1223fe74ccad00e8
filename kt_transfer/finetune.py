"""``python -m kt_transfer.finetune``: transfer a source model to a target task with labels."""

from __future__ import annotations

if __name__ == "__main__":  # --help and mistakes are answered before TensorFlow loads
    import sys

    from kt_transfer.shell.entry import main

    sys.exit(main(["finetune", *sys.argv[1:]]))

import dataclasses
from typing import NamedTuple

import keras
import numpy as np

from kt_transfer.comparison.transfer_sources import require_unseen_labels
from kt_transfer.data import Dataset
from kt_transfer.data.rows import take_rows
from kt_transfer.data.splits import draw_and_hold_out, without_copies_of
from kt_transfer.errors import TrainingFailed, counted
from kt_transfer.methods import BY_NAME, Features, Parameters, Scratch
from kt_transfer.methods.learning import (
    Examples,
    Learned,
    Problem,
    Start,
    held_out,
    labels_of,
)
from kt_transfer.methods.parameters import TRANSFERRED_LEARNING_RATE
from kt_transfer.methods.views import AUTO_VIEWS, views_of
from kt_transfer.models.classifiers import dense_encoder
from kt_transfer.models.freezing import layers_with_weights
from kt_transfer.reporting.layers import format_layers, layer_rows, layer_weights
from kt_transfer.reporting.savings import describe_savings, saved_by_transfer
from kt_transfer.reporting.terminal import accuracy
from kt_transfer.runs import folder as runs
from kt_transfer.runs import recording, session
from kt_transfer.runs.folder import Run
from kt_transfer.settings import FinetuneConfig, narrow
from kt_transfer.settings.calling import takes
from kt_transfer.settings.finetune import HELD_OUT_SHARE
from kt_transfer.sources.adapting import Expected, adapted, describe_for
from kt_transfer.sources.loading import load_source
from kt_transfer.training.callbacks import EpochLog
from kt_transfer.tuning.few_labels import Folds


@takes(FinetuneConfig)
def run(config: FinetuneConfig) -> Run:
    """The command as a function; its settings are the fields of :class:`FinetuneConfig`.

    Example:
        >>> from kt_transfer import finetune
        >>> finetune.run(source="runs/digits-source", labels=50, out="runs/few", quiet=True)
        Run('runs/few')
    """
    return execute(config)


def execute(config: FinetuneConfig) -> Run:
    """Strategy, data, the source's encoder with a new head, fit, save."""
    source = runs.open_source(config.source)
    config = reading_as(config, source)
    method = method_of(config)
    with session.start_run("finetune", config) as run:
        strategy = recording.begin(run, config)
        data = session.load_data(config, config.data)
        data.require_labels()
        recording.check_data(session.say(config), data)
        num_labels = config.labels or int(np.sum(data.y >= 0))
        share = config.share_held_out(num_labels)
        draw = (config.labels, share, config.seed, data.copies)
        labelled, validation = draw_and_hold_out(data.y, *draw)
        train = labelled
        if method.sees_unlabelled:
            train = without_copies_of(validation, data.copies)
        recording.note_data(run, data, train=train, labelled=labelled, validation=validation)
        with strategy.scope():
            backbone = backbone_of(config, source, data)
            problem = problem_of(config, method, data, len(train), backbone)
            learner = method.prepare(problem)
            start = Start(backbone.encoder.get_weights() if method.needs_source else None)
            learner.initialize(config.seed, start)
            layers = layers_with_weights(learner.network)
            before = layer_weights(layers)
            _note_adaptation(config, run, data, backbone.expected)
            examples = Examples(
                take_rows(data.x, train),
                labels_of(data.y, labelled)[train],
                validation=held_out(data.x, data.y, validation),
                together=None if data.groups is None else data.copies[train],
            )
            if problem.augment is not None and method.augment == "auto":
                session.say(config)(AUTO_VIEWS)
            _say_what_is_watched(config, num_labels, len(validation))
            watching = recording.watching(
                run, config.epochs, f"finetune {config.data}", config.quiet
            )
            learned = learner.learn(examples, seed=config.seed, start=start, callbacks=watching)
        _note_learned(config, run, learned)
        history, network = recording.history_of(run), learned.network
        preprocessing = learned.preprocessing
        recording.save_classifier(run, network, preprocessing, source, data)
        metrics = recording.classifier_metrics(network, preprocessing, data, validation)
        metrics["locked_layers"] = [
            layer.name
            for layer in layers_with_weights(network.get_layer("encoder")).values()
            if not layer.trainable
        ]
        metrics["num_trained_parameters"] = _count(network.trainable_weights)
        metrics["layers"] = layer_rows(layers, before, *learner.learning_rates)
        scratch = []
        if _is_scratch_worth_it(config, method, network, examples):
            with strategy.scope():
                scratch = _fit_from_scratch(config, run, network, problem, examples)
            if scratch:
                metrics["saved_by_transfer"] = _saved(history, scratch, metrics, learned, examples)
        run.write_json("metrics.json", metrics)
        recording.plot_classifier(run, history, scratch)
    _tell(config, run, data, len(labelled) + len(validation), metrics)
    return run


def reading_as(config: FinetuneConfig, source: Run | None) -> FinetuneConfig:
    """The settings with the data and the size of pictures that they leave to the source."""
    if config.data is None and source is not None:
        config = session.reading_as(source, config)
    config = dataclasses.replace(config, data=config.data or _data_of(source))
    given = {} if config.source == "scratch" else {config.source: source}
    return session.with_image_size(config, given)


def method_of(config: FinetuneConfig):
    """The method that the settings ask for, one of :mod:`kt_transfer.methods`."""
    if config.method == "features":
        return dataclasses.replace(narrow(config, Features, "head"), head=config.chosen_head)
    if config.method != "parameters":
        return narrow(config, BY_NAME[config.method])
    from_scratch = config.source == "scratch" or config.reinitialize
    return narrow(config, Scratch if from_scratch else Parameters)


def _say_what_is_watched(config: FinetuneConfig, num_labels: int, num_held_out: int) -> None:
    """Say it where nothing is held out, though nobody asked for that."""
    if config.validation_split is None and not num_held_out:
        session.say(config)(
            f"all {num_labels} labels are learned from, and the training loss alone is watched: "
            f"--validation-split {HELD_OUT_SHARE} would hold some out"
        )


def _data_of(source: Run | None) -> str:
    return "digits" if source is None else source.data


def folds_of(config: FinetuneConfig, data: Dataset, num_folds: int) -> Folds:
    """Folds of the labels in which other settings of the method can be judged.

    Args:
        config: The settings, as from :func:`reading_as`, with those of what is fine-tuned.
        data: The target.
        num_folds: How many.

    Raises:
        UserError: If the source has learned from the labels that the folds hold out.
    """
    source = runs.open_source(config.source)
    require_unseen_labels(config.source, source, data)
    backbone = backbone_of(config, source, data)
    return Folds(
        data,
        labels=config.labels,
        num_folds=num_folds,
        seed=config.seed,
        problem_of=lambda method, num: problem_of(config, method, data, num, backbone),
        encoder_weights=backbone.encoder.get_weights() if config.source != "scratch" else None,
    )


class Backbone(NamedTuple):
    """The encoder, the preprocessing that makes raw examples fit it, and what it expects."""

    encoder: keras.Model
    preprocessing: keras.Model
    expected: Expected | None


def backbone_of(config: FinetuneConfig, source: Run | None, data: Dataset) -> Backbone:
    """What is fine-tuned: the source's encoder, or a new one."""
    if config.source == "scratch":
        encoder = dense_encoder(data.num_features, config.hidden_units, config.latent_dim)
        return Backbone(encoder, recording.preprocessing_for(encoder, data), None)
    encoder, expected = load_source(config.source, source, data, config.source_range)
    return Backbone(encoder, adapted(data, expected), expected)


def problem_of(
    config: FinetuneConfig, method, data: Dataset, num_examples: int, backbone: Backbone
) -> Problem:
    """What a method is prepared for."""
    augment = getattr(method, "augment", None)
    return Problem(
        data.num_classes,
        num_examples,
        backbone.encoder,
        backbone.preprocessing,
        flat=recording.preprocessing_for(dense_encoder(data.num_features, ()), data),
        augment=views_of(augment, data.input_shape, data.noise_range),
        jit_compile=session.jit_choice(config),
    )


def _note_adaptation(config: FinetuneConfig, run: Run, data: Dataset, expected) -> None:
    """Say and write down how examples are made to fit the source."""
    if expected is None:
        return
    line = describe_for(data, expected)
    run.update_json("run.json", expects=expected.to_note(), adaptation=line)
    session.say(config)(line)


def _note_learned(config: FinetuneConfig, run: Run, learned: Learned) -> None:
    """Write down how the steps were executed, the strength of a logistic regression, and what else
    is to be said."""
    if learned.note is not None:
        run.update_json("run.json", note=learned.note)
        session.say(config)(learned.note)
    if learned.execution is not None:
        run.update_json("run.json", execution=learned.execution)
    if learned.strength is not None:
        run.update_json(
            "run.json",
            logistic_regression_c=learned.strength,
            logistic_regression_seconds=round(_regression_seconds(learned), 4),
        )


def _regression_seconds(learned: Learned) -> float:
    return learned.head_seconds if learned.steps else learned.seconds


def _is_scratch_worth_it(config: FinetuneConfig, method, network, examples: Examples) -> bool:
    """Whether to train the same network from scratch as well, to compare with."""
    if not method.needs_source or method.sees_unlabelled or examples.validation is None:
        return False
    return recording.wants_scratch(config, len(examples.x), network)


def _fit_from_scratch(
    config: FinetuneConfig, run: Run, network, problem: Problem, examples: Examples
) -> list[dict]:
    """The history of the same network trained from fresh weights, every layer of it.

    Where it diverges there is none: what was transferred is none the worse for it.
    """
    method = Scratch(
        epochs=config.epochs,
        batch_size=config.batch_size,
        # A rate for what is pretrained is none to start from fresh weights with.
        learning_rate=(
            Scratch.learning_rate
            if config.learning_rate == TRANSFERRED_LEARNING_RATE
            else config.learning_rate
        ),
        lr_decay=config.lr_decay,
        warmup_epochs=config.warmup_epochs,
        dropout=config.dropout,
        augment=config.augment,
    )
    log = EpochLog(run.path / "scratch_history.csv")
    try:
        learner = method.prepare(problem._replace(encoder=network.get_layer("encoder")))
        learner.learn(examples, seed=config.seed, callbacks=[log])
    except TrainingFailed as error:
        session.say(config)(f"from scratch there is nothing to compare with: {error}")
        return []
    return log.rows


def _saved(
    history: list[dict], scratch: list[dict], metrics: dict, learned: Learned, examples: Examples
) -> dict:
    """What the transfer saved, as :func:`~kt_transfer.reporting.savings.saved_by_transfer`."""
    seconds = 0.0 if learned.strength is None else _regression_seconds(learned)
    if not history:  # logistic regression alone: one fit, no epochs
        history = [{"seconds": 0.0, "val_accuracy": metrics["validation"]["accuracy"]}]
    return saved_by_transfer(history, scratch, len(examples.validation[1]), seconds)


def _count(weights) -> int:
    return int(sum(np.prod(weight.shape) for weight in weights))


def _tell(config: FinetuneConfig, run: Run, data, num_labels: int, metrics: dict) -> None:
    say = session.say(config)
    say(format_layers(metrics["layers"]) + "\n")
    how = f"{config.method} of {config.source}"
    if config.source == "scratch":
        how = "scratch" if config.method == "parameters" else config.method
    num_locked = len(metrics["locked_layers"])
    locked = f", {counted(num_locked, 'layer')} locked" if num_locked else ""
    seconds = run.read_json("run.json")["wall_seconds"]
    say(
        f"fine-tuned on {data.spec}: {counted(num_labels, 'label')}, {how}{locked}, {seconds:.1f} s"
    )
    say(f"  test accuracy {accuracy(metrics['test'])}   run {run.path}")
    if "saved_by_transfer" in metrics:
        say(f"  {describe_savings(metrics['saved_by_transfer'])}")
    say(f"next: {runs.command_line('distill', '--teacher', run.path)}")
