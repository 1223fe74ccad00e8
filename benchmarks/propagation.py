"""Test error of ``propagated`` with few labels: accuracy, not speed.

Real MNIST and Fashion-MNIST; the mean and standard deviation over draws of the labels. What is
done already lies in ``cache/propagation.json``: an interrupted run goes on, and a number of rounds
that is given later adds draws.
"""

import statistics
import tempfile
import time
from pathlib import Path

import measuring

# Labels to learn from.
BUDGETS = {"tfds:mnist": (100, 10), "tfds:fashion_mnist": (100,)}
NETWORK = {"source": "scratch", "hidden_units": (1000, 500, 250)}
PROPAGATED = {"method": "propagated"}
PLAIN = {"augment": "none"}
WAYS = {
    "labels alone": PLAIN,
    "labels alone, affine views": {},
    "propagated": PROPAGATED,
    "propagated, no views": PROPAGATED | PLAIN,
}
RESULTS = measuring.CACHE / "propagation.json"


def main() -> None:
    args = measuring.arguments(__doc__, rounds=3)
    for draw in range(args.rounds):  # all of a draw before the next
        for data, budgets in BUDGETS.items():
            for labels in budgets:
                for way in ways_of(labels):
                    measured(way, data, labels, draw)
    measuring.write(
        "propagation",
        "Labels that spread along a graph",
        f"Error in percent on the 10,000 test images; mean ± standard deviation of {args.rounds} "
        "draws of the labels, and the median of the minutes that a draw takes, reading and saving "
        "included (the machine was not idle). "
        f"`finetune` with {measuring.listed(NETWORK)}; everything else is the default. "
        "What a graph is made of (oriented gradients or pixels), how far labels spread and class "
        "masses are chosen by halves of the given labels. The descriptor, the views, the number "
        "of neighbours and components, the steps and the decay of the learning rate were fixed "
        "beforehand, by labels of training images; test images were not looked at.",
        *(table(data, range(args.rounds)) for data in BUDGETS),
    )


def ways_of(labels: int) -> list[str]:
    """All of 100 labels; of fewer, what is best there."""
    return list(WAYS) if labels == 100 else ["labels alone", "propagated"]


def table(data: str, draws) -> str:
    rows = []
    for labels in sorted(BUDGETS[data]):
        for way in ways_of(labels):
            found = [measured(way, data, labels, draw) for draw in draws]
            errors = [100 * one["error"] for one in found]
            minutes = statistics.median(one["seconds"] for one in found) / 60
            rows.append([str(labels), way, measuring.plus_minus(errors), f"{minutes:.1f}"])
    head = ["labels", "way", "error %", "minutes"]
    return f"## {data.split(':')[1]}\n\n{measuring.table(head, rows)}"


def measured(way: str, data: str, labels: int, draw: int) -> dict:
    """Error and seconds of one way with one draw, looked up if they are known."""
    key = f"{way}, {data}, {labels} labels, draw {draw}"
    return measuring.remembered(RESULTS, key, lambda: fine_tuned(WAYS[way], data, labels, draw))


def fine_tuned(settings: dict, data: str, labels: int, draw: int) -> dict:
    from kt_transfer import finetune

    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run = finetune.run(
            data=data,
            labels=labels,
            seed=draw,
            validation_split=0.0,  # of 1,000 labels as of 100
            compare_scratch="no",
            quiet=True,
            out=Path(folder) / "run",
            **NETWORK,
            **settings,
        )
        error = 1 - run.read_json("metrics.json")["test"]["accuracy"]
        note = run.read_json("run.json").get("note")
    return {"error": error, "seconds": time.perf_counter() - began, "note": note}


if __name__ == "__main__":
    main()
