"""``python -m kt_transfer.finetune``: transfer a source model to a target task with labels."""

from __future__ import annotations

import dataclasses
import time

import numpy as np

from kt_transfer import cli, runs
from kt_transfer.config import FinetuneConfig
from kt_transfer.rows import quarter_of_memory, take_rows
from kt_transfer.runs import Run

# Examples seen in all epochs together, and these times parameters, up to which the same training
# from scratch takes seconds.
CHEAP_EXAMPLES, CHEAP_PRODUCT = 200_000, 5e10


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
    from kt_transfer.models.freezing import freeze_layers, layers_with_weights
    from kt_transfer.reporting.layers import layer_rows, layer_weights

    source = runs.open_source(config.source)
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
            encoder, preprocessing, expected = _backbone(config, source, data)
            locked = freeze_layers(encoder, "all" if config.method == "features" else config.freeze)
            network = classifier(encoder, data.num_classes)
            layers = layers_with_weights(network)
            before = layer_weights(layers)
            _note_adaptation(config, run, data, expected)
            fit = _fit_features if config.method == "features" else _fit_parameters
            history = fit(config, run, network, preprocessing, data, train, validation)
            rates = _rates(config, network)
        recording.save_classifier(run, network, preprocessing, source, data)
        metrics = recording.classifier_metrics(network, preprocessing, data, validation)
        metrics["locked_layers"] = locked
        metrics["num_trained_parameters"] = _count(network.trainable_weights)
        by_steps = config.chosen_head == "dense"
        metrics["layers"] = layer_rows(
            layers, before, config.learning_rate if by_steps else 0.0, rates
        )
        scratch = []
        if _is_scratch_wanted(config, network, train, validation):
            scratch = _fit_from_scratch(
                config, run, strategy, network, preprocessing, data, train, validation
            )
            metrics["saved_by_transfer"] = _saved(history, scratch, metrics, run, len(validation))
        run.write_json("metrics.json", metrics)
        recording.plot_classifier(run, history, scratch)
    _tell(config, run, data, len(drawn), metrics)
    return run


def _data_of(source: Run | None) -> str:
    return "digits" if source is None else source.settings["data"]


def _backbone(config: FinetuneConfig, source: Run | None, data):
    """The encoder, the preprocessing that makes raw examples fit it, and what it expects."""
    import keras

    from kt_transfer.models.adapting import adapting_model
    from kt_transfer.models.bodies import features_from
    from kt_transfer.models.classifiers import dense_encoder
    from kt_transfer.models.preprocessing import preprocessing_model
    from kt_transfer.sources import load_source

    raw = (data.input_shape, data.value_range, data.x.dtype)
    if config.source == "scratch":
        encoder = dense_encoder(data.input_dim, config.hidden_units, config.latent_dim)
        return encoder, preprocessing_model(*raw), None
    encoder, expected = load_source(config.source, source, data, config.source_range)
    if config.reinitialize:
        encoder = keras.models.clone_model(encoder)
    return features_from(encoder, config.features_from), adapting_model(*raw, expected), expected


def _note_adaptation(config: FinetuneConfig, run: Run, data, expected) -> None:
    """Say and write down how examples are made to fit the source."""
    from kt_transfer.models.adapting import describe

    if expected is None:
        return
    line = describe(data.input_shape, data.value_range, expected)
    run.update_json("run.json", expects=expected.to_note(), adaptation=line)
    cli.say(config)(line)


def _fit_parameters(config, run, network, preprocessing, data, train, validation) -> list[dict]:
    """Train every layer that is not locked, stage by stage where they are unlocked in turn."""
    from kt_transfer.models.freezing import freeze_layers, layers_with_weights
    from kt_transfer.training.schedules import unfreezing

    encoder = network.get_layer("encoder")
    num_layers = len(layers_with_weights(encoder))
    stages = unfreezing(
        num_layers,
        config.epochs,
        num_locked=num_layers if config.freeze == "all" else config.freeze,
        head_epochs=config.head_epochs,
        unfreeze_every=config.unfreeze_every,
    )
    for stage in stages:
        freeze_layers(encoder, stage.num_locked)
        examples = _unless_frozen(network, preprocessing, data, train, validation)
        history = _fit(config, run, network, *examples, stage)
    return history


def _unless_frozen(network, preprocessing, data, train, validation) -> tuple:
    """The model to train and its examples: what locked first layers give is computed once."""
    from kt_transfer.models.freezing import split_frozen
    from kt_transfer.training.steps import predict_raw, scaling

    parts = split_frozen(network)
    rows = np.concatenate([train, validation])
    if parts is None or not _fits_in_memory(parts[0], len(rows)):
        return network, scaling(preprocessing), data.x, data.y, train, validation
    frozen, trained = parts
    features = predict_raw(frozen, preprocessing, take_rows(data.x, rows))
    return trained, None, features, data.y[rows], *_positions(train, validation)


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
    from kt_transfer.training.schedules import Stage
    from kt_transfer.training.steps import predict_raw

    encoder, head = network.get_layer("encoder"), network.get_layer("head")
    rows = np.concatenate([train, validation])
    features = predict_raw(encoder, preprocessing, take_rows(data.x, rows))
    labels = data.y[rows]
    if config.chosen_head == "logistic_regression":
        # Its regularization is chosen by folds of its own: it needs no validation examples,
        # and those held out measure it.
        began = time.perf_counter()
        kernel, bias, strength = fit_logistic_regression(
            features[: len(train)], labels[: len(train)], data.num_classes, seed=config.seed
        )
        head.set_weights([kernel, bias])
        run.update_json(
            "run.json",
            logistic_regression_c=strength,
            logistic_regression_seconds=round(time.perf_counter() - began, 4),
        )
        return []
    x = keras.Input(features.shape[1:], name="features")
    on_features = keras.Model(x, head(x), name="head_on_features")
    positions = _positions(train, validation)
    examples = (on_features, None, features, labels, *positions)
    return _fit(config, run, network, *examples, Stage(0, config.epochs, 0))


