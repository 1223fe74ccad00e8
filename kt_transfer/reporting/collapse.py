"""Whether an autoencoder learned nothing: code units that say nothing, one answer for all."""

from __future__ import annotations

import numpy as np


def find_collapse(
    codes: np.ndarray, inputs: np.ndarray, reconstructions: np.ndarray
) -> dict[str, int | bool]:
    """Measure both over some examples.

    Args:
        codes: What the encoder says, ``(n, units)``.
        inputs: Examples, ``(m, …)``.
        reconstructions: What the autoencoder makes of them, the same shape.

    Returns:
        ``dead_code_units`` (units with the same value for every example) and
        ``constant_reconstruction`` (reconstructions vary less than a hundredth as much as the
        examples).
    """
    variance = reconstructions.var(axis=0, dtype=np.float64).mean()
    return {
        "dead_code_units": int((np.ptp(codes, axis=0) < 1e-6).sum()),
        "constant_reconstruction": bool(
            variance < 0.01 * inputs.var(axis=0, dtype=np.float64).mean()
        ),
    }


def describe_collapse(found: dict, num_units: int, change: str) -> list[str]:
    """What was found and what to change, a sentence each; nothing where all is well.

    Args:
        found: As from :func:`find_collapse`.
        num_units: Units of the code.
        change: What would help first: ``"lower --learning-rate"``.
    """
    sentences = []
    if found["constant_reconstruction"]:
        sentences.append(
            "warning: every example is reconstructed alike, the code says nothing: "
            f"{change}, or give more --epochs."
        )
    dead = found["dead_code_units"]
    if dead:
        sentences.append(
            f"{'warning' if 2 * dead >= num_units else 'note'}: {dead} of {num_units} code units "
            f"say the same for every example: {change}, or try another --seed; a narrower "
            "--latent-dim loses nothing."
        )
    return sentences
