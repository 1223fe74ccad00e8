"""The run folder: creation, locking, atomic writing and reading.

A run folder holds the settings and results of a run: ``config.json`` (all settings),
``run.json`` (data fingerprint, versions, seed, wall time, status),
``model.keras`` and ``preprocessing.keras``, ``labels.json``, ``splits.npz``, ``examples.npz``,
``history.csv``, ``metrics.json``, ``plots/`` and ``logs/``. During the run there is also a
``checkpoint/``, from which ``--resume`` continues.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import json
import os
import platform
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from kt_transfer.errors import TrainingFailed, UserError, named
from kt_transfer.files.reading import read_json, require_plausible_zip
from kt_transfer.files.writing import (
    exists_already,
    replacing,
    require_own_folder,
    require_writable,
)
from kt_transfer.runs.checks import (
    UNUSUAL_BEYOND,
    check_description,
    check_examples,
    check_folder,
    check_labels,
    check_models,
    check_splits,
    check_usual_errors,
    check_written_folders,
    damaged,
)

# Settings that do not affect the results: a resumed run may change them.
SESSION_SETTINGS = frozenset(
    {"out", "overwrite", "resume", "from_run", "quiet", "debug", "workers"}
)
# What is said of a run that has not ended well.
_UNFINISHED = {
    "interrupted": "was interrupted",
    "failed": "failed",
    "running": "did not end",
}
# A setting that a resumed run keeps but may change, since that disk may be full.
MAY_CHANGE = frozenset({"export_dir"})
# Prefix of sources that are models of keras.applications.
APPLICATION = "keras_applications:"
_PACKAGES = ("kt-transfer", "tensorflow", "keras", "numpy", "scikit-learn", "keras-tuner")


class Run:
    """One run folder on disk.

    Args:
        path: The folder. :func:`start` makes a new one, :func:`open_run` checks an old one.

    Attributes:
        checkpoint: Folder of its checkpoints; with several workers, the chief's.
        is_chief: Whether this process writes them.
        cluster: The workers of the run, if there are several.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self.checkpoint = self.path / "checkpoint"
        self.is_chief = True
        self.cluster = None

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def read_json(self, name: str) -> dict:
        """Read a JSON file; a damaged one raises :class:`UserError`."""
        try:
            content = read_json(self.path / name)
        except (OSError, ValueError) as error:
            raise damaged(self.path, name, error) from error
        if not isinstance(content, dict):
            raise damaged(self.path, name, f"it holds {type(content).__name__}, not an object")
        return content

    def write_json(self, name: str, content: object) -> None:
        """Write a JSON file atomically."""
        text = _as_text(content)
        with replacing(self.path / name) as temporary:
            temporary.write_text(text)

    def update_json(self, name: str, **entries: object) -> None:
        """Add or replace entries of a JSON file."""
        self.write_json(name, {**self.read_json(name), **entries})

    def write_arrays(self, name: str, **arrays) -> None:
        """Write NumPy arrays to a ``.npz`` file."""
        import numpy as np

        with replacing(self.path / name) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays)

    def read_arrays(self, name: str) -> dict:
        """Read the arrays of a ``.npz`` file, by name."""
        import numpy as np

        try:
            require_plausible_zip(self.path / name)
            with np.load(self.path / name, allow_pickle=False) as arrays:
                return dict(arrays)
        except Exception as error:
            raise damaged(self.path, name, error) from error

    def save_model(self, name: str, model) -> None:
        """Save a functional Keras model without its compilation."""
        # Not clone_model, which copies the compilation.
        plain = type(model).from_config(model.get_config())
        plain.set_weights(model.get_weights())
        with replacing(self.path / name) as temporary:
            plain.save(temporary)

    def load_model(self, name: str = "model.keras"):
        """Load a saved Keras model, uncompiled."""
        import keras

        from kt_transfer.models.finite import why_not_finite

        path = self.path / name
        if not path.is_file():
            raise damaged(self.path, name, "it is not there")
        try:
            require_plausible_zip(path)
            model = keras.saving.load_model(path, compile=False)
        except Exception as error:
            raise damaged(self.path, name, error) from error
        if reason := why_not_finite(model.variables):
            raise UserError(
                given=self.path,
                expected="a run whose training went well",
                but=f"{name} {reason}",
                remedy="give another run, or train it again with a smaller learning rate",
            )
        return model

    def load_models(self) -> tuple:
        """Load ``model.keras`` and ``preprocessing.keras``, and check that they match."""
        network, preprocessing = self.load_model(), self.load_model("preprocessing.keras")
        labels = None if self.is_autoencoder else self.label_names
        check_models(self.path, network, preprocessing, labels)
        return network, preprocessing

    def load_classifier(self) -> tuple:
        """The same of a run that classifies; an autoencoder is refused."""
        if self.is_autoencoder:
            raise UserError(
                setting="run",
                given=self.path,
                expected="a classifier",
                but="it is an autoencoder",
                remedy=f"run `{command_line('finetune', '--source', self.path)}` first",
            )
        return self.load_models()

    def load_autoencoder(self) -> tuple:
        """The autoencoder that a classifier's chain began with, and its preprocessing where that is
        not the classifier's; ``None`` for what there is not."""
        names = ("autoencoder.keras", "autoencoder_preprocessing.keras")
        return tuple(self.load_model(name) if self.has(name) else None for name in names)

    def read_splits(self, num_examples: int) -> dict:
        """Read the rows of ``splits.npz``, for data with that many training examples."""
        splits = self.read_arrays("splits.npz")
        check_splits(self.path, splits, num_examples)
        return splits

    def read_examples(self, preprocessing) -> tuple | None:
        """Some training examples, in random order, and their labels.

        Args:
            preprocessing: The run's, which takes them.

        Returns:
            Raw examples, shape ``(n, ...)``, and labels, ``-1`` for none, shape ``(n,)``; ``None``
            for runs of versions that kept none.
        """
        if not self.has("examples.npz"):
            return None
        examples = self.read_arrays("examples.npz")
        raw = preprocessing.inputs[0]
        check_examples(self.path, examples, tuple(raw.shape[1:]), raw.dtype)
        return examples["x"], examples["y"]

    @property
    def usual_errors(self) -> dict | None:
        """Quantiles of its autoencoder's reconstruction errors of training examples, by share;
        ``None`` for runs without one, or of versions that did not record them."""
        note = self.read_json("run.json").get("reconstruction_error")
        return None if note is None else check_usual_errors(self.path, note)

    @property
    def unusual_above(self) -> float | None:
        """The largest reconstruction error that is not unusual; ``None`` where none is recorded."""
        quantiles = self.usual_errors
        # A little more, so that training examples which lie at the limit are not called unusual
        # here and usual there, by rounding.
        return None if quantiles is None else quantiles[UNUSUAL_BEYOND] * (1 + 1e-4) + 1e-6

    def has(self, name: str) -> bool:
        """Whether the run has a file of that name."""
        return (self.path / name).exists()

    def folder(self, name: str) -> Path:
        """A folder of that name inside the run, created if needed."""
        path = self.path / name
        check_folder(path)
        path.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def command(self) -> str:
        """The command that wrote the run."""
        return self.read_json("run.json")["command"]

    @property
    def is_autoencoder(self) -> bool:
        """Whether ``model.keras`` is an autoencoder rather than a classifier."""
        reconstructs = self.settings.get("objective", "reconstruction") == "reconstruction"
        return self.command == "pretrain" and reconstructs

    @property
    def settings(self) -> dict:
        """All settings of the run."""
        return self.read_json("config.json")

    @property
    def schema(self):
        """The schema of a table that it was trained on; ``None`` for other data."""
        from kt_transfer.data.schema import Schema

        if not self.has("schema.json"):
            return None
        try:
            return Schema.from_note(self.read_json("schema.json"))
        except ValueError as error:
            raise damaged(self.path, "schema.json", error) from error

    @property
    def features(self) -> list | None:
        """The features that a network makes of that table, as lists; ``None`` without one."""
        return self.read_json("schema.json").get("features") if self.has("schema.json") else None

    @property
    def data(self) -> str:
        """The spec of the training data."""
        if "data" not in self.settings:
            raise damaged(self.path, "config.json", "it names no 'data'")
        return self.settings["data"]

    @property
    def image_size(self) -> int | tuple[int, int]:
        """Pixels of the longer side that its pictures were scaled down to if they had more, or
        their height and width."""
        from kt_transfer.data.images import LARGE_IMAGE_SIZE

        # Runs that do not say were made when this was the only one.
        size = self.settings.get("image_size") or LARGE_IMAGE_SIZE
        return tuple(size) if isinstance(size, list) else size

    @property
    def label_names(self) -> list[str]:
        """Class names by number; empty for a run without classes."""
        return check_labels(self.path, self.read_json("labels.json"))


