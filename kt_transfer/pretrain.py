"""``python -m kt_transfer.pretrain``: train an autoencoder on a source task, without labels."""

from __future__ import annotations

import numpy as np

from kt_transfer import cli
from kt_transfer.config import PretrainConfig
from kt_transfer.errors import UserError
from kt_transfer.rows import take_rows
from kt_transfer.runs import Run


def run(**settings) -> Run:
    """The command as a function; ``settings`` are the fields of :class:`PretrainConfig`.

    Example:
        >>> pretrain.run(data="tfds:mnist", epochs=20, out="runs/mnist-source")
        Run('runs/mnist-source')
    """
    return execute(PretrainConfig(**settings))


def execute(config: PretrainConfig) -> Run:
    """Strategy, data, model, fit, save."""
    from kt_transfer import recording
    from kt_transfer.data import hold_out, load_data
    from kt_transfer.reporting.plots import plot_history, plot_reconstructions
    from kt_transfer.training.fitting import fit_in_folder

    with cli.start_run("pretrain", config) as run:
        strategy = recording.begin(run, config)
        data = load_data(config.data, data_dir=config.data_dir)
        train, validation = hold_out(data.y, 0.1, config.seed)
        recording.note_data(run, data, train=train, validation=validation)
        with strategy.scope():
            network = _build(config, data)
            preprocessing = recording.preprocessing_for(network, data)
            model = _trainer(network, preprocessing, config)
        history = fit_in_folder(
            model,
            network,
            run,
            take_rows(data.x, train),
            epochs=config.epochs,
            batch_size=config.batch_size,
            validation_data=(take_rows(data.x, validation),) if len(validation) else None,
            patience=config.patience,
            title=f"pretrain {config.data}",
            quiet=config.quiet,
        )
        run.save_model("model.keras", network)
        run.save_model("preprocessing.keras", preprocessing)
        metrics = {
            "test": model.evaluate(data.x_test, batch_size=1024, return_dict=True),
            "validation": model.evaluate(
                take_rows(data.x, validation), batch_size=1024, return_dict=True
            ),
            "num_parameters": network.count_params(),
        }
        metrics["test"]["sparsity"] = _sparsity(network, preprocessing, data.x_test)
        run.write_json("metrics.json", metrics)
        recording.note_execution(run, model)
        plots = run.folder("plots")
        plot_history(history, plots / "loss.png")
        pictures = _pictures(network, preprocessing, data)
        plot_reconstructions(*pictures, plots / "reconstructions.png")
    _tell(config, run, data, len(train), metrics)
    return run


def _build(config: PretrainConfig, data):
    from kt_transfer.models.autoencoders import dense_autoencoder, sparse_autoencoder
    from kt_transfer.models.convolutional import conv_autoencoder
    from kt_transfer.models.preprocessing import image_shape

    shape = {"latent_dim": config.latent_dim, "noise": config.noise}
    if config.model == "conv":
        _require_images(data)
        return conv_autoencoder(image_shape(data.input_shape), config.filters, **shape)
    shape["hidden_units"] = config.hidden_units
    if config.model == "dense":
        return dense_autoencoder(data.input_dim, **shape)
    return sparse_autoencoder(
        data.input_dim, sparsity=config.sparsity, sparsity_weight=config.sparsity_weight, **shape
    )


def _require_images(data) -> None:
    if len(data.input_shape) not in (2, 3):
        raise UserError(
            f"--model conv was given with {data.spec}, whose examples have the shape "
            f"{data.input_shape}, expected images, (height, width[, channels]): give --model "
            "dense, or data that are images."
        )


def _trainer(network, preprocessing, config: PretrainConfig):
    import keras

    from kt_transfer.training.losses import ReconstructionLoss
    from kt_transfer.training.steps import FusedModel

    def reconstruct_itself(x, y, sample_weight):
        features = preprocessing(x)
        return features, features, sample_weight

    network.compile(
        optimizer=keras.optimizers.Adam(config.learning_rate),
        loss=ReconstructionLoss(),
        metrics=["mse"],
    )
    return FusedModel(
        network,
        transform=reconstruct_itself,
        seed=config.seed,
        jit_compile=cli.jit_choice(config),
    )


def _sparsity(network, preprocessing, x) -> float:
    """Share of near-zero code units over the examples."""
    from kt_transfer.training.steps import predict_raw

    codes = predict_raw(network.get_layer("encoder"), preprocessing, x)
    return float((np.abs(codes) < 1e-3).mean())


def _pictures(network, preprocessing, data, count: int = 10):
    """The first test examples, and what the autoencoder makes of them, in raw values."""
    from kt_transfer.models.preprocessing import raw_values

    originals = data.x_test[:count]
    outputs = network(preprocessing(originals), training=False)
    return originals, np.array(raw_values(outputs, data.input_shape, data.value_range))


def _tell(config: PretrainConfig, run: Run, data, num_train: int, metrics: dict) -> None:
    say = cli.say(config)
    say(
        f"pretrained on {data.spec}: {num_train} examples, {config.epochs} epochs, "
        f"{run.read_json('run.json')['wall_seconds']:.1f} s"
    )
    say(f"  test mse {metrics['test']['mse']:.4f}   run {run.path}")
    if data.num_classes:
        say(f"next: python -m kt_transfer.finetune --source {run.path} --labels 100")
    else:
        say(f"next: python -m kt_transfer.finetune --source {run.path} --data SPEC")


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    cli.main("pretrain", PretrainConfig, execute, argv)


if __name__ == "__main__":
    main()
