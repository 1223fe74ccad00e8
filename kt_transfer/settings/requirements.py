"""What a flag's value must be: a sentence where it is not.

Each raises a :class:`~kt_transfer.errors.UserError` that says what was given and expected.
"""

from __future__ import annotations

import math
from pathlib import Path

from kt_transfer.errors import UserError


def require(condition: bool, flag: str, given: object, expected: str) -> None:
    """Refuse what was given unless the condition holds."""
    if not condition:
        raise UserError(f"{flag} {given} was given, expected {expected}: give such a value.")


def require_units(flag: str, units: tuple[int, ...]) -> None:
    """Widths of layers."""
    require(all(unit >= 1 for unit in units), flag, units, "widths of at least 1")


def require_labels(config) -> None:
    """A number of labelled examples, and the share of them that is held out."""
    require(config.labels is None or config.labels >= 1, "--labels", config.labels, "at least 1")
    require(
        0 <= config.validation_split < 1,
        "--validation-split",
        config.validation_split,
        "a share from 0 to below 1",
    )


def require_teacher_weights(teachers: tuple, weights: tuple[float, ...] | None) -> None:
    """One weight a teacher, not all of them zero."""
    if weights is None:
        return
    shown = " ".join(f"{weight:g}" for weight in weights)
    positive = all(0 <= weight < math.inf for weight in weights) and sum(weights) > 0
    require(
        len(weights) == len(teachers) and positive,
        "--teacher-weights",
        shown,
        f"a weight of 0 or more for each of the {len(teachers)} teachers",
    )


def shown_range(given: tuple[float, float]) -> str:
    """Two numbers as they are given on a command line."""
    return "{:g} {:g}".format(*given)


def require_range(flag: str, given: tuple[float, float] | None) -> None:
    """Two numbers, the smaller one first."""
    if given is not None:
        low, high = given
        require(
            -math.inf < low < high < math.inf, flag, shown_range(given), "a smaller and a larger"
        )


def require_source_range(source: str, given: tuple[float, float] | None) -> None:
    """Such a range, and a source that does not know its own."""
    if given is None:
        return
    require_range("--source-range", given)
    shown = shown_range(given)
    if not source.endswith(".keras"):
        raise UserError(
            f"--source-range {shown} was given with --source {source}, expected a FILE.keras: "
            "leave it out, since runs and applications know their range."
        )


def require_name(name: str | None) -> None:
    """A served model's name."""
    fits = name is None or (name == Path(name).name and not name.startswith("."))
    require(fits, "--name", name, "one word that can name a folder")


def require_patience(patience: int | None) -> None:
    """Epochs to wait."""
    require(patience is None or patience >= 1, "--patience", patience, "at least 1")


def require_fewer_epochs(flag: str, given: int | None, epochs: int) -> None:
    """What comes before the rest has to leave an epoch for it."""
    fits = given is None or 0 <= given < epochs
    require(fits, flag, given, f"fewer than the {epochs} epochs")