def open_run(path: str | os.PathLike, setting: str = "run") -> Run:
    """The complete run folder at ``path``.

    Raises:
        UserError: If there is no run folder, or the run is incomplete.
    """
    run = Run(Path(path))
    recover(run.path)
    if not (run.path / "config.json").is_file() or not (run.path / "run.json").is_file():
        reason = "is not a run folder" if run.path.exists() else "does not exist"
        raise UserError(
            setting=setting,
            given=path,
            expected="a run folder",
            but=f"it {reason}",
            remedy="give the folder that a command such as `python -m kt_transfer.pretrain --out "
            "RUN` wrote",
        )
    description = run.read_json("run.json")
    if (status := description.get("status", "without a status")) != "complete":
        raise UserError(
            setting=setting,
            given=path,
            expected="a complete run",
            but=f"it is {status}{_beside(run.path)}",
            remedy="continue it with "
            f"`{resume_command(str(description.get('command', 'COMMAND')), run.path)}`",
        )
    check_description(run.path, description, run.settings)
    return run


def open_source(source: str) -> Run | None:
    """Open a source that is a run folder, and check that any other file exists.

    Args:
        source: A run folder, ``FILE.keras``, ``keras_applications:NAME`` or ``scratch``.

    Returns:
        The run; ``None`` for a file, an application or scratch.

    Raises:
        UserError: If there is no such file, or no complete run.
    """
    if source == "scratch" or source.startswith(APPLICATION):
        return None
    if not source.endswith(".keras") or Path(source).is_dir():
        return open_run(source, "source")
    if not Path(source).is_file():
        raise UserError(
            setting="source",
            given=source,
            expected="a file that Keras saved",
            but="it does not exist",
            remedy="give a .keras file, a run folder, keras_applications:NAME or scratch",
        )
    return None


