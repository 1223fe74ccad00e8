"""``finetune --method features``, 20 epochs: against stock Keras with a frozen encoder.

Ours computes the frozen encoder's features once; stock ``fit`` computes them in every step.
"""

import tempfile
from pathlib import Path

import inputs
import measuring
from measuring import Way, peer, python

KERAS = "stock Keras script, frozen encoder"

TRIED = """
An epoch of ours is less than a hundredth of the process: the rest is start-up, the features that
are computed once, at the rate of their products, tracing and XLA. The faster the machine, the more
of the ratio this start-up is, which the other script has as well: on the machine of 2026-11-24,
half as fast, the whole process was 12.2×. What helped is built in: TensorFlow imported without
garbage collection, and without JAX, pandas, scikit-learn and Matplotlib (a second of the process),
pictures without pyplot."""


def main() -> None:
    args = measuring.arguments(__doc__, short=2, long=20)
    with tempfile.TemporaryDirectory() as folder:
        ours, keras = ways(source(), Path(folder))
        measuring.compare_commands(
            "features",
            "Transfer of features",
            f"`python -m kt_transfer.finetune --method features --head dense --epochs {args.long}` "
            "with the encoder 784-1000-500-250 and all labels of MNIST, against a script that "
            "loads MNIST with TFDS, freezes the same encoder, puts a dense head on it and trains "
            "with stock `fit` (batch 32, the same 6,000 images held out).",
            (ours, keras),
            args,
            wanted=10,
            ending="test accuracy",
            tried=TRIED,
        )


def source() -> Path:
    """The encoder's run: two epochs of pretraining."""
    return inputs.trained(
        "source-1000-500-250",
        *("kt_transfer.pretrain", "--data", "tfds:mnist", "--epochs", 2),
        *("--hidden-units", 1000, 500, "--latent-dim", 250),
    )


def ways(source: Path, folder: Path) -> tuple[Way, Way]:
    out = folder / "run"

    def ours(epochs: int) -> list[str]:
        flags = ["--method", "features", "--head", "dense", "--epochs", epochs, "--batch-size", 32]
        flags += ["--source", source, "--out", out, "--overwrite", "--quiet"]
        return python("-m", "kt_transfer.finetune", *flags)

    def keras(epochs: int) -> list[str]:
        # Ours runs first in every round: the rows that it held out are there.
        return peer(
            "keras_frozen",
            epochs=epochs,
            source=source / "model.keras",
            splits=out / "splits.npz",
            out=folder / "model.keras",
        )

    return (
        Way("kt_transfer.finetune", ours, lambda _: measuring.metrics(out)["test"]["accuracy"]),
        Way(KERAS, keras, lambda taken: taken.said["accuracy"]),
    )


if __name__ == "__main__":
    main()
