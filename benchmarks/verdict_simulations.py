"""Do the intervals, verdicts and choices of ``compare`` hold what they promise?

Simulated: examples of four Gaussian classes, and linear classifiers in closed form in place of
networks, so that thousands of comparisons take minutes and the truth is known. Folds, draws of
labels, intervals, verdicts, the choice of a winner and racing are those of the package.
"""

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"  # the matrices are tiny

import measuring  # noqa: E402

CLASSES, WIDTH, FOLDS = 4, 8, 5


def main() -> None:
    args = measuring.arguments(__doc__, rounds=300)
    runs = args.rounds
    measuring.write(
        "verdict_simulations",
        "What the verdicts promise, simulated",
        f"SIMULATED: {CLASSES} Gaussian classes, linear classifiers in closed form, {runs} "
        f"comparisons a row (a third of them for 10 repeats), {FOLDS} folds. Blocks of {WIDTH} "
        "features are alike in distribution, so that a classifier of each is equally good in "
        "truth; others differ by their regularization. Truths are means over 400 draws of labels "
        "on 60,000 new examples.",
        "## Do 95 % intervals of a difference cover the truth?\n\nFive pairs of classifiers. *One "
        "set*: Nadeau & Bengio's interval for folds of one set, which knows nothing of draws.\n\n"
        + coverage(runs),
        "## Several candidates that are equally good\n\nBudgets of 50, 100 and 200 of 1,500. "
        "*Falsely better*: runs in which any candidate at any budget is called better than the "
        "first. *Bias*: by how much the winner's mean exceeds its true accuracy; *expected*: the "
        "same of what is said to be expected of it; *bound*: runs in which its true accuracy lies "
        "above the bound of 95 %.\n\n" + equals(runs),
        "## Candidates that differ\n\nThe true differences to the best lie between half a point "
        "and ten points at 50 labels. *Lost*: runs in which the best in truth leaves. *Spared*: "
        "the share of fits that racing saves.\n\n" + races(runs),
        "## Practically equal\n\nTwo candidates whose true difference is as large as the margin: "
        "how often that is called practically equal, which it is just not; and two that are "
        "equal in truth, with a margin of one point.\n\n" + practically(runs),
    )


class World:
    """A population of examples, and the classifiers that are compared on it.

    A classifier is a pair of a slice of the features and a ridge penalty, or ``None`` for the
    nearest centroid.
    """

    def __init__(self, blocks: int, strengths=None, seed: int = 0):
        import numpy as np

        one = np.random.default_rng(seed).normal(size=(CLASSES, WIDTH)) * 0.45
        strengths = strengths or [1.0] * blocks
        self.centres = np.concatenate([one * strength for strength in strengths], axis=1)

    def sample(self, count: int, rng):
        import numpy as np

        y = rng.permutation(np.arange(count) % CLASSES)
        return self.centres[y] + rng.normal(size=(count, self.centres.shape[1])), y


def block(number: int) -> slice:
    return slice(number * WIDTH, (number + 1) * WIDTH)


def answers(classifier, x, y, asked):
    """Scores of a classifier fitted on some examples, for others."""
    import numpy as np

    part, penalty = classifier
    x, asked = x[:, part], asked[:, part]
    if penalty is None:
        means = np.stack([x[y == label].mean(axis=0) for label in range(CLASSES)])
        return asked @ means.T - (means**2).sum(axis=1) / 2
    x = np.c_[x, np.ones(len(x))]
    weights = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ np.eye(CLASSES)[y])
    return asked @ weights[:-1] + weights[-1]


def truths(world: World, classifiers: dict, labels: int, draws: int = 400) -> dict[str, float]:
    """The expected accuracy of each classifier after so many labels."""
    import numpy as np

    rng = np.random.default_rng(7)
    asked, true = world.sample(60_000, rng)
    right = {name: [] for name in classifiers}
    for _ in range(draws):
        x, y = world.sample(labels, rng)
        for name, classifier in classifiers.items():
            found = answers(classifier, x, y, asked).argmax(axis=1)
            right[name].append(float((found == true).mean()))
    return {name: float(np.mean(values)) for name, values in right.items()}


