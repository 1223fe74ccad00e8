"""Do the verdicts of ``compare`` agree with the methods' accuracies on the test images?

Real MNIST, 50, 100 and 500 labels, ten repeats of five folds. ``compare`` itself touches the test
split once; here every method is refitted on as many draws of labels and measured on the 10,000 test
images. What is done already lies in ``cache/compare_verdicts/``: an interrupted run goes on.
"""

import statistics

import measuring

LABELS, FOLDS = (50, 100, 500), 5
# As many repeats as compare makes by default.
USUAL = 2
SETTINGS = {
    "data": "tfds:mnist",
    "labels": LABELS,
    "folds": FOLDS,
    "pretrain_epochs": 3,
    "methods": ("scratch", "parameters", "features", "distilled", "linear"),
}
FOLDER = measuring.CACHE / "compare_verdicts"


def main() -> None:
    args = measuring.arguments(__doc__, rounds=10)
    table, tests = measured(args.rounds)
    of_all = verdicts(table, range(args.rounds))
    usual = [
        verdicts(table, range(first, first + USUAL))
        for first in range(0, args.rounds - USUAL + 1, USUAL)
    ]
    lines, agree, covered, overlap = [], [], [], []
    for (name, labels), found in sorted(of_all.items(), key=lambda item: item[0][::-1]):
        truth = [100 * (draw[name, labels] - draw["scratch", labels]) for draw in tests]
        agrees = does_agree(found, truth)
        agree.append(agrees)
        low, high = found["interval"]
        mean, reach = statistics.mean(truth) / 100, reach_of(truth) / 100
        covered.append(low <= mean <= high)
        overlap.append(low <= mean + reach and mean - reach <= high)
        lines.append(
            [
                str(labels),
                name,
                measuring.plus_minus([100 * draw[name, labels] for draw in tests]),
                measuring.plus_minus(truth, signed=True),
                f"{100 * found['difference']:+.2f}",
                f"{100 * low:+.2f} to {100 * high:+.2f}",
                found["verdict"],
                f"{100 * found['detectable']:.2f}",
                "yes" if agrees else "**no**",
                ", ".join(run[name, labels]["verdict"] for run in usual),
            ]
        )
    head = ["labels", "method", "test accuracy", "to scratch, test", "to scratch, folds"]
    head += ["95 % interval", "verdict", "detectable", "agrees", f"verdicts of {USUAL} repeats"]
    measuring.write(
        "compare_verdicts",
        "Verdicts against 10,000 test images",
        f"MNIST, {args.rounds} repeats of {FOLDS} folds; percent. *Test*: refitted on "
        f"{args.rounds} draws of the labels and measured on the test images, mean ± standard "
        "deviation over the draws. *Folds*: what `compare` sees. A verdict agrees if the test says "
        "the same: *better* and *worse* where the mean test difference has that sign, *no "
        f"difference* where it is within what so much data can show. Settings: "
        f"{measuring.listed(SETTINGS)}, everything else as `compare` has it.",
        measuring.table(head, lines),
        f"{sum(agree)} of {len(agree)} verdicts agree; {sum(covered)} of {len(covered)} intervals "
        f"hold the mean test difference, and {sum(overlap)} overlap with its own 95 % interval, "
        f"which is wide with {args.rounds} draws: each fold of the comparison has one of its own.",
    )


def reach_of(truth: list[float]) -> float:
    """Half of the 95 % interval of the mean over draws."""
    from scipy import stats

    quantile = stats.t.ppf(0.975, len(truth) - 1)
    return float(quantile) * statistics.stdev(truth) / len(truth) ** 0.5


def does_agree(found: dict, truth: list[float]) -> bool:
    mean = statistics.mean(truth) / 100
    if found["verdict"] == "no difference":
        return abs(mean) <= found["detectable"]
    return (mean > 0) == (found["verdict"] == "better")


def verdicts(table, repeats: range) -> dict[tuple[str, int], dict]:
    """By method and budget, from the rows of these repeats alone."""
    from kt_transfer.comparison.verdicts import judge

    chosen = [row for row in table.rows.values() if row["repeat"] in repeats]
    points = table.points("accuracy")
    return {(e["method"], e["labels"]): e for e in judge(chosen, "accuracy", points)}


def measured(draws: int):
    """The table of the comparison, and the test accuracy of every method and budget by draw."""
    from kt_transfer.shell.startup import import_tensorflow_quietly

    import_tensorflow_quietly()
    from kt_transfer import data
    from kt_transfer import settings as config
    from kt_transfer.comparison import comparing
    from kt_transfer.comparison.table import Table
    from kt_transfer.methods.candidates import chosen_methods
    from kt_transfer.runs import folder as runs

    settings = config.CompareConfig(**SETTINGS, repeats=draws, quiet=True)
    methods = chosen_methods(
        settings.methods,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        student_units=settings.student_units,
    )
    mnist = data.load_data(settings.data)
    FOLDER.mkdir(parents=True, exist_ok=True)
    comparison = comparing.comparison_of(settings, methods, mnist, runs.Run(FOLDER))
    table = Table(FOLDER)
    for cell, part in comparison.cells(draws):
        if cell not in table:
            comparison.measure(table, cell, part)
            measuring.progress(f"repeat {cell.repeat}, fold {cell.fold}: {cell.method}")
    return table, [tested(comparison, mnist, repeat) for repeat in range(draws)]


def tested(comparison, mnist, repeat: int) -> dict[tuple[str, int], float]:
    """Test accuracy of every method and budget, refitted on one draw of labels."""
    budgets = comparison.budgets

    def accuracy(method: str, source: str, labels: int) -> float:
        comparison.budgets = [labels]  # the refit takes the largest
        try:
            learned, _ = comparison.refit(method, source, repeat=repeat)
            answers = learned.logits(mnist.x_test).argmax(axis=1)
        finally:
            comparison.budgets = budgets
        return float((answers == mnist.y_test).mean())

    return {
        (method, labels): measuring.remembered(
            FOLDER / f"test-{repeat}.json",
            f"{method}-{labels}",
            lambda given=(method, source, labels): accuracy(*given),
        )
        for labels in budgets
        for method, source in comparison.candidates
    }


if __name__ == "__main__":
    main()
