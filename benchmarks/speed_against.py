"""Whether a change of the code costs time: the same commands from two checkouts, alternating.

    git worktree add ../before COMMIT
    python benchmarks/speed_against.py ../before

Each is what a benchmark of its own measures of this package: whole processes, except an epoch of
pretraining, which is a slope between 3 and 15 epochs.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import compare_fits
import distillation
import features
import inputs
import measuring
import pretrain_command
import pretraining_epoch
import short_fits
from measuring import Way


@dataclasses.dataclass(frozen=True)
class Case:
    """A benchmark's own way, at the sizes that it is measured at."""

    name: str
    way: Way
    sizes: tuple[int, ...]

    def seconds(self, measured: measuring.Measured, way: Way) -> list[float]:
        return (measured.wholes if len(self.sizes) == 1 else measured.slopes)(way.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkout", type=Path, help="the other checkout of this package")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    checkout = args.checkout.resolve()
    inputs.mnist()
    other = checkout / "benchmarks" / "cache"
    if not other.exists():
        other.symlink_to(measuring.CACHE)
    with tempfile.TemporaryDirectory() as folder:
        lines = [line(case, checkout, args.rounds) for case in cases(Path(folder))]
    measuring.write(
        "speed_against",
        "Speed against another commit",
        "The same commands, from this checkout and from one of commit "
        f"{measuring.commit(checkout)}, in turn. Seconds: median (range) of {args.rounds} "
        "alternating rounds; the ratio is taken within each round. Above 1, this checkout is "
        "slower.",
        measuring.table(
            ["benchmark", "this checkout", "the other", "this / the other", "ends equal"], lines
        ),
    )


def cases(folder: Path) -> list[Case]:
    """Every benchmark of speed whose work a user waits for."""
    finetuning, _ = features.ways(features.source(), folder)
    distilling, _ = distillation.ways(distillation.teacher(), folder)
    pretraining, _ = pretrain_command.ways(folder)
    return [
        Case("an epoch of pretraining", pretraining_epoch.OURS, (3, 15)),
        Case("pretrain, 5 epochs", pretraining, (5,)),
        Case("finetune --method features, 20 epochs", finetuning, (20,)),
        Case("distill, 20 epochs", distilling, (20,)),
        Case("20 short fits", short_fits.OURS, (20,)),
        Case("100 fits of compare", compare_fits.OURS, (100,)),
    ]


def line(case: Case, checkout: Path, rounds: int) -> list[str]:
    here = dataclasses.replace(case.way, name="here")
    there = dataclasses.replace(case.way, name="there", command=elsewhere(case.way, checkout))
    measured = measuring.measure([here, there], rounds, case.sizes)
    seconds, others = case.seconds(measured, here), case.seconds(measured, there)
    ratios = measuring.ratios(seconds, others)
    measuring.progress(f"{case.name}: {statistics.median(ratios):.3f}")
    equal = measured.endings.get("here") == measured.endings.get("there")
    return [
        case.name,
        *(measuring.spread(values) for values in (seconds, others, ratios)),
        "yes" if equal else "no",
    ]


def elsewhere(way: Way, checkout: Path) -> Callable[[int], list[str]]:
    """The same command, with the other checkout's package and scripts."""
    scripts = str(measuring.FOLDER / "peers")

    def command(size: int) -> list[str]:
        words = [
            str(checkout / "benchmarks" / "peers" / Path(word).name)
            if word.startswith(scripts)
            else word
            for word in way.command(size)
        ]
        return ["env", "-C", str(checkout), f"PYTHONPATH={checkout}", *words]

    return command


if __name__ == "__main__":
    main()
