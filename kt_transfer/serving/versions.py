"""Numbered versions of an exported model, which appear complete."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from kt_transfer.files.writing import disk_errno


def publish_version(folder: Path, write: Callable[[Path], float], metadata: dict) -> Path:
    """Write the next version under ``folder``, complete before it appears.

    Args:
        folder: Where the versions are, such as ``saved_models/NAME``; the new one has the next free
            number.
        write: Writes a model into an empty folder, checks it, and returns the largest difference
            to the Keras model. If it raises, nothing is left.
        metadata: Content of ``metadata.json``, to which this difference is added.

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
    # TF Serving loads a numbered folder as soon as it appears, and ignores others.
    unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder))
    try:
        difference = write(unfinished)
        text = json.dumps({**metadata, "largest_difference": difference}, indent=2)
        (unfinished / "metadata.json").write_text(text + "\n")
        unfinished.chmod(0o755)
        return _renamed_to_next(unfinished, folder)
    except Exception as error:
        if number := disk_errno(error):  # may be an error class of TensorFlow
            raise OSError(number, os.strerror(number), os.fspath(folder)) from error
        raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        for empty in made:
            with contextlib.suppress(OSError):
                empty.rmdir()


def _renamed_to_next(unfinished: Path, folder: Path) -> Path:
    while True:
        numbers = [int(path.name) for path in folder.iterdir() if path.name.isdigit()]
        version = folder / str(max(numbers, default=0) + 1)
        try:
            unfinished.rename(version)
        except OSError:
            if not version.exists():
                raise
            continue  # another export took the number meanwhile
        return version
