"""Training time saved by transfer: how soon it reaches the accuracy of training from scratch."""

from __future__ import annotations

import numpy as np

from kt_transfer.errors import counted


def saved_by_transfer(
    transferred: list[dict], scratch: list[dict], num_validation: int, seconds_before: float = 0.0
) -> dict:
    """Epochs and seconds until both fits reach the final accuracy of training from scratch.

    Args:
        transferred: Rows of the transfer's history, with ``seconds`` and ``val_accuracy``.
        scratch: Rows of the history from random weights.
        num_validation: Number of validation examples.
        seconds_before: Time that the transfer took before its first epoch.

    Returns:
        ``accuracy`` (final validation accuracy from scratch), ``num_validation``, ``scratch`` and
        ``transfer``: each ``{"epochs": …, "seconds": …}`` until the accuracy is first reached;
        ``transfer`` is ``None`` if it never is.
    """
    accuracy = scratch[-1]["val_accuracy"]
    return {
        "accuracy": accuracy,
        "num_validation": num_validation,
        "scratch": _reached(scratch, accuracy),
        "transfer": _reached(transferred, accuracy, seconds_before),
    }


def describe_savings(saved: dict) -> str:
    """Describe the result of :func:`saved_by_transfer` in one sentence."""
    target = (
        f"the accuracy that scratch ends with ({saved['accuracy']:.4f} of "
        f"{saved['num_validation']} validation examples)"
    )
    scratch = _format_reached(saved["scratch"])
    if saved["transfer"] is None:
        return f"transfer never reached {target}; scratch did in {scratch}"
    return (
        f"transfer reached {target} in {_format_reached(saved['transfer'])}, scratch in {scratch}"
    )


def _format_reached(reached: dict) -> str:
    return f"{counted(reached['epochs'], 'epoch')} ({reached['seconds']:.1f} s)"


def _reached(rows: list[dict], accuracy: float, seconds_before: float = 0.0) -> dict | None:
    epochs = next((n for n, row in enumerate(rows, 1) if row["val_accuracy"] >= accuracy), None)
    # The median, since the first epoch includes tracing and compilation.
    seconds = float(np.median([row["seconds"] for row in rows]))
    return epochs and {"epochs": epochs, "seconds": round(seconds_before + epochs * seconds, 4)}
