"""Stock Keras: ``fit`` with NumPy arrays."""

import common
import keras


def main() -> None:
    args = common.arguments()
    common.seed_keras()
    x, held_out = map(common.scaled, common.raw_mnist(args.rows))
    model = common.keras_autoencoder()
    model.compile(keras.optimizers.Adam(common.LEARNING_RATE), loss=common.squared_error)
    history = model.fit(
        x,
        x,
        batch_size=common.BATCH,
        epochs=args.epochs,
        validation_data=(held_out, held_out),
        validation_batch_size=common.VALIDATION_BATCH,
        verbose=0,
    )
    common.finish_history(history)


if __name__ == "__main__":
    main()
