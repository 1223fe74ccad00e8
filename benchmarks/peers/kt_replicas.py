"""Steps of an autoencoder on replicas, a core each: devices of one process, or this worker."""

import json
import os
import time
from pathlib import Path

# In the order of the workers; TensorFlow counts the cores that it may use when it is imported.
CORES = sorted(os.sched_getaffinity(0))
IS_WORKER = "TF_CONFIG" in os.environ
if IS_WORKER:
    index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    os.sched_setaffinity(0, {CORES[index % len(CORES)]})

import common  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from kt_transfer import FusedModel, ReconstructionLoss, dense_autoencoder  # noqa: E402
from kt_transfer.engine.strategy import choose_strategy, wait_for_workers  # noqa: E402
from kt_transfer.models.preprocessing import preprocessing_model  # noqa: E402

SHAPES = {"small": (common.UNITS, common.LATENT), "large": ((1000,), 1000)}
EPOCHS = 4  # of which the first compiles


class Watch(keras.callbacks.Callback):
    """Seconds of each epoch but the first, and the bytes sent over the loopback in all of them."""

    def __init__(self):
        super().__init__()
        self.seconds, self.sent = [], 0

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            self.sent = -bytes_sent()
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        if epoch:
            self.seconds.append(time.perf_counter() - self.began)
        if epoch == EPOCHS - 1:
            self.sent += bytes_sent()


def bytes_sent() -> int:
    """By the loopback interface of this network namespace; /sys may still show another one's."""
    lines = Path("/proc/net/dev").read_text().splitlines()
    fields = next(line.split(":")[1].split() for line in lines if line.strip().startswith("lo:"))
    return int(fields[8])


def main() -> None:
    args = common.arguments(replicas=1, batches="256", steps=100)
    if not IS_WORKER:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(len(CORES))
    kind = ("multi_worker", None) if IS_WORKER else ("mirrored", args.replicas)
    strategy, said = choose_strategy(*kind), {}
    if strategy.num_replicas_in_sync != args.replicas:
        raise SystemExit(f"{strategy.num_replicas_in_sync} replicas, expected {args.replicas}")
    for name in SHAPES:
        steps = args.steps if name == "small" else max(args.steps // 8, 2)
        for batch in map(int, args.batches.split(",")):
            found = measured(strategy, name, batch * args.replicas, steps)
            said |= {f"{name} {batch} {what}": value for what, value in found.items()}
    if IS_WORKER:
        wait_for_workers()
    common.finish(**said)


def measured(strategy, name: str, batch: int, steps: int) -> dict[str, float]:
    """Seconds and bytes of a step, and the bytes of all gradients."""
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).integers(0, 256, (steps * batch, 784), "uint8")
    units, latent = SHAPES[name]
    watch = Watch()
    with strategy.scope():
        preprocessing = preprocessing_model(x.shape[1:], (0, 255), x.dtype)

        def reconstruct_itself(x, y, sample_weight):
            features = preprocessing(x)
            return features, features, sample_weight

        network = dense_autoencoder(784, units, latent)
        network.compile(keras.optimizers.Adam(1e-3), loss=ReconstructionLoss())
        # Without XLA, which several replicas cannot have: one replica is to be alike.
        model = FusedModel(network, transform=reconstruct_itself, jit_compile=False)
        model.fit(x, batch_size=batch, epochs=EPOCHS, verbose=0, callbacks=[watch])
    return {
        "seconds": float(np.median(watch.seconds)) / steps,
        "sent": watch.sent / steps / (EPOCHS - 1),
        "gradients": sum(4 * int(np.prod(v.shape)) for v in network.trainable_variables),
    }


if __name__ == "__main__":
    main()
