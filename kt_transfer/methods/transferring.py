"""How a network learns a target task from few labels: its parameters, its head, or from scratch."""

from __future__ import annotations

import time
from typing import NamedTuple

import keras
import numpy as np

from kt_transfer.data.overlap import same_examples
from kt_transfer.data.rows import quarter_of_memory, take_rows
from kt_transfer.engine.fused_model import FusedModel, predict_raw, scaling
from kt_transfer.errors import TrainingFailed
from kt_transfer.models.classifiers import after_encoder, fit_logistic_regression
from kt_transfer.models.freezing import freeze_layers, layers_with_weights, split_frozen
from kt_transfer.reporting.savings import saved_by_transfer
from kt_transfer.runs import recording, session
from kt_transfer.runs.folder import Run
from kt_transfer.settings import FinetuneConfig
from kt_transfer.training.callbacks import EpochLog, read_history
from kt_transfer.training.diverging import StopOnDivergence
from kt_transfer.training.fitting import fit_in_folder
from kt_transfer.training.layerwise import LayerwiseAdam, decayed_rates, factors_of_variables
from kt_transfer.training.schedules import Stage, learning_rate_callbacks, unfreezing


class Task(NamedTuple):
    """A classifier with the layers ``"encoder"`` and ``"head"``, and what it is to learn from."""

    config: FinetuneConfig
    run: Run
    network: keras.Model
    preprocessing: keras.Model
    x: np.ndarray
    y: np.ndarray
    train: np.ndarray
    validation: np.ndarray


class _Examples(NamedTuple):
    """What one fit is given: the model to train, and what it sees."""

    model: keras.Model
    transform: object
    x: np.ndarray
    y: np.ndarray
    train: np.ndarray
    validation: np.ndarray


def transfer(task: Task) -> list[dict]:
    """Fit by the method of the task's config; the rows of the history, one an epoch."""
    return _fit_head(task) if task.config.method == "features" else _fit_parameters(task)


def _fit_parameters(task: Task) -> list[dict]:
    """Train every layer that is not locked, stage by stage where they are unlocked in turn.

    A random head distorts what it is put on while it learns (Kumar et al., 2022,
    https://arxiv.org/abs/2202.10054): it starts from logistic regression.
    """
    config, encoder = task.config, task.network.get_layer("encoder")
    if config.head_start == "logistic_regression":
        _fit_logistic_regression(
            task, predict_raw(encoder, task.preprocessing, take_rows(task.x, task.train))
        )
    num_layers = len(layers_with_weights(encoder))
    stages = unfreezing(
        num_layers,
        config.epochs,
        num_frozen=num_layers if config.freeze == "all" else config.freeze,
        head_epochs=config.head_epochs,
        unfreeze_every=config.unfreeze_every,
    )
    for stage in stages:
        freeze_layers(encoder, stage.num_frozen)
        history = _fit(task, _beyond_frozen(task), stage)
    return history


def _beyond_frozen(task: Task) -> _Examples:
    """The part of the network to train: what locked first layers give is computed once."""
    parts = split_frozen(task.network)
    num_rows = len(task.train) + len(task.validation)
    if parts is None or not _fits_in_memory(parts[0], num_rows):
        transform = scaling(task.preprocessing)
        return _Examples(task.network, transform, task.x, task.y, task.train, task.validation)
    frozen, trained = parts
    return _on_features(task, trained, _features(task, frozen))


def _fits_in_memory(model, num_rows: int) -> bool:
    """Whether what a model gives may be kept: convolutions give more than they are given."""
    numbers = num_rows * int(np.prod(model.output_shape[1:]))
    copies = 4  # on the way from the batches of a prediction to the tensors of the training
    return copies * 4 * numbers <= quarter_of_memory()


def _features(task: Task, model: keras.Model) -> np.ndarray:
    """What a model makes of the training examples, then of the validation examples."""
    rows = np.concatenate([task.train, task.validation])
    return predict_raw(model, task.preprocessing, take_rows(task.x, rows))


def _on_features(task: Task, model: keras.Model, features: np.ndarray) -> _Examples:
    """A model that is trained on :func:`_features`."""
    labels = task.y[np.concatenate([task.train, task.validation])]
    positions = np.split(np.arange(len(labels)), [len(task.train)])
    return _Examples(model, None, features, labels, *positions)


def _fit_head(task: Task) -> list[dict]:
    """Compute the frozen encoder's features once, and fit a head on them."""
    config = task.config
    features = _features(task, task.network.get_layer("encoder"))
    if config.chosen_head == "logistic_regression":
        _fit_logistic_regression(task, features[: len(task.train)])
        return []
    x = keras.Input(features.shape[1:], name="features")
    model = keras.Model(x, after_encoder(task.network, x), name="head_on_features")
    return _fit(task, _on_features(task, model, features), Stage(0, config.epochs, 0))


