"""100 fits of one shape, as ``compare`` makes them, against a fresh Keras model each.

100 labels each, 20 epochs, a classifier 784-128-64-10; held-out examples measured every epoch.
"""

import statistics

import inputs
import measuring
from measuring import Goal, Way, peer


def accuracy(taken) -> float | None:
    return taken.said.get("val_accuracy")


OURS = Way(
    "kt_transfer, compare's learner",
    lambda fits: peer("kt_compare_fits", fits=fits, epochs=20),
    accuracy,
)
KERAS = Way(
    "Keras fit, a fresh model each",
    lambda fits: peer("keras_short_fits", fits=fits, epochs=20),
    accuracy,
)


def main() -> None:
    args = measuring.arguments(__doc__, rounds=2, fits=100)
    inputs.mnist()
    measured = measuring.measure([OURS, KERAS], args.rounds, (0, args.fits))
    wholes = {way.name: measured.wholes(way.name) for way in (OURS, KERAS)}
    times = statistics.median(measuring.ratios(wholes[KERAS.name], wholes[OURS.name]))
    goals = [Goal(f"{KERAS.name}, the whole process", times, 5)]
    measuring.write(
        "compare_fits",
        f"{args.fits} fits of one shape, as compare makes them",
        "Each fit: 100 labelled MNIST images of its own, 1,000 held-out ones measured in every "
        "epoch, 784-128-64-10, Adam, batch 32, 20 epochs, fresh initial weights. The whole "
        f"process, start-up and compiling included. Median (range) of {args.rounds} alternating "
        "rounds.",
        measuring.comparison(measured, wholes, "mean held-out accuracy"),
        measuring.goals_table(goals),
        measuring.profile_if_missed(goals, OURS.command(args.fits)),
    )


if __name__ == "__main__":
    main()
