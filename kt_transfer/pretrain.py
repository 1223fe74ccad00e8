"""``python -m kt_transfer.pretrain``: learn a source task without, with few or with all labels."""

from __future__ import annotations

if __name__ == "__main__":  # answers --help and reports errors before TensorFlow is imported
    import sys

    from kt_transfer.shell.entry import main

    sys.exit(main(["pretrain", *sys.argv[1:]]))

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np

from kt_transfer.data import hold_out
from kt_transfer.data.rows import take_rows
from kt_transfer.data.splits import draw_and_hold_out, of_every_class, without_copies_of
from kt_transfer.engine.fused_model import FusedModel, predict_raw, scaling
from kt_transfer.errors import UserError, counted, named
from kt_transfer.methods.reconstruction import reconstruct_itself, reconstructing
from kt_transfer.models.autoencoders import (
    dense_autoencoder,
    sparse_autoencoder,
    transferable_encoder,
)
from kt_transfer.models.classifiers import classifier, compile_classifier
from kt_transfer.models.convolutional import conv_autoencoder
from kt_transfer.models.freezing import layers_with_weights
from kt_transfer.models.preprocessing import as_image, image_shape
from kt_transfer.reporting.collapse import describe_collapse, find_collapse
from kt_transfer.reporting.layers import format_layers, layer_rows, layer_weights
from kt_transfer.reporting.plots import plot_history, plot_reconstructions
from kt_transfer.reporting.terminal import accuracy
from kt_transfer.runs import recording, session
from kt_transfer.runs.folder import Run, command_line
from kt_transfer.settings import PretrainConfig
from kt_transfer.settings.calling import takes
from kt_transfer.training import semi_supervised
from kt_transfer.training.augmentation import resample
from kt_transfer.training.denoising import beside_the_original
from kt_transfer.training.fitting import fit

# Share of the examples held out for validation.
HELD_OUT = 0.1

# What is proposed to go on with, where there are more.
_FEW_LABELS = 100


@takes(PretrainConfig)
def run(config: PretrainConfig) -> Run:
    """The command as a function; its settings are the fields of :class:`PretrainConfig`.

    Example:
        >>> from kt_transfer import pretrain
        >>> pretrain.run(data="digits", epochs=2, out="runs/first", quiet=True)
        Run('runs/first')
    """
    return execute(config)


def execute(config: PretrainConfig) -> Run:
    """Run the command."""
    config = session.with_image_size(config)
    learn, measure = _task(config)
    with session.start_run("pretrain", config) as run:
        strategy = recording.begin(run, config)
        data = session.load_data(config, config.data)
        _require_rows(config, data)
        recording.check_data(session.say(config), data)
        train, validation, labelled = _split(config, data)
        recording.note_data(run, data, train=train, labelled=labelled, validation=validation)
        with strategy.scope():
            network = _build(config, data)
            preprocessing = recording.preprocessing_for(network, data)
            task = learn(config, network, preprocessing, data, train, labelled)
        layers = layers_with_weights(task.network)
        before = layer_weights(layers)
        fit(
            task.model,
            task.model.model,
            take_rows(data.x, task.rows),
            task.targets,
            epochs=config.epochs,
            batch_size=config.batch_size,
            validation_data=(
                (take_rows(data.x, validation), task.targets_of(validation))
                if len(validation)
                else None
            ),
            patience=config.patience,
            schedule=task.callbacks,
            callbacks=recording.watching(
                run, config.epochs, f"pretrain {config.data}", config.quiet
            ),
        )
        run.save_model("model.keras", task.network)
        run.save_model("preprocessing.keras", preprocessing)
        if config.objective == "reconstruction":
            recording.note_usual_errors(run, task.network, preprocessing, data)
        metrics = measure(config, run, task, preprocessing, data, validation)
        metrics["layers"] = layer_rows(layers, before, config.learning_rate, {})
        run.write_json("metrics.json", metrics)
        run.update_json("run.json", execution=task.model.execution)
        plot_history(recording.history_of(run), run.folder("plots") / "loss.png")
    _report(config, run, data, metrics)
    return run


class _Task(NamedTuple):
    """The network to save, the model that trains it, and its training data."""

    network: Any
    model: Any
    rows: np.ndarray
    targets: Any
    targets_of: Callable
    callbacks: list = []


def _task(config: PretrainConfig) -> tuple[Callable, Callable]:
    """The functions that set up training and measure the result."""
    if config.objective == "classification":
        return _classify, _measure_classifier
    return _reconstruct if config.labels is None else _reconstruct_and_classify, _measure


def _split(config: PretrainConfig, data) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training rows, held-out rows, and the training rows whose labels are used.

    The labels are those that ``finetune --labels`` uses with the same seed.
    """
    supervised = config.objective == "classification"
    train, validation = hold_out(data.y, HELD_OUT, config.seed, data.copies)
    if config.labels is None and not supervised:
        return train, validation, np.arange(0)
    data.require_labels()
    draw = (config.labels, HELD_OUT, config.seed, data.copies)
    labelled, held = draw_and_hold_out(data.y, *draw)
    if supervised:
        return labelled, held, labelled
    validation = validation[~np.isin(data.copies[validation], data.copies[labelled])]
    return without_copies_of(validation, data.copies), validation, labelled


def _reconstruct(config, autoencoder, preprocessing, data, train, labelled) -> _Task:
    """An autoencoder alone."""
    trained, callbacks = reconstructing(autoencoder, config, metrics=["mse"])
    model = _fused(trained, reconstruct_itself(preprocessing), config, _views(config))
    return _Task(autoencoder, model, train, None, lambda rows: None, callbacks)


def _reconstruct_and_classify(config, autoencoder, preprocessing, data, train, labelled) -> _Task:
    """Train an autoencoder with a head on its code for the labelled examples."""
    joint = semi_supervised.joint_model(autoencoder, data.num_classes)
    semi_supervised.compile_joint(joint, _adam(config), config.label_weight)
    labels = np.where(np.isin(train, labelled), data.y[train], -1)
    positions, targets = semi_supervised.repeat_labelled(labels)
    model = _fused(joint, semi_supervised.joint_transform(preprocessing), config, _views(config))
    only_reconstruct = semi_supervised.only_reconstruct
    return _Task(
        autoencoder, model, train[positions], targets, lambda rows: only_reconstruct(len(rows))
    )


def _classify(config, autoencoder, preprocessing, data, train, labelled) -> _Task:
    """Train a classifier on the autoencoder's encoder."""
    network = classifier(transferable_encoder(autoencoder), data.num_classes)
    compile_classifier(network, _adam(config))
    model = _fused(network, scaling(preprocessing), config)
    return _Task(network, model, train, data.y[train], lambda rows: data.y[rows])


