"""``finetune --method features`` in stock Keras: a frozen encoder, a dense head, ``fit``."""

import common
import keras
import numpy as np


def main() -> None:
    args = common.arguments(source="", splits="", out="", batch=32)
    common.seed_keras()
    (x, y), (x_test, y_test) = common.mnist_from_tfds()
    splits = np.load(args.splits)
    train, validation = splits["train"], splits["validation"]
    encoder = keras.saving.load_model(args.source, compile=False).get_layer("encoder")
    encoder.trainable = False
    model = keras.Sequential([encoder, keras.layers.Dense(10)])
    model.compile(
        keras.optimizers.Adam(common.LEARNING_RATE),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(
        x[train],
        y[train],
        batch_size=args.batch,
        epochs=args.epochs,
        validation_data=(x[validation], y[validation]),
        validation_batch_size=common.VALIDATION_BATCH,
        verbose=0,
    )
    test = model.evaluate(x_test, y_test, batch_size=1024, verbose=0, return_dict=True)
    model.save(args.out)
    common.finish(**test)


if __name__ == "__main__":
    main()
