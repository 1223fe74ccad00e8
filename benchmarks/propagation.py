"""Test error of ``propagated`` at 100 labels, and of its graph alone: accuracy, not speed.

Real MNIST and Fashion-MNIST; the mean and standard deviation over draws of the labels. What is
done already lies in ``cache/propagation.json``: an interrupted run goes on.
"""

import statistics
import tempfile
import time
from pathlib import Path

import measuring

DATA = ("tfds:mnist", "tfds:fashion_mnist")
LABELS = 100
NETWORK = {"source": "scratch", "hidden_units": (1000, 500, 250)}
PROPAGATED = {"method": "propagated"}
AFFINE = {"augment": "affine"}
GRAPH = "propagated labels of the unlabelled training images"
WAYS = {
    "labels alone": {},
    "labels alone, affine views": AFFINE,
    GRAPH: None,
    "propagated": PROPAGATED,
    "propagated, affine views": PROPAGATED | AFFINE,
}
RESULTS = measuring.CACHE / "propagation.json"


def main() -> None:
    args = measuring.arguments(__doc__, rounds=5)
    for draw in range(args.rounds):  # all of a draw before the next
        for data in DATA:
            for way in WAYS:
                measured(way, data, draw)
    rows = []
    for way in WAYS:
        cells = []
        for data in DATA:
            found = [measured(way, data, draw) for draw in range(args.rounds)]
            errors = [100 * one["error"] for one in found]
            minutes = statistics.median(one["seconds"] for one in found) / 60
            cells += [measuring.plus_minus(errors), f"{minutes:.1f}"]
        rows.append([way, *cells])
    names = [data.split(":")[1] for data in DATA]
    head = ["way", *(text for name in names for text in (f"{name}, error %", "minutes"))]
    measuring.write(
        "propagation",
        "Labels that spread along a graph",
        f"{LABELS} labels, error in percent on the 10,000 test images, and, in the row of the "
        "graph alone, on the unlabelled training images; mean ± standard deviation of "
        f"{args.rounds} draws of the labels, and the median of the minutes that a draw takes, "
        "reading and saving included. "
        f"`finetune` with {measuring.listed(NETWORK)}, `validation_split=0.0`; everything else is "
        "the default. Features, alpha and class masses are chosen by halves of the 100 labels. The "
        "description by oriented gradients, the number of neighbours and components, the steps and "
        "the decay of the learning rate were fixed beforehand, by labels of the training images of "
        "both sets; test images were not looked at.",
        measuring.table(head, rows),
    )


def measured(way: str, data: str, draw: int) -> dict:
    """Error and seconds of one way with one draw, looked up if they are known."""
    find = graph_alone if way == GRAPH else fine_tuned
    return measuring.remembered(
        RESULTS, f"{way}, {data}, draw {draw}", lambda: find(WAYS[way], data, draw)
    )


def fine_tuned(settings: dict, data: str, draw: int) -> dict:
    from kt_transfer import finetune

    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run = finetune.run(
            data=data,
            labels=LABELS,
            seed=draw,
            validation_split=0.0,
            compare_scratch="no",
            quiet=True,
            out=Path(folder) / "run",
            **NETWORK,
            **settings,
        )
        error = 1 - run.read_json("metrics.json")["test"]["accuracy"]
        note = run.read_json("run.json").get("note")
    return {"error": error, "seconds": time.perf_counter() - began, "note": note}


def graph_alone(_, data: str, draw: int) -> dict:
    """As ``finetune`` has it, whose graph it is: the same draw of labels, the same seed."""
    import numpy as np

    from kt_transfer import load_data
    from kt_transfer.data.splits import draw_labels
    from kt_transfer.methods import Propagated
    from kt_transfer.methods.learning import Examples, Problem, labels_of
    from kt_transfer.models.classifiers import dense_encoder
    from kt_transfer.models.preprocessing import preprocessing_model

    loaded, began = load_data(data), time.perf_counter()
    scaled = preprocessing_model(loaded.input_shape, loaded.value_range, loaded.x.dtype)
    encoder = dense_encoder(loaded.input_dim, (8,))  # not used: nothing is trained
    learner = Propagated().prepare(Problem(loaded.num_classes, len(loaded.x), encoder, scaled))
    given = labels_of(loaded.y, draw_labels(loaded.y, LABELS, draw, loaded.copies))
    spread = learner.spread(Examples(loaded.x, given), seed=draw)
    unlabelled = given < 0
    error = float(np.mean(spread.labels[unlabelled] != loaded.y[unlabelled]))
    return {"error": error, "seconds": time.perf_counter() - began, "choice": spread.choice}


if __name__ == "__main__":
    main()
