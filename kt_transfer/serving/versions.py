"""Numbered versions of an exported model, which appear complete."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from kt_transfer.files.writing import disk_errno

# TF Serving loads a numbered folder as soon as it appears, and ignores others.
_UNFINISHED = ".unfinished-"


def publish_version(
    folder: Path,
    write: Callable[[Path], float],
    metadata: dict,
    *,
    keep: int | None = None,
    describe: Callable[[Path, Path], None] | None = None,
) -> Path:
    """Write the next version under ``folder``, complete before it appears.

    It is written under another name and renamed, so that an export that is killed at any moment
    leaves no half version. What a killed one left is removed by the next; a running one holds a
    lock on its folder, and is never touched.

    Args:
        folder: Where the versions are, such as ``saved_models/NAME``; the new one has the next free
            number.
        write: Writes a model into an empty folder, checks it, and returns the largest difference
            to the Keras model. If it raises, nothing is left.
        metadata: Content of ``metadata.json``, to which this difference is added.
        keep: How many versions to keep, at least 1: older ones are removed once the new one is
            there (default: all).
        describe: Given the complete folder and the version that it becomes, writes what names the
            version.

    Returns:
        The folder of the new version.

    Raises:
        OSError: If the folder cannot be written.

    Example:
        >>> def write(unfinished):
        ...     (unfinished / "model.txt").write_text("y = 2 x")
        ...     return 0.0
        >>> publish_version(Path("saved_models/line"), write, {"labels": []})
        PosixPath('saved_models/line/1')
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder)
    try:
        with _unfinished(folder) as unfinished:
            difference = write(unfinished)
            text = json.dumps({**metadata, "largest_difference": difference}, indent=2)
            (unfinished / "metadata.json").write_text(text + "\n")
            unfinished.chmod(0o755)
            version = _renamed_to_next(unfinished, folder, describe)
        if keep is not None:
            _remove_older(folder, version, keep)
        return version
    except Exception as error:
        if number := disk_errno(error):  # may be an error class of TensorFlow
            raise OSError(number, os.strerror(number), os.fspath(folder)) from error
        raise
    finally:
        for empty in made:
            with contextlib.suppress(OSError):
                empty.rmdir()


def versions_in(folder: Path) -> list[Path]:
    """The numbered folders of a served model, in the order of their numbers."""
    numbered = [path for path in folder.iterdir() if path.name.isdigit()]
    return sorted(numbered, key=lambda path: int(path.name))


@contextlib.contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    """A new folder, locked by this process until it has another name or is removed."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder))
        with _locked(path) as is_free:
            # Another export may take it for abandoned before it is locked.
            if is_free is not False and path.exists():
                try:
                    yield path
                finally:
                    shutil.rmtree(path, ignore_errors=True)
                return


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool | None]:
    """Lock a folder itself, so that no file has to be removed before it is renamed.

    Yields:
        Whether it was there and free; ``None`` where a file system has no such locks.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        yield False
        return
    try:
        yield _lock(descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool | None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _remove_abandoned(folder: Path) -> None:
    """Remove what exports that no longer run have left; without locks nobody can tell."""
    for path in folder.glob(f"{_UNFINISHED}*"):
        with contextlib.suppress(OSError), _locked(path) as is_free:
            if is_free:
                shutil.rmtree(path, ignore_errors=True)


def _renamed_to_next(unfinished: Path, folder: Path, describe) -> Path:
    while True:
        last = int(versions[-1].name) if (versions := versions_in(folder)) else 0
        version = folder / str(last + 1)
        if describe is not None:
            describe(unfinished, version)
        _flush(unfinished)
        try:
            unfinished.rename(version)
        except OSError:
            if not version.exists():
                raise
            continue  # another export took the number meanwhile
        return version


def _flush(folder: Path) -> None:
    """Let what was written reach the disk, so that a power failure leaves no half version either.

    A rename may reach it sooner than the content.
    """
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove_older(folder: Path, newest: Path, keep: int) -> None:
    """Remove all versions but the last ones up to the newest, whatever number others have taken.

    Only what was exported is removed, and no link is followed.
    """
    exported = [
        path
        for path in versions_in(folder)
        if not path.is_symlink() and (path / "metadata.json").is_file()
    ]
    older = [path for path in exported if int(path.name) < int(newest.name)]
    for path in older[: max(0, len(older) - (keep - 1))]:
        # First out of the numbers, so that a half removed version is under none.
        with contextlib.suppress(FileNotFoundError):  # another export removes it, too
            aside = path.rename(folder / f"{_UNFINISHED}removed-{path.name}-{os.getpid()}")
            shutil.rmtree(aside, ignore_errors=True)
