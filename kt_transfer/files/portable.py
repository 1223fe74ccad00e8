"""Names that mean something on another machine, too."""

from __future__ import annotations

import os
from pathlib import Path


def without_folders(value):
    """A path or data spec that is absolute without the folders of this machine.

    Args:
        value: A path, a data spec, any other value, or a list or dictionary of these.

    Example:
        >>> without_folders("csv:/home/ada/people.csv"), without_folders("runs/source")
        ('csv:people.csv', 'runs/source')
        >>> without_folders({"teacher": [Path("/data/runs/teacher")], "epochs": 3})
        {'teacher': ['teacher'], 'epochs': 3}
    """
    if isinstance(value, dict):
        return {key: without_folders(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_folders(item) for item in value]
    if not isinstance(value, (str, os.PathLike)):
        return value
    text = os.fspath(value)
    kind, colon, where = text.rpartition(":")
    # Of a spec the kind before the path stays.
    if Path(where).expanduser().is_absolute():
        return f"{kind}{colon}{Path(where).name}"
    return text
