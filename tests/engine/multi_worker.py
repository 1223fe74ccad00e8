"""One worker of several small trainings; the test starts some in a network namespace of their own.

``python multi_worker.py OUT.npz WHAT...`` with TF_CONFIG set, or without it for one process. Writes
the weights of everything that it has trained.
"""

import os
import sys

import numpy as np

from kt_transfer.shell.main import import_tensorflow_quietly

import_tensorflow_quietly()

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402

from kt_transfer import FusedModel, ReconstructionLoss, dense_autoencoder, load_data  # noqa: E402
from kt_transfer.engine.strategy import choose_strategy  # noqa: E402
from kt_transfer.methods import BY_NAME  # noqa: E402
from kt_transfer.methods.learning import Examples, Problem, Start, on_raw  # noqa: E402
from kt_transfer.models.classifiers import dense_encoder  # noqa: E402
from kt_transfer.models.preprocessing import preprocessing_model  # noqa: E402
from kt_transfer.training.adversarial import AdversarialModel  # noqa: E402

# With 2 and 3 workers, whose shares of 32 and of the last 31 differ in size for some of 3 only.
ROWS, BATCH_SIZE, LABELLED = 191, 32, 101


def resident():
    """Everything that a model gives, of arrays in memory."""
    x = np.random.default_rng(0).uniform(-1, 1, (ROWS, 20)).astype("float32")
    network = dense_autoencoder(20, (16, 8), 4)
    network.compile(keras.optimizers.Adam(1e-3), loss=ReconstructionLoss(), metrics=["mse"])
    model = FusedModel(network, seed=5)
    options = {"batch_size": BATCH_SIZE, "epochs": 3, "verbose": 0}
    history = model.fit(x, x, validation_data=(x[:100], x[:100]), **options)
    measured = model.evaluate(x, x, batch_size=BATCH_SIZE, return_dict=True)
    losses = [np.array(values) for values in history.history.values()]
    return [
        *network.get_weights(),
        *losses,
        np.array([*measured.values()]),
        model.predict(x[:7], verbose=0),
    ]


def streamed():
    """Batch statistics, of arrays that each worker reads its share of."""
    data = load_data("digits")
    inputs = keras.Input((64,))
    hidden = keras.layers.BatchNormalization()(keras.layers.Dense(8, use_bias=False)(inputs))
    network = keras.Model(inputs, keras.layers.Dense(10)(keras.layers.ReLU()(hidden)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(1e-3), loss=loss)
    # Pixels that are nearly always 0 have gradients that rounding alone decides.
    x = data.x[:ROWS].reshape(ROWS, 64) / 8 + np.random.default_rng(0).normal(
        size=(ROWS, 64)
    ).astype("float32")
    model = FusedModel(network, seed=5, memory_budget=1)
    model.fit(x, data.y[:ROWS], batch_size=BATCH_SIZE, epochs=3, verbose=0)
    assert "streamed" in model.execution, model.execution
    return network.get_weights()


def by_method(name):
    """A classifier by one of the methods."""
    data = load_data("digits")
    scaled = preprocessing_model(data.input_shape, data.scaling_range, data.x.dtype)
    encoder = dense_encoder(64, [32])
    if name == "vat":
        # Directions are drawn by each replica, too.
        AdversarialModel.random_directions = lambda self, inputs, seed: tf.ones_like(inputs)
    settings = {} if name in ("linear", "features") else {"epochs": 3, "batch_size": BATCH_SIZE}
    method = BY_NAME[name](**settings)
    num_rows = ROWS if method.sees_unlabelled else LABELLED
    y = np.where(np.arange(num_rows) < LABELLED, data.y[:num_rows], -1)
    start = Start(encoder.get_weights()) if method.needs_source else Start()
    # Views are drawn by each replica.
    problem = Problem(
        10, num_rows, encoder, scaled, flat=scaled, augment=lambda x, seed: tf.convert_to_tensor(x)
    )
    if method.teacher is not None:
        labelled = Examples(data.x[:LABELLED], data.y[:LABELLED])
        teacher = method.teacher.prepare(problem).learn(labelled, seed=0, start=start)
        problem = problem._replace(teacher=on_raw(teacher.network, teacher.preprocessing))
    learned = method.prepare(problem).learn(Examples(data.x[:num_rows], y), seed=0, start=start)
    return learned.network.get_weights()


KINDS = {"resident": resident, "streamed": streamed}
strategy = choose_strategy("multi_worker" if "TF_CONFIG" in os.environ else "one_device")
arrays = {}
for what in sys.argv[2:]:
    keras.utils.set_random_seed(3)
    with strategy.scope():
        weights = KINDS[what]() if what in KINDS else by_method(what)
    arrays |= {f"{what} {number}": array for number, array in enumerate(weights)}
np.savez(sys.argv[1], **arrays, replicas=strategy.num_replicas_in_sync)
