"""Losses of distillation side by side, on digits and MNIST with few labels: accuracy, not speed.

A teacher that saw few labels, and students of 32 units that it teaches on all examples. What is
done already lies in ``cache/losses.json``: an interrupted run goes on.
"""

import tempfile
from pathlib import Path

import measuring

RESULTS = measuring.CACHE / "losses.json"
NUM_IMAGES = 10_000
STUDENT = (32,)
# Of each set: how the results name it, its labels, and the epochs of teacher and student.
SETS = {
    "digits": ("digits, 100 labels", 100, 60, 40),
    "mnist": (f"MNIST, {NUM_IMAGES:,} images, 1,000 labels", 1000, 30, 20),
}
WAYS = {
    "kl, T = 4": {"loss": "kl", "temperature": 4.0},
    "kl, T = 2": {"loss": "kl", "temperature": 2.0},
    "kl, T = 1": {"loss": "kl", "temperature": 1.0},
    "decoupled, T = 4": {"loss": "decoupled", "temperature": 4.0},
    "decoupled, T = 2": {"loss": "decoupled", "temperature": 2.0},
    "standardized, τ = 4": {"loss": "standardized", "temperature": 4.0},
    "standardized, τ = 2": {"loss": "standardized", "temperature": 2.0},
    "standardized, τ = 1": {"loss": "standardized", "temperature": 1.0},
}
FIGURES = ("error", "agreement", "calibration_error")
BEFORE = "kl, T = 4"  # the default, with which all others are compared


def main() -> None:
    args = measuring.arguments(__doc__, rounds=3)
    parts = []
    for name, (title, labels, teacher_epochs, epochs) in SETS.items():
        found = [measured(name, seed) for seed in range(args.rounds)]
        parts += [
            f"## {title}",
            f"Teacher: `finetune --source scratch --labels {labels} --epochs {teacher_epochs}`; "
            f"students: {epochs} epochs over all training examples.",
            table(found),
            findings(found),
        ]
    measuring.write(
        "losses",
        "Losses of distillation",
        f"Test error, disagreement with the teacher and calibration error in percent, mean ± "
        f"standard deviation of {args.rounds} seeds (of labels, initial weights and order). "
        f"Students have {STUDENT[0]} hidden units, see the teacher's labels (alpha 0.1) and its "
        f"answers for every training example; everything else is the commands' default. The last "
        f"column is the difference of errors to `{BEFORE}`, seed by seed. Nothing was chosen by "
        "these figures: every loss that was tried is here.",
        *parts,
    )


def table(found: list[dict]) -> str:
    """A row for the teacher, the student without one, and each loss."""
    rows = []
    for way in found[0]:
        cells = [way]
        for figure in FIGURES:
            values = [100 * by_way[way][figure] for by_way in found if figure in by_way[way]]
            cells.append(measuring.plus_minus(values) if values else "")
        if way in WAYS and way != BEFORE:
            pairs = [100 * (by_way[way]["error"] - by_way[BEFORE]["error"]) for by_way in found]
            cells.append(measuring.plus_minus(pairs, signed=True))
        rows.append([*cells, *[""] * (5 - len(cells))])
    head = ["loss", "error", "disagrees with teacher", "calibration error", "against kl, T = 4"]
    return measuring.table(head, rows)


def findings(found: list[dict]) -> str:
    """What the figures say of each loss against the default, where all seeds agree."""
    lines = []
    for way in WAYS:
        differences = [by_way[way]["error"] - by_way[BEFORE]["error"] for by_way in found]
        if all(difference < 0 for difference in differences):
            lines.append(f"- `{way}` makes fewer errors than `{BEFORE}` with every seed.")
        if all(difference > 0 for difference in differences):
            lines.append(f"- `{way}` makes more errors than `{BEFORE}` with every seed.")
    others = [way for way in WAYS if way not in {line.split("`")[1] for line in lines}]
    others = [f"`{way}`" for way in others if way != BEFORE]
    lines.append(f"- Of {', '.join(others)} the seeds do not agree: no difference was found.")

    def calibration(of: bool) -> list[float]:
        some = [way for way in WAYS if WAYS[way]["loss"] == "standardized"]
        chosen = [way for way in WAYS if (way in some) == of]
        return [100 * by_way[way]["calibration_error"] for by_way in found for way in chosen]

    lines.append(
        f"- Probabilities of standardized students are not to be believed: their calibration error "
        f"is {min(calibration(True)):.1f} % or more, that of all others "
        f"{max(calibration(False)):.1f} % or less."
    )
    lines.append(
        "- Of a loss that is no better or worse, "
        f"{len(found)} seeds agree by chance {0.5 ** (len(found) - 1):.0%} of the time."
    )
    return "\n".join(lines)


def measured(name: str, seed: int) -> dict[str, dict[str, float]]:
    """The figures of the teacher and of every student with one seed, by way."""
    return measuring.remembered(RESULTS, f"{name}, seed {seed}", lambda: distilled(name, seed))


def distilled(name: str, seed: int) -> dict[str, dict[str, float]]:
    from kt_transfer import distill, finetune

    _, labels, teacher_epochs, epochs = SETS[name]
    shared = {"data": spec_of(name), "seed": seed, "quiet": True}
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        teacher = finetune.run(
            source="scratch",
            labels=labels,
            epochs=teacher_epochs,
            out=folder / "teacher",
            **shared,
        )
        for number, (way, settings) in enumerate(WAYS.items()):
            run = distill.run(
                teacher=[teacher.path],
                student_units=STUDENT,
                epochs=epochs,
                out=folder / str(number),
                compare_scratch="yes" if number == 0 else "no",
                **settings,
                **shared,
            )
            comparison = run.read_json("metrics.json")["comparison"]
            if number == 0:
                found["teacher"] = figures(comparison["teacher"])
                found["labels alone"] = figures(comparison["scratch"])
            found[way] = figures(comparison["distilled"])
            measuring.progress(f"{name}, seed {seed}, {way}: {found[way]}")
    return found


def figures(row: dict[str, float]) -> dict[str, float]:
    found = {"error": 1 - row["accuracy"], "calibration_error": row["calibration_error"]}
    return found | ({"agreement": 1 - row["agreement"]} if "agreement" in row else {})


def spec_of(name: str) -> str:
    """The data, of MNIST the first images alone."""
    if name != "mnist":
        return name
    import numpy as np

    from kt_transfer import load_data

    path = measuring.CACHE / f"losses-mnist-{NUM_IMAGES}.npz"
    if not path.exists():
        data = load_data("tfds:mnist")
        x, y = (np.asarray(part[:NUM_IMAGES]) for part in (data.x, data.y))
        path.parent.mkdir(exist_ok=True)
        np.savez(path, x=x, y=y, x_test=np.asarray(data.x_test[:]), y_test=data.y_test)
    return f"npz:{path}"


if __name__ == "__main__":
    main()
