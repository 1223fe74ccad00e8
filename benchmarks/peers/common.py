"""What the scripts of this folder share: arguments, data, the reference network, the last line."""

from __future__ import annotations

import argparse
import json
import os
import random
from pathlib import Path

import numpy as np

CACHE = Path(__file__).resolve().parent.parent / "cache"
UNITS = (128, 64, 32, 16)
LATENT = 8
BATCH = 64
VALIDATION_BATCH = 256
LEARNING_RATE = 1e-3
EPSILON = 1e-7  # Keras's, for all
SEED = int(os.environ.get("BENCHMARK_SEED", "0"))  # of initial weights and order


def arguments(**more) -> argparse.Namespace:
    """``--epochs``, ``--rows`` and whatever else a script has (name = default)."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rows", type=int, default=60_000)
    for name, default in more.items():
        flag = f"--{name.replace('_', '-')}"
        if default is False:
            parser.add_argument(flag, action="store_true")
        else:
            parser.add_argument(flag, type=type(default), default=default)
    return parser.parse_args()


def raw_mnist(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Training and held-out images, ``uint8``, one row each."""
    return np.load(CACHE / "train.npy")[:rows], np.load(CACHE / "test.npy")


def scaled(raw: np.ndarray) -> np.ndarray:
    """The same from -1 to 1, ``float32``."""
    return raw.astype(np.float32) * np.float32(2 / 255) - np.float32(1)


def widths(features: int = 784) -> list[int]:
    """Of the reference autoencoder, from input to output."""
    return [features, *UNITS, LATENT, *UNITS[::-1], features]


def keras_autoencoder(features: int = 784):
    """The reference autoencoder and its loss, in stock Keras."""
    import keras

    units = widths(features)
    layers = [keras.layers.Dense(width, activation="relu") for width in units[1:-1]]
    output = keras.layers.Dense(units[-1], activation="tanh")
    return keras.Sequential([keras.Input((features,)), *layers, output])


def squared_error(y_true, y_pred):
    """Sum over the features; Keras takes the mean over the batch."""
    from keras import ops

    return ops.sum(ops.square(y_true - y_pred), axis=-1)


def mnist_from_tfds():
    """As a script of one's own would load it: images ``(n, 784)`` from -1 to 1, and labels."""
    import tensorflow_datasets as tfds

    train, test = tfds.load("mnist", split=["train", "test"], batch_size=-1, as_supervised=True)
    return [
        (scaled(images.numpy().reshape(len(images), -1)), labels.numpy())
        for images, labels in (train, test)
    ]


def seed_keras() -> None:
    """Let stock Keras begin with weights of this seed, and shuffle anew in every epoch.

    ``keras.utils.set_random_seed`` is not for this: after it, ``fit`` on arrays (Keras 3.15,
    TensorFlow) visits the examples in one and the same order in every epoch.
    """
    random.seed(SEED)


def finish(**said) -> None:
    """The line that the benchmark reads."""
    print("RESULT " + json.dumps({name: float(value) for name, value in said.items()}))


def finish_history(history) -> None:
    """The last row of a Keras history."""
    finish(**{name: values[-1] for name, values in history.history.items()})
