"""Stock Keras at its best: ``tf.data``, ``jit_compile=True``, ``steps_per_execution``."""

import common
import keras
import tensorflow as tf


def main() -> None:
    args = common.arguments(steps_per_execution=128)
    common.seed_keras()
    x, held_out = common.raw_mnist(args.rows)
    model = common.keras_autoencoder()
    model.compile(
        keras.optimizers.Adam(common.LEARNING_RATE),
        loss=common.squared_error,
        jit_compile=True,
        steps_per_execution=args.steps_per_execution,
    )
    history = model.fit(
        dataset(x, common.BATCH, shuffle=True),
        epochs=args.epochs,
        validation_data=dataset(held_out, common.VALIDATION_BATCH, shuffle=False).cache(),
        verbose=0,
    )
    common.finish_history(history)


def dataset(x, batch: int, shuffle: bool) -> tf.data.Dataset:
    examples = tf.data.Dataset.from_tensor_slices(x)
    if shuffle:
        examples = examples.shuffle(len(x))
    # Batched first: scaling is one operation a batch, not one an example.
    batches = examples.batch(batch, num_parallel_calls=tf.data.AUTOTUNE)
    return batches.map(pair, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def pair(raw):
    features = tf.cast(raw, tf.float32) * (2 / 255) - 1.0
    return features, features


if __name__ == "__main__":
    main()
