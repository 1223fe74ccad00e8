"""Formats of an export: each a function, in the table ``FORMATS``.

A format has a module of its own, which is imported only when it is written, so that settings can
take their choices from here.
"""

from __future__ import annotations

from pathlib import Path


def saved_model(folder: Path, **models) -> Path:
    """A SavedModel for TF Serving, in ``folder/N``."""
    from kt_transfer.serving.saved_model import export_saved_model

    return export_saved_model(folder, **models)


# Each writes the next version for ``saved_models/NAME`` from the arguments of
# ``export_saved_model``, and returns its folder.
FORMATS = {"saved_model": saved_model}
