"""Ours: many fits of one shape by the learner that ``compare`` uses for every fold."""

import common
import keras
import numpy as np
import short_fits

from kt_transfer.comparison.comparison import EVALUATIONS
from kt_transfer.methods import Scratch
from kt_transfer.methods.learning import Examples, Problem
from kt_transfer.models.classifiers import dense_encoder
from kt_transfer.models.preprocessing import preprocessing_model


def main() -> None:
    args = short_fits.arguments()
    data = short_fits.examples()
    keras.utils.set_random_seed(common.SEED)
    # The examples are scaled already: from -1 and 1 to -1 and 1.
    scaled = preprocessing_model((784,), (-1.0, 1.0), "float32")
    method = Scratch(
        epochs=args.epochs, batch_size=short_fits.BATCH, learning_rate=common.LEARNING_RATE
    )
    problem = Problem(10, short_fits.LABELS, dense_encoder(784, (128, 64)), scaled)
    learner = method.prepare(problem)
    held_out = data["x_held_out"], data["y_held_out"]
    accuracies = []
    for number in range(args.fits):
        rows = short_fits.draw(number)
        examples = Examples(data["x"][rows], data["y"][rows], None, held_out, EVALUATIONS)
        learned = learner.learn(examples, seed=number)
        accuracies.append(learned.curve[args.epochs])
    short_fits.finish([float(np.mean(accuracies))] if accuracies else [])


if __name__ == "__main__":
    main()
