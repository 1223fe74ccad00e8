"""The part of a run that one of several workers does.

Of several workers, the chief alone writes what comes out, and the others a temporary folder.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from kt_transfer.engine.cluster import Cluster
from kt_transfer.engine.places import Place, place_of_environment
from kt_transfer.errors import UserError, counted, named
from kt_transfer.files import printing
from kt_transfer.runs import folder as runs

# Commands whose training several workers share.
ON_SEVERAL_WORKERS = ("pretrain", "finetune", "distill")
# How long a file that another machine wrote may take to be seen, on a network file system.
_SECONDS_TO_APPEAR = 60.0


def place_of(config) -> Place | None:
    """Which of several workers this process is, by the settings and the environment.

    Returns:
        The place; ``None`` where it works alone.
    """
    strategy = getattr(config, "strategy", None)
    if strategy not in ("auto", "multi_worker"):
        return None
    place = place_of_environment()
    if strategy == "auto":
        return place if place is not None and place.count > 1 else None
    if place is None:
        raise UserError(
            setting="strategy",
            given="multi_worker",
            when="without TF_CONFIG",
            expected="it to name the workers and this one's place among them",
            remedy="set it on each worker",
        )
    return place


@contextlib.contextmanager
def sharing_run(command: str, settings: dict, options: dict, config, place: Place):
    """Context manager for the run folder of a command that several workers run.

    They meet before it and leave it together.

    Args:
        command: Name of the command.
        settings: All settings, JSON-compatible.
        options: What the chief starts the run with, as :func:`~.folder.start` takes it.
        config: The settings.
        place: Which worker this is.
    """
    _require_for_several(command, config, place)
    if config.resume:
        options["resume"] = _has_begun(command, settings, config, place)
    remedy = "start all workers again, with --resume, and they go on from the last checkpoint"
    cluster = Cluster(place, _facts(command, settings), _note(config), remedy)
    if not place.is_chief:
        cluster.scratch = _scratch()
        options = {"out": os.path.join(cluster.scratch, "run")}
    # Twice, since what becomes of the run folder depends on what really was the matter.
    with cluster.together(), runs.start(command, settings, **options) as run, cluster.together():
        run.cluster = cluster
        if not place.is_chief:
            run.checkpoint, run.is_chief = config.out / "checkpoint", False
        yield run
        cluster.agree(last=True)


def _require_for_several(command: str, config, place: Place) -> None:
    given = {"setting": "strategy", "given": config.strategy}
    where = f"with {counted(place.count, 'worker')} in TF_CONFIG"
    if command not in ON_SEVERAL_WORKERS:
        raise UserError(
            **given,
            when=f"to {command.replace('-', ' ')}, {where}",
            expected="one process",
            remedy=f"start it once, without TF_CONFIG, or give {named('strategy', 'mirrored')}",
        )
    if config.out is None:
        raise UserError(
            **given,
            when=f"without {named('out')}, {where}",
            expected="the folder that all workers share",
            remedy=f"add {named('out', 'RUN')}",
        )


def _has_begun(command: str, settings: dict, config, place: Place) -> bool:
    """Whether there is a run to go on with: the first start has the command line of any other."""
    run = runs.Run(config.out)
    if not (run.path / "run.json").is_file():
        return False
    if run.read_json("run.json").get("status") == "complete":
        runs.require_same_settings(run, command, settings)
        if place.is_chief and not config.quiet:
            printing.say(f"{run.path} is complete: there is nothing left to do")
        raise SystemExit(0)
    return True


def _facts(command: str, settings: dict) -> dict[str, object]:
    """What all workers have to have in common, by its name in a sentence."""
    given = {named(name): value for name, value in settings.items() if runs.is_of_result(name)}
    versions = {f"the version of {name}": version for name, version in runs.versions().items()}
    return {"the command": command, **versions, **given}


def _note(config) -> Callable[[str], None]:
    if config.quiet:
        return lambda _: None
    return lambda line: print(line, file=sys.stderr)


def devices(config):
    """The strategy of a command that only answers; models are to be loaded in its ``scope()``."""
    from kt_transfer.engine.strategy import choose_strategy

    name = config.strategy if place_of(config) is None else "multi_worker"
    return choose_strategy(name, config.num_devices)


def output(config, path: Path) -> Path:
    """What this process writes: of several workers, all but the chief a temporary file."""
    place = place_of(config)
    if place is None or place.is_chief:
        return path
    return Path(_scratch(), "output").with_suffix(path.suffix)


def exit_together(config) -> None:
    """Return once all workers have called this, where there are several."""
    if place_of(config) is not None:
        from kt_transfer.engine.strategy import wait_for_workers

        wait_for_workers()


def _scratch() -> str:
    """A folder that is deleted when the process exits."""
    folder = tempfile.mkdtemp(prefix="kt_transfer-worker-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def agree_on_data(run: runs.Run, spec: str, fingerprint: str) -> None:
    """Refuse workers that have read other data, or that do not see the chief's run folder.

    Args:
        run: The run of this worker; nothing is done where it works alone.
        spec: What the data are called.
        fingerprint: A hash of them.
    """
    if run.cluster is None:
        return
    shared, facts = run.checkpoint.parent, {f"the content of {spec}": fingerprint[:16]}
    written = run.cluster.agree(facts, tell=_written_in(shared) if run.is_chief else None)
    deadline = time.monotonic() + _SECONDS_TO_APPEAR
    while _written_in(shared) != written:
        if time.monotonic() > deadline:
            raise UserError(
                setting="out",
                given=shared,
                expected="one folder that all workers share",
                but="what worker 0 has written there is not to be seen on "
                f"{run.cluster.place.name()}",
                remedy="give a folder of a disk that they share",
            )
        time.sleep(0.5)
    run.cluster.agree()  # so that none trains while another does not see the folder


def _written_in(shared: Path) -> list:
    """What tells a run folder from others: when it was begun, and its last checkpoint."""
    try:
        begun = json.loads((shared / "run.json").read_text())["started"]
    except (OSError, ValueError, KeyError):
        begun = None
    epochs = [int(path.name) for path in shared.glob("checkpoint/*") if path.name.isdigit()]
    return [begun, max(epochs, default=None)]
