"""Ours: many fits of one shape with one ``FusedModel``, reset between them."""

import common
import keras
import short_fits

from kt_transfer import FusedModel


def main() -> None:
    args = short_fits.arguments()
    data = short_fits.examples()
    keras.utils.set_random_seed(common.SEED)
    model = FusedModel(short_fits.compiled(short_fits.network()))
    accuracies = []
    for number in range(args.fits):
        if number:
            model.reset(short_fits.network().get_weights())
        rows = short_fits.draw(number)
        fit = short_fits.settings(args, data)
        history = model.fit(data["x"][rows], data["y"][rows], **fit)
        accuracies.append(history.history["val_accuracy"][-1])
    short_fits.finish(accuracies)


if __name__ == "__main__":
    main()
