"""The whole ``pretrain`` command, 5 epochs of MNIST: ours against a stock Keras script.

Start-up, loading from TFDS, compiling and saving included, on both sides.
"""

import statistics
import tempfile
from pathlib import Path

import inputs
import measuring
from measuring import Goal, Taken, Way, peer, python

KERAS = "stock Keras script"
REFERENCE = ("--hidden-units", 128, 64, 32, 16, "--latent-dim", 8)


def main() -> None:
    args = measuring.arguments(__doc__, epochs=5)
    # Read once, so that both sides find the files in memory.
    inputs.mnist()
    with tempfile.TemporaryDirectory() as folder:
        ours, keras = ways(Path(folder))
        measured = measuring.measure([ours, keras], args.rounds, (args.epochs,))
        seconds = {way.name: measured.wholes(way.name) for way in (ours, keras)}
        times = statistics.median(measuring.ratios(seconds[keras.name], seconds[ours.name]))
        goals = [Goal(keras.name, times, 2)]
        measuring.write(
            "pretrain_command",
            "The whole pretrain command",
            f"`python -m kt_transfer.pretrain --data tfds:mnist --epochs {args.epochs}` with the "
            "reference network, from start to end, against a script that loads MNIST with TFDS, "
            "trains the same network with stock `fit`, watches the same 6,000 held-out images, "
            "measures the test images and saves the model. Ours also writes history, TensorBoard "
            f"logs and plots. Median (range) of {args.rounds} alternating rounds.",
            measuring.comparison(measured, seconds, "test mse"),
            measuring.goals_table(goals),
            measuring.profile_if_missed(goals, ours.command(args.epochs)),
        )


def ways(folder: Path) -> tuple[Way, Way]:
    out = folder / "run"

    def ours(epochs: int) -> list[str]:
        flags = ["--data", "tfds:mnist", *REFERENCE, "--epochs", epochs]
        return python("-m", "kt_transfer.pretrain", *flags, "--out", out, "--overwrite", "--quiet")

    def keras(epochs: int) -> list[str]:
        # Ours runs first in every round: the rows that it held out are there.
        splits, model = out / "splits.npz", folder / "model.keras"
        return peer("keras_pretrain", epochs=epochs, splits=splits, out=model)

    def test_mse(_: Taken) -> float:
        return measuring.metrics(out)["test"]["mse"]

    return (
        Way("kt_transfer.pretrain", ours, test_mse),
        Way(KERAS, keras, lambda taken: taken.said["mse"]),
    )


if __name__ == "__main__":
    main()
