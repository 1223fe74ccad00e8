"""What lies beside an exported model and says what it is: ``metadata.json``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from kt_transfer.data.schema import Schema
from kt_transfer.errors import UserError, named
from kt_transfer.files.reading import read_json
from kt_transfer.serving.versions import versions_in


def read_metadata(folder: Path) -> tuple[dict, Schema | None]:
    """The metadata of a version, and the columns of a table that it takes.

    Args:
        folder: The folder of the version, whatever its format.

    Raises:
        OSError, ValueError: If they are missing or damaged; the message completes "it cannot be
            read".
    """
    metadata = read_json(Path(folder) / "metadata.json")
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    if not isinstance(labels, list) or not all(isinstance(name, str) for name in labels):
        raise ValueError("metadata.json has no list 'labels' of names")
    if not isinstance(metadata.get("data"), str):
        raise ValueError("metadata.json does not name its 'data'")
    note = metadata.get("schema")
    return metadata, None if note is None else Schema.from_note(note)


@contextlib.contextmanager
def reading_export(
    path: Path, expected: str = "an exported model such as saved_models/NAME/1"
) -> Iterator[None]:
    """Tell whatever fails in the block, in which an export is read, as a mistake of the user's.

    Args:
        path: What was given as ``model``.
        expected: What would have been right.

    Raises:
        UserError: For any other error: those of the runtimes, of TensorFlow and of protobuf for
            damaged files have no common base class.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        but = f"it cannot be read ({in_a_line(error)})"
        remedy = "give the folder of a version, with its metadata.json, or export it again"
        if (Path(path) / "run.json").is_file():
            but = "it is a run folder"
            remedy = f"export it, or predict with {named('run', path)}"
        elif Path(path).is_dir() and (versions := versions_in(Path(path))):
            but, remedy = "it holds versions of one", f"give one of these, such as {versions[-1]}"
        raise UserError(
            setting="model", given=path, expected=expected, but=but, remedy=remedy
        ) from error


def in_a_line(error: Exception) -> str:
    """The first line of an error, since those of libraries fill pages."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
