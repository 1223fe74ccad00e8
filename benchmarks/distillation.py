"""``distill``, 20 epochs of MNIST: against ``keras.distillation.Distiller``.

Ours asks the teacher once for every example; Keras's runs it in every step.
"""

import tempfile
from pathlib import Path

import inputs
import measuring
from measuring import Way, peer, python

KERAS = "keras.distillation.Distiller script"

TRIED = """
An epoch of ours is one or two hundredths of the process; what is left is start-up: TensorFlow and
Keras are imported, the teacher answers once, at the rate of its matrix products, the program is
traced and compiled, what was gained is measured and drawn. The faster the machine, the more of
the ratio of whole processes is this start-up, which the other script has as well. What helped is
built in: TensorFlow imported without garbage collection, and without JAX, pandas, scikit-learn and
Matplotlib (a second of the process), a traced teacher, evaluation that is compiled only where it is
long, one trace for batches of every size. Not done: compiling while the teacher answers, since each
keeps both cores busy by itself; tracing is a tenth of a second.
"""


def main() -> None:
    args = measuring.arguments(__doc__, short=2, long=20)
    with tempfile.TemporaryDirectory() as folder:
        ours, keras = ways(teacher(), Path(folder))
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
            tried=TRIED,
        )


def teacher() -> Path:
    """The teacher's run: two epochs from scratch."""
    return inputs.trained(
        "teacher-1200-1200",
        *("kt_transfer.finetune", "--source", "scratch", "--data", "tfds:mnist", "--epochs", 2),
        *("--hidden-units", 1200, 1200, "--batch-size", 128),
    )


def ways(teacher: Path, folder: Path) -> tuple[Way, Way]:
    out = folder / "run"

    def ours(epochs: int) -> list[str]:
        flags = ["--teacher", teacher, "--student-units", 32, 32, "--epochs", epochs]
        flags += ["--batch-size", 64, "--out", out, "--overwrite", "--quiet"]
        # Or a short fit trains a student from scratch as well, which the script does not.
        flags += ["--compare-scratch", "no"]
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
