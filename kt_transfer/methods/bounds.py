"""What a setting's value must be, declared as part of its type, and checked for all at once."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from kt_transfer.errors import UserError


@dataclasses.dataclass(frozen=True)
class Bound:
    """What holds of a value, and the words that say so."""

    holds: Callable[[Any], bool]
    expected: str


NotNegative = Annotated[int, Bound(lambda number: number >= 0, "0 or more")]
AtLeastOne = Annotated[int, Bound(lambda number: number >= 1, "at least 1")]
Positive = Annotated[float, Bound(lambda number: 0 < number < math.inf, "more than 0")]
Weight = Annotated[float, Bound(lambda weight: 0 <= weight < math.inf, "0 or more")]
Fraction = Annotated[float, Bound(lambda weight: 0 <= weight <= 1, "a weight from 0 to 1")]
Share = Annotated[float, Bound(lambda share: 0 <= share < 1, "a share from 0 to below 1")]
LayerDecay = Annotated[float, Bound(lambda share: 0 < share <= 1, "above 0 and at most 1")]
Units = Annotated[
    tuple[int, ...], Bound(lambda units: min(units, default=1) >= 1, "widths of at least 1")
]
ValueRange = Annotated[
    tuple[float, float],
    Bound(lambda ends: -math.inf < ends[0] < ends[1] < math.inf, "a smaller and a larger"),
]
FolderName = Annotated[
    str,
    Bound(
        lambda name: name == Path(name).name and not name.startswith("."),
        "one word that can name a folder",
    ),
]


def require(condition: bool, setting: str, given: object, expected: str) -> None:
    """Refuse what was given unless the condition holds."""
    if not condition:
        raise UserError(setting=setting, given=given, expected=expected, remedy="give such a value")


def require_fewer_epochs(setting: str, given: int | None, epochs: int) -> None:
    """What comes before the rest has to leave an epoch for it."""
    fits = given is None or 0 <= given < epochs
    require(fits, setting, given, f"fewer than the {epochs} epochs")


def require_bounds(config) -> None:
    """Refuse a dataclass in which a value lies outside the bounds of its type.

    Raises:
        UserError: It names the setting; of several, the first.
    """
    for name, hint in hints_of(type(config)).items():
        for bound, value in _bounds(hint, getattr(config, name)):
            try:
                holds = bound.holds(value)
            except TypeError:  # a word where a number is expected
                holds = False
            require(holds, name, value, bound.expected)


def _bounds(hint, value) -> Iterator[tuple[Bound, Any]]:
    """The bounds within a type, each with what it bounds: the value or a part of it."""
    kind, arguments = get_origin(hint), get_args(hint)
    if value is None:
        return
    if kind is Annotated:
        yield from _bounds(arguments[0], value)
        yield from ((bound, value) for bound in hint.__metadata__ if isinstance(bound, Bound))
    elif kind is Literal:
        words = ", ".join(map(str, arguments))
        yield Bound(lambda given: given in arguments, f"one of {words}"), value
    elif kind is tuple:
        for item in value:
            yield from _bounds(arguments[0], item)
    elif kind in (Union, UnionType):
        literals = [one for one in arguments if get_origin(one) is Literal]
        others = [one for one in arguments if one not in (type(None), *literals)]
        if not any(value in get_args(words) for words in literals):
            if isinstance(value, tuple):
                others = [one for one in others if get_origin(one) is tuple] or others
            else:
                others = [one for one in others if get_origin(one) is not tuple] or others
            for one in others or literals:
                yield from _bounds(one, value)


@functools.cache
def hints_of(config_class: type) -> dict[str, Any]:
    """The type of each field, with its bounds."""
    hints = get_type_hints(config_class, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(config_class)}
