"""One worker of a small fit; the test starts two of them in a network namespace of their own.

``python multi_worker.py OUT.npz [RUN]`` with TF_CONFIG set, or without it for one process.
"""

import os
import sys

import numpy as np

from kt_transfer.shell.main import import_tensorflow_quietly

import_tensorflow_quietly()

import keras  # noqa: E402

from kt_transfer import FusedModel, ReconstructionLoss, dense_autoencoder  # noqa: E402
from kt_transfer.engine.strategy import choose_strategy  # noqa: E402

strategy = choose_strategy("multi_worker" if "TF_CONFIG" in os.environ else "one_device")
x = np.random.default_rng(0).uniform(-1, 1, (640, 20)).astype("float32")
keras.utils.set_random_seed(0)
with strategy.scope():
    network = dense_autoencoder(20, (16, 8), 4)
    network.compile(keras.optimizers.Adam(1e-3), loss=ReconstructionLoss(), metrics=["mse"])
model = FusedModel(network, seed=5)
history = model.fit(x, x, batch_size=64, epochs=5, verbose=0, validation_data=(x[:100], x[:100]))
measured = model.evaluate(x, x, return_dict=True)
np.savez(
    sys.argv[1],
    *network.get_weights(),
    losses=history.history["val_loss"],
    mse=measured["mse"],
    predicted=model.predict(x[:7]),
    replicas=strategy.num_replicas_in_sync,
)
