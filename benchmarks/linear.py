"""``linear`` on 36 photographs of 96 × 128 × 3, the floor of a comparison, against ``features``.

Logistic regression on 36,864 columns must not cost more than what it is the floor of.
"""

import statistics

import measuring
from measuring import Goal, Way, peer


def accuracy(taken) -> float | None:
    return taken.said.get("val_accuracy")


LINEAR, FEATURES = (
    Way(
        name,
        lambda fits, name=name: peer("kt_linear", method=name, fits=fits, epochs=20),
        accuracy,
    )
    for name in ("linear", "features")
)


def main() -> None:
    args = measuring.arguments(__doc__, rounds=3, fits=10)
    measured = measuring.measure([LINEAR, FEATURES], args.rounds, (0, args.fits))
    fits = {way.name: measured.slopes(way.name) for way in (LINEAR, FEATURES)}
    times = statistics.median(measuring.ratios(fits["features"], fits["linear"]))
    goals = [Goal("features, a fit", times, 1)]
    measuring.write(
        "linear",
        "linear on 36 photographs of 96 × 128 × 3",
        "Seconds of a fit: crops of three photographs that scikit-learn and Matplotlib ship, 12 of "
        "each to learn from, 36 others to measure by. `features` is logistic regression on the 500 "
        "features of an autoencoder; its pretraining (20 epochs here) is not counted. Median "
        f"(range) of {args.rounds} alternating rounds of {args.fits} fits.",
        measuring.comparison(measured, fits, "held-out accuracy"),
        measuring.goals_table(goals),
        measuring.profile_if_missed(goals, LINEAR.command(args.fits)),
    )


if __name__ == "__main__":
    main()
