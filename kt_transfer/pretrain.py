"""``python -m kt_transfer.pretrain``: learn a source task, without labels, with few or with all."""

from __future__ import annotations

if __name__ == "__main__":  # --help and mistakes are answered before TensorFlow loads
    import sys

    from kt_transfer.shell.main import main

    sys.exit(main(["pretrain", *sys.argv[1:]]))

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np

from kt_transfer.data import draw_labels, hold_out
from kt_transfer.data.rows import take_rows
from kt_transfer.data.splits import without_copies_of
from kt_transfer.engine.fused_model import FusedModel, predict_raw, scaling
from kt_transfer.errors import UserError
from kt_transfer.models.autoencoders import (
    dense_autoencoder,
    sparse_autoencoder,
    transferable_encoder,
    units_that_stay,
)
from kt_transfer.models.classifiers import classifier
from kt_transfer.models.convolutional import conv_autoencoder
from kt_transfer.models.freezing import layers_with_weights
from kt_transfer.models.preprocessing import as_image, image_shape, raw_values
from kt_transfer.reporting.collapse import find_collapse, tell_collapse
from kt_transfer.reporting.layers import format_layers, layer_rows, layer_weights
from kt_transfer.reporting.plots import plot_history, plot_reconstructions
from kt_transfer.reporting.terminal import accuracy
from kt_transfer.runs import recording, session
from kt_transfer.runs.folder import Run
from kt_transfer.settings import PretrainConfig
from kt_transfer.training import semi_supervised
from kt_transfer.training.fitting import fit_in_folder
from kt_transfer.training.k_sparse import with_falling_k
from kt_transfer.training.losses import ReconstructionLoss

# Share of the examples that is held out to watch the training.
HELD_OUT = 0.1


def run(**settings) -> Run:
    """The command as a function; ``settings`` are the fields of :class:`PretrainConfig`.

    Example:
        >>> from kt_transfer import pretrain
        >>> pretrain.run(data="digits", epochs=2, out="runs/first", quiet=True)
        Run('runs/first')
    """
    return execute(PretrainConfig(**settings))


def execute(config: PretrainConfig) -> Run:
    """Strategy, data, model, fit, save."""
    learn, measure = _task(config)
    with session.start_run("pretrain", config) as run:
        strategy = recording.begin(run, config)
        data = session.load_data(config, config.data)
        recording.check_data(session.say(config), data)
        train, validation, labelled = _split(config, data)
        recording.note_data(run, data, train=train, labelled=labelled, validation=validation)
        with strategy.scope():
            network = _build(config, data)
            preprocessing = recording.preprocessing_for(network, data)
            task = learn(config, network, preprocessing, data, train, labelled)
        layers = layers_with_weights(task.network)
        before = layer_weights(layers)
        history = fit_in_folder(
            task.model,
            task.model.model,
            run,
            take_rows(data.x, task.rows),
            task.targets,
            epochs=config.epochs,
            batch_size=config.batch_size,
            validation_data=(
                (take_rows(data.x, validation), task.targets_of(validation))
                if len(validation)
                else None
            ),
            callbacks=task.callbacks,
            patience=config.patience,
            title=f"pretrain {config.data}",
            quiet=config.quiet,
        )
        run.save_model("model.keras", task.network)
        run.save_model("preprocessing.keras", preprocessing)
        metrics = measure(config, run, task, preprocessing, data, validation)
        metrics["layers"] = layer_rows(layers, before, config.learning_rate, {})
        run.write_json("metrics.json", metrics)
        recording.note_execution(run, task.model)
        plot_history(history, run.folder("plots") / "loss.png")
    _tell(config, run, data, metrics)
    return run


class _Task(NamedTuple):
    """What is fitted on what: the network that is saved, and the model that trains it."""

    network: Any
    model: Any
    rows: np.ndarray
    targets: Any
    targets_of: Callable
    callbacks: list = []


def _task(config: PretrainConfig) -> tuple[Callable, Callable]:
    """How to learn, and how to measure what was learned."""
    if config.objective == "classification":
        return _classify, _measure_classifier
    return _reconstruct if config.labels is None else _reconstruct_and_classify, _measure


def _split(config: PretrainConfig, data) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows to train on, rows held out, and those among the former whose label is seen.

    The labels are those that ``finetune --labels`` with the same seed trains on.
    """
    supervised = config.objective == "classification"
    train, validation = hold_out(data.y, HELD_OUT, config.seed, data.copies)
    if config.labels is None and not supervised:
        return train, validation, np.arange(0)
    data.require_labels()
    drawn = draw_labels(data.y, config.labels, config.seed, data.copies)
    split = (HELD_OUT, config.seed, data.copies[drawn])
    labelled, held = (drawn[part] for part in hold_out(data.y[drawn], *split))
    if supervised:
        return labelled, held, labelled
    validation = validation[~np.isin(data.copies[validation], data.copies[labelled])]
    return without_copies_of(validation, data.copies), validation, labelled


def _reconstruct(config, autoencoder, preprocessing, data, train, labelled) -> _Task:
    """An autoencoder alone."""
    k = units_that_stay(autoencoder)
    trained, callbacks = with_falling_k(autoencoder, k, config.epochs)
    trained.compile(optimizer=_adam(config), loss=ReconstructionLoss(), metrics=["mse"])
    model = _fused(trained, _reconstruct_itself(preprocessing), config)
    return _Task(autoencoder, model, train, None, lambda rows: None, callbacks)


def _reconstruct_and_classify(config, autoencoder, preprocessing, data, train, labelled) -> _Task:
    """An autoencoder with a head on its code for the examples that have a label."""
    joint = semi_supervised.joint_model(autoencoder, data.num_classes)
    semi_supervised.compile_joint(joint, _adam(config), config.label_weight)
    labels = np.where(np.isin(train, labelled), data.y[train], -1)
    positions, targets = semi_supervised.repeat_labelled(labels)
    model = _fused(joint, semi_supervised.joint_transform(preprocessing), config)
    only_reconstruct = semi_supervised.only_reconstruct
    return _Task(
        autoencoder, model, train[positions], targets, lambda rows: only_reconstruct(len(rows))
    )


def _classify(config, autoencoder, preprocessing, data, train, labelled) -> _Task:
    """A classifier with the autoencoder's encoder as its body."""
    network = classifier(transferable_encoder(autoencoder), data.num_classes)
    recording.compile_classifier(network, _adam(config))
    model = _fused(network, scaling(preprocessing), config)
    return _Task(network, model, train, data.y[train], lambda rows: data.y[rows])


