"""What a transfer saved: how soon it reached what training from scratch reaches."""

from __future__ import annotations

import numpy as np


def saved_by_transfer(
    transferred: list[dict], scratch: list[dict], num_validation: int, seconds_before: float = 0.0
) -> dict:
    """Epochs and seconds until the accuracy that scratch ends with, on both sides.

    Args:
        transferred: Rows of the transfer's history, with ``seconds`` and ``val_accuracy``.
        scratch: Rows of the same fit from fresh weights.
        num_validation: Examples that this accuracy is measured on.
        seconds_before: What the transfer took before its first epoch.

    Returns:
        ``accuracy`` (what scratch ends with, on the validation examples),
        ``num_validation``, ``scratch`` and ``transfer``: each ``{"epochs": …, "seconds": …}``,
        the first time that it is reached; ``transfer`` is ``None`` if it never is.
    """
    accuracy = scratch[-1]["val_accuracy"]
    return {
        "accuracy": accuracy,
        "num_validation": num_validation,
        "scratch": _reached(scratch, accuracy),
        "transfer": _reached(transferred, accuracy, seconds_before),
    }


def describe_savings(saved: dict) -> str:
    """The same as one sentence."""
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
    epochs = reached["epochs"]
    return f"{epochs} epoch{'s' * (epochs != 1)} ({reached['seconds']:.1f} s)"


def _reached(rows: list[dict], accuracy: float, seconds_before: float = 0.0) -> dict | None:
    epochs = next((n for n, row in enumerate(rows, 1) if row["val_accuracy"] >= accuracy), None)
    # The median: the first epoch also traces and compiles.
    seconds = float(np.median([row["seconds"] for row in rows]))
    return epochs and {"epochs": epochs, "seconds": round(seconds_before + epochs * seconds, 4)}
