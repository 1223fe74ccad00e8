"""A k-sparse autoencoder's features with all labels of MNIST: accuracy, not speed.

Published (Makhzani & Frey, 2013, table 2): 1000 units, k = 25, logistic regression on the code,
no fine-tuning: 1.35 % test error.
"""

import statistics
import tempfile
from pathlib import Path

import measuring

PUBLISHED = 1.35
UNITS, ACTIVE = 1000, 25


def main() -> None:
    args = measuring.arguments(__doc__, rounds=3, epochs=50)
    from kt_transfer import finetune, pretrain

    errors, sparsities = [], []
    for seed in range(args.rounds):
        with tempfile.TemporaryDirectory() as folder:
            shared = {"data": "tfds:mnist", "seed": seed, "quiet": True}
            source = pretrain.run(
                model="sparse",
                sparsity="k_sparse",
                num_active=ACTIVE,
                hidden_units=(),
                latent_dim=UNITS,
                epochs=args.epochs,
                out=Path(folder) / "source",
                **shared,
            )
            run = finetune.run(
                source=str(source.path), method="features", out=Path(folder) / "run", **shared
            )
            errors.append(100 * (1 - run.read_json("metrics.json")["test"]["accuracy"]))
            sparsities.append(source.read_json("metrics.json")["test"]["sparsity"])
        measuring.progress(f"seed {seed}: {errors[-1]:.2f} %")
    measuring.write(
        "sparse_features",
        "Features of a k-sparse autoencoder",
        f"784-{UNITS}-784, the {ACTIVE} largest units of the code kept, {args.epochs} epochs on "
        "the 54,000 training images that are not held out; logistic regression on the code with "
        f"the labels of 54,000. Error on the 10,000 test images, {args.rounds} seeds.",
        measuring.table(
            ["way", "test error, %", "share of zero units"],
            [
                ["kt_transfer", deviation(errors), deviation(sparsities, 3)],
                ["published (Makhzani & Frey, 2013)", PUBLISHED, ""],
            ],
        ),
    )


def deviation(values: list[float], digits: int = 2) -> str:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.{digits}f} ± {spread:.{digits}f}"


if __name__ == "__main__":
    main()
