"""``python -m kt_transfer.finetune``: transfer a source model to a target task with labels."""

from __future__ import annotations

import dataclasses

import numpy as np

from kt_transfer import cli, runs
from kt_transfer.config import FinetuneConfig
from kt_transfer.rows import quarter_of_memory, take_rows
from kt_transfer.runs import Run


def run(**settings) -> Run:
    """The command as a function; ``settings`` are the fields of :class:`FinetuneConfig`.

    Example:
        >>> finetune.run(source="runs/mnist-source", labels=1000, out="runs/mnist-teacher")
        Run('runs/mnist-teacher')
    """
    return execute(FinetuneConfig(**settings))


def execute(config: FinetuneConfig) -> Run:
    """Strategy, data, the source's encoder with a new head, fit, save."""
    from kt_transfer import recording
    from kt_transfer.data import draw_labels, hold_out, load_data
    from kt_transfer.models.classifiers import classifier
    from kt_transfer.models.freezing import freeze_layers

    source = None if config.source == "scratch" else runs.open_run(config.source, "--source")
    config = dataclasses.replace(config, data=config.data or _data_of(source))
    with cli.start_run("finetune", config) as run:
        strategy = recording.begin(run, config)
        data = load_data(config.data, data_dir=config.data_dir)
        data.require_labels()
        drawn = draw_labels(data.y, config.labels, config.seed)
        train, validation = (
            drawn[part] for part in hold_out(data.y[drawn], config.validation_split, config.seed)
        )
        recording.note_data(run, data, train=train, labelled=train, validation=validation)
        with strategy.scope():
            encoder = _encoder(config, source, data)
            preprocessing = recording.preprocessing_for(encoder, data)
            locked = freeze_layers(encoder, "all" if config.method == "features" else config.freeze)
            network = classifier(encoder, data.num_classes)
            fit = _fit_features if config.method == "features" else _fit_parameters
            history = fit(config, run, network, preprocessing, data, train, validation)
        recording.save_classifier(run, network, preprocessing, source, data)
        metrics = recording.classifier_metrics(network, preprocessing, data, validation)
        metrics["locked_layers"] = locked
        metrics["num_trained_parameters"] = _count(network.trainable_weights)
        run.write_json("metrics.json", metrics)
        recording.plot_classifier(run, history)
    _tell(config, run, data, len(drawn), metrics)
    return run


def _data_of(source: Run | None) -> str:
    return "digits" if source is None else source.settings["data"]


def _encoder(config: FinetuneConfig, source: Run | None, data):
    import keras

    from kt_transfer.models.classifiers import dense_encoder
    from kt_transfer.sources import source_encoder

    if source is None:
        return dense_encoder(data.input_dim, config.hidden_units, config.latent_dim)
    encoder = source_encoder(source, data)
    return keras.models.clone_model(encoder) if config.reinitialize else encoder


def _fit_parameters(config, run, network, preprocessing, data, train, validation) -> list[dict]:
    """Train every layer that is not locked; what locked ones give is computed once."""
    from kt_transfer.models.freezing import split_frozen
    from kt_transfer.training.steps import predict_raw, scaling

    parts = split_frozen(network)
    rows = np.concatenate([train, validation])
    if parts is None or not _fits_in_memory(parts[0], len(rows)):
        transform = scaling(preprocessing)
        return _fit(config, run, network, transform, data.x, data.y, train, validation)
    frozen, trained = parts
    features = predict_raw(frozen, preprocessing, take_rows(data.x, rows))
    return _fit(config, run, trained, None, features, data.y[rows], *_positions(train, validation))


def _fits_in_memory(model, num_rows: int) -> bool:
    """Whether what a model gives may be kept: convolutions give more than they are given."""
    numbers = num_rows * int(np.prod(model.output_shape[1:]))
    copies = 4  # on the way from the batches of a prediction to the tensors of the training
    return copies * 4 * numbers <= quarter_of_memory()


def _positions(train, validation) -> tuple[np.ndarray, np.ndarray]:
    """Where training and validation rows lie once they are put one after the other."""
    positions = np.arange(len(train) + len(validation))
    return positions[: len(train)], positions[len(train) :]


def _fit_features(config, run, network, preprocessing, data, train, validation) -> list[dict]:
    """Compute the frozen encoder's features once, and fit a head on them."""
    import keras

    from kt_transfer.models.classifiers import fit_logistic_regression
    from kt_transfer.training.steps import predict_raw

    encoder, head = network.get_layer("encoder"), network.get_layer("head")
    rows = np.concatenate([train, validation])
    features = predict_raw(encoder, preprocessing, take_rows(data.x, rows))
    labels = data.y[rows]
    if config.chosen_head == "logistic_regression":
        # Its regularization is chosen by folds of its own: it needs no validation examples,
        # and those held out measure it.
        kernel, bias, strength = fit_logistic_regression(
            features[: len(train)], labels[: len(train)], data.num_classes, seed=config.seed
        )
        head.set_weights([kernel, bias])
        run.update_json("run.json", logistic_regression_c=strength)
        return []
    x = keras.Input(features.shape[1:], name="features")
    on_features = keras.Model(x, head(x), name="head_on_features")
    positions = _positions(train, validation)
    return _fit(config, run, on_features, None, features, labels, *positions)


def _fit(config, run, network, transform, x, y, train, validation) -> list[dict]:
    import keras

    from kt_transfer import recording
    from kt_transfer.training.fitting import fit_in_folder
    from kt_transfer.training.schedules import learning_rate_callbacks
    from kt_transfer.training.steps import FusedModel

    network.compile(
        optimizer=keras.optimizers.Adam(config.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model = FusedModel(
        network, transform=transform, seed=config.seed, jit_compile=cli.jit_choice(config)
    )
    history = fit_in_folder(
        model,
        network,
        run,
        take_rows(x, train),
        y[train],
        epochs=config.epochs,
        batch_size=config.batch_size,
        validation_data=(take_rows(x, validation), y[validation]) if len(validation) else None,
        callbacks=learning_rate_callbacks(
            config.lr_decay, config.learning_rate, config.epochs, config.warmup_epochs
        ),
        patience=config.patience,
        title=f"finetune {config.data}",
        quiet=config.quiet,
    )
    recording.note_execution(run, model)
    return history


def _count(weights) -> int:
    return int(sum(np.prod(weight.shape) for weight in weights))


def _tell(config: FinetuneConfig, run: Run, data, num_labels: int, metrics: dict) -> None:
    from kt_transfer.reporting.terminal import accuracy

    say = cli.say(config)
    how = "scratch" if config.source == "scratch" else f"{config.method} of {config.source}"
    locked = f", {len(metrics['locked_layers'])} layers locked" if metrics["locked_layers"] else ""
    seconds = run.read_json("run.json")["wall_seconds"]
    say(f"fine-tuned on {data.spec}: {num_labels} labels, {how}{locked}, {seconds:.1f} s")
    say(f"  test accuracy {accuracy(metrics['test'])}   run {run.path}")
    say(f"next: python -m kt_transfer.distill --teacher {run.path}")


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    cli.main("finetune", FinetuneConfig, execute, argv)


if __name__ == "__main__":
    main()
