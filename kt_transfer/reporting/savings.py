"""What a transfer saved: how soon it reached what training from scratch reaches."""

from __future__ import annotations

import numpy as np


def saved_by_transfer(transferred: list[dict], scratch: list[dict]) -> dict:
    """Epochs and seconds until the accuracy that scratch ends with, on both sides.

    Args:
        transferred: Rows of the transfer's history, with ``seconds`` and ``val_accuracy``.
        scratch: Rows of the same fit from fresh weights.

    Returns:
        ``accuracy`` (what scratch ends with, on the validation examples), ``scratch`` and
        ``transfer``: each ``{"epochs": …, "seconds": …}``, the first time that it is reached;
        ``transfer`` is ``None`` if it never is.
    """
    accuracy = scratch[-1]["val_accuracy"]
    return {
        "accuracy": accuracy,
        "scratch": _reached(scratch, accuracy),
        "transfer": _reached(transferred, accuracy),
    }


def tell_saved(saved: dict) -> str:
    """The same as one sentence."""
    target = f"{saved['accuracy']:.4f} validation accuracy, which scratch ends with,"
    scratch, transfer = saved["scratch"], saved["transfer"]
    if transfer is None:
        return f"transfer never reached the {target} in epoch {scratch['epochs']}"
    return (
        f"transfer reached the {target} in {transfer['epochs']} epochs "
        f"({transfer['seconds']:.1f} s), scratch in {scratch['epochs']} "
        f"({scratch['seconds']:.1f} s)"
    )


def _reached(rows: list[dict], accuracy: float) -> dict | None:
    epochs = next((n for n, row in enumerate(rows, 1) if row["val_accuracy"] >= accuracy), None)
    # The median: the first epoch also traces and compiles.
    seconds = float(np.median([row["seconds"] for row in rows]))
    return epochs and {"epochs": epochs, "seconds": round(epochs * seconds, 4)}
