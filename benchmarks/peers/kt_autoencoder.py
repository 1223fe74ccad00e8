"""Ours: the reference autoencoder through ``FusedModel``, as ``kt_transfer.pretrain`` trains it."""

import common
import keras
import numpy as np
import tensorflow as tf

from kt_transfer import FusedModel, ReconstructionLoss, dense_autoencoder
from kt_transfer.models.preprocessing import preprocessing_model


def main() -> None:
    args = common.arguments(feed="resident", width=0, data="", no_validation=False, budget=1)
    keras.utils.set_random_seed(common.SEED)
    x, held_out = read(args)
    preprocessing = preprocessing_model(x.shape[1:], (0, 255), x.dtype)

    def reconstruct_itself(x, y, sample_weight):
        features = preprocessing(x)
        return features, features, sample_weight

    network = dense_autoencoder(x.shape[1], **shape(args.width))
    network.compile(keras.optimizers.Adam(common.LEARNING_RATE), loss=ReconstructionLoss())
    budget = args.budget if args.feed == "arrays" else None
    model = FusedModel(
        network, transform=reconstruct_itself, seed=common.SEED, memory_budget=budget
    )
    history = model.fit(
        dataset(x) if args.feed == "dataset" else x,
        batch_size=None if args.feed == "dataset" else common.BATCH,
        epochs=args.epochs,
        validation_data=None if args.no_validation else (held_out,),
        validation_batch_size=common.VALIDATION_BATCH,
        verbose=0,
    )
    check(model.execution, args.feed)
    common.finish_history(history)


def read(args):
    if not args.data:
        return common.raw_mnist(args.rows)
    return np.load(args.data, mmap_mode="r")[: args.rows], None


def shape(width: int) -> dict:
    """Hidden layers of which the first is so wide; the reference network by default."""
    units = [width // 2**i for i in range(4)] if width else common.UNITS
    return {"hidden_units": units, "latent_dim": common.LATENT}


def dataset(x) -> tf.data.Dataset:
    return (
        tf.data.Dataset.from_tensor_slices(x)
        .shuffle(len(x))
        .batch(common.BATCH, num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
    )


def check(execution: str, feed: str) -> None:
    """What is measured must be what the table says."""
    word = {"resident": "data resident", "arrays": "data streamed", "dataset": "tf.data streamed"}
    if word[feed] not in execution:
        raise SystemExit(f"executed as {execution!r}, expected {word[feed]!r}")


if __name__ == "__main__":
    main()
