"""Formats of an export: each a function, in the table ``FORMATS``.

A format has a module of its own, which is imported only when it is written, so that settings can
take their choices from here.
"""

from __future__ import annotations

from pathlib import Path

from kt_transfer.serving.versions import versions_in


def saved_model(folder: Path, *, kept=None, **models) -> Path:
    """A SavedModel for TF Serving, in ``folder/N``."""
    from kt_transfer.serving.saved_model import export_saved_model

    return export_saved_model(folder, **models)


def litert(folder: Path, *, kept=None, picture_files=False, describe=None, **models) -> Path:
    """``folder/litert/N/model.tflite`` for LiteRT, once called TensorFlow Lite, in float32."""
    from kt_transfer.serving.litert import export_litert

    return export_litert(folder / "litert", **models)


def litert_int8(
    folder: Path, *, kept=None, picture_files=False, describe=None, prove=None, **models
) -> Path:
    """``folder/litert_int8/N/model.tflite``, in whole numbers of 8 bits."""
    from kt_transfer.serving.litert import export_litert_int8

    return export_litert_int8(folder / "litert_int8", kept=kept, **models)


def onnx(folder: Path, *, kept=None, picture_files=False, describe=None, **models) -> Path:
    """``folder/onnx/N/model.onnx``."""
    from kt_transfer.serving.onnx import export_onnx

    return export_onnx(folder / "onnx", **models)


# Each writes the next version for ``saved_models/NAME`` from the arguments of
# ``export_saved_model`` and the raw examples that the run has kept (``None`` if it has none), and
# returns its folder. TF Serving looks for versions in ``folder`` itself, and passes over what is no
# number.
FORMATS = {
    "saved_model": saved_model,
    "litert": litert,
    "litert_int8": litert_int8,
    "onnx": onnx,
}


def newest_version(folder: Path, format: str) -> Path | None:
    """The folder of the newest version of a format; ``None`` if there is none.

    Args:
        folder: ``saved_models/NAME``.
        format: One of ``FORMATS``.

    Example:
        >>> newest_version(Path("saved_models/digits"), "saved_model")
        PosixPath('saved_models/digits/1')
    """
    folder = Path(folder) / ("" if format == "saved_model" else format)
    versions = versions_in(folder) if folder.is_dir() else []
    return versions[-1] if versions else None
