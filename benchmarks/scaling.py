"""Time and memory as examples and widths grow: cost must grow in proportion."""

import statistics

import inputs
import measuring
from measuring import Way, peer
from pretraining_epoch import flop

FEEDS = {"resident": "resident", "arrays": "streamed"}
# Rows, and two numbers of epochs that both pay for XLA and differ by seconds.
SIZES = {1_000: (100, 600), 10_000: (10, 70), 100_000: (1, 8), 1_000_000: (1, 2)}
WIDTHS = (64, 128, 256, 512, 1024)
WIDTH_ROWS, WIDTH_EPOCHS = 10_000, (10, 25)


def main() -> None:
    args = measuring.arguments(__doc__, rounds=3, largest=max(SIZES))
    path = inputs.million()
    by_rows = {
        (feed, rows): fit(f"{feed}, {rows:,} rows", path, sizes, rows=rows, feed=feed)
        for feed in FEEDS
        for rows, sizes in SIZES.items()
        if rows <= args.largest
    }
    by_width = {
        width: fit(f"width {width}", path, WIDTH_EPOCHS, rows=WIDTH_ROWS, width=width)
        for width in WIDTHS
    }
    ways = [*by_rows.values(), *by_width.values(), *measuring.gemm_ways()]
    measured = measuring.measure(ways, args.rounds)
    rate = max(measuring.gemm_rates(measured).values())
    measuring.write(
        "scaling",
        "Cost as the work grows",
        "The reference autoencoder, batch 64, no evaluation, through `FusedModel.fit`; rows are "
        "those of a memory-mapped file. Seconds of an epoch are slopes of whole processes, median "
        f"(range) of {args.rounds} alternating rounds; peak memory is that of the process, and of "
        "it what is mapped from files.",
        measuring.table(
            ["data", "rows", "seconds an epoch", "µs an example", "peak memory", "of it files"],
            [rows_line(measured, way.name, *key) for key, way in by_rows.items()],
        ),
        f"{WIDTH_ROWS:,} rows, resident, as the hidden layers w, w/2, w/4, w/8 (and the code of 8) "
        f"grow; the rate of one large matrix product in the same run is {rate / 1e9:.0f} GFLOP/s.",
        measuring.table(
            ["w", "GFLOP an epoch", "seconds an epoch", "GFLOP/s", "share of GEMM", "peak memory"],
            [width_line(measured, way.name, width, rate) for width, way in by_width.items()],
        ),
    )


def rows_line(measured, name: str, feed: str, rows: int) -> list[str]:
    slopes, peak = measured.slopes(name), measured.peak(name)
    return [
        FEEDS[feed],
        f"{rows:,}",
        measuring.spread(slopes, 3),
        f"{statistics.median(slopes) / rows * 1e6:.1f}",
        measuring.megabytes(peak),
        measuring.megabytes(peak - measured.peak_anonymous(name)),
    ]


def width_line(measured, name: str, width: int, rate: float) -> list[str]:
    slopes = measured.slopes(name)
    units = [width // 2**i for i in range(4)]
    work, _ = flop(WIDTH_ROWS, widths=(784, *units, 8, *units[::-1], 784))
    reached = work / statistics.median(slopes)
    return [
        str(width),
        f"{work / 1e9:.0f}",
        measuring.spread(slopes, 3),
        f"{reached / 1e9:.0f}",
        f"{reached / rate:.0%}",
        measuring.megabytes(measured.peak(name)),
    ]


def fit(name: str, path, sizes: tuple[int, int], **flags) -> Way:
    flags = {"data": path, "no_validation": True, **flags}
    return Way(name, lambda epochs: peer("kt_autoencoder", epochs=epochs, **flags), sizes=sizes)


if __name__ == "__main__":
    main()
