"""Steps on 1, 2 and 4 devices and workers, a model of what they cost, and that on paper."""

import itertools
import math
import os
import statistics
import sys

import measuring

COUNTS = (1, 2, 4)
BATCH = 256
KINDS = {"mirrored": "devices of one process", "multi_worker": "worker processes"}
MODELS = ("small", "large")
CORES = len(os.sched_getaffinity(0))

# What is assumed on paper.
ROWS, BYTES_A_ROW = 10**9, 784
BANDWIDTH, LATENCY = 10e9 / 8, 50e-6
WORKERS = (1, 8, 16, 32, 64, 128, 256, 512, 1000)
FIXED_BATCH = 8192
SPEEDS = (1, 100)
TRAININGS = 50
LEAST_GAIN = 1.25


def main() -> None:
    args = measuring.arguments(__doc__, rounds=2, steps=100)
    cells, traffic = measure(args.rounds, args.steps)
    size = {model: found[0] for (model, _), found in traffic.items()}
    fits = {kind: fit(cells, kind, size) for kind in KINDS}
    costs = fits["multi_worker"]
    measuring.write(
        "replicas",
        "Several replicas: measured, and on paper",
        "Dense autoencoders of 784 inputs, `FusedModel.fit` without XLA, as on several replicas: "
        + " and ".join(f"{m} ({size[m] // 4:,} parameters)" for m in MODELS)
        + f". A worker process is held to one core, a device has one thread; with 4 replicas, "
        f"{CORES} cores have {math.ceil(4 / CORES)} each, so that nothing can be gained beyond "
        f"{CORES} replicas here. Milliseconds of a step: medians of the epochs of a process, "
        f"median (range) of {args.rounds} rounds. Workers run in a network namespace of their own, "
        "over its loopback interface, whose bytes are copied by the cores that compute.",
        "## Measured: steps",
        "*Rows a second* against one replica with 256 rows; at the same global batch of 256, and "
        "at 256 rows a replica. *Computed* is the cost model below, *used* whether it was fitted "
        "to this cell or is checked on it.",
        steps_table(cells, fits, size),
        errors(cells, fits, size),
        "## Measured: bytes all-reduced in a step, by worker processes",
        "*Computed*: a ring of n workers sends 2 (n − 1) times the gradients, 4 bytes a parameter, "
        "all workers together. *Counted*: bytes sent by the loopback interface, with headers.",
        traffic_table(traffic),
        "## The cost model",
        "step = k (a + rows of a replica · c) + 2 (n − 1) · l + 2 (n − 1) / n · gradients / b, "
        "for n replicas of which k share a core; a and c are of each model. Fitted without "
        "negative terms, by relative error, to the cells of 1 and 2 replicas; 4 are never seen.",
        parameters_table(fits),
        f"## On paper: {ROWS:,} rows",
        "COMPUTED, NOT MEASURED. Compute (a, c) is that of `multi_worker` above, one core of this "
        f"machine, extrapolated beyond {BATCH} rows, or both 100 times as fast, for an accelerator "
        "(an assumption). The network is "
        f"assumed: {BANDWIDTH * 8 / 1e9:.0f} Gbit/s in each direction and {LATENCY * 1e6:.0f} µs a "
        "message, a ring, nothing overlapped with computing, no stragglers, no failures. *With l* "
        "is the network if a message costs the l that was fitted here, where no wire costs any: "
        "what TensorFlow itself and waiting for one another may add. The last "
        f"two columns hold the global batch at {FIXED_BATCH:,} rows, the others {BATCH} rows a "
        "worker, whose global batch grows with the workers: whether that learns as much an epoch "
        "is not part of this.",
        *(paper(costs, model, size[model], speed) for model in MODELS for speed in SPEEDS),
        f"## On paper: `compare` with {TRAININGS} trainings of an epoch each",
        "COMPUTED, NOT MEASURED, with the same assumptions; days. *Synchronous*: all workers train "
        f"one after the other together, {BATCH} rows each. *Spread*: each worker takes whole "
        "trainings and nothing is all-reduced; reading is not in it, "
        f"{ROWS * BYTES_A_ROW / BANDWIDTH / 3600:.2f} hours for one worker that reads all rows "
        "over a link of its own. *Groups*: beyond one worker a training, as many train together as "
        "there are for each, where that is faster.",
        *(compared(costs, model, size[model], speed) for model in MODELS for speed in SPEEDS),
    )


