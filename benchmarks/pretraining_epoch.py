"""One epoch of the reference autoencoder on MNIST: ours, stock Keras, PyTorch and JAX.

An epoch is 60,000 training examples in batches of 64, in a new order, and the loss of 10,000
held-out ones. Its time is a slope of whole processes.
"""

import statistics

import inputs
import measuring
from measuring import Goal, Way, peer

PEERS = {
    "Keras fit, NumPy arrays": lambda epochs: peer("keras_numpy", epochs=epochs),
    "Keras fit, tf.data, jit_compile, steps_per_execution": lambda epochs: peer(
        "keras_dataset", epochs=epochs
    ),
    "PyTorch tutorial: Dataset, DataLoader": lambda epochs: peer("torch_tutorial", epochs=epochs),
    "PyTorch, TensorDataset, DataLoader": lambda epochs: peer("torch_loader", epochs=epochs),
    "PyTorch, preloaded, fused Adam": lambda epochs: peer("torch_preloaded", epochs=epochs),
    "PyTorch, preloaded, fused Adam, compiled": lambda epochs: peer(
        "torch_preloaded", epochs=epochs, compile=True
    ),
    "JAX, lax.scan, data resident": lambda epochs: peer("jax_scan", epochs=epochs),
}
OURS = Way("kt_transfer", lambda epochs: peer("kt_autoencoder", epochs=epochs))
WIDTHS = (784, 128, 64, 32, 16, 8, 16, 32, 64, 128, 784)
ROWS, HELD_OUT = 60_000, 10_000


def flop(rows=ROWS, held_out=HELD_OUT, widths=WIDTHS) -> tuple[float, float]:
    """Of the matrix products of one epoch: of the training, and of the evaluation."""
    products = [2 * a * b for a, b in zip(widths, widths[1:], strict=False)]
    # Forward, gradient of the kernel, gradient of the input; the first layer needs no last one.
    return rows * (3 * sum(products) - products[0]), held_out * sum(products)


TRIED = """
The program of an epoch is one call into XLA, and nearly all of it is the products of the steps:
what they reach by themselves is in the paragraph on GFLOP/s above. Without effect on them were
XLA's vector width, fast math, its concurrency-optimized scheduler, its thunk runtime off, products
through oneDNN, XNNPACK and YNNPACK, and Eigen on one thread; the second core, which a large product
gains from, adds little to such small ones. Left is to give each core half of a batch, which would
batch normalization and is not done. JAX runs the same program of the same compiler, and the two
differ by less than the rounds do. PyTorch's loader loop takes one of two speeds from process to
process, as its range shows."""


def main() -> None:
    args = measuring.arguments(__doc__, short=3, long=15)
    inputs.mnist()
    ways = [OURS, *(Way(name, command) for name, command in PEERS.items())]
    everything = [*ways, *measuring.gemm_ways()]
    measured = measuring.measure(everything, args.rounds, (args.short, args.long))
    rates = measuring.gemm_rates(measured)
    seconds = {way.name: measured.slopes(way.name) for way in ways}
    goals = wanted(seconds, max(rates.values()))
    measuring.write(
        "pretraining_epoch",
        "One epoch of pretraining",
        f"The reference autoencoder (784-128-64-32-16-8 and its mirror), Adam, batch 64, 60,000 "
        f"MNIST images, the loss of 10,000 others after every epoch. Seconds are slopes of whole "
        f"processes, ({args.long} epochs − {args.short} epochs) / {args.long - args.short}: median "
        f"(range) of {args.rounds} alternating rounds.",
        measuring.comparison(measured, seconds, "held-out loss"),
        measuring.goals_table(goals),
        arithmetic(rates, measuring.gemm_rates(measured, "own_gflops")),
        measuring.profile_if_missed(goals, OURS.command(args.long), TRIED),
    )


def wanted(seconds: dict[str, list[float]], rate: float) -> list[Goal]:
    ours = seconds[OURS.name]
    numpy, _, tutorial, loader, fused, compiled, scan = (
        statistics.median(measuring.ratios(seconds[name], ours)) for name in PEERS
    )
    training, _ = flop()
    return [
        Goal("Keras fit, NumPy arrays", numpy, 5),
        Goal("PyTorch tutorial loop", tutorial, 5),
        Goal(
            "PyTorch at its best (the fastest of the other three)", min(loader, fused, compiled), 2
        ),
        Goal("JAX, lax.scan", scan, 1),
        Goal(
            "share of the measured GEMM rate (training's FLOP alone)",
            training / rate / statistics.median(ours),
            0.65,
            percent=True,
        ),
    ]


def arithmetic(rates: dict[str, float], own: dict[str, float]) -> str:
    training, evaluation = flop()
    best, best_own = max(rates.values()), max(own.values())
    return (
        f"The matrix products of an epoch are {training / 1e9:.0f} GFLOP of training and "
        f"{evaluation / 1e9:.1f} of evaluation. A product of two 2048 × 2048 float32 matrices, "
        f"measured in every round, runs at (GFLOP/s) {listed(rates)}; at the best of these, the "
        f"training alone would take {training / best:.2f} s. The products of a step, of which the "
        f"largest are 64 × 784 × 128 and its like, run at {listed(own)} by themselves, "
        f"{best_own / best:.0%} of the best: at that rate the training would take "
        f"{training / best_own:.2f} s."
    )


def listed(rates: dict[str, float]) -> str:
    return ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in rates.items())


if __name__ == "__main__":
    main()