def _adam(config: PretrainConfig):
    return keras.optimizers.Adam(config.learning_rate)


def _fused(network, transform, config: PretrainConfig):
    return FusedModel(
        network, transform=transform, seed=config.seed, jit_compile=session.jit_choice(config)
    )


def _reconstruct_itself(preprocessing):
    def transform(x, y, sample_weight):
        features = preprocessing(x)
        return features, features, sample_weight

    return transform


def _build(config: PretrainConfig, data):
    shape = {
        "latent_dim": config.latent_dim,
        "noise": config.noise,
        "noise_kind": config.noise_kind,
    }
    if config.model == "conv":
        _require_images(data)
        return conv_autoencoder(image_shape(data.input_shape), config.filters, **shape)
    shape["hidden_units"] = config.hidden_units
    if config.model == "dense":
        return dense_autoencoder(data.input_dim, **shape)
    return sparse_autoencoder(
        data.input_dim,
        sparsity=config.sparsity,
        sparsity_weight=config.sparsity_weight,
        sparsity_target=config.sparsity_target,
        num_active=config.num_active,
        **shape,
    )


def _require_images(data) -> None:
    if as_image(data.input_shape) is None:
        raise UserError(
            f"--model conv was given with {data.spec}, whose examples have the shape "
            f"{data.input_shape}, expected images, (height, width[, channels]): give --model "
            "dense, or data that are images."
        )


def _measure(config: PretrainConfig, run, task, preprocessing, data, validation) -> dict:
    """Reconstruction of test and validation examples, and whether the code collapsed."""
    network = task.network
    with task.model.strategy.scope():
        model = _reconstruct(config, network, preprocessing, data, None, None).model
    codes = predict_raw(network.get_layer("encoder"), preprocessing, data.x_test)
    some = data.x_test[:1000]
    inputs = np.asarray(preprocessing(some))
    plot = run.folder("plots") / "reconstructions.png"
    plot_reconstructions(*_pictures(network, preprocessing, data), plot)
    metrics = {
        "test": {
            **model.evaluate(data.x_test, batch_size=1024, verbose=0, return_dict=True),
            "sparsity": float((np.abs(codes) < 1e-3).mean()),
        },
        "num_parameters": network.count_params(),
        **find_collapse(codes, inputs, predict_raw(network, preprocessing, some)),
    }
    if len(validation):
        held_out = take_rows(data.x, validation)
        metrics["validation"] = model.evaluate(
            held_out, batch_size=1024, verbose=0, return_dict=True
        )
    if config.labels:
        metrics["head"] = _measure_head(task.model.model, preprocessing, data)
    return metrics


def _measure_head(joint, preprocessing, data) -> dict:
    """How well the head of semi-supervised pretraining classifies the test examples."""
    _, logits = predict_raw(joint, preprocessing, data.x_test)
    return recording.test_metrics(data.y_test, logits)


def _measure_classifier(config, run, task, preprocessing, data, validation) -> dict:
    return recording.classifier_metrics(task.network, preprocessing, data, validation)


def _pictures(network, preprocessing, data, count: int = 10):
    """The first test examples, and what the autoencoder makes of them, in raw values."""
    originals = data.x_test[:count]
    outputs = network(preprocessing(originals), training=False)
    return originals, raw_values(outputs, data.input_shape, data.scaling_range)


def _what_wakes(config: PretrainConfig) -> str:
    """What to change where units of the code are silent."""
    if config.model != "sparse":
        return "lower --learning-rate"
    if config.sparsity == "k_sparse":
        return "lower --learning-rate or raise --num-active"
    return "lower --learning-rate or --sparsity-weight"


def _tell(config: PretrainConfig, run: Run, data, metrics: dict) -> None:
    say = session.say(config)
    say(format_layers(metrics["layers"]) + "\n")
    labels = f", {config.labels} labels" if config.labels else ""
    say(
        f"pretrained on {data.spec}: {len(run.read_arrays('splits.npz')['train'])} examples"
        f"{labels}, {config.epochs} epochs, {run.read_json('run.json')['wall_seconds']:.1f} s"
    )
    if config.objective == "classification":
        say(f"  test accuracy {accuracy(metrics['test'])}   run {run.path}")
    else:
        head = f"   head's accuracy {accuracy(metrics['head'])}" if "head" in metrics else ""
        say(f"  test mse {metrics['test']['mse']:.4f}{head}   run {run.path}")
        for sentence in tell_collapse(metrics, config.latent_dim, _what_wakes(config)):
            say(sentence)
    if data.num_classes:
        say(f"next: python -m kt_transfer.finetune --source {run.path} --labels 100")
    else:
        say(f"next: python -m kt_transfer.finetune --source {run.path} --data SPEC")