def compared(world: World, classifiers: dict, count: int, budgets, repeats: int, rng):
    """Rows and contributions of one comparison, as the package's table has them."""
    import numpy as np

    from kt_transfer.comparison.folds import derived_seed, draw_folds, training_order
    from kt_transfer.comparison.held_out import Points
    from kt_transfer.comparison.table import Cell

    x, y = world.sample(count, rng)
    seed, rows, points = int(rng.integers(2**31)), [], {}
    for repeat in range(repeats):
        draw = draw_folds(y, count, FOLDS, seed, repeat)
        for fold in range(FOLDS):
            pool, held_out = draw.split(fold)
            order = training_order(y, pool, derived_seed(seed, repeat, fold))
            for labels in budgets:
                train = order[:labels]
                for name, classifier in classifiers.items():
                    cell = Cell(name, "", labels, repeat, fold)
                    found = answers(classifier, x[train], y[train], x[held_out]).argmax(axis=1)
                    right = (found == y[held_out]).astype(float)
                    points[cell] = Points(held_out, right)
                    rows.append(
                        {
                            **cell._asdict(),
                            "accuracy": float(np.mean(right)),
                            "num_train": len(train),
                            "num_held_out": len(held_out),
                            "num_labelled": count,
                            "num_parameters": 1,
                        }
                    )
    return rows, points


def coverage(runs: int) -> str:
    import numpy as np

    from kt_transfer.comparison.evidence import by_candidate, interval_of

    world = World(2)
    whole = slice(0, 2 * WIDTH)
    classifiers = {
        "left": (block(0), 1.0),
        "right": (block(1), 1.0),
        "centroid": (whole, None),
        "weak": (whole, 1e-3),
        "strong": (whole, 30.0),
    }
    pairs = [("left", "right"), ("centroid", "weak"), ("strong", "weak"), ("centroid", "strong")]
    pairs.append(("left", "centroid"))
    lines = []
    for count, labels, repeats in [
        (1500, 20, 3),
        (1500, 50, 1),
        (1500, 50, 3),
        (1500, 50, 10),
        (1500, 200, 3),
        (1500, 1000, 3),
        (200, 50, 3),
        (200, 100, 1),
        (200, 100, 10),
        (200, 160, 3),
        (60, 20, 3),
    ]:
        truth = truths(world, classifiers, labels)
        # They are alike: what differs is chance.
        truth["left"] = truth["right"] = (truth["left"] + truth["right"]) / 2
        rng, covered, widths, plain = np.random.default_rng(1), [], [], []
        for _ in range(shorter(runs, repeats)):
            rows, points = compared(world, classifiers, count, [labels], repeats, rng)
            found = by_candidate(rows, "accuracy", points)
            without = by_candidate(rows, "accuracy")
            for one, other in pairs:
                true = truth[one] - truth[other]
                keys = (one, "", labels), (other, "", labels)
                own = interval_of(*(found[key] for key in keys))
                old = interval_of(*(without[key] for key in keys))
                covered.append([own.low <= true <= own.high, old.low <= true <= old.high])
                widths.append([own.high - own.low, old.high - old.low])
            plain.append(own.mean)
        share, width = np.mean(covered, axis=0), np.mean(widths, axis=0)
        by_pair = np.array(covered)[:, 0].reshape(-1, len(pairs)).mean(axis=0)
        lines.append(
            [
                f"{labels:,} of {count:,}",
                str(repeats),
                f"{share[0]:.1%}",
                f"{by_pair.min():.1%} to {by_pair.max():.1%}",
                f"{100 * width[0]:.2f}",
                f"{share[1]:.1%}",
                f"{100 * width[1]:.2f}",
            ]
        )
        measuring.progress(" ".join(lines[-1]))
    head = ["labels", "repeats", "covered", "by pair", "width, points"]
    return measuring.table([*head, "covered, one set", "width, points"], lines)


