"""What the searches of this folder have in common: the data, and the model as a guide builds it."""

import keras
import numpy as np
from sklearn.datasets import load_digits

EXAMPLES, CLASSES = 300, 10


def examples() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Few labelled digits to search with, and all others to measure what was found."""
    x, y = load_digits(return_X_y=True)
    x = (x / 8 - 1).astype("float32")
    order = np.random.default_rng(0).permutation(len(x))
    few, others = order[:EXAMPLES], order[EXAMPLES:]
    return x[few], y[few], x[others], y[others]


def build(hp) -> keras.Model:
    """Widths, dropout and learning rate, as KerasTuner's guide searches them."""
    model = keras.Sequential([keras.Input((64,))])
    for _ in range(2):
        model.add(keras.layers.Dense(hp.Choice("units", [32, 64]), activation="relu"))
    if hp.Boolean("dropout"):
        model.add(keras.layers.Dropout(0.25))
    model.add(keras.layers.Dense(CLASSES))
    rate = hp.Float("learning_rate", 1e-4, 1e-2, sampling="log", default=1e-3)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    return model
