"""Do the verdicts of ``compare`` agree with the methods' accuracies on the test images?

Real MNIST, 100 labels, ten draws. ``compare`` itself touches the test split once; here every
method is refitted on each draw's 100 labels and measured on the 10,000 test images. What is done
already lies in ``cache/compare_verdicts/``: an interrupted run goes on.
"""

import statistics

import measuring

LABELS, FOLDS = 100, 5
# As many repeats as compare makes by default.
USUAL = 3
SETTINGS = {"data": "tfds:mnist", "labels": (LABELS,), "folds": FOLDS, "pretrain_epochs": 3}
FOLDER = measuring.CACHE / "compare_verdicts"


def main() -> None:
    args = measuring.arguments(__doc__, rounds=10)
    rows, tests = measured(args.rounds)
    candidates = sorted({key for draw in tests for key in draw if key != "scratch"})
    of_all = verdicts(rows, range(args.rounds))
    usual = [
        verdicts(rows, range(first, first + USUAL))
        for first in range(0, args.rounds - USUAL + 1, USUAL)
    ]
    lines, agree, covered = [], [], []
    for name in candidates:
        found, truth = of_all[name], [100 * (draw[name] - draw["scratch"]) for draw in tests]
        agrees = does_agree(found, truth)
        agree.append(agrees)
        low, high = found["interval"]
        covered.append(low <= statistics.mean(truth) / 100 <= high)
        lines.append(
            [
                name,
                measuring.plus_minus([100 * draw[name] for draw in tests]),
                measuring.plus_minus(truth, signed=True),
                f"{100 * found['difference']:+.2f}",
                f"{100 * low:+.2f} to {100 * high:+.2f}",
                found["verdict"],
                f"{100 * found['detectable']:.2f}",
                "yes" if agrees else "**no**",
                ", ".join(run[name]["verdict"] for run in usual),
            ]
        )
    scratch = measuring.plus_minus([100 * draw["scratch"] for draw in tests])
    head = ["method", "test accuracy", "to scratch, test", "to scratch, folds", "95 % interval"]
    head += ["verdict", "detectable", "agrees", f"verdicts of {USUAL} draws each"]
    measuring.write(
        "compare_verdicts",
        "Verdicts against 10,000 test images",
        f"MNIST, {LABELS} labels, {args.rounds} draws; percent. *Test*: refitted on each draw's "
        f"{LABELS} labels and measured on the test images, mean ± standard deviation over the "
        f"draws; scratch has {scratch}. *Folds*: what `compare` sees, {FOLDS} folds of each draw. "
        "A verdict agrees if the test says the same: *better* and *worse* where the mean test "
        "difference has that sign, *no difference* where it is within what so much data can show. "
        "Settings: "
        f"{measuring.listed(SETTINGS)}, everything else as `compare` has it.",
        measuring.table(head, lines),
        f"{sum(agree)} of {len(agree)} verdicts agree; {sum(covered)} of {len(covered)} intervals "
        "hold the mean test difference. The test images tell apart what the folds cannot: they are "
        f"10,000 for each draw, the held-out examples {LABELS}.",
    )


def does_agree(found: dict, truth: list[float]) -> bool:
    mean = statistics.mean(truth) / 100
    if found["verdict"] == "no difference":
        return abs(mean) <= found["detectable"]
    return (mean > 0) == (found["verdict"] == "better")


def verdicts(rows: list[dict], repeats: range) -> dict[str, dict]:
    """By method, from the rows of these draws alone."""
    from kt_transfer.comparison.verdicts import judge

    chosen = [row for row in rows if row["repeat"] in repeats]
    return {entry["method"]: entry for entry in judge(chosen, "accuracy")}


def measured(draws: int) -> tuple[list[dict], list[dict[str, float]]]:
    """The rows of the comparison, and the test accuracy of every method by draw."""
    from kt_transfer.shell.startup import import_tensorflow_quietly

    import_tensorflow_quietly()
    from kt_transfer import data
    from kt_transfer import settings as config
    from kt_transfer.comparison import comparing
    from kt_transfer.comparison.table import Table
    from kt_transfer.runs import folder as runs

    settings = config.CompareConfig(**SETTINGS, quiet=True)
    mnist = data.load_data(settings.data)
    FOLDER.mkdir(parents=True, exist_ok=True)
    comparison = comparing.comparison_of(settings, mnist, runs.Run(FOLDER))
    table = Table(FOLDER)
    for cell, part in comparison.cells(draws):
        if cell not in table:
            comparison.measure(table, cell, part)
            measuring.progress(f"draw {cell.repeat}, fold {cell.fold}: {cell.method}")
    tests = [tested(comparison, mnist, repeat) for repeat in range(draws)]
    return list(table.rows.values()), tests


def tested(comparison, mnist, repeat: int) -> dict[str, float]:
    """Test accuracy of every method, refitted on one draw's labels."""

    def accuracy(method: str, source: str) -> float:
        learned, _ = comparison.refit(method, source, repeat=repeat)
        return float((learned.logits(mnist.x_test).argmax(axis=1) == mnist.y_test).mean())

    return {
        method: measuring.remembered(
            FOLDER / f"test-{repeat}.json", method, lambda pair=(method, source): accuracy(*pair)
        )
        for method, source in comparison.candidates
    }


if __name__ == "__main__":
    main()