def _fit(config, run, network, trained, transform, x, y, train, validation, stage) -> list[dict]:
    """One stage: ``trained`` is the part of the network that is trained in it."""
    from kt_transfer import recording
    from kt_transfer.training.fitting import fit_in_folder
    from kt_transfer.training.schedules import learning_rate_callbacks
    from kt_transfer.training.steps import FusedModel

    recording.compile_classifier(trained, _optimizer(config, network))
    model = FusedModel(
        trained, transform=transform, seed=config.seed, jit_compile=cli.jit_choice(config)
    )
    history = fit_in_folder(
        model,
        network,
        run,
        take_rows(x, train),
        y[train],
        epochs=stage.end,
        batch_size=config.batch_size,
        validation_data=(take_rows(x, validation), y[validation]) if len(validation) else None,
        callbacks=learning_rate_callbacks(
            config.lr_decay, config.learning_rate, config.epochs, config.warmup_epochs
        ),
        # Only the last stage may end early: the ones before are not there to be the best.
        patience=config.patience if stage.end == config.epochs else None,
        begins=stage.first,
        total_epochs=config.epochs,
        title=f"finetune {config.data}",
        quiet=config.quiet,
    )
    recording.note_execution(run, model)
    return history


def _rates(config, network) -> dict[str, float]:
    """Factor of the learning rate, by layer."""
    from kt_transfer.models.freezing import layers_with_weights
    from kt_transfer.training.layerwise import decayed_rates

    return decayed_rates(layers_with_weights(network), config.layer_decay)


def _optimizer(config, network):
    import keras

    from kt_transfer.models.freezing import layers_with_weights
    from kt_transfer.training.layerwise import LayerwiseAdam, factors_of_variables

    if config.layer_decay == 1:
        return keras.optimizers.Adam(config.learning_rate)
    factors = factors_of_variables(layers_with_weights(network), _rates(config, network))
    return LayerwiseAdam(factors, learning_rate=config.learning_rate)


def _is_scratch_wanted(config, network, train, validation) -> bool:
    if config.source == "scratch" or config.reinitialize or not len(validation):
        return False
    examples = len(train) * config.epochs
    cheap = examples <= CHEAP_EXAMPLES and examples * network.count_params() <= CHEAP_PRODUCT
    return config.compare_scratch == "yes" or (config.compare_scratch == "auto" and cheap)


def _fit_from_scratch(config, run, strategy, network, preprocessing, data, train, validation):
    """The history of the same network trained from fresh weights, for comparison."""
    import keras

    from kt_transfer import recording
    from kt_transfer.training.callbacks import EpochLog, read_history
    from kt_transfer.training.schedules import learning_rate_callbacks
    from kt_transfer.training.steps import FusedModel, scaling

    with strategy.scope():
        # Not clone_model, which takes the training configuration along.
        fresh = type(network).from_config(network.get_config())
        for layer in fresh.layers:
            layer.trainable = True
        recording.compile_classifier(fresh, keras.optimizers.Adam(config.learning_rate))
        model = FusedModel(
            fresh,
            transform=scaling(preprocessing),
            seed=config.seed,
            jit_compile=cli.jit_choice(config),
        )
    log = run.path / "scratch_history.csv"
    model.fit(
        take_rows(data.x, train),
        data.y[train],
        batch_size=config.batch_size,
        epochs=config.epochs,
        validation_data=(take_rows(data.x, validation), data.y[validation]),
        validation_batch_size=max(config.batch_size, 256),
        callbacks=[
            *learning_rate_callbacks(
                config.lr_decay, config.learning_rate, config.epochs, config.warmup_epochs
            ),
            EpochLog(log),
        ],
        verbose=0,
    )
    return read_history(log)


def _saved(history, scratch, metrics: dict, run: Run, num_validation: int) -> dict:
    from kt_transfer.reporting.savings import saved_by_transfer

    if not history:  # logistic regression: one fit, no epochs
        seconds = run.read_json("run.json")["logistic_regression_seconds"]
        history = [{"seconds": seconds, "val_accuracy": metrics["validation"]["accuracy"]}]
    return saved_by_transfer(history, scratch, num_validation)


def _count(weights) -> int:
    return int(sum(np.prod(weight.shape) for weight in weights))


def _tell(config: FinetuneConfig, run: Run, data, num_labels: int, metrics: dict) -> None:
    from kt_transfer.reporting.layers import format_layers
    from kt_transfer.reporting.savings import tell_saved
    from kt_transfer.reporting.terminal import accuracy

    say = cli.say(config)
    say(format_layers(metrics["layers"]) + "\n")
    how = "scratch" if config.source == "scratch" else f"{config.method} of {config.source}"
    locked = f", {len(metrics['locked_layers'])} layers locked" if metrics["locked_layers"] else ""
    seconds = run.read_json("run.json")["wall_seconds"]
    say(f"fine-tuned on {data.spec}: {num_labels} labels, {how}{locked}, {seconds:.1f} s")
    say(f"  test accuracy {accuracy(metrics['test'])}   run {run.path}")
    if "saved_by_transfer" in metrics:
        say(f"  {tell_saved(metrics['saved_by_transfer'])}")
    say(f"next: python -m kt_transfer.distill --teacher {run.path}")


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    cli.main("finetune", FinetuneConfig, execute, argv)


if __name__ == "__main__":
    main()
