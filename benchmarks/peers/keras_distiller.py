"""``distill`` with ``keras.distillation.Distiller``, its losses set right.

``LogitsDistillation`` takes softmax and T² only for an *instance* of ``KLDivergence`` (its default,
the name, is computed on raw logits), and its labels' loss needs ``from_logits=True``.
"""

import common
import keras
import numpy as np


def main() -> None:
    args = common.arguments(teacher="", splits="", out="", temperature=4.0, alpha=0.1)
    common.seed_keras()
    (x, y), (x_test, y_test) = common.mnist_from_tfds()
    splits = np.load(args.splits)
    train, validation = splits["train"], splits["validation"]
    distiller = keras.distillation.Distiller(
        teacher=keras.saving.load_model(args.teacher, compile=False),
        student=student(),
        distillation_losses=keras.distillation.LogitsDistillation(
            temperature=args.temperature, loss=keras.losses.KLDivergence()
        ),
        student_loss_weight=args.alpha,
    )
    distiller.compile(
        optimizer=keras.optimizers.Adam(common.LEARNING_RATE),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    distiller.fit(
        x[train],
        y[train],
        batch_size=common.BATCH,
        epochs=args.epochs,
        validation_data=(x[validation], y[validation]),
        validation_batch_size=common.VALIDATION_BATCH,
        verbose=0,
    )
    logits = distiller.student.predict(x_test, batch_size=1024, verbose=0)
    distiller.student.save(args.out)
    common.finish(accuracy=(logits.argmax(axis=1) == y_test).mean())


def student():
    hidden = [keras.layers.Dense(32, activation="relu") for _ in range(2)]
    return keras.Sequential([keras.Input((784,)), *hidden, keras.layers.Dense(10)])


if __name__ == "__main__":
    main()
