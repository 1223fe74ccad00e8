"""How often does a search end the trial that would have won, and what does that save?

Simulated: trials with true accuracies of their own, judged by the same folds of the same labels, so
that what the search should find is known. The rule is that of the package.
"""

import measuring

TRIALS = 20


def main() -> None:
    args = measuring.arguments(__doc__, rounds=300)
    measuring.write(
        "search_pruning",
        "Trials that cannot win any more, ended early",
        f"SIMULATED: {args.rounds} searches a row of {TRIALS} trials each. True accuracies are "
        "those of trials whose settings differ little (deviation of 2 points) or much (8 points), "
        "around 80 %. An example is as difficult for one trial as for another, up to a part of its "
        "own; each trial has, in each fold, another 1.5 points of luck with its training examples. "
        "*Ended the winner*: searches in which the trial with the best mean over all folds was "
        "ended early. *Worse by*: how much lower the true accuracy of what is found is for it, "
        "mean over all searches. *Spared*: share of the folds that were not trained. *Wilcoxon*: "
        "the same with the signed-rank test of Optuna's pruner at its threshold of 0.1.",
        table(args.rounds),
    )


def table(rounds: int) -> str:
    lines = [
        "| labels | folds | trials differ | ended the winner | worse by | spared | Wilcoxon: ended "
        "the winner | worse by | spared |",
        "| --- " * 9 + "|",
    ]
    for labels in (50, 200, 1000):
        for folds in (5, 10):
            for spread, name in ((0.02, "little"), (0.08, "much")):
                own, theirs = (
                    simulate(rounds, labels, folds, spread, rule) for rule in (ours, wilcoxon)
                )
                cells = [labels, folds, name, *shown(own), *shown(theirs)]
                lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def shown(found: tuple[float, float, float]) -> list[str]:
    ended, lost, spared = found
    return [f"{100 * ended:.1f} %", f"{100 * lost:.2f} points", f"{100 * spared:.0f} %"]


def ours(scores, best, folds: int) -> bool:
    from kt_transfer.tuning.pruning import cannot_win

    return cannot_win(scores, best, folds)


def wilcoxon(scores, best, folds: int) -> bool:
    """Optuna's ``WilcoxonPruner`` with its defaults: from two steps on, below 0.1."""
    import numpy as np
    from scipy import stats

    if len(scores) < 2 or len(scores) == folds:
        return False
    lost = np.asarray(best[: len(scores)]) - np.asarray(scores)
    if not lost.any() or lost.mean() <= 0:
        return False
    return stats.wilcoxon(lost, alternative="greater", zero_method="zsplit").pvalue < 0.1


def simulate(rounds: int, labels: int, folds: int, spread: float, rule):
    """Shares of searches whose winner was ended, points lost, and share of folds spared."""
    import numpy as np
    from scipy.stats import norm

    rng = np.random.default_rng(0)
    ended = lost = spared = 0.0
    for _ in range(rounds):
        truth = np.clip(rng.normal(0.8, spread, TRIALS), 0.3, 0.99)
        fold = rng.permutation(np.arange(labels) % folds)
        luck = rng.normal(0, 0.015, (TRIALS, folds))
        chance = np.clip(truth[:, None] + luck, 0.02, 0.995)
        difficulty = 0.8 * rng.normal(size=labels) + 0.6 * rng.normal(size=(TRIALS, labels))
        right = difficulty < norm.ppf(chance[:, fold])
        scores = np.stack([right[:, fold == k].mean(axis=1) for k in range(folds)], axis=1)
        winner = int(scores.mean(axis=1).argmax())
        best, trained, was_ended = 0, folds, False
        for trial in range(1, TRIALS):
            count = next(
                (n for n in range(1, folds) if rule(scores[trial, :n], scores[best], folds)), folds
            )
            trained += count
            if count < folds:
                was_ended |= trial == winner
            elif scores[trial].mean() > scores[best].mean():
                best = trial
        ended += was_ended
        lost += truth[winner] - truth[best] if was_ended else 0.0
        spared += 1 - trained / (TRIALS * folds)
    return ended / rounds, lost / rounds, spared / rounds


if __name__ == "__main__":
    main()
