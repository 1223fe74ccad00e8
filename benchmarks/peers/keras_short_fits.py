"""Stock Keras: a fresh model for each of many fits of one shape."""

import common
import keras
import short_fits


def main() -> None:
    args = short_fits.arguments()
    data = short_fits.examples()
    common.seed_keras()
    accuracies = []
    for number in range(args.fits):
        # As the documentation has it: what earlier models left behind is let go.
        keras.utils.clear_session()
        model = short_fits.compiled(short_fits.network())
        rows = short_fits.draw(number)
        fit = short_fits.settings(args, data)
        history = model.fit(data["x"][rows], data["y"][rows], **fit)
        accuracies.append(history.history["val_accuracy"][-1])
    short_fits.finish(accuracies)


if __name__ == "__main__":
    main()
