"""From the command line to a command: flags, messages, exit codes.

Exit codes: 0 done; 2 a mistake of the user's; 1 anything else; 130 and 143 interrupted; 75 where
another worker was lost, and a supervisor is to start all workers again.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback

from kt_transfer import __version__, settings
from kt_transfer.engine.cluster import LostWorker, end_process
from kt_transfer.errors import UserError, settings_named
from kt_transfer.files.writing import describe_disk_error
from kt_transfer.runs import folder
from kt_transfer.shell.entry import Terminated
from kt_transfer.shell.startup import import_tensorflow_quietly

# Of each command the dataclass whose fields are its flags, and what it does.
COMMANDS = {
    "quickstart": (
        settings.QuickstartConfig,
        "the whole chain as one command, on the embedded digits by default",
    ),
    "inspect": (
        settings.InspectConfig,
        "look at data before training: what they hold, and what would mislead",
    ),
    "pretrain": (
        settings.PretrainConfig,
        "train an autoencoder on a source task, without labels",
    ),
    "finetune": (
        settings.FinetuneConfig,
        "transfer a source model to a target task with few labels",
    ),
    "distill": (
        settings.DistillConfig,
        "train a small student from the soft targets of a teacher",
    ),
    "compare": (
        settings.CompareConfig,
        "cross-validate the ways of transferring, and export the winner",
    ),
    "tune": (None, "search the settings of pretrain, finetune, distill or compare"),
    "evaluate": (settings.EvaluateConfig, "measure a run on a data set"),
    "predict": (settings.PredictConfig, "write predictions to a CSV file"),
    "label": (settings.LabelConfig, "choose which unlabelled examples to label next"),
    "export": (settings.ExportConfig, "write a run as a versioned model, by default a SavedModel"),
    "demo": (settings.DemoConfig, "serve a page to try a model on, on this machine"),
}
SEARCHES = {
    "pretrain": settings.TunePretrainConfig,
    "finetune": settings.TuneFinetuneConfig,
    "distill": settings.TuneDistillConfig,
    "compare": settings.TuneCompareConfig,
}
TUNE_USAGE = """\
usage: python -m kt_transfer.tune {pretrain,finetune,distill,compare} [flags]

Search the settings of a command with KerasTuner, each trial judged by folds of the labels
where they are few; the best one is the run folder OUT/best, and OUT/report.html shows all.
`tune compare` compares each method as it is with one whose settings are searched in every
fold anew. `python -m kt_transfer.tune COMMAND --help` lists the flags: --search,
--max-trials, --space and the command's own."""


def main(argv: list[str] | None = None) -> None:
    """Execute the command that ``argv`` (default: the command line) names, and exit."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if not argv or argv[0] in ("-h", "--help"):
        _leave(_usage(), 0)
    if argv[0] == "--version":
        _leave(__version__, 0)
    command, *flags = argv
    if command not in COMMANDS:
        known = ", ".join(COMMANDS)
        _leave(f"error: {command!r} was given, expected a command: give one of {known}.", 2)
    debug, config = "--debug" in flags, None
    try:
        config = _settings(command, flags)
        _require_data(config)
        _require_source(config)
        if _needs_tensorflow(command, config):
            import_tensorflow_quietly()
        # Here, since most import TensorFlow: after the flags are known to be right.
        importlib.import_module(f"kt_transfer.{command}").execute(config)
    except UserError as error:
        if debug:
            traceback.print_exc()
        _leave(_in_a_line(error.as_flags(), error), 2)
    except LostWorker as error:
        end_process(error)
    except KeyboardInterrupt as error:
        _leave(_with_notes("interrupted", error), 130)
    except Terminated as error:
        _leave(_with_notes("terminated", error), 143)
    except BrokenPipeError:
        raise
    except Exception as error:
        if debug:
            traceback.print_exc()
        if told := describe_disk_error(error, getattr(config, "out", None)):
            _leave(_in_a_line(told, error), 2)
        _leave(f"error: {type(error).__name__}: {error} (--debug shows where)", 1)


def _usage() -> str:
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items())
    return (
        "usage: kt-transfer COMMAND [flags]     (or: python -m kt_transfer.COMMAND [flags])\n\n"
        f"{rows}\n\nkt-transfer COMMAND --help lists a command's flags."
    )


def _settings(command: str, flags: list[str]):
    if command != "tune":
        return parse(command, COMMANDS[command][0], flags)
    if not flags or flags[0] in ("-h", "--help"):
        _leave(TUNE_USAGE, 0)
    searched, *flags = flags
    if searched not in SEARCHES:
        raise UserError(
            f"{searched!r} was given, expected pretrain, finetune, distill or compare: name the "
            "command whose settings to search."
        )
    return parse(f"tune-{searched}", SEARCHES[searched], flags)


def parse(command: str, config_class: type, argv: list[str]):
    """The config that the flags ask for, over the settings of --from-run or --resume."""
    import tyro

    defaults = _defaults(config_class, argv)
    return tyro.cli(
        config_class,
        prog=f"python -m kt_transfer.{command.replace('-', ' ')}",
        args=argv,
        default=defaults,
        # A switch that is on in an earlier run can be given again, and be turned off.
        config=(tyro.conf.FlagCreatePairsOff,) if defaults is None else (),
    )


def _defaults(config_class: type, argv: list[str]):
    """The settings of an earlier run, where the flags ask to start from them."""
    earlier, out = _value_after("--from-run", argv), _value_after("--out", argv)
    # Of several workers' run that is yet to begin, --resume is there from the start.
    if "--resume" in argv and out and (not earlier or _is_run(out)):
        earlier = out
    if earlier is None or not _is_run(earlier):
        if _value_after("--from-run", argv):
            folder.open_run(earlier, "from_run")
        return None
    given = folder.Run(earlier).settings
    given = {k: v for k, v in given.items() if k not in folder.SESSION_SETTINGS}
    return settings.from_settings(config_class, given)


def _is_run(path: str) -> bool:
    return os.path.isfile(os.path.join(path, "config.json"))


def _value_after(flag: str, argv: list[str]) -> str | None:
    for index, word in enumerate(argv):
        if word.startswith(f"{flag}="):
            return word.split("=", 1)[1]
        if word == flag and index + 1 < len(argv):
            return argv[index + 1]
    return None


def _require_data(config) -> None:
    """A set that is not to be had is refused before the seconds that TensorFlow takes to load."""
    from kt_transfer.data import require_data

    for name in ("data", "source_data", "shift_data"):
        spec = getattr(config, name, None)
        if spec and spec != "-":  # standard input, which predict reads
            with settings_named(data=name):
                require_data(spec, data_dir=config.data_dir)


def _require_source(config) -> None:
    """A source that is not there likewise."""
    given = getattr(config, "source", None) or ()
    for source in (given,) if isinstance(given, str) else given:
        folder.open_source(source)


def _needs_tensorflow(command: str, config) -> bool:
    """Whether to pay the seconds that TensorFlow takes to load; its own data sets need it to be
    read."""
    return command != "inspect" or config.data.startswith("tfds:")


def _in_a_line(sentence: str, error: BaseException) -> str:
    notes = getattr(error, "__notes__", [])
    return " ".join([f"error: {sentence}", *(f"({note})" for note in notes)])


def _with_notes(message: str, error: BaseException) -> str:
    return "\n".join([message, *getattr(error, "__notes__", [])])


def _leave(message: str, code: int) -> None:
    print(message, file=sys.stderr if code else sys.stdout)
    raise SystemExit(code)
