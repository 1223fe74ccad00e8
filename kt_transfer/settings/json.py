"""Settings as JSON has them, and back."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from kt_transfer.errors import UserError

# How a size of pictures is given: so many pixels at most, or height and width.
IMAGE_SIZE = int | tuple[int, int] | None


def to_settings(config) -> dict:
    """``config`` as what ``json.dump`` takes."""
    return _converter().unstructure(config)


def from_settings(config_class, settings: dict):
    """The ``config_class`` that ``settings`` describe; a key that it does not know is refused."""
    try:
        return _converter().structure(settings, config_class)
    except Exception as error:
        for mistake in [error, *getattr(error, "exceptions", [])]:
            if isinstance(mistake, UserError):
                raise mistake from None
        unknown = sorted(set(settings) - {f.name for f in dataclasses.fields(config_class)})
        reason = f"unknown settings {', '.join(unknown)}" if unknown else f"{error}"
        raise UserError(
            f"settings of another kind were given ({reason}), expected those of "
            f"{config_class.__name__}: give a run of the same command and version."
        ) from error


def _converter():
    from cattrs.preconf.json import make_converter

    converter = make_converter(forbid_extra_keys=True)
    converter.register_unstructure_hook(Path, str)
    converter.register_structure_hook(Path, lambda value, _: Path(value))
    # As JSON reads it back, so that a resumed run finds its settings unchanged.
    for pair in (tuple[float, float], tuple[float, ...], IMAGE_SIZE):
        converter.register_unstructure_hook_func(lambda kind, pair=pair: kind == pair, _as_list)
    converter.register_structure_hook(IMAGE_SIZE, _as_tuple)
    # The one field that is a number or a word.
    converter.register_structure_hook(int | Literal["all"], lambda value, _: value)
    return converter


def _as_list(value):
    return list(value) if isinstance(value, tuple) else value


def _as_tuple(value, _):
    return tuple(value) if isinstance(value, list) else value
