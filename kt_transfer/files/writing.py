"""Atomic writing of files, and messages for disk errors."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from pathlib import Path

from kt_transfer.errors import UserError, named

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM)
_REMEDIES = {
    errno.ENOSPC: "free some space, or write to another disk",
    errno.EDQUOT: "free some space, or write to another disk",
    errno.EFBIG: "write to another disk, or raise the limit (ulimit -f)",
    errno.EROFS: "write to another folder",
    errno.EACCES: "give its permissions, or another path",
    errno.EPERM: "give its permissions, or another path",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.EEXIST: "give another path",
    errno.ENOTDIR: "give another path",
    errno.EISDIR: "give another path",
    errno.ELOOP: "give another path",
}
# Errors that libraries report as text, which contains the system's message.
_IN_WORDS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


@contextlib.contextmanager
def replacing(path: Path, *, overwrite: bool = True):
    """Yield a temporary path beside ``path``, renamed to ``path`` if the block succeeds."""
    path = Path(path)
    if not overwrite and path.exists():
        raise exists_already(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Keep the suffix, by which Keras chooses the format.
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is not None:
            error.filename = str(path)  # the destination, not the temporary name
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: Path, holds: str, *, overwrite: bool = False):
    """Yield a temporary folder beside ``path``, renamed to ``path`` if the block succeeds.

    Args:
        path: The folder; it may be there if it is empty.
        holds: A file that it must hold to be replaced, so that nothing else is removed.
        overwrite: Whether to replace it.

    Raises:
        UserError: If it is there, and is not to be replaced.
    """
    path = Path(path)
    require_free_folder(path, holds, overwrite=overwrite)
    made = [parent for parent in path.parents if not parent.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    aside = path.with_name(f".{os.getpid()}.{path.name}.replaced")
    try:
        temporary.mkdir()
        yield temporary
        if path.exists():
            path.rename(aside)
        temporary.rename(path)
    except BaseException as error:
        if isinstance(error, OSError) and error.errno is not None:
            error.filename = str(path)
        if aside.exists():
            aside.rename(path)
        shutil.rmtree(temporary, ignore_errors=True)
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise
    shutil.rmtree(aside, ignore_errors=True)


def require_free_file(path: Path, *, overwrite: bool = False) -> None:
    """Refuse a file that :func:`replacing` would not write, before the work is done.

    Raises:
        UserError: If it is there and is not to be replaced, is something else than a file, or lies
            where nothing can be written.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(
            setting="out",
            given=path,
            expected="a file",
            but="it is a folder",
            remedy="give a name in it",
        )
    if path.exists() and not path.is_file():
        raise UserError(
            setting="out",
            given=path,
            expected="a file",
            but="it is a device or a pipe, whose place no file can take",
            remedy="give another path",
        )
    if path.exists() and not overwrite:
        raise exists_already(path)
    require_writable(path.parent, given=path)


def require_writable(folder: Path, setting: str = "out", given: Path | None = None) -> None:
    """Refuse a folder in which nothing can be written, before the work is done.

    Args:
        folder: The folder, there or still to be made.
        setting: What was given.
        given: Its value (default: the folder).

    Raises:
        UserError: If no file can be made in it, or in the nearest folder above it that there is.
    """
    folder = Path(folder)
    there = next(p for p in (folder, *folder.absolute().parents) if os.path.lexists(p))
    try:
        # Of what may not be written, permissions tell only a part: root has them all in /proc.
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise UserError(
            setting=setting,
            given=given or folder,
            expected="a place to write",
            but=f"nothing can be written in {there} ({os.strerror(error.errno)})",
            remedy=_REMEDIES.get(error.errno, "give another path"),
        ) from error


def require_free_folder(path: Path, holds: str, *, overwrite: bool = False) -> None:
    """Refuse a folder that :func:`replacing_folder` would not write, before the work is done."""
    path = Path(path)
    require_own_folder(path)
    if not path.exists() or path.is_dir() and not any(path.iterdir()):
        require_writable(path)
        return
    if not overwrite:
        raise exists_already(path)
    if not (path / holds).is_file():
        raise UserError(
            setting="overwrite",
            given=True,
            when=f"for {path}",
            expected=f"a folder with {holds}",
            but="it holds something else",
            remedy=f"give another {named('out')}, or remove it yourself",
        )


def require_own_folder(path: Path) -> None:
    """Refuse the folder that the command stands in, or one above it: it is not its to replace."""
    here = Path.cwd()
    if (given := Path(os.path.abspath(path))) == here or given in here.parents:
        raise UserError(
            setting="out",
            given=path,
            expected="a folder of its own",
            but="it is the one that you are in" if given == here else "you are inside it",
            remedy=f"give a name in it, such as {named('out', 'runs/first')}",
        )


def exists_already(path: Path) -> UserError:
    """The error for an output that is already there."""
    return UserError(
        setting="out",
        given=path,
        expected="a name that is still free",
        but="it exists",
        remedy=f"give another name, or {named('overwrite', True)} to replace it",
    )


def describe_disk_error(error: BaseException, path: os.PathLike | str | None = None) -> str | None:
    """Describe an error of the disk or file system; ``None`` for other errors.

    Args:
        error: An error of Python, TensorFlow or another library that passes on the system's.
        path: The path being written, for errors that do not name one.

    Example:
        >>> describe_disk_error(OSError(errno.EROFS, "Read-only file system", "runs/source"))
        'runs/source cannot be written (Read-only file system): write to another folder.'
    """
    number = disk_errno(error)
    if number is None:
        return None
    path = _filename(error) or path or os.curdir
    room = _room(Path(os.fspath(path))) if number in _FULL else ""
    verb = "read" if number in _FORBIDDEN and _is_closed(Path(path)) else "written"
    return f"{path} cannot be {verb} ({os.strerror(number)}{room}): {_REMEDIES[number]}."


def _is_closed(path: Path) -> bool:
    """Whether a path, or the folder of one that cannot be seen, may not even be looked into."""
    there = next(p for p in (path, *path.absolute().parents) if os.path.lexists(p))
    return not os.access(there, os.R_OK | (os.X_OK if there.is_dir() else 0))


def disk_errno(error: BaseException) -> int | None:
    """The ``errno`` of a disk error or an error caused by one; ``None`` for others."""
    number = getattr(error, "errno", None)
    if number is None:
        text = str(error)
        number = next((known for known in _IN_WORDS if os.strerror(known) in text), None)
    if number in _REMEDIES:
        return number
    return None if error.__cause__ is None else disk_errno(error.__cause__)


def _filename(error: BaseException | None) -> str | None:
    if error is None:
        return None
    return getattr(error, "filename", None) or _filename(error.__cause__)


def _room(path: Path) -> str:
    """The free space on the disk of a path."""
    there = next((p for p in (path, *path.absolute().parents) if p.exists()), None)
    if there is None:
        return ""
    usage = shutil.disk_usage(there)
    return f"; {size_in_words(usage.free)} of {size_in_words(usage.total)} are free"


def size_in_words(number: int) -> str:
    """A number of bytes, such as ``"1.5 GB"``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"
