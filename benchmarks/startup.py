"""How long a command takes to say what it can do: ``--help`` of each, as a process of its own.

Against the import of TensorFlow, which a command that answers ``--help`` does without.
"""

from __future__ import annotations

import measuring
from measuring import Way, python

COMMANDS = (
    *("quickstart", "pretrain", "finetune", "distill", "compare", "evaluate", "predict", "export"),
    *("tune", "tune pretrain", "tune finetune", "tune distill"),
)
TENSORFLOW = "import tensorflow"


def main() -> None:
    args = measuring.arguments(__doc__, rounds=7)
    helps = {
        f"{words} --help": python("-m", "kt_transfer", *words.split(), "--help")
        for words in COMMANDS
    }
    processes = {**helps, "python, doing nothing": python("-c", "pass")}
    processes[TENSORFLOW] = python("-c", TENSORFLOW)
    ways = [Way(name, lambda _, command=command: command) for name, command in processes.items()]
    measured = measuring.measure(ways, args.rounds, sizes=(1,))
    seconds = {name: measured.wholes(name) for name in processes}
    measuring.write(
        "startup",
        "Start-up",
        "`python -m kt_transfer COMMAND --help`, each a process of its own, from start to end, "
        f"beside the import of TensorFlow. Median (range) of {args.rounds} alternating rounds.",
        measuring.table(
            ["process", "seconds", f"times as long: `{TENSORFLOW}`", "peak memory"],
            [
                [
                    f"`{name}`",
                    measuring.spread(values),
                    measuring.spread(measuring.ratios(seconds[TENSORFLOW], values)),
                    measuring.megabytes(measured.peak(name)),
                ]
                for name, values in seconds.items()
            ],
        ),
    )


if __name__ == "__main__":
    main()
