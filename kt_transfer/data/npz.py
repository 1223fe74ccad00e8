"""``npz:FILE``: arrays ``x``, ``y``, optional ``x_test``, ``y_test``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kt_transfer.data.arrays import dataset_from_arrays
from kt_transfer.data.dataset import Dataset
from kt_transfer.errors import UserError


def load(spec: str, path: Path) -> Dataset:
    """The arrays of one file; without ``y`` (or where it is -1) nothing is labelled."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:
        raise UserError(
            f"--data {spec} was given, expected an .npz file with an array x, but it cannot be "
            f"read ({error}): write one with numpy.savez(FILE, x=..., y=...)."
        ) from error
    if "x" not in arrays:
        raise UserError(
            f"--data {spec} was given with the arrays {', '.join(arrays) or '(none)'}, expected x: "
            "name the examples x and the labels y."
        )
    x, x_test = arrays["x"], arrays.get("x_test")
    if x.dtype.kind not in "uif":
        raise UserError(
            f"--data {spec} was given with x of type {x.dtype}, expected numbers: convert it."
        )
    return dataset_from_arrays(
        spec,
        x if x.dtype == np.uint8 else x.astype(np.float32),
        arrays.get("y"),
        x_test if x_test is None or x_test.dtype == np.uint8 else x_test.astype(np.float32),
        arrays.get("y_test"),
        value_range=(0.0, 255.0) if x.dtype == np.uint8 else None,
    )