def _fit_logistic_regression(task: Task, features: np.ndarray) -> None:
    """Its regularization is chosen by folds of its own: validation examples only measure it."""
    head = task.network.get_layer("head")
    began = time.perf_counter()
    kernel, bias, strength = fit_logistic_regression(
        features,
        task.y[task.train],
        head.units,
        seed=task.config.seed,
        copies=same_examples(take_rows(task.x, task.train))[0],
    )
    head.set_weights([kernel, bias])
    task.run.update_json(
        "run.json",
        logistic_regression_c=strength,
        logistic_regression_seconds=round(time.perf_counter() - began, 4),
    )


def _fit(task: Task, examples: _Examples, stage: Stage) -> list[dict]:
    """One stage of a fit in the run folder."""
    config = task.config
    recording.compile_classifier(examples.model, _optimizer(task))
    model = _fused(config, examples)
    history = fit_in_folder(
        model,
        task.network,
        task.run,
        *_training(examples),
        epochs=stage.end,
        batch_size=config.batch_size,
        validation_data=_held_out(examples),
        callbacks=_decay(config),
        # Only the last stage may end early: the ones before are not there to be the best.
        patience=config.patience if stage.end == config.epochs else None,
        begins=stage.first,
        total_epochs=config.epochs,
        title=f"finetune {config.data}",
        quiet=config.quiet,
    )
    recording.note_execution(task.run, model)
    return history


def _fused(config: FinetuneConfig, examples: _Examples) -> FusedModel:
    return FusedModel(
        examples.model,
        transform=examples.transform,
        seed=config.seed,
        jit_compile=session.jit_choice(config),
    )


def _training(examples: _Examples) -> tuple:
    return take_rows(examples.x, examples.train), examples.y[examples.train]


def _held_out(examples: _Examples) -> tuple | None:
    rows = examples.validation
    return (take_rows(examples.x, rows), examples.y[rows]) if len(rows) else None


def _decay(config: FinetuneConfig) -> list[keras.callbacks.Callback]:
    return learning_rate_callbacks(
        config.lr_decay, config.learning_rate, config.epochs, config.warmup_epochs
    )


def learning_rates(task: Task) -> tuple[float, dict[str, float]]:
    """The initial learning rate (0 where no steps are taken), and its factor by layer."""
    by_steps = task.config.chosen_head == "dense"
    names = layers_with_weights(task.network)
    return (
        task.config.learning_rate if by_steps else 0.0,
        decayed_rates(names, task.config.layer_decay),
    )


def _optimizer(task: Task) -> keras.optimizers.Optimizer:
    learning_rate, rates = learning_rates(task)
    if task.config.layer_decay == 1:
        return keras.optimizers.Adam(learning_rate)
    factors = factors_of_variables(layers_with_weights(task.network), rates)
    return LayerwiseAdam(factors, learning_rate=learning_rate)


def is_scratch_worth_it(task: Task) -> bool:
    """Whether to train the same network from scratch as well, to compare with."""
    config = task.config
    if config.source == "scratch" or config.reinitialize or not len(task.validation):
        return False
    return recording.wants_scratch(config, len(task.train), task.network)


def fit_from_scratch(task: Task) -> list[dict]:
    """The history of the same network trained from fresh weights, every layer of it.

    Where it diverges there is none: what was transferred is none the worse for it.
    """
    config = task.config
    # Not clone_model, which takes the training configuration along.
    fresh = type(task.network).from_config(task.network.get_config())
    for layer in fresh.layers:
        layer.trainable = True
    recording.compile_classifier(fresh, keras.optimizers.Adam(config.learning_rate))
    examples = _Examples(
        fresh, scaling(task.preprocessing), task.x, task.y, task.train, task.validation
    )
    log = task.run.path / "scratch_history.csv"
    try:
        _fused(config, examples).fit(
            *_training(examples),
            batch_size=config.batch_size,
            epochs=config.epochs,
            validation_data=_held_out(examples),
            validation_batch_size=max(config.batch_size, 256),
            callbacks=[*_decay(config), EpochLog(log), StopOnDivergence(fresh)],
            verbose=0,
        )
    except TrainingFailed as error:
        session.say(config)(f"from scratch there is nothing to compare with: {error}")
        return []
    return read_history(log)


def saved(task: Task, history: list[dict], scratch: list[dict], metrics: dict) -> dict:
    """What the transfer saved, as :func:`~kt_transfer.reporting.savings.saved_by_transfer`."""
    seconds = task.run.read_json("run.json").get("logistic_regression_seconds", 0.0)
    if not history:  # logistic regression alone: one fit, no epochs
        history = [{"seconds": 0.0, "val_accuracy": metrics["validation"]["accuracy"]}]
    return saved_by_transfer(history, scratch, len(task.validation), seconds)
