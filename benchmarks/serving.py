"""How fast an exported student answers in the loader of TF Serving, from C, and ``keras.predict``.

Every figure is of a process of its own, and the two take turns.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import measuring

sys.path.insert(0, str(measuring.ROOT / "tests" / "serving"))

ROWS, BATCH = 256 * 64, 256


def main() -> None:
    if len(sys.argv) > 2 and sys.argv[1] in STEPS:
        STEPS[sys.argv[1]](Path(sys.argv[2]))
        return
    args = measuring.arguments(__doc__, rounds=5)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        measuring.run(measuring.python(__file__, "prepare", folder))
        ways = [
            measuring.Way(name, lambda _, step=step: measuring.python(__file__, step, folder))
            for name, step in WAYS.items()
        ]
        measured = measuring.measure(ways, args.rounds, sizes=(1,))
        size = sum(path.stat().st_size for path in (folder / "m" / "1").rglob("*"))
    c_loader, keras = (
        {key: [taken.said[key] for taken in measured.longest(name)] for key in KEYS}
        for name in WAYS
    )
    times = [ours / other for ours, other in zip(c_loader["rate"], keras["rate"], strict=True)]
    rows = [
        [
            name,
            *(measuring.spread(found[key], 3) for key in ("ms", "ms_99")),
            measuring.spread([rate / 1000 for rate in found["rate"]], 0),
        ]
        for name, found in zip(WAYS, (c_loader, keras), strict=True)
    ]
    median = statistics.median(c_loader["ms"])
    goals = [
        ["latency at 1, milliseconds", f"{median:.3f}", "≤ 1", reached(median <= 1)],
        [
            "rows a second at 256, times keras.Model.predict",
            measuring.spread(times),
            "≥ 3",
            reached(statistics.median(times) >= 3),
        ],
    ]
    measuring.write(
        "serving",
        "How fast an exported student answers",
        "The digits student of `quickstart` (two layers, 4,810 parameters; the version with graph, "
        f"autoencoder and card takes {size / 2**20:.1f} MiB), `serving_default` from raw pictures: "
        "probabilities, class, label and whether it is unusual, which asks the autoencoder of "
        "565,564 parameters. From C in the C++ loader that TF Serving stands on "
        "(`tests/serving/loader.c`), and `keras.Model.predict` of the student with its "
        f"preprocessing, which gives logits alone, on {ROWS} rows in batches of {BATCH}. Median "
        f"(range) of {args.rounds} alternating rounds; latencies within a round are medians and "
        "99 % quantiles of 2,000 requests (Keras: 200).",
        measuring.table(
            ["way", "ms at 1", "99 % of requests, ms", "thousand rows a second at 256"], rows
        ),
        measuring.table(["goal", "found", "wanted", ""], goals),
    )


def reached(is_so: bool) -> str:
    return "PASS" if is_so else "**missed**"


KEYS = ("ms", "ms_99", "rate")
WAYS = {"C, TF Serving's loader": "from_c", "keras.Model.predict": "from_keras"}


def prepare(folder: Path) -> None:
    import c_loader

    from kt_transfer import quickstart

    quickstart.run(out=folder / "run", name="m", export_dir=folder, epochs=20, quiet=True)
    c_loader.compiled(folder)


def from_c(folder: Path) -> None:
    import c_loader
    import numpy as np

    x = rows()
    said = {}
    for count, repeats in ((1, 2000), (BATCH, 300)):
        asked = [("serving_default", {"image": x[:count]})]
        with tempfile.TemporaryDirectory() as scratch:
            _, (seconds,) = c_loader.ask(
                folder / "loader", folder / "m" / "1", asked, Path(scratch), repeats
            )
        if count == 1:
            said |= {"ms": 1e3 * np.median(seconds), "ms_99": 1e3 * np.quantile(seconds, 0.99)}
        else:
            said["rate"] = BATCH / np.median(seconds)
    say(said)


def from_keras(folder: Path) -> None:
    import keras
    import numpy as np

    run = folder / "run" / "distill"
    parts = [keras.saving.load_model(run / name) for name in ("preprocessing.keras", "model.keras")]
    model, x = keras.Sequential(parts), rows()

    def seconds(some) -> float:
        began = time.perf_counter()
        model.predict(some, batch_size=BATCH, verbose=0)
        return time.perf_counter() - began

    seconds(x), seconds(x[:1])
    one = [1e3 * seconds(x[:1]) for _ in range(200)]
    rate = len(x) / np.median([seconds(x) for _ in range(5)])
    say({"ms": np.median(one), "ms_99": np.quantile(one, 0.99), "rate": rate})


def rows():
    import numpy as np

    from kt_transfer import load_data

    return np.resize(load_data("digits").x, (ROWS, 8, 8))


def say(found: dict) -> None:
    print(measuring.MARK + json.dumps({key: float(value) for key, value in found.items()}))


STEPS = {"prepare": prepare, "from_c": from_c, "from_keras": from_keras}

if __name__ == "__main__":
    main()
