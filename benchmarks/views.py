"""Whether affine views of the labelled examples help, on several sets of pictures.

Errors on examples held out from the training split; test examples are not looked at. What is done
already lies in ``cache/views.json``: an interrupted run goes on.
"""

import tempfile
from pathlib import Path

import defaults
import measuring

KINDS = ("digits, 8 × 8", "MNIST, 28 × 28", "Fashion-MNIST, 28 × 28")
LABELS = 100
VIEWS = {
    "none": {"augment": "none"},
    "affine:0.5": {"augment": "affine:0.5"},
    "affine": {"augment": "affine"},
}
NETWORK = (1000, 500, 250)
RESULTS = measuring.CACHE / "views.json"


def main() -> None:
    args = measuring.arguments(__doc__, rounds=3)
    measuring.write(
        "views",
        "Affine views of a hundred labelled pictures",
        f"Error in percent on held-out examples of the training split with {LABELS} labels, mean ± "
        f"standard deviation of {args.rounds} draws of the labels. A dense network of "
        f"{', '.join(map(str, NETWORK))} units from scratch, and the parameters of what pretrain "
        "builds by default; everything else is the commands' default but what is named.",
        *(table(way, range(args.rounds)) for way in ("scratch", "parameters")),
    )


def table(way: str, draws) -> str:
    rows = []
    for views in VIEWS:
        errors = [[100 * error(kind, way, views, draw) for draw in draws] for kind in KINDS]
        rows.append([views, *(measuring.plus_minus(some, 1) for some in errors)])
    return f"## {way}\n\n{measuring.table(['views', *KINDS], rows)}"


def error(kind: str, way: str, views: str, draw: int) -> float:
    """Of one way with one draw, looked up if it is known."""

    def find() -> float:
        from kt_transfer import finetune

        settings = {"labels": LABELS, "seed": draw, **VIEWS[views]}
        if way == "scratch":
            data = f"npz:{defaults.examples(kind)}"
            settings |= {"source": "scratch", "data": data, "hidden_units": NETWORK}
        else:
            settings |= {"source": str(defaults.pretrained(kind, "the default"))}
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            run = finetune.run(out=out, compare_scratch="no", quiet=True, **settings)
            return 1 - run.read_json("metrics.json")["test"]["accuracy"]

    key = f"{kind}, {way}, {views}, {draw}"
    return measuring.remembered(RESULTS, key, find)


if __name__ == "__main__":
    main()
