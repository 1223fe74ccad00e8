"""What both sides of the short fits share: the network, and the examples of each fit."""

import common
import keras
import numpy as np

LABELS, HELD_OUT, BATCH = 100, 1000, 32


def arguments():
    return common.arguments(fits=20)


def network():
    hidden = [keras.layers.Dense(width, activation="relu") for width in (128, 64)]
    return keras.Sequential([keras.Input((784,)), *hidden, keras.layers.Dense(10)])


def compiled(model):
    model.compile(
        keras.optimizers.Adam(common.LEARNING_RATE),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def settings(args, data: dict) -> dict:
    """Arguments of ``fit``."""
    return {
        "batch_size": BATCH,
        "epochs": args.epochs,
        "validation_data": (data["x_held_out"], data["y_held_out"]),
        "validation_batch_size": common.VALIDATION_BATCH,
        "verbose": 0,
    }


def examples() -> dict:
    x, x_test = map(common.scaled, common.raw_mnist(60_000))
    return {
        "x": x,
        "y": np.load(common.CACHE / "train_labels.npy"),
        "x_held_out": x_test[:HELD_OUT],
        "y_held_out": np.load(common.CACHE / "test_labels.npy")[:HELD_OUT],
    }


def draw(number: int) -> np.ndarray:
    """The labelled rows of one fit."""
    return np.random.default_rng(number).permutation(60_000)[:LABELS]


def finish(accuracies: list[float]) -> None:
    """The mean over the fits, where there were any."""
    common.finish(**({"val_accuracy": np.mean(accuracies)} if accuracies else {}))
