"""Trials a minute of a search in one process, and shared by two, start-up included."""

import statistics
import tempfile
import time
from pathlib import Path

import measuring

WORKERS = (1, 2)


def main() -> None:
    args = measuring.arguments(__doc__, rounds=3, trials=12)
    found = {workers: [] for workers in WORKERS}
    for _ in range(args.rounds):
        for workers in WORKERS:
            found[workers].append(seconds(workers, args.trials))
    rows = [
        [
            workers,
            f"{60 * args.trials / statistics.median(found[workers]):.1f}",
            ", ".join(f"{one:.1f}" for one in found[workers]),
        ]
        for workers in WORKERS
    ]
    measuring.write(
        "spreading",
        "A search in several processes",
        f"`tune finetune --workers N`, {args.trials} random trials of 200 digits in 5 folds, a "
        f"whole command each time, alternating, the median of {args.rounds} rounds.",
        measuring.table(["workers", "trials a minute", "seconds"], rows),
    )


def seconds(workers: int, trials: int) -> float:
    """The wall time of a search."""
    with tempfile.TemporaryDirectory() as folder:
        command = measuring.python(
            *("-m", "kt_transfer.tune", "finetune", "--source", "scratch", "--data", "digits"),
            *("--labels", 200, "--epochs", 60, "--max-trials", trials, "--workers", workers),
            *("--out", Path(folder, "search"), "--quiet"),
        )
        began = time.perf_counter()
        measuring.run(command)
        return time.perf_counter() - began


if __name__ == "__main__":
    main()