def equals(runs: int) -> str:
    import numpy as np

    from kt_transfer.comparison.verdicts import choose, judge

    lines, budgets = [], [50, 100, 200]
    for number, repeats in [(2, 1), (2, 3), (4, 3), (8, 1), (8, 3), (8, 10)]:
        world = World(number)
        classifiers = {f"c{n}": (block(n), 1.0) for n in range(number)}
        named = {"scratch" if n == "c0" else n: c for n, c in classifiers.items()}
        truth = float(np.mean(list(truths(world, named, budgets[-1], 200).values())))
        rng, false, excess = np.random.default_rng(2), [], []
        for _ in range(shorter(runs, repeats)):
            rows, points = compared(world, named, 1500, budgets, repeats, rng)
            verdicts = judge(rows, "accuracy", points)
            false.append(any(entry["verdict"] == "better" for entry in verdicts))
            winner = choose(rows, "accuracy", points=points)
            excess.append([winner[name] - truth for name in ("mean", "expected", "bound")])
        bias, expected, _ = 100 * np.mean(excess, axis=0)
        held = np.mean(np.array(excess)[:, 2] <= 0)
        lines.append(
            [
                str(number),
                str(repeats),
                f"{np.mean(false):.1%}",
                f"{bias:+.2f}",
                f"{expected:+.2f}",
                f"{held:.1%}",
            ]
        )
        measuring.progress(" ".join(lines[-1]))
    head = ["candidates", "repeats", "falsely better", "bias, points", "expected", "bound"]
    return measuring.table(head, lines)


def races(runs: int) -> str:
    import numpy as np

    from kt_transfer.comparison.evidence import by_candidate
    from kt_transfer.comparison.racing import raced_out

    strengths = {
        "close": [1.0, 0.98, 0.96, 0.94, 0.92, 0.9],
        "as usual": [1.0, 0.97, 0.9, 0.8, 0.7, 0.6],
        "one far ahead": [1.3, 1.0, 0.98, 0.96, 0.94, 0.9],
    }
    lines = []
    for name, own in strengths.items():
        world = World(len(own), own)
        classifiers = {f"c{n}": (block(n), 1.0) for n in range(len(own))}
        truth = truths(world, classifiers, 50, 200)
        best = max(truth, key=truth.get)
        rng, lost, spared = np.random.default_rng(3), [], []
        for _ in range(runs):
            rows, points = compared(world, classifiers, 1500, [50], 3, rng)
            remaining, fits = {(n, "") for n in classifiers}, 0
            for repeat in range(3):
                for fold in range(FOLDS):
                    fits += len(remaining)
                    known = [
                        row
                        for row in rows
                        if (row["repeat"], row["fold"]) <= (repeat, fold)
                        and (row["method"], "") in remaining
                    ]
                    found = by_candidate(known, "accuracy", points)
                    remaining -= raced_out(found, "accuracy", remaining)
            lost.append((best, "") not in remaining)
            spared.append(1 - fits / (3 * FOLDS * len(own)))
        gaps = ", ".join(f"{100 * (truth[n] - truth[best]):+.1f}" for n in classifiers if n != best)
        lines.append([name, gaps, f"{np.mean(lost):.1%}", f"{np.mean(spared):.0%}"])
        measuring.progress(" ".join(lines[-1]))
    return measuring.table(["candidates", "to the best, points", "lost", "spared"], lines)


def practically(runs: int) -> str:
    import numpy as np

    from kt_transfer.comparison.verdicts import judge

    lines = []
    for labels, repeats in [(50, 3), (200, 3), (1000, 3)]:
        called = []
        for strengths in ([1.0, 1.0], [1.0, 0.9]):
            world = World(2, strengths)
            classifiers = {"scratch": (block(0), 1.0), "other": (block(1), 1.0)}
            truth = truths(world, classifiers, labels)
            difference = abs(truth["other"] - truth["scratch"])
            margin = 0.01 if strengths[0] == strengths[1] else difference
            rng, found = np.random.default_rng(4), []
            for _ in range(runs):
                rows, points = compared(world, classifiers, 1500, [labels], repeats, rng)
                (entry,) = judge(rows, "accuracy", points, margin)
                found.append(entry["practically_equal"])
            called += [f"{np.mean(found):.1%}", f"{100 * margin:.1f}"]
        lines.append([f"{labels:,}", called[2], called[3], called[0]])
        measuring.progress(" ".join(lines[-1]))
    head = ["labels", "as different as the margin", "that margin, points", "equal in truth"]
    return measuring.table(head, lines)


def shorter(runs: int, repeats: int) -> int:
    return runs // 3 if repeats > 3 else runs


if __name__ == "__main__":
    main()
