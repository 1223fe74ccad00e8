"""20 short fits of one shape: one ``FusedModel``, reset between them, against fresh models.

100 labels each, 20 epochs, a classifier 784-128-64-10.
"""

import statistics

import inputs
import measuring
from measuring import Goal, Way, peer


def accuracy(taken) -> float | None:
    return taken.said.get("val_accuracy")


OURS = Way(
    "kt_transfer, FusedModel.reset",
    lambda fits: peer("kt_short_fits", fits=fits, epochs=20),
    accuracy,
)
KERAS = Way(
    "Keras fit, a fresh model each",
    lambda fits: peer("keras_short_fits", fits=fits, epochs=20),
    accuracy,
)


def main() -> None:
    args = measuring.arguments(__doc__, fits=20)
    inputs.mnist()
    # No fit at all is start-up and reading: what is left is the fits, compiling included.
    measured = measuring.measure([OURS, KERAS], args.rounds, (0, args.fits))
    fits, wholes = (
        {way.name: seconds(way.name) for way in (OURS, KERAS)}
        for seconds in (measured.differences, measured.wholes)
    )
    goals = [
        Goal(f"{KERAS.name}, the fits", times(fits), 5),
        Goal(f"{KERAS.name}, the whole process", times(wholes), 5),
    ]
    measuring.write(
        "short_fits",
        f"{args.fits} short fits of one shape",
        "Each fit: 100 labelled MNIST images of its own, 1,000 held-out ones measured in every "
        "epoch, 784-128-64-10, Adam, batch 32, 20 epochs, fresh initial weights. Median (range) of "
        f"{args.rounds} alternating rounds.",
        f"The {args.fits} fits, compiling included: the process less one that fits nothing.",
        measuring.comparison(measured, fits, "mean held-out accuracy"),
        "The whole process.",
        measuring.comparison(measured, wholes, "mean held-out accuracy"),
        measuring.goals_table(goals),
        measuring.profile_if_missed(goals, OURS.command(args.fits)),
    )


def times(seconds: dict[str, list[float]]) -> float:
    return statistics.median(measuring.ratios(seconds[KERAS.name], seconds[OURS.name]))


if __name__ == "__main__":
    main()
