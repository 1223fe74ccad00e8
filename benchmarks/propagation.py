"""Test error of ``propagated`` with few labels, and of its graph alone: accuracy, not speed.

Real MNIST and Fashion-MNIST; the mean and standard deviation over draws of the labels. What is
done already lies in ``cache/propagation.json``: an interrupted run goes on, and a number of rounds
that is given later adds draws.
"""

import statistics
import tempfile
import time
from pathlib import Path

import measuring

# Labels to learn from, most telling first.
BUDGETS = {"tfds:mnist": (100, 10, 1000), "tfds:fashion_mnist": (100, 1000)}
NETWORK = {"source": "scratch", "hidden_units": (1000, 500, 250)}
PROPAGATED = {"method": "propagated"}
PLAIN = {"augment": "none"}
GRAPH = "propagated labels of the unlabelled training images"
WAYS = {
    "labels alone": PLAIN,
    "labels alone, affine views": {},
    GRAPH: None,
    "propagated": PROPAGATED,
    "propagated, no views": PROPAGATED | PLAIN,
}
# Of the other budgets than 100 labels.
OF_OTHERS = (GRAPH, "propagated")
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
        "Error in percent on the 10,000 test images, and, in the row of the graph alone, on the "
        "unlabelled training images; mean ± standard deviation of "
        f"{args.rounds} draws of the labels, and the median of the minutes that a draw takes, "
        "reading and saving included (the machine was not idle). "
        f"`finetune` with {measuring.listed(NETWORK)}; everything else is the default. "
        "What a graph is made of (oriented gradients or pixels), how far labels spread and class "
        "masses are chosen by halves of the given labels. The descriptor, the views, the number "
        "of neighbours and components, the steps and the decay of the learning rate were fixed "
        "beforehand, by labels of training images; test images were not looked at.",
        *(table(data, range(args.rounds)) for data in BUDGETS),
    )


def ways_of(labels: int):
    return WAYS if labels == 100 else OF_OTHERS


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
    find = graph_alone if way == GRAPH else fine_tuned
    key = f"{way}, {data}, {labels} labels, draw {draw}"
    return measuring.remembered(RESULTS, key, lambda: find(WAYS[way], data, labels, draw))


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


def graph_alone(_, data: str, labels: int, draw: int) -> dict:
    """As ``finetune`` has it, whose graph it is: the same draw of labels, the same seed."""
    import numpy as np

    from kt_transfer import load_data
    from kt_transfer.data.splits import draw_labels
    from kt_transfer.methods import Propagated
    from kt_transfer.methods.learning import Examples, Problem, labels_of
    from kt_transfer.methods.views import views_of
    from kt_transfer.models.classifiers import dense_encoder
    from kt_transfer.models.preprocessing import preprocessing_model

    loaded, began = load_data(data), time.perf_counter()
    scaled = preprocessing_model(loaded.input_shape, loaded.value_range, loaded.x.dtype)
    encoder = dense_encoder(loaded.input_dim, (8,))  # not used: nothing is trained
    views = views_of(Propagated.augment, loaded.input_shape, loaded.scaling_range)
    learner = Propagated().prepare(
        Problem(loaded.num_classes, len(loaded.x), encoder, scaled, augment=views)
    )
    given = labels_of(loaded.y, draw_labels(loaded.y, labels, draw, loaded.copies))
    spread = learner.spread(Examples(loaded.x, given), seed=draw)
    unlabelled = given < 0
    error = float(np.mean(spread.labels[unlabelled] != loaded.y[unlabelled]))
    return {"error": error, "seconds": time.perf_counter() - began, "choice": spread.choice}


if __name__ == "__main__":
    main()
