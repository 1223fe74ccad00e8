"""Limits on the size of compressed files, checked by their headers before decompression."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

# Any file may unpack to this size, larger ones to this many times their own. Deflate compresses up
# to 1,032 to 1, but examples and weights hardly a tenth of that.
_ALWAYS_ALLOWED = 2**26
_TIMES = 250
_MOST_JSON = 2**24


def require_plausible_size(packed: int, unpacked: int) -> None:
    """Refuse a file that would unpack to an implausible size, or exceed the memory.

    Args:
        packed: Size of the file in bytes.
        unpacked: Size of its content according to its headers.

    Raises:
        ValueError: If it is too large.
    """
    if unpacked > max(_ALWAYS_ALLOWED, _TIMES * packed):
        raise ValueError(f"its {packed:,} bytes would unpack to {unpacked:,}")
    if unpacked > (memory := machine_memory()):
        raise ValueError(f"it holds {unpacked:,} bytes, and this machine has {memory:,}")


def machine_memory() -> int:
    """The memory of this machine in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def require_plausible_zip(path: os.PathLike | str) -> None:
    """The same for a zip archive, ``.npz`` or ``.keras``, from its directory alone.

    Raises:
        ValueError: If its content, or a JSON file in it, is too large.
        zipfile.BadZipFile: If it is not a zip archive.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    require_plausible_size(Path(path).stat().st_size, sum(member.file_size for member in members))
    for member in members:
        if member.filename.endswith(".json"):
            _require_plausible_json(member.file_size, member.filename)


def read_json(path: os.PathLike | str):
    """Read a JSON file of unknown origin.

    Raises:
        ValueError: If it is not JSON, or larger than any that describes a model or a run.
        OSError: If it cannot be read.
    """
    path = Path(path)
    _require_plausible_json(path.stat().st_size)
    try:
        return json.loads(path.read_text())
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _require_plausible_json(size: int, name: str = "it") -> None:
    if size > _MOST_JSON:
        raise ValueError(f"{name} would have {size:,} bytes, more than {_MOST_JSON:,}")
