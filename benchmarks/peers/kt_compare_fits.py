"""Ours: many fits of one shape by the learner that ``compare`` uses for every fold."""

import common
import keras
import numpy as np
import short_fits

from kt_transfer.methods.learners import NetworkLearner, Schedule
from kt_transfer.models.classifiers import dense_encoder
from kt_transfer.models.preprocessing import preprocessing_model


def main() -> None:
    args = short_fits.arguments()
    data = short_fits.examples()
    keras.utils.set_random_seed(common.SEED)
    # The examples are scaled already: from -1 and 1 to -1 and 1.
    scaled = preprocessing_model((784,), (-1.0, 1.0), "float32")
    schedule = Schedule(args.epochs, short_fits.BATCH, common.LEARNING_RATE)
    learner = NetworkLearner(
        dense_encoder(784, (128, 64)), scaled, 10, schedule, num_examples=short_fits.LABELS
    )
    held_out = data["x_held_out"], data["y_held_out"]
    accuracies = []
    for number in range(args.fits):
        rows = short_fits.draw(number)
        learned = learner.learn(data["x"][rows], data["y"][rows], seed=number, watched=held_out)
        accuracies.append(learned.curve[args.epochs])
    short_fits.finish([float(np.mean(accuracies))] if accuracies else [])


if __name__ == "__main__":
    main()
