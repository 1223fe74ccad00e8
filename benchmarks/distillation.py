"""``distill``, 20 epochs of MNIST: against ``keras.distillation.Distiller``.

Ours asks the teacher once for every example; Keras's runs it in every step.
"""

import tempfile
from pathlib import Path

import inputs
import measuring
from measuring import Way, peer, python

KERAS = "keras.distillation.Distiller script"


def main() -> None:
    args = measuring.arguments(__doc__, short=2, long=20)
    teacher = inputs.trained(
        "teacher-1200-1200",
        *("kt_transfer.finetune", "--source", "scratch", "--data", "tfds:mnist", "--epochs", 2),
        *("--hidden-units", 1200, 1200, "--batch-size", 128),
    )
    with tempfile.TemporaryDirectory() as folder:
        ours, keras = ways(teacher, Path(folder))
        measuring.compare_commands(
            "distillation",
            "Distillation",
            f"`python -m kt_transfer.distill --student-units 32 32 --epochs {args.long}` with a "
            "teacher 784-1200-1200-10, against a script that loads MNIST with TFDS and trains the "
            "same student with `keras.distillation.Distiller`, its losses set right: softmax and "
            "T² (a `KLDivergence` instance), labels from logits; T = 4, α = 0.1, batch 64, the "
            "same 6,000 images held out.",
            (ours, keras),
            args,
            wanted=8,
            ending="test accuracy",
        )


def ways(teacher: Path, folder: Path) -> tuple[Way, Way]:
    out = folder / "run"

    def ours(epochs: int) -> list[str]:
        flags = ["--teacher", teacher, "--student-units", 32, 32, "--epochs", epochs]
        flags += ["--batch-size", 64, "--out", out, "--overwrite", "--quiet"]
        return python("-m", "kt_transfer.distill", *flags)

    def keras(epochs: int) -> list[str]:
        # Ours runs first in every round: the rows that it held out are there.
        return peer(
            "keras_distiller",
            epochs=epochs,
            teacher=teacher / "model.keras",
            splits=out / "splits.npz",
            out=folder / "student.keras",
        )

    return (
        Way("kt_transfer.distill", ours, lambda _: measuring.metrics(out)["test"]["accuracy"]),
        Way(KERAS, keras, lambda taken: taken.said["accuracy"]),
    )


if __name__ == "__main__":
    main()
