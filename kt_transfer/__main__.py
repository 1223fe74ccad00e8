"""``python -m kt_transfer``: lists the commands and hands over to one."""

import importlib
import sys

COMMANDS = {
    "quickstart": "the whole chain as one command, on the embedded digits by default",
    "pretrain": "train an autoencoder on a source task, without labels",
    "finetune": "transfer a source model to a target task with few labels",
    "distill": "train a small student from the soft targets of a teacher",
    "compare": "cross-validate the ways of transferring, and export the winner",
    "tune": "search the settings of pretrain, finetune or distill",
    "evaluate": "measure a run on a data set",
    "predict": "write predictions to a CSV file",
    "export": "write a run as a versioned SavedModel for TF Serving",
}


def _usage() -> str:
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    return (
        "usage: kt-transfer COMMAND [flags]     (or: python -m kt_transfer.COMMAND [flags])\n\n"
        f"{rows}\n\nkt-transfer COMMAND --help lists a command's flags."
    )


def main(argv: list[str] | None = None) -> None:
    """Hand over to the command that ``argv`` (default: the command line) names."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print(_usage())
        raise SystemExit(0)
    if argv[0] == "--version":
        from kt_transfer import __version__

        print(__version__)
        raise SystemExit(0)
    command, *rest = argv
    if command not in COMMANDS:
        print(
            f"error: {command!r} was given, expected a command: give one of {', '.join(COMMANDS)}.",
            file=sys.stderr,
        )
        raise SystemExit(2)
    importlib.import_module(f"kt_transfer.{command}").main(rest)


if __name__ == "__main__":
    main()
