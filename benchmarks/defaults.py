"""What pretraining builds where nothing is said: shapes side by side on several kinds of data.

Errors on examples held out from the training split; test examples are not looked at. What is done
already lies in ``cache/defaults.json``: an interrupted run goes on.
"""

import tempfile
from pathlib import Path

import measuring

# Of pretrain. Without settings: what it builds by default.
SHAPES = {
    "the default": {},
    "reference network": {"hidden_units": (128, 64, 32, 16), "latent_dim": 8},
    "convolutions": {"model": "conv"},
}
# Of each kind of data: labels to learn from, and passes over the examples in pretraining.
KINDS = {
    "digits, 8 × 8": ((50, 200), 50),
    "table, 30 columns": ((20, 100), 50),
    "MNIST, 28 × 28": ((100, 1000), 10),
    "Fashion-MNIST, 28 × 28": ((100, 1000), 10),
}
WAYS = {"parameters": {}, "features": {"method": "features"}}
RESULTS = measuring.CACHE / "defaults.json"


def main() -> None:
    args = measuring.arguments(__doc__, rounds=3)
    measuring.write(
        "defaults",
        "What to pretrain where nothing is said",
        "Error in percent on held-out examples of the training split, mean ± standard deviation "
        f"of {args.rounds} draws of the labels; one pretraining each, without labels. "
        "Everything is the commands' default but the shape that is named and the epochs of "
        "pretraining.",
        *(kind_of_data(kind, range(args.rounds)) for kind in KINDS),
    )


def kind_of_data(kind: str, draws) -> str:
    budgets, epochs = KINDS[kind]
    rows = []
    for name in SHAPES:
        if name == "convolutions" and kind.startswith("table"):
            continue
        cells = []
        for labels in budgets:
            for way in WAYS:
                errors = [100 * error(kind, name, way, labels, draw) for draw in draws]
                cells.append(measuring.plus_minus(errors, 1))
        rows.append([name, *cells])
    head = [f"{way}, {labels} labels" for labels in budgets for way in WAYS]
    return f"## {kind}\n\n{epochs} epochs.\n\n{measuring.table(['pretrained', *head], rows)}"


def error(kind: str, shape: str, way: str, labels: int, draw: int) -> float:
    """Of one way with one draw, looked up if it is known."""

    def find() -> float:
        from kt_transfer import finetune

        with tempfile.TemporaryDirectory() as folder:
            run = finetune.run(
                source=str(pretrained(kind, shape)),
                labels=labels,
                seed=draw,
                out=Path(folder) / "run",
                compare_scratch="no",
                quiet=True,
                **WAYS[way],
            )
            return 1 - run.read_json("metrics.json")["test"]["accuracy"]

    return measuring.remembered(RESULTS, f"{kind}, {shape}, {way}, {labels}, {draw}", find)


def pretrained(kind: str, shape: str) -> Path:
    """The run of one shape on one kind of data, made once."""
    from kt_transfer import pretrain

    path = measuring.CACHE / f"defaults-{kind.split(',')[0]}-{shape}"
    if not (path / "metrics.json").exists():
        data = f"npz:{examples(kind)}"
        settings = {"epochs": KINDS[kind][1], **SHAPES[shape]}
        pretrain.run(data=data, out=path, overwrite=True, quiet=True, **settings)
    return path


def examples(kind: str) -> Path:
    """A training split, a sixth of it held out as what the commands call test."""
    import numpy as np

    path = measuring.CACHE / f"defaults-{kind.split(',')[0]}.npz"
    if not path.exists():
        x, y = training_split(kind)
        rows = np.random.default_rng(0).permutation(len(x))
        held, kept = rows[: len(x) // 6], rows[len(x) // 6 :]
        path.parent.mkdir(exist_ok=True)
        np.savez(path, x=x[kept], y=y[kept], x_test=x[held], y_test=y[held])
    return path


def training_split(kind: str):
    import numpy as np
    from sklearn.datasets import load_breast_cancer

    from kt_transfer.data import load_data

    if kind.startswith("table"):
        x, y = load_breast_cancer(return_X_y=True)
        return ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float32), y
    spec = {"digits": "digits", "MNIST": "tfds:mnist", "Fashion-MNIST": "tfds:fashion_mnist"}
    data = load_data(spec[kind.split(",")[0]])
    # Digits go from 0 to 16, which uint8 does not say and what is seen does.
    return (data.x.astype(np.float32) if kind.startswith("digits") else data.x), data.y


if __name__ == "__main__":
    main()