def open_teacher(path: str | os.PathLike) -> Run | None:
    """Open a teacher that is a run folder, and check that any other file exists.

    Args:
        path: A run folder, ``FILE.keras`` or the folder of a SavedModel.

    Returns:
        The run; ``None`` for a file or a SavedModel.

    Raises:
        UserError: If there is none of these.
    """
    path = Path(path)
    is_file = path.suffix == ".keras" and path.is_file()
    if is_file or (path / "saved_model.pb").is_file():
        return None
    versions = sorted(path.glob("*/saved_model.pb"))
    if versions and not (path / "run.json").is_file():
        raise UserError(
            setting="teacher",
            given=path,
            expected="one SavedModel",
            but="it holds several versions or one further in",
            remedy=f"give its folder, such as {versions[0].parent}",
        )
    if path.suffix == ".keras" and not path.exists():
        raise UserError(
            setting="teacher",
            given=path,
            expected="a file that Keras saved",
            but="it does not exist",
            remedy="give a .keras file, a run folder or the folder of a SavedModel",
        )
    return open_run(path, "teacher")


@contextlib.contextmanager
def start(command: str, settings: dict, *, out=None, overwrite=False, resume=False):
    """Create and lock a run folder, and mark it complete if the block succeeds.

    A user error leaves nothing behind; an interrupted or failed run is kept for ``--resume``.
    With ``overwrite``, the old folder is set aside and removed once the new run is complete; if
    this fails, the old folder is restored.

    Args:
        command: Name of the command.
        settings: All settings, JSON-compatible.
        out: The folder (default: ``runs/COMMAND-TIME``).
        overwrite: Replace an existing run.
        resume: Continue the existing run in ``out``.

    Yields:
        The :class:`Run`.
    """
    path = Path(out) if out else fresh_path(command)
    require_own_folder(path)
    require_writable(path if path.is_dir() else path.parent, given=path)
    aside = aside_of(path)
    recover(path)
    _forget_first_moment(path)
    run = Run(path)
    if resume:
        _check_resumable(run, command, settings, out)
    elif path.exists() and any(path.iterdir() if path.is_dir() else [path]):
        _put_aside(path, aside, overwrite)
    began = time.perf_counter()
    with contextlib.ExitStack() as stack:
        made = []
        try:
            made += _make_folders(path)
            stack.enter_context(_lock(path))
        except OSError:
            if not resume and aside.exists():
                _restore_previous(path, aside, made)
            raise
        is_begun, before = resume, 0.0

        def close(status: str) -> None:
            seconds = round(before + time.perf_counter() - began, 3)
            _close(run, status, seconds)

        try:
            if not resume:
                run.write_json("config.json", {**settings, "out": str(path)})
                run.write_json("run.json", _description(command, settings))
            before = run.read_json("run.json").get("wall_seconds", 0.0)
            run.update_json("run.json", status="running")
            is_begun = True
            yield run
            shutil.rmtree(path / "checkpoint", ignore_errors=True)
            close("complete")
        except Exception as error:
            if isinstance(error, OSError) and error.errno and not error.filename:
                error.filename = str(path)
            mistake = isinstance(error, UserError) and not isinstance(error, TrainingFailed)
            if not resume and (mistake or not is_begun or aside.exists()):
                _restore_previous(path, aside, made)
            else:
                _close_despite_errors(close, "failed")
                _note(error, _what_to_do(error, command, settings, path))
            raise
        except BaseException as error:
            _close_despite_errors(close, "interrupted")
            notes = [f"continue with: {resume_command(command, path)}"]
            if aside.exists():
                notes.insert(0, f"the run that it was to replace comes back with: {_back(path)}")
            _note(error, *notes)
            raise
    shutil.rmtree(aside, ignore_errors=True)


