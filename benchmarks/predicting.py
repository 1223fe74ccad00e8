"""Predicting a million rows: seconds against ``keras.Model.predict``, and peak memory."""

import statistics
import sys

import inputs
import measuring
from measuring import Goal, Way

MANY, FEW = 1_000_000, 100_000
DIGITS = ("--data", "digits", "--epochs", "10", "--compare-scratch", "no")
SHAPE = ("--hidden-units", "64", "--latent-dim", "16")
NPZ, CSV = "predict, npz to CSV", "predict, CSV to CSV"
PARQUET = "predict, Parquet to Parquet"
TABLE = ("--label-column", "answer", "--epochs", "5", "--compare-scratch", "no")


def main() -> None:
    args = measuring.arguments(__doc__, rounds=3, rows=MANY)
    for rows in (FEW, args.rows):
        if not path("rows", rows, "npz").exists():
            measuring.progress(f"preparing {rows:,} rows")
            measuring.run(measuring.python(__file__, "prepare", rows))
    digits = inputs.trained(
        "predicting-digits", "kt_transfer.finetune", "--source", "scratch", *SHAPE, *DIGITS
    )
    table = inputs.trained(
        "predicting-table",
        "kt_transfer.finetune",
        *("--source", "scratch", "--data", f"csv:{path('table', FEW, 'csv')}"),
        *SHAPE,
        *TABLE,
    )
    exported = measuring.CACHE / "served" / "predicting-digits"
    if not exported.exists():
        measuring.run(
            measuring.python(
                *("-m", "kt_transfer.export", "--run", digits, "--quiet"),
                *("--format", "onnx", "--export-dir", exported.parent),
            )
        )
    ways = [
        way(NPZ, "rows", "npz", sizes=(FEW, args.rows), run=digits),
        way("predict, ONNX, npz to CSV", "rows", "npz", model=exported / "onnx/1"),
        way("Keras, batches of 32", "rows", "npz", run=digits, keras_batch=32),
        way("Keras, batches of 1,024", "rows", "npz", run=digits, keras_batch=1024),
        way(CSV, "table", "csv", sizes=(FEW, args.rows), run=table),
        way(PARQUET, "table", "parquet", sizes=(FEW, args.rows), run=table, suffix=".parquet"),
    ]
    measured = measuring.measure(ways, args.rounds, (args.rows,))
    ratios = measuring.ratios(measured.endings["Keras, batches of 32"], measured.endings[NPZ])
    found = statistics.median(ratios)
    goals = [Goal("keras.Model.predict as it is by default: npz to CSV", found, 3)]
    goals += [
        Goal(f"peak memory, ten times the rows: {name}", growth(measured, name), 1.15, at_most=True)
        for name in (NPZ, CSV, PARQUET)
    ]
    measuring.write(
        "predicting",
        f"Predicting {args.rows:,} rows",
        f"`predict` from a file to a file, from the start of the command (imports done) to the "
        f"complete table, against `keras.Model.predict` alone, from an array in memory to an array "
        f"in memory (32 is Keras's default; the model of both takes raw rows and gives "
        f"probabilities). npz: digits of 64 pixels, a network of 64 units, 10 classes. CSV and "
        f"Parquet: a table of numbers, words and dates, 3 classes. Median (range) of "
        f"{args.rounds} alternating rounds, each a process of its own.",
        measuring.table(
            ["way", "seconds", "rows a second", "peak memory"],
            [row(measured, one.name, args.rows) for one in ways],
        ),
        "Peak memory of the process, TensorFlow included. Which rows are the test part of a source "
        "that has none of its own is told from hashes of all rows, about 100 bytes each:",
        measuring.table(
            ["way", f"{FEW:,} rows", f"{args.rows:,} rows"],
            [
                [name, *map(measuring.megabytes, peaks(measured, name))]
                for name in (NPZ, CSV, PARQUET)
            ],
        ),
        measuring.goals_table(goals),
    )


def path(what: str, rows: int, suffix: str):
    return measuring.CACHE / f"predicting-{what}-{rows}.{suffix}"


def way(name: str, what: str, kind: str, *, sizes=(), **flags) -> Way:
    def command(rows: int) -> list[str]:
        data = f"{kind}:{path(what, rows, kind)}"
        return measuring.peer("predicting", data=data, **flags)

    return Way(name, command, lambda taken: taken.said["seconds"], sizes)


def peaks(measured, name: str) -> list[float]:
    """Peak memory with few rows and with many, median over rounds."""
    by_size = measured.taken[name]
    return [
        statistics.median(taken.peak_bytes for taken in by_size[size]) for size in sorted(by_size)
    ]


def growth(measured, name: str) -> float:
    few, many = peaks(measured, name)
    return many / few


def row(measured, name: str, rows: int) -> list[str]:
    seconds = measured.endings[name]
    speed = f"{rows / statistics.median(seconds):,.0f}"
    return [name, measuring.spread(seconds), speed, measuring.megabytes(measured.peak(name))]


def prepare(rows: int) -> None:
    """Digits with noise, and a table, both without labels but for the small table."""
    import numpy as np
    import pandas as pd

    from kt_transfer.data import load_data

    rng = np.random.default_rng(0)
    digits = load_data("digits").x
    x = digits[rng.integers(0, len(digits), rows)].astype(np.int16)
    x = np.clip(x + rng.integers(-1, 2, x.shape), 0, 16).astype(np.uint8)
    measuring.CACHE.mkdir(exist_ok=True)
    np.savez(path("rows", rows, "npz"), x=x)
    since = pd.Timestamp("2015-01-01") + pd.to_timedelta(rng.integers(0, 3000, rows), "D")
    numbers = {f"number {n}": rng.normal(10 * n, 1 + n, rows).round(4) for n in range(8)}
    town = rng.choice(["Bad Ems", "Ulm", "Ys", "Rome", None], rows)
    table = pd.DataFrame({**numbers, "town": town, "since": since.strftime("%Y-%m-%d")})
    if rows == FEW:
        score = table["number 1"] + 5 * (table["town"] == "Ulm")
        table["answer"] = pd.cut(score, [-np.inf, 9.5, 12, np.inf], labels=["low", "mid", "high"])
    table.to_csv(path("table", rows, "csv"), index=False)
    table.to_parquet(path("table", rows, "parquet"))


if __name__ == "__main__":
    if sys.argv[1:2] == ["prepare"]:
        prepare(int(sys.argv[2]))
    else:
        main()
