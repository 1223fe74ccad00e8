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
    found = {
        name: {key: [taken.said[key] for taken in measured.longest(name)] for key in KEYS}
        for name in WAYS
    }
    *asked, keras = found.values()
    rows = [
        [
            name,
            measuring.spread(own["ms"], 3),
            measuring.spread([rate / 1000 for rate in own["rate"]], 0),
            measuring.spread(measuring.ratios(own["rate"], keras["rate"])),
        ]
        for name, own in found.items()
    ]
    goals = []
    for name, own in zip(WAYS, asked, strict=False):
        median = statistics.median(own["ms"])
        times = statistics.median(measuring.ratios(own["rate"], keras["rate"]))
        goals += [
            [f"{name}: milliseconds at 1", f"{median:.3f}", "≤ 1", reached(median <= 1)],
            [f"{name}: times Keras at 256", f"{times:.2f}", "≥ 3", reached(times >= 3)],
        ]
    measuring.write(
        "serving",
        "How fast an exported student answers",
        "The digits student of `quickstart` (two layers, 4,810 parameters; the whole version takes "
        f"{size / 2**20:.1f} MiB) asked for `serving_default` from raw pictures, from C in the C++ "
        "loader that TF Serving stands on (`tests/serving/loader.c`). Beside it "
        "`keras.Model.predict` of the student "
        f"with its preprocessing, which gives logits, {ROWS} rows in batches of {BATCH}. Median "
        f"(range) of {args.rounds} alternating rounds, each the median of many requests.",
        measuring.table(["way", "ms at 1", "thousand rows a second at 256", "times Keras"], rows),
        measuring.table(["goal", "found", "wanted", ""], goals),
    )


def reached(is_so: bool) -> str:
    return "PASS" if is_so else "**missed**"


KEYS = ("ms", "rate")
WAYS = {
    "C": "from_c",
    "keras.Model.predict": "from_keras",
}


def prepare(folder: Path) -> None:
    import c_loader

    from kt_transfer import quickstart

    quickstart.run(out=folder / "run", name="m", export_dir=folder, epochs=20, quiet=True)
    c_loader.compiled(folder)


def from_c(folder: Path) -> None:
    import c_loader
    import numpy as np

    x, seconds = rows(), {}
    for count, repeats in ((1, 1000), (BATCH, 200)):
        asked = [("serving_default", {"image": x[:count]})]
        with tempfile.TemporaryDirectory() as scratch:
            program, model = folder / "loader", folder / "m" / "1"
            _, (taken,) = c_loader.ask(program, model, asked, Path(scratch), repeats)
        seconds[count] = np.median(taken)
    say({"ms": 1e3 * seconds[1], "rate": BATCH / seconds[BATCH]})


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
    one = [1e3 * seconds(x[:1]) for _ in range(30)]
    say({"ms": np.median(one), "rate": len(x) / np.median([seconds(x) for _ in range(5)])})


def rows():
    import numpy as np

    from kt_transfer import load_data

    return np.resize(load_data("digits").x, (ROWS, 8, 8))


def say(found: dict) -> None:
    print(measuring.MARK + json.dumps({key: float(value) for key, value in found.items()}))


STEPS = {
    "prepare": prepare,
    "from_c": from_c,
    "from_keras": from_keras,
}

if __name__ == "__main__":
    main()