def aside_of(path: Path) -> Path:
    """Where a run lies while another takes its place."""
    # A path such as RUN/.. has no name to go by.
    path = path if path.name not in ("", "..") else Path(os.path.abspath(path))
    return path.with_name(f".{path.name}.replaced")


def recover(path: Path) -> None:
    """Put back a complete run that was set aside, where what was to replace it never began."""
    if not path.exists() and aside_of(path).is_dir():
        with contextlib.suppress(OSError):  # whoever cannot write there finds no run, as before
            aside_of(path).rename(path)


def _restore_previous(path: Path, aside: Path, made: list[Path]) -> None:
    """Restore the state before the run."""
    shutil.rmtree(path, ignore_errors=True)
    if aside.exists():
        aside.rename(path)
    for folder in made:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _close(run: Run, status: str, seconds: float) -> None:
    """Record how a run ended; on a full disk, by overwriting the existing file in place."""
    try:
        run.update_json("run.json", status=status, wall_seconds=seconds)
    except OSError:
        content = {**run.read_json("run.json"), "status": status, "wall_seconds": seconds}
        with open(run.path / "run.json", "r+") as file:
            file.write(_as_text(content))
            file.truncate()


def _close_despite_errors(close: Callable[[str], None], status: str) -> None:
    """Record the status if possible, without hiding the error that ended the run."""
    with contextlib.suppress(OSError, UserError):
        close(status)


def _note(error: BaseException, *notes: str) -> None:
    """Set the advice for an error; that of an outer command replaces an inner one's."""
    error.__notes__ = [*notes]


def _what_to_do(error: Exception, command: str, settings: dict, path: Path) -> str:
    if not isinstance(error, TrainingFailed):
        return f"continue with: {resume_command(command, path)}"
    words = ["--from-run", path, "--out", path, "--overwrite"]
    if rate := settings.get("learning_rate"):
        words += ["--learning-rate", f"{min(rate / 10, 1e-3):g}"]
    return f"start again with: {command_line(command, *words)}"


def resume_command(command: str, path: os.PathLike | str) -> str:
    """The command line that continues a run."""
    return command_line(command, "--resume", "--out", path)


def command_line(command: str, *words: object) -> str:
    """A command as it is typed, with what needs quotes in quotes.

    Example:
        >>> command_line("finetune", "--source", Path("runs/my first"), "--labels", 100)
        "python -m kt_transfer.finetune --source 'runs/my first' --labels 100"
    """
    # What is searched is a word of its own.
    module, *searched = command.split("-")
    return shlex.join(["python", "-m", f"kt_transfer.{module}", *searched, *map(str, words)])


