"""Whether what is about to be published has the figure that was measured when it was trained."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kt_transfer.serving.signatures import TOLERANCE

_ROWS_AT_ONCE = 1024


def require_same_figure(
    ask: Callable[[str, np.ndarray], dict], x, y: np.ndarray, measured: dict
) -> dict[str, float]:
    """Measure the test split again, through the exported model.

    Args:
        ask: Gives the outputs of a signature, by name, for raw examples.
        x: Raw test examples, shape ``(n, ...)``.
        y: Their labels, ``-1`` for none.
        measured: What ``metrics.json`` says of the test split: the ``accuracy`` of a classifier,
            or the ``mse`` of an autoencoder.

    Returns:
        The figure by name; empty if there is none to compare.

    Raises:
        RuntimeError: If it is another one; of an accuracy, by more examples than lie between two
            classes within rounding.
    """
    if "accuracy" in measured and (y >= 0).any():
        return _same_accuracy(ask, x[np.flatnonzero(y >= 0)], y[y >= 0], measured["accuracy"])
    if "mse" in measured and len(x):
        return _same_mse(ask, x, measured["mse"])
    return {}


def _same_accuracy(ask, x, y: np.ndarray, wanted: float) -> dict[str, float]:
    parts = [ask("serving_default", rows)["probabilities"] for rows in _in_parts(x)]
    probabilities = np.concatenate([np.asarray(part) for part in parts])
    found = float((probabilities.argmax(axis=1) == y).mean())
    first_two = np.sort(probabilities, axis=1)[:, -2:]
    in_doubt = np.mean(first_two[:, 1] - first_two[:, 0] <= 2 * TOLERANCE)
    if not abs(found - wanted) <= in_doubt + 1e-12:
        raise _differs("accuracy", found, wanted)
    return {"accuracy": found}


def _same_mse(ask, x, wanted: float) -> dict[str, float]:
    total = size = 0.0
    for rows in _in_parts(x):
        answers = ask("reconstruct", rows)
        total += float(np.sum(answers["reconstruction_error"], dtype=np.float64))
        size += np.size(answers["reconstruction"])
    found = total / size
    if not abs(found - wanted) <= 1e-4 * max(abs(wanted), 1e-3):
        raise _differs("mse", found, wanted)
    return {"mse": found}


def _in_parts(x):
    return (x[start : start + _ROWS_AT_ONCE] for start in range(0, len(x), _ROWS_AT_ONCE))


def _differs(figure: str, found: float, wanted: float) -> RuntimeError:
    return RuntimeError(
        f"on the test split the exported model has {figure} {found:.6g}, the run {wanted:.6g}: "
        "nothing was published"
    )
