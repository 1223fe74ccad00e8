"""Test error with few labels, by way of transferring: accuracy, not speed.

Real MNIST, and Fashion-MNIST from MNIST and the other way round; the mean and standard deviation
over draws of the labels. What is done already lies in ``cache/few_labels.json``: an interrupted
run goes on.
"""

import shutil
import tempfile
from pathlib import Path

import measuring

LABELS = (100, 600, 1000, 3000)
# Rifai et al., 2011 (The Manifold Tangent Classifier), table 3: MNIST, test error in percent.
PUBLISHED = [
    ["published: plain network", 25.81, 11.44, 10.70, 6.04],
    ["published: contractive autoencoder", 13.47, 6.3, 4.77, 3.22],
]
WAYS = ("scratch", "parameters", "features", "semi-supervised")
PRETRAIN = {"epochs": 10}
MNIST, FASHION = "tfds:mnist", "tfds:fashion_mnist"
RESULTS = measuring.CACHE / "few_labels.json"


def main() -> None:
    args = measuring.arguments(__doc__, rounds=5)
    draws = range(args.rounds)
    parts = [f"## MNIST\n\n{table(MNIST, MNIST, WAYS, draws)}"]
    for source, target in ((MNIST, FASHION), (FASHION, MNIST)):
        ways = ("scratch", "parameters", "features", "classifier's parameters")
        head = f"## {target.split(':')[1]}, pretrained on {source.split(':')[1]}"
        parts.append(f"{head}\n\n{table(source, target, ways, draws, LABELS[::2])}")
    measuring.write(
        "few_labels",
        "Test error with few labels",
        f"Error on the 10,000 test images in percent, mean ± standard deviation of {args.rounds} "
        "draws (each with its own seed for labels, pretraining and initial weights). Everything is "
        "the commands' default but the pretraining, "
        f"{measuring.listed(PRETRAIN)}. Nothing was chosen on test labels.",
        *parts,
    )


def table(source: str, target: str, ways, draws, labels=LABELS) -> str:
    def measured(way: str, num: int, draw: int) -> float:
        return error(way, source, target, num, draw)

    return table_of_errors(ways, labels, draws, measured, source == target == MNIST)


def table_of_errors(ways, labels, draws, error, with_published: bool = True) -> str:
    """A row a way, a column a number of labels; ``error(way, num, draw)`` is a share."""
    rows = []
    for way in ways:
        cells = []
        for num in labels:
            errors = [100 * error(way, num, draw) for draw in draws]
            cells.append(measuring.plus_minus(errors))
        rows.append([way, *cells])
    if with_published:
        rows += PUBLISHED
    return measuring.table(["way", *(f"{num} labels" for num in labels)], rows)


def error(way: str, source: str, target: str, labels: int, draw: int) -> float:
    """Test error of one way with one draw, looked up if it is known."""

    def find() -> float:
        with tempfile.TemporaryDirectory() as folder:
            return 1 - transfer(way, source, target, labels, draw, Path(folder))

    key = f"{way}, {source} to {target}, {labels} labels, draw {draw}"
    return measuring.remembered(RESULTS, key, find)


def transfer(way: str, source: str, target: str, labels: int, draw: int, folder: Path) -> float:
    """Test accuracy of one way with one draw."""
    from kt_transfer import finetune

    shared = {"data": target, "labels": labels, "seed": draw, "quiet": True, "out": folder / "run"}
    shared["compare_scratch"] = "no"
    if way == "scratch":
        run = finetune.run(source="scratch", **shared)
    else:
        method = "features" if way == "features" else "parameters"
        pretrained = source_run(way, source, labels, draw, folder)
        run = finetune.run(source=str(pretrained), method=method, **shared)
    return run.read_json("metrics.json")["test"]["accuracy"]


def source_run(way: str, source: str, labels: int, draw: int, folder: Path) -> Path:
    """The pretrained run: one a draw, but one a draw and number of labels where it sees them."""
    from kt_transfer import pretrain

    settings = {"data": source, "seed": draw, "quiet": True, **PRETRAIN}
    if way == "semi-supervised":
        return pretrain.run(labels=labels, out=folder / "source", **settings).path
    kind = "classification" if way == "classifier's parameters" else "reconstruction"
    name = f"few_labels-{source.split(':')[1]}-{kind}-{draw}"
    return kept(name, objective=kind, **settings)


def kept(name: str, **settings) -> Path:
    """A pretrained run that stays in the cache."""
    from kt_transfer import pretrain

    path = measuring.CACHE / name
    if not (path / "metrics.json").exists():
        shutil.rmtree(path, ignore_errors=True)
        pretrain.run(out=path, **settings)
    return path


if __name__ == "__main__":
    main()