def _adam(config: PretrainConfig):
    return keras.optimizers.Adam(config.learning_rate)


def _fused(network, transform, config: PretrainConfig, views: Callable | None = None):
    return FusedModel(
        network,
        transform=transform,
        augment=views,
        seed=config.seed,
        jit_compile=session.jit_choice(config),
    )


def _build(config: PretrainConfig, data):
    shape = {"latent_dim": config.latent_dim}
    if config.noise_kind != "resample":
        shape |= {"noise": config.noise, "noise_kind": config.noise_kind}
    if config.model == "conv":
        _require_images(data)
        return conv_autoencoder(image_shape(data.input_shape), config.filters, **shape)
    shape["hidden_units"] = config.hidden_units
    shape["category_sizes"] = data.category_sizes
    if config.model == "dense":
        return dense_autoencoder(data.num_features, **shape)
    return sparse_autoencoder(
        data.num_features,
        sparsity=config.sparsity,
        sparsity_weight=config.sparsity_weight,
        sparsity_target=config.sparsity_target,
        num_active=config.num_active,
        **shape,
    )


def _views(config: PretrainConfig):
    """What the autoencoder sees instead of the raw examples, by ``augment`` of ``FusedModel``."""
    if config.noise_kind != "resample" or not config.noise:
        return None
    return beside_the_original(functools.partial(resample, share=config.noise))


def _require_rows(config: PretrainConfig, data) -> None:
    if config.noise_kind == "resample" and len(data.input_shape) > 1:
        raise UserError(
            setting="noise_kind",
            given=config.noise_kind,
            when=f"with {data.spec}, whose examples have the shape {data.input_shape}",
            expected="rows of a table",
            remedy=f"give {named('noise_kind', 'masking')}",
        )


def _require_images(data) -> None:
    if as_image(data.input_shape) is None:
        raise UserError(
            setting="model",
            given="conv",
            when=f"with {data.spec}, whose examples have the shape {data.input_shape}",
            expected="images, (height, width[, channels])",
            remedy=f"give {named('model', 'dense')}, or data that are images",
        )


def _measure(config: PretrainConfig, run, task, preprocessing, data, validation) -> dict:
    """Measure the reconstruction of test and validation examples, and check for collapse."""
    network = task.network
    with task.model.strategy.scope():
        model = _reconstruct(config, network, preprocessing, data, None, None).model
    codes = predict_raw(network.get_layer("encoder"), preprocessing, data.x_test)
    some = data.x_test[:1000]
    inputs = np.asarray(preprocessing(some))
    plot = run.folder("plots") / "reconstructions.png"
    rows = of_every_class(data.y_test)
    shown = take_rows(data.x_test, rows), data.scaling_range, data.layout
    plot_reconstructions(*recording.reconstructed(network, preprocessing, *shown), plot)
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
    """Test metrics of the head of semi-supervised pretraining."""
    _, logits = predict_raw(joint, preprocessing, data.x_test)
    return recording.test_metrics(data.y_test, logits)


def _measure_classifier(config, run, task, preprocessing, data, validation) -> dict:
    return recording.classifier_metrics(task.network, preprocessing, data, validation)


def _remedy_for_dead_units(config: PretrainConfig) -> str:
    """The first remedy for dead code units."""
    if config.model != "sparse":
        return "lower the learning rate"
    if config.sparsity == "k_sparse":
        return "lower the learning rate, or raise the number of active units"
    return "lower the learning rate or the sparsity weight"


def _report(config: PretrainConfig, run: Run, data, metrics: dict) -> None:
    say = session.say(config)
    say(format_layers(metrics["layers"]) + "\n")
    taught = [counted(len(run.read_arrays("splits.npz")["train"]), "example")]
    if config.labels:
        taught.append(counted(config.labels, "label"))
    taught.append(counted(config.epochs, "epoch"))
    seconds = run.read_json("run.json")["wall_seconds"]
    say(f"pretrained on {data.spec}: {', '.join(taught)}, {seconds:.1f} s")
    if config.objective == "classification":
        say(f"  test accuracy {accuracy(metrics['test'])}   run {run.path}")
    else:
        head = f"   head's accuracy {accuracy(metrics['head'])}" if "head" in metrics else ""
        say(f"  test mse {metrics['test']['mse']:.4f}{head}   run {run.path}")
        for sentence in describe_collapse(
            metrics, config.latent_dim, _remedy_for_dead_units(config)
        ):
            say(sentence)
    words = ["--source", run.path]
    if not data.num_classes:
        words += ["--data", "SPEC"]
    elif data.num_labelled > _FEW_LABELS:
        words += ["--labels", _FEW_LABELS]
    say(f"next: {command_line('finetune', *words)}")
