"""What packed files may unpack to: judged by what they declare, before anything is unpacked."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

# So much may come of any file, and so many times its size of a larger one. Deflate packs up to
# 1,032 to 1, but examples and weights hardly a tenth of that.
_ALWAYS_ALLOWED = 2**26
_TIMES = 250
_MOST_JSON = 2**24


def require_plausible_size(packed: int, unpacked: int) -> None:
    """Refuse what would become implausibly large, or larger than the machine's memory.

    Args:
        packed: Bytes of the file.
        unpacked: Bytes that it declares to hold.

    Raises:
        ValueError: If it does, with the reason.
    """
    if unpacked > max(_ALWAYS_ALLOWED, _TIMES * packed):
        raise ValueError(f"its {packed:,} bytes would unpack to {unpacked:,}")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if unpacked > memory:
        raise ValueError(f"it holds {unpacked:,} bytes, and this machine has {memory:,}")


def require_plausible_zip(path: os.PathLike | str) -> None:
    """The same for a zip archive, ``.npz`` or ``.keras``, by its directory alone.

    Raises:
        ValueError: If its content, or a JSON file in it, would be implausibly large.
        zipfile.BadZipFile: If it is no zip archive.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    require_plausible_size(Path(path).stat().st_size, sum(member.file_size for member in members))
    for member in members:
        if member.filename.endswith(".json"):
            _require_plausible_json(member.file_size, member.filename)


def read_json(path: os.PathLike | str):
    """The content of a JSON file that may have come from anywhere.

    Raises:
        ValueError: If it is no JSON, or larger than any that describes a model or a run.
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