def _make_folders(path: Path) -> list[Path]:
    """Create a folder; returns the parents that were created too, innermost first."""
    missing = [folder for folder in path.parents if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    return missing


def fresh_path(command: str) -> Path:
    """The folder of a command that was given none: ``runs/COMMAND-TIME``, if that is free."""
    stem = Path("runs") / f"{command}-{time.strftime('%Y%m%d-%H%M%S')}"
    path, number = stem, 1
    while path.exists():
        number += 1
        path = stem.with_name(f"{stem.name}-{number}")
    return path


def _beside(path: Path) -> str:
    """Where a run that was to be replaced has stayed, and how it comes back, if it has."""
    aside = aside_of(path)
    if not aside.exists():
        return ""
    return f" (the complete one that it was to replace is {aside}; `{_back(path)}` puts it back)"


def _back(path: Path) -> str:
    """The command line that puts back a run that was to be replaced."""
    words = ["rm", "-r", path], ["mv", aside_of(path), path]
    return " && ".join(shlex.join(map(str, one)) for one in words)


def _forget_first_moment(path: Path) -> None:
    """Remove what a start has left that was killed before there was a ``run.json``."""
    # With the lock, since a config.json alone may be anyone's.
    if path.is_dir() and {*os.listdir(path)} == {".lock", "config.json"}:
        with _lock(path):
            (path / "config.json").unlink()


def _put_aside(path: Path, aside: Path, overwrite: bool) -> None:
    is_run = (path / "run.json").is_file()
    if not overwrite:
        status = Run(path).read_json("run.json").get("status") if is_run else "complete"
        if status == "running":
            with _lock(path):  # refused while it does
                pass
        if status in _UNFINISHED:
            raise UserError(
                setting="out",
                given=path,
                expected="a name that is still free",
                but=f"it exists and {_UNFINISHED[status]}{_beside(path)}",
                remedy=f"continue it with {named('resume', True)}, give another name, or "
                f"{named('overwrite', True)} to replace it",
            )
        raise exists_already(path)
    if not is_run:
        raise UserError(
            setting="overwrite",
            given=True,
            when=f"for {path}",
            expected="a run folder",
            but="it holds something else",
            remedy=f"give another {named('out')}, or remove it yourself",
        )
    with _lock(path):
        if aside.exists():
            # An earlier replacement of a complete run did not finish: keep the complete one.
            shutil.rmtree(path)
        else:
            path.rename(aside)


def _check_resumable(run: Run, command: str, settings: dict, out) -> None:
    if out is None:
        raise UserError(
            setting="resume",
            given=True,
            when=f"without {named('out')}",
            expected="the run to continue",
            remedy=f"add {named('out', 'RUN')}",
        )
    given = {"setting": "out", "given": run.path, "when": f"with {named('resume', True)}"}
    if not (run.path / "config.json").is_file():
        raise UserError(
            **given,
            expected="an interrupted run",
            but="there is no run",
            remedy=f"start it without {named('resume')}",
        )
    if (status := run.read_json("run.json").get("status")) == "complete":
        raise UserError(
            **given,
            expected="an interrupted run",
            but=f"it is {status}",
            remedy=f"there is nothing to continue; give another {named('out')} for a new run",
        )
    check_description(run.path, run.read_json("run.json"), run.settings)
    check_written_folders(run.path)
    require_same_settings(run, command, settings)


def require_same_settings(run: Run, command: str, settings: dict) -> None:
    """Refuse to go on with a run with another command or other settings than its own."""
    if run.command != command:
        raise UserError(
            setting="out",
            given=run.path,
            when=f"with {named('resume', True)} to {command}",
            but=f"{run.command} wrote that run",
            remedy=f"continue it with `{resume_command(run.command, run.path)}`",
        )
    old = run.settings
    changed = [
        f"{key} {old.get(key)!r} -> {value!r}"
        for key, value in settings.items()
        # A setting that the run's version did not have has its default there; one that is left to
        # the command is what the command found then.
        if key in old and value is not None and is_of_result(key) and old[key] != value
    ]
    if changed:
        raise UserError(
            setting="out",
            given=run.path,
            when=f"with {named('resume', True)} and changed settings ({'; '.join(changed)})",
            expected="the run's own",
            remedy=f"leave them out, or start a new run with another {named('out')}",
        )


@contextlib.contextmanager
def _lock(path: Path):
    lock = path / ".lock"
    # Never follow a link, which may lead to any file.
    with open(lock, "w", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW)) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                setting="out",
                given=path,
                but="another process is writing that run",
                remedy=f"wait for it, or give another {named('out')}",
            ) from None
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _description(command: str, settings: dict) -> dict:
    return {
        "command": command,
        "status": "running",
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "seed": settings.get("seed"),
        "versions": versions(),
        "git_commit": _git_commit(),
    }


def versions() -> dict[str, str | None]:
    """The versions of what a run's results may depend on."""
    packages = {name: _version(name) for name in _PACKAGES}
    return {"python": platform.python_version()} | packages


def is_of_result(setting: str) -> bool:
    """Whether a setting affects the results, rather than where they go and what is said."""
    return setting not in SESSION_SETTINGS | MAY_CHANGE


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        command = ["git", "rev-parse", "HEAD"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
        return done.stdout.strip()
    return None


def _as_text(content: object) -> str:
    return json.dumps(content, indent=2, default=_plain) + "\n"


def _plain(value: object) -> object:
    """Convert NumPy numbers and arrays, and paths, for JSON."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)
