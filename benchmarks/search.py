"""Trials a minute: a search judged by five folds, against KerasTuner as its guide shows it."""

import statistics

import measuring
from measuring import Goal, Way, peer

FOLDS, EPOCHS = 5, 30


def accuracy(taken) -> float | None:
    return taken.said.get("val_accuracy")


OURS = Way(
    f"kt_transfer, {FOLDS} folds",
    lambda trials: peer("kt_search", trials=trials, folds=FOLDS, epochs=EPOCHS),
    accuracy,
)
SINGLE, SEVERAL = (
    Way(
        name,
        lambda trials, number=number: peer(
            "keras_tuner_search", trials=trials, executions=number, epochs=EPOCHS
        ),
        accuracy,
    )
    for name, number in (
        ("KerasTuner, one hold-out", 1),
        (f"KerasTuner, {FOLDS} executions", FOLDS),
    )
)


def main() -> None:
    args = measuring.arguments(__doc__, rounds=3, trials=20)
    ways = [OURS, SINGLE, SEVERAL]
    measured = measuring.measure(ways, args.rounds, (0, args.trials))
    trials = {way.name: measured.slopes(way.name) for way in ways}
    goals = [
        Goal(
            f"{way.name}, a trial",
            statistics.median(measuring.ratios(trials[way.name], trials[OURS.name])),
            goal,
        )
        for way, goal in ((SEVERAL, 3), (SINGLE, 1))
    ]
    per_trial = [
        [
            way.name,
            f"{60 / statistics.median(trials[way.name]):.0f}",
            measuring.megabytes(measured.peak(way.name)),
        ]
        for way in ways
    ]
    measuring.write(
        "search",
        f"A search of {args.trials} trials",
        f"300 digits, two hidden layers of 32 or 64 units, dropout or none, and a learning rate; "
        f"{EPOCHS} epochs at most. Ours trains each trial in {FOLDS} folds (fewer where it cannot "
        "win any more), each stopped by a part of what it learns from; KerasTuner trains it once, "
        f"or {FOLDS} times on the same hold-out of a fifth, which also chooses the epoch. What was "
        "found is trained on all 300, and measured on the other 1,497: *accuracy*. Seconds of one "
        f"more trial, compiling included; median (range) of {args.rounds} alternating rounds.",
        measuring.comparison(measured, trials, "accuracy"),
        measuring.table(["", "trials a minute", "peak memory"], per_trial),
        measuring.goals_table(goals),
        measuring.profile_if_missed(goals, OURS.command(args.trials)),
    )


if __name__ == "__main__":
    main()
