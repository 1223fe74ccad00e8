"""What share of examples is called unusual: of training, of the test part, of changed ones."""

import tempfile
from pathlib import Path

import measuring
import numpy as np

OTHER = "upside down and inverted"


def main() -> None:
    args = measuring.arguments(__doc__, rounds=3)
    from kt_transfer import load_data
    from kt_transfer.data.shifts import changes_of

    data, shares = load_data("digits"), {}
    for seed in range(args.rounds):
        for name, share in shares_of(seed, data).items():
            shares.setdefault(name, []).append(100 * share)
    told = {change.name: change.description for change in changes_of(data.input_shape)}
    rows = [
        [f"{name}: {told[name]}" if name in told else name, measuring.plus_minus(found, 1)]
        for name, found in shares.items()
    ]
    measuring.write(
        "unusual",
        "Which digits are called unusual",
        "Percent of examples that the exported model calls `unusual`: those with an error above "
        "the 0.99 quantile of training. An autoencoder as `pretrain` builds it by default, "
        f"100 epochs, on digits; mean ± standard deviation of {args.rounds} seeds. The changes are "
        "those of `compare --shift` (`data/shifts.py`), made on the test part.",
        measuring.table(["examples", "unusual, %"], rows),
    )


def shares_of(seed: int, data) -> dict[str, float]:
    import tensorflow as tf

    from kt_transfer import export, pretrain
    from kt_transfer.data.shifts import changed, changes_of

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        run = pretrain.run(data="digits", epochs=100, seed=seed, out=out / "run", quiet=True)
        trained = run.read_arrays("splits.npz")
        version = export.run(run=run.path, name="m", export_dir=out / "served", quiet=True)
        model = tf.saved_model.load(str(version)).signatures["reconstruct"]

        def share(x) -> float:
            return float(model(image=tf.constant(x))["unusual"].numpy().mean())

        parts = {
            "trained on": data.x[trained["train"]],
            "held out of training": data.x[trained["validation"]],
            "test part": data.x_test,
        }
        for change in changes_of(data.input_shape):
            given = {"seed": seed, "value_range": data.value_range}
            parts[change.name] = changed(change.name, data.x_test, **given)
        parts[OTHER] = (16 - data.x_test[:, ::-1]).astype(np.uint8)
        return {name: share(x) for name, x in parts.items()}


if __name__ == "__main__":
    main()
