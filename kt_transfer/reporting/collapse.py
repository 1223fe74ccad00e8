"""Detect a collapsed autoencoder: dead code units, or a constant reconstruction."""

from __future__ import annotations

import numpy as np


def find_collapse(
    codes: np.ndarray, inputs: np.ndarray, reconstructions: np.ndarray
) -> dict[str, int | bool]:
    """Check both on some examples.

    Args:
        codes: Codes, ``(n, units)``.
        inputs: Examples, ``(m, …)``.
        reconstructions: Their reconstructions, the same shape.

    Returns:
        ``dead_code_units`` (units with the same value for every example) and
        ``constant_reconstruction`` (whether the variance of the reconstructions is below a
        hundredth of that of the examples).
    """
    variance = reconstructions.var(axis=0, dtype=np.float64).mean()
    return {
        "dead_code_units": int((np.ptp(codes, axis=0) < 1e-6).sum()),
        "constant_reconstruction": bool(
            variance < 0.01 * inputs.var(axis=0, dtype=np.float64).mean()
        ),
    }


def describe_collapse(found: dict, num_units: int, change: str) -> list[str]:
    """Warnings about a collapse with remedies, one sentence each; empty if there is none.

    Args:
        found: As from :func:`find_collapse`.
        num_units: Number of code units.
        change: The first remedy to suggest: ``"lower the learning rate"``.
    """
    sentences = []
    if found["constant_reconstruction"]:
        sentences.append(
            "warning: all reconstructions are the same, the code carries no information: "
            f"{change}, or train for more epochs."
        )
    dead = found["dead_code_units"]
    if dead:
        sentences.append(
            f"{'warning' if 2 * dead >= num_units else 'note'}: {dead} of {num_units} code units "
            f"are dead, constant over all examples: {change}, or try another seed; a smaller code "
            "loses nothing."
        )
    return sentences