def measure(rounds: int, steps: int) -> tuple[dict, dict]:
    """Seconds of ``(kind, model, replicas, rows of a replica)``, one a round; and the bytes of the
    gradients, and of those sent in a step, of ``(model, workers)``."""
    cells, traffic = {}, {}
    for number, kind, count in itertools.product(range(rounds), KINDS, COUNTS):
        # One replica with as few rows as each of several has tells what a step costs without any.
        batches = [BATCH // n for n in COUNTS] if count == 1 else [BATCH, BATCH // count]
        said = measuring.run(command(kind, count, batches, steps), seed=number).said
        for model, batch in itertools.product(MODELS, batches):
            found = {what: said[f"{model} {batch} {what}"] for what in ("seconds", "sent")}
            cells.setdefault((kind, model, count, batch), []).append(found["seconds"])
            if kind == "multi_worker" and batch == BATCH:
                traffic[model, count] = int(said[f"{model} {batch} gradients"]), found["sent"]
        measuring.progress(f"round {number + 1}/{rounds}  {count} {KINDS[kind]}")
    return cells, traffic


def command(kind: str, count: int, batches: list[int], steps: int) -> list[str]:
    flags = {"replicas": count, "batches": ",".join(map(str, batches)), "steps": steps}
    words = measuring.peer("kt_replicas", **flags)
    if kind == "mirrored":
        return words
    launch = measuring.python("-m", "kt_transfer.engine.launch", "--workers", count, "--")
    # TensorFlow's server listens on every interface, so the workers get a network without any.
    alone = ["unshare", "-rn", "bash", "-c", 'ip link set lo up; exec "$@"', "-"]
    return [*alone, *launch, *words]


def terms(model: str, count: int, batch: float, gradients: int, cores: float) -> list[float]:
    """What the costs of a step are multiplied by: a and c of each model, l and 1 / b."""
    shared = max(count / cores, 1)
    own = [[shared, shared * batch] if model == name else [0, 0] for name in MODELS]
    ring = 2 * (count - 1)
    return [*own[0], *own[1], ring, ring / count * gradients]


def fit(cells: dict, kind: str, size: dict):
    """The costs that fit the cells of 1 and 2 replicas best."""
    import numpy as np
    from scipy.optimize import nnls

    rows = [
        np.array(terms(model, count, batch, size[model], CORES)) / statistics.median(seconds)
        for (which, model, count, batch), seconds in cells.items()
        if which == kind and count < max(COUNTS)
    ]
    # Columns of like size, for the solver.
    scale = np.max(rows, axis=0)
    return nnls(np.array(rows) / scale, np.ones(len(rows)))[0] / scale


def computed(costs, key: tuple, size: dict) -> float:
    _, model, count, batch = key
    return float(costs @ terms(model, count, batch, size[model], CORES))


def steps_table(cells: dict, fits: dict, size: dict) -> str:
    rows = []
    for key, seconds in sorted(cells.items(), key=lambda cell: MODELS[::-1].index(cell[0][1])):
        kind, model, count, batch = key
        taken = statistics.median(seconds)
        alone = statistics.median(cells[kind, model, 1, BATCH])
        expected = computed(fits[kind], key, size)
        rows.append(
            [
                model,
                KINDS[kind],
                count,
                count * batch,
                batch,
                measuring.spread([1000 * value for value in seconds]),
                f"{count * batch / taken / (BATCH / alone):.2f}×",
                f"{1000 * expected:.2f}",
                f"{expected / taken - 1:+.0%}",
                "fitted" if count < max(COUNTS) else "checked",
            ]
        )
    head = [
        "model",
        "replicas are",
        "replicas",
        "rows a step",
        "rows a replica",
        "ms a step",
        "rows a second",
    ]
    return measuring.table([*head, "computed", "error", "used"], rows)


def errors(cells: dict, fits: dict, size: dict) -> str:
    """How well the model does, in a sentence for each kind."""
    lines = []
    for kind in KINDS:
        found = {True: [], False: []}
        for key, seconds in cells.items():
            if key[0] == kind:
                error = computed(fits[kind], key, size) / statistics.median(seconds) - 1
                found[key[2] == max(COUNTS)].append(abs(error))
        fitted, checked = found[False], found[True]
        lines.append(
            f"Error of the cost model, {KINDS[kind]}: where it was fitted "
            f"{statistics.mean(fitted):.0%} on average and {max(fitted):.0%} at most, on the "
            f"{len(checked)} cells that it had not seen {statistics.mean(checked):.0%} and "
            f"{max(checked):.0%}."
        )
    return " ".join(lines)


def traffic_table(traffic: dict) -> str:
    rows = []
    for (model, count), (gradients, sent) in sorted(traffic.items(), reverse=True):
        ring = 2 * (count - 1) * gradients
        beyond = f"{sent / ring - 1:+.1%}" if ring else ""
        rows.append([model, count, f"{gradients:,}", f"{ring:,}", f"{sent:,.0f}", beyond])
    head = ["model", "workers", "bytes of gradients", "computed", "counted", "difference"]
    return measuring.table(head, rows)


def parameters_table(fits: dict) -> str:
    rows = []
    for kind, costs in fits.items():
        a_small, c_small, a_large, c_large, hop, byte = costs
        steps = [
            f"{1000 * a:.2f} ms, {1e6 * c:.1f} µs"
            for a, c in ((a_small, c_small), (a_large, c_large))
        ]
        rate = f"{1 / byte / 1e6:,.0f} MB/s" if byte else "no cost"
        rows.append([KINDS[kind], *steps, f"{1e6 * hop:.0f} µs", rate])
    head = ["of", *(f"{model}: a a step, c a row" for model in MODELS), "l", "b"]
    return measuring.table(head, rows)


def step_on_paper(costs, model: str, gradients: int, speed: int, count: int, batch: float):
    """Seconds of computing and of the network in a step of workers that are machines."""
    *compute, hops, sent = terms(model, count, batch, gradients, math.inf)
    return float(costs[:4] @ compute) / speed, hops * LATENCY + sent / BANDWIDTH


def epoch(costs, model: str, gradients: int, speed: int, count: int, batch: float = BATCH) -> float:
    """Seconds of an epoch on paper."""
    steps = ROWS / (count * batch)
    return steps * sum(step_on_paper(costs, model, gradients, speed, count, batch))


def paper(costs, model: str, gradients: int, speed: int) -> str:
    given = (costs, model, gradients, speed)
    rows = []
    for count in WORKERS:
        compute, network = step_on_paper(*given, count, BATCH)
        as_here = network + 2 * (count - 1) * max(costs[4] - LATENCY, 0)
        together = epoch(*given, count)
        fixed = step_on_paper(*given, count, FIXED_BATCH / count)
        rows.append(
            [
                count,
                *(
                    f"{1000 * value:.2f}"
                    for value in (compute, network, as_here, compute + network)
                ),
                f"{together / 3600:.2f}",
                f"{epoch(*given, 1) / together / count:.0%}",
                f"{1000 * sum(fixed):.2f}",
                f"{epoch(*given, count, FIXED_BATCH / count) / 3600:.2f}",
            ]
        )
    head = ["workers", "compute, ms", "network, ms", "with l, ms", "step, ms", "hours an epoch"]
    head += ["efficiency", "step, batch held", "hours an epoch"]
    fixed_times = [epoch(*given, n, FIXED_BATCH / n) for n in range(1, max(WORKERS) + 1)]
    best = fixed_times.index(min(fixed_times)) + 1
    growing, holding = (
        stops_paying(lambda n: epoch(*given, n)),
        stops_paying(lambda n: epoch(*given, n, FIXED_BATCH / n)),
    )
    return (
        f"{model}, {as_fast(speed)}:\n\n{measuring.table(head, rows)}\n\n"
        f"Twice the workers are less than {LEAST_GAIN} times as fast {growing} with {BATCH} rows a "
        f"worker, {holding} with the batch held, where the fastest are {best}."
    )


def as_fast(speed: int) -> str:
    return "a worker is a core as here" if speed == 1 else f"a worker is {speed} times such a core"


def stops_paying(seconds) -> str:
    """From how many workers on doubling them gains too little."""
    for count in (2**power for power in range(10)):
        if seconds(count) / seconds(2 * count) < LEAST_GAIN:
            return f"from {count} to {2 * count}"
    return "nowhere up to 1,024"


def compared(costs, model: str, gradients: int, speed: int) -> str:
    given = (costs, model, gradients, speed)
    rows = []
    for count in WORKERS:
        together = TRAININGS * epoch(*given, count)
        spread = math.ceil(TRAININGS / count) * epoch(*given, 1)
        group = count // TRAININGS
        # A network that costs more than it saves is left alone.
        groups = min(spread, epoch(*given, group)) if group > 1 else spread
        rows.append([count, *(f"{value / 86400:.3g}" for value in (together, spread, groups))])
    head = ["workers", "synchronous", "spread", "groups"]
    return f"{model}, {as_fast(speed)}:\n\n{measuring.table(head, rows)}"


if __name__ == "__main__":
    sys.exit(main())
