"""Data that a caller in Python has in memory, kept as files that later commands read again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kt_transfer.data.cache import cache_folder
from kt_transfer.data.dataset import UNLABELLED
from kt_transfer.data.labels import has_label
from kt_transfer.errors import UserError, named
from kt_transfer.files.writing import replacing

_EXPECTED = (
    "a data spec, an array, arrays (X, y), a tf.data.Dataset of examples or (example, label), or "
    "a pandas data frame"
)


def keep(setting: str, data: Any) -> tuple[str, str | None]:
    """Write data into the cache, under a name that is a hash of its content.

    Args:
        setting: The setting that it was given for, for messages.
        data: Examples of shape ``(n, ...)``; ``(X, y)``, with labels as ``npz:FILE`` takes them
            (``-1`` or missing for none); a ``tf.data.Dataset`` of either, in batches or not; or a
            data frame, with the column of the labels in it, or ``(frame, labels)``.

    Returns:
        The spec, ``npz:FILE`` or ``parquet:FILE``; and the column of the labels, if they came
        beside a frame.

    Raises:
        UserError: If it is nothing of these.

    Example:
        >>> spec, _ = keep("data", (np.eye(4), np.array([0, 1, 0, 1])))
        >>> spec.startswith("npz:"), spec == keep("data", (np.eye(4), [0, 1, 0, 1]))[0]
        (True, True)
    """
    if hasattr(data, "element_spec"):
        data = _arrays_of(setting, data)
    examples, labels = data if isinstance(data, tuple) and len(data) == 2 else (data, None)
    if hasattr(examples, "columns") and hasattr(examples, "to_parquet"):
        return _keep_frame(setting, examples, labels)
    arrays = {"x": _array(setting, examples)}
    if labels is not None:
        arrays["y"] = _labels(setting, labels)
    if arrays["x"].dtype.kind not in "buif" or arrays["x"].ndim < 2:
        raise _mistake(setting, examples)
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name}{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return f"npz:{_once(digest, '.npz', lambda path: _savez(path, arrays))}", None


def _keep_frame(setting: str, frame, labels) -> tuple[str, str | None]:
    import pandas as pd

    column = None
    if labels is not None:
        column = str(getattr(labels, "name", None) or "label")
        if column in frame.columns:
            raise UserError(
                setting=setting,
                given=f"(frame, {column})",
                expected="labels that are not in the frame too",
                but=f"it has a column {column}",
                remedy=f"give the frame alone and {named('label_column', column)}",
            )
        frame = frame.assign(**{column: np.asarray(labels)})
    digest = hashlib.sha256(repr([(name, str(t)) for name, t in frame.dtypes.items()]).encode())
    try:
        digest.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().data)
        path = _once(digest, ".parquet", lambda path: frame.to_parquet(path, index=False))
    except (TypeError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise UserError(
            setting=setting,
            given="a data frame",
            expected="columns of numbers, words, dates or truth values",
            but=" ".join(str(error).split()).rstrip("."),
            remedy="convert them, or leave them out",
        ) from error
    return f"parquet:{path}", column


def _once(digest, suffix: str, write: Callable[[Path], None]) -> Path:
    path = cache_folder() / "given" / f"{digest.hexdigest()[:16]}{suffix}"
    if not path.is_file():
        with replacing(path) as temporary:
            write(temporary)
    return path


def _savez(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with open(path, "wb") as file:
        np.savez(file, **arrays)


def _array(setting: str, examples) -> np.ndarray:
    try:
        return np.asarray(examples)
    except (ValueError, TypeError) as error:  # such as rows of different lengths
        raise _mistake(setting, examples) from error


def _labels(setting: str, labels) -> np.ndarray:
    """Names as text, where they come as objects, and what is missing as -1."""
    y = _array(setting, labels)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.dtype.kind != "O":
        return y
    known = has_label(y)
    are_names = any(isinstance(label, str) for label in y[known])
    kept = np.full(len(y), str(UNLABELLED) if are_names else UNLABELLED, object)
    kept[known] = y[known]
    return kept.astype(str) if are_names else np.array(kept.tolist())


def _arrays_of(setting: str, data) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """All that a ``tf.data.Dataset`` yields."""
    if int(data.cardinality()) == -1:
        raise UserError(
            setting=setting,
            given="a tf.data.Dataset without end",
            expected="one that ends",
            remedy="leave out repeat()",
        )
    spec = data.element_spec
    has_labels = isinstance(spec, tuple) and len(spec) == 2
    first = spec[0] if has_labels else spec
    if not hasattr(first, "shape") or first.shape.rank is None:
        raise _mistake(setting, data)
    if has_labels and spec[1].shape.rank not in (0, 1):
        raise UserError(
            setting=setting,
            given=f"a tf.data.Dataset with labels of shape {tuple(spec[1].shape)}",
            expected="one number or name for each example",
            remedy="map one-hot labels by tf.argmax",
        )
    # Labels tell whether they come in batches; without any, only a batch is of any length.
    batched = spec[1].shape.rank == 1 if has_labels else first.shape[0] is None
    elements = [element if has_labels else (element,) for element in data.as_numpy_iterator()]
    if not elements:
        raise _mistake(setting, data)
    columns = [
        np.concatenate(column) if batched else np.stack(column)
        for column in zip(*elements, strict=True)
    ]
    if has_labels and columns[1].dtype.kind == "O":  # bytes, as TensorFlow has text
        columns[1] = np.array([label.decode() for label in columns[1]])
    return tuple(columns) if has_labels else columns[0]


def _mistake(setting: str, given) -> UserError:
    shape = f" of shape {np.shape(given)}" if isinstance(given, np.ndarray) else ""
    return UserError(
        setting=setting,
        given=f"{type(given).__name__}{shape}",
        expected=_EXPECTED,
        remedy="give one of these",
    )
