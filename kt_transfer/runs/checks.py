"""Consistency checks of run folders."""

from __future__ import annotations

import math
import os
from pathlib import Path

from kt_transfer.errors import UserError

# Folders inside a run that commands write to.
WRITTEN = ("plots", "logs", "checkpoint", "tuner", "trials", "best")

# An example is called unusual if its error is beyond this quantile of those of training.
UNUSUAL_BEYOND = "0.99"


def damaged(path: Path, name: str, reason: object) -> UserError:
    """The error for a damaged file of a run."""
    first_line = str(reason).strip().split("\n")[0].rstrip(".")
    if "allow_pickle" in first_line:  # advice that would execute code in the file
        first_line = "it holds Python objects instead of numbers"
    return UserError(
        given=path,
        expected="a complete run folder",
        but=f"{name} cannot be read ({first_line})",
        remedy="give another run, or write this one again",
    )


def check_description(path: Path, description: dict, settings: dict) -> None:
    """Check the required entries and types of ``run.json`` and ``config.json``.

    Raises:
        UserError: If an entry is missing or invalid.
    """
    _require(path, "run.json", description, "command", str)
    _require(path, "config.json", settings, "data", str, optional=True)
    _require(path, "config.json", settings, "objective", str, optional=True)
    _require(path, "run.json", description, "wall_seconds", (int, float), optional=True)
    for name in ("epochs", "batch_size"):
        _require(path, "config.json", settings, name, int, optional=True)
    _require(path, "config.json", settings, "learning_rate", (int, float), optional=True)
    _require(path, "run.json", description, "expects", dict, optional=True)
    _require(path, "run.json", description, "versions", dict)
    # An interrupted run may not have loaded its data yet.
    _require(path, "run.json", description, "data", dict, optional=True)
    if data := description.get("data"):
        for name in ("spec", "fingerprint"):
            _require(path, "run.json's 'data'", data, name, str)


def check_labels(path: Path, content: dict) -> list[str]:
    """The class names of ``labels.json``."""
    labels = content.get("labels")
    if not isinstance(labels, list) or not all(isinstance(name, str) for name in labels):
        raise damaged(path, "labels.json", "'labels' is not a list of names")
    return labels


def check_models(path: Path, network, preprocessing, labels: list[str] | None) -> None:
    """Check that the models match each other and the class names.

    Args:
        path: The run.
        network: Its ``model.keras``.
        preprocessing: Its ``preprocessing.keras``.
        labels: Class names; ``None`` for an autoencoder.
    """
    for name, model in (("model.keras", network), ("preprocessing.keras", preprocessing)):
        if len(getattr(model, "inputs", ())) != 1 or len(model.outputs) != 1:
            raise damaged(path, name, "it has not one input and one output")
    given, taken = preprocessing.output_shape[1:], network.input_shape[1:]
    if given != taken:
        reason = f"it takes examples of shape {taken}, but preprocessing.keras gives {given}"
        raise damaged(path, "model.keras", reason)
    if labels is None:
        names = {layer.name for layer in network.layers}
        if not names >= {"encoder", "decoder"}:
            raise damaged(path, "model.keras", "it has no layers 'encoder' and 'decoder'")
    elif network.output_shape[1:] != (len(labels),):
        reason = f"it names {len(labels)} classes, but model.keras emits {network.output_shape[1:]}"
        raise damaged(path, "labels.json", reason)


def check_splits(path: Path, splits: dict, num_examples: int) -> None:
    """Check that all rows are rows of the training examples.

    Args:
        path: The run.
        splits: The arrays of its ``splits.npz``.
        num_examples: Number of training examples.
    """
    for name in ("train", "labelled", "validation"):
        rows = splits.get(name)
        if rows is None:
            raise damaged(path, "splits.npz", f"it has no rows {name!r}")
        # An empty array may have any type.
        if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
            raise damaged(path, "splits.npz", f"{name!r} are no row numbers")
        if rows.size and not 0 <= rows.min() <= rows.max() < num_examples:
            reason = f"{name!r} names row {rows.max()} of {num_examples} examples"
            raise damaged(path, "splits.npz", reason)


def check_examples(path: Path, examples: dict, shape: tuple[int, ...], dtype: str) -> None:
    """Check that kept examples are of the form that the run's models take.

    Args:
        path: The run.
        examples: The arrays of its ``examples.npz``.
        shape: Shape of one raw example.
        dtype: Name of its type.
    """
    x, y = examples.get("x"), examples.get("y")
    if x is None or y is None or x.ndim == 0 or y.shape != x.shape[:1] or not len(x):
        raise damaged(path, "examples.npz", "it has no examples 'x' with a label 'y' for each")
    if (x.shape[1:], str(x.dtype)) != (shape, dtype):
        given = f"examples of shape {x.shape[1:]} and type {x.dtype}"
        reason = f"it has {given}, but preprocessing.keras takes {shape} and {dtype}"
        raise damaged(path, "examples.npz", reason)


def check_usual_errors(path: Path, note: object) -> dict[str, float]:
    """The quantiles of ``reconstruction_error`` in ``run.json``, finite numbers by their share."""
    quantiles = note.get("quantiles") if isinstance(note, dict) else None
    is_right = isinstance(quantiles, dict) and all(
        isinstance(value, float) and math.isfinite(value) for value in quantiles.values()
    )
    if not is_right or UNUSUAL_BEYOND not in quantiles:
        reason = f"its 'reconstruction_error' has no quantile {UNUSUAL_BEYOND} among others"
        raise damaged(path, "run.json", reason)
    return quantiles


def check_written_folders(path: Path) -> None:
    """Check all folders that commands write to, as :func:`check_folder`."""
    for name in WRITTEN:
        check_folder(path / name)


def check_folder(path: Path) -> None:
    """Refuse a file or symbolic link in place of a folder that a command writes to."""
    if path.is_symlink():
        what = f"a symbolic link to {os.readlink(path)}"
    elif path.exists() and not path.is_dir():
        what = "a file"
    else:
        return
    raise UserError(
        given=path.parent,
        expected="a run folder",
        but=f"its {path.name} is {what}",
        remedy="remove it, so that a folder takes its place",
    )


def _require(path: Path, name: str, content: dict, key: str, types, optional=False) -> None:
    value = content.get(key)
    if value is None and optional:
        return
    if not isinstance(value, types) or isinstance(value, bool):
        kind = "missing" if key not in content else f"{type(value).__name__}"
        raise damaged(path, name, f"its {key!r} is {kind}")
