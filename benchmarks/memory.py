"""Peak memory of a streamed fit when the data on disk grows tenfold."""

import inputs
import measuring
from measuring import Goal, Way, peer

ROWS = 60_000
BUDGET = 16 * 2**20


def main() -> None:
    args = measuring.arguments(__doc__, rounds=3, epochs=2)
    path = inputs.million()
    one, ten = (way(path, rows, args.epochs) for rows in (ROWS, 10 * ROWS))
    measured = measuring.measure([one, ten], args.rounds, (0,))
    goals = [
        Goal("peak memory, ten times the rows", growth(measured.peak, one, ten), 1.1, at_most=True)
    ]
    anonymous = growth(measured.peak_anonymous, one, ten)
    measuring.write(
        "memory",
        "Memory of a streamed fit",
        f"The reference autoencoder from a memory-mapped `.npy` file through `FusedModel.fit`, "
        f"`memory_budget` {measuring.megabytes(BUDGET)}, {args.epochs} epochs in a new order each. "
        f"Peak memory is the kernel's count of the whole process; without file pages, it is what "
        f"the process holds beside pages of the mapped file (and of libraries), which the kernel "
        f"takes back when it needs them. Median of {args.rounds} rounds.",
        measuring.table(
            ["way", "file", "peak memory", "without file pages", "seconds"],
            [row(measured, way, rows) for way, rows in ((one, ROWS), (ten, 10 * ROWS))],
        ),
        f"Without file pages, ten times the rows take {anonymous:.2f} times the memory.",
        measuring.goals_table(goals),
    )


def way(path, rows: int, epochs: int) -> Way:
    flags = {"feed": "arrays", "budget": BUDGET, "data": path, "no_validation": True}
    command = peer("kt_autoencoder", rows=rows, epochs=epochs, **flags)
    return Way(f"{rows:,} rows", lambda _: command)


def growth(peak, one: Way, ten: Way) -> float:
    return peak(ten.name) / peak(one.name)


def row(measured, way: Way, rows: int) -> list[str]:
    peaks = (measured.peak(way.name), measured.peak_anonymous(way.name))
    seconds = measuring.spread(measured.wholes(way.name))
    return [way.name, *map(measuring.megabytes, (rows * 784, *peaks)), seconds]


if __name__ == "__main__":
    main()
