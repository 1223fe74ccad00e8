"""What every command does around its work: its run folder, its messages, its data."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable

from kt_transfer import settings as configuration
from kt_transfer.errors import UserError
from kt_transfer.runs import folder as runs


@contextlib.contextmanager
def start_run(command: str, config):
    """The run folder that ``config`` asks for, as a context.

    Of several workers, which all run the same command, only the chief writes it; the others
    work in a folder that is thrown away, and all leave together.
    """
    settings = configuration.to_settings(config)
    options = {"out": config.out, "overwrite": config.overwrite, "resume": config.resume}
    several = config.strategy == "multi_worker"
    if several and config.out is None:
        raise UserError(
            "--strategy multi_worker was given without --out, expected the folder that all "
            "workers share: add --out RUN."
        )
    if not several or _is_chief():
        with runs.start(command, settings, **options) as run:
            yield run
            if several:
                _exit_together()
        return
    with runs.start(command, settings, out=os.path.join(_scratch(), "run")) as run:
        run.checkpoint, run.is_chief = config.out / "checkpoint", False
        yield run
        _exit_together()


def _scratch() -> str:
    """A folder that goes when the process does."""
    folder = tempfile.mkdtemp(prefix="kt_transfer-worker-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _is_chief() -> bool:
    cluster = json.loads(os.environ.get("TF_CONFIG", "{}"))
    if "task" not in cluster:
        raise UserError(
            "--strategy multi_worker was given without TF_CONFIG, expected it to name the workers "
            "and this one's place among them: set it on each worker."
        )
    task = cluster["task"]
    return task["type"] == "chief" or (task["index"] == 0 and "chief" not in cluster["cluster"])


def _exit_together() -> None:
    from kt_transfer.engine.strategy import wait_for_workers

    wait_for_workers()


def say(config) -> Callable[..., None]:
    """``print``, or nothing where the user wants quiet, or another worker says it."""
    other_worker = getattr(config, "strategy", None) == "multi_worker" and not _is_chief()
    return (lambda *_: None) if config.quiet or other_worker else print


def load_data(config, spec: str, *, flag: str = "--data", like=None):
    """The data set of that spec; what it says of how it was read is printed.

    Args:
        config: Of any command that loads data.
        spec: As for :func:`kt_transfer.load_data`.
        flag: The same.
        like: The same.
    """
    from kt_transfer import data

    loaded = data.load_data(spec, data_dir=config.data_dir, flag=flag, like=like)
    say_notes(config, spec, loaded.notes)
    return loaded


def say_notes(config, spec: str, notes) -> None:
    """Print how a data set was read."""
    for note in notes:
        say(config)(f"{spec}: {note}")


def say_notes_of(config, run: runs.Run) -> None:
    """The same of the data of a run that itself said nothing."""
    about = run.read_json("run.json")["data"]
    say_notes(config, about["spec"], about.get("notes", ()))


def jit_choice(config) -> bool | str:
    """``--jit-compile`` as :class:`~kt_transfer.FusedModel` takes it."""
    return {"auto": "auto", "yes": True, "no": False}[config.jit_compile]
