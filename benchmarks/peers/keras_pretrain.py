"""The ``pretrain`` command as a script of one's own: TFDS, stock ``fit`` with arrays, save."""

import common
import keras
import numpy as np


def main() -> None:
    args = common.arguments(splits="", out="")
    common.seed_keras()
    (x, _), (x_test, _) = common.mnist_from_tfds()
    splits = np.load(args.splits)
    train, validation = x[splits["train"]], x[splits["validation"]]
    model = common.keras_autoencoder()
    model.compile(
        keras.optimizers.Adam(common.LEARNING_RATE), loss=common.squared_error, metrics=["mse"]
    )
    model.fit(
        train,
        train,
        batch_size=common.BATCH,
        epochs=args.epochs,
        validation_data=(validation, validation),
        validation_batch_size=common.VALIDATION_BATCH,
        verbose=0,
    )
    test = model.evaluate(x_test, x_test, batch_size=1024, verbose=0, return_dict=True)
    model.save(args.out)
    common.finish(**test)


if __name__ == "__main__":
    main()
