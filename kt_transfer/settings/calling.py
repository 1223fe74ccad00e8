"""Commands as Python functions: what is natural to pass, as the settings have it."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

import numpy as np

from kt_transfer.errors import UserError, listed
from kt_transfer.methods.bounds import hints_of
from kt_transfer.runs.folder import open_source, open_teacher
from kt_transfer.settings.distill import DistillConfig
from kt_transfer.settings.finetune import FinetuneConfig

P = ParamSpec("P")
Result = TypeVar("Result")

# The settings that name data, for which arrays and data frames may be passed.
_DATA = ("data", "source_data", "shift_data")


def takes(config_class: Callable[P, Any]) -> Callable[[Callable], Callable[P, Any]]:
    """Decorator of a function of a config: it takes the settings themselves, by name.

    An editor that asks for the signature is given every setting with its default and its type; a
    name that is none is refused with the nearest.

    Args:
        config_class: The dataclass whose fields are the settings.

    Example:
        >>> from kt_transfer.settings import PretrainConfig
        >>> @takes(PretrainConfig)
        ... def run(config):
        ...     return config.hidden_units, config.out
        >>> run(hidden_units=64, out="runs/first")
        ((64,), PosixPath('runs/first'))
        >>> run(hiden_units=64)
        Traceback (most recent call last):
        ...
        kt_transfer.errors.UserError: hiden_units=64 was given, expected a setting of run: ...
    """

    def decorate(function: Callable[..., Result]) -> Callable[P, Result]:
        @functools.wraps(function)
        def run(**settings):
            return function(config_of(config_class, settings))

        run.__signature__ = signature_of(config_class)
        return run

    return decorate


def config_of(config_class, settings: Mapping[str, Any]):
    """The config of settings as a caller in Python gives them.

    A run may be given for its folder, one value for several, NumPy's numbers for Python's, and
    arrays, a ``tf.data.Dataset`` or a data frame for a data spec.

    ``None`` is a value where the type has it. Data that are ``None`` are those of the run that is
    started from; without one they are a mistake, for which the embedded digits would be taken.

    Raises:
        UserError: If a setting is unknown, or a value of another type than it takes.
    """
    hints = hints_of(config_class)
    given = dict(settings)
    for name, value in settings.items():
        if name not in hints:
            near = difflib.get_close_matches(name, hints, 1, 0.5)
            meant = f"did you mean {near[0]}?" if near else f"there are {listed(hints, 60)}"
            raise UserError(
                setting=name,
                given=shortened(value),
                expected="a setting of run",
                remedy=f"leave it out ({meant})",
            )
        if name in _DATA and value is not None and not isinstance(value, str | os.PathLike):
            given |= _kept(name, value, hints)
    for field in dataclasses.fields(config_class):
        if field.default is dataclasses.MISSING and field.name not in given:
            raise UserError(
                given=f"no {field.name}",
                expected=f"one, since run has no default for {field.name}",
                remedy=f"give {field.name}=…",
            )
    for name, value in given.items():
        if value is None and type(None) not in get_args(_bare(hints[name])):
            raise _is_none(name)
    config = config_class(**{name: _value(name, hints[name], given[name]) for name in given})
    if given.get("data", "") is None and not _starts_from_a_run(config):
        raise _is_none("data")
    return config


def signature_of(config_class, *first: inspect.Parameter) -> inspect.Signature:
    """Every setting with its default and its type, after parameters of another kind."""
    parameters = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty
            if field.default is dataclasses.MISSING
            else field.default,
            annotation=_plain(hints_of(config_class)[field.name]),
        )
        for field in dataclasses.fields(config_class)
    ]
    taken = {parameter.name for parameter in first}
    return inspect.Signature([*first, *(p for p in parameters if p.name not in taken)])


def shortened(value: object, most: int = 60) -> str:
    """A value in a sentence, cut where it is long."""
    words = " ".join(str(value).split())
    return words if len(words) <= most else f"{words[: most - 1]}…"


def _starts_from_a_run(config) -> bool:
    """Whether data that are not given are those of a run, or of what it became."""
    if isinstance(config, FinetuneConfig):
        return open_source(config.source) is not None
    if isinstance(config, DistillConfig):
        return any(open_teacher(path) is not None for path in config.teacher)
    return True


def _is_none(name: str) -> UserError:
    """The error for a variable that holds nothing by mistake, which would pass for the default."""
    return UserError(
        setting=name,
        given="None",
        expected="a value",
        remedy="give one, or leave it out where its default is meant",
    )


def _kept(name: str, value: object, hints: Mapping[str, Any]) -> dict:
    """The spec of data in memory, and the column of their labels where the frame has none yet."""
    from kt_transfer.data.given import keep

    spec, label_column = keep(name, value)
    named = {name: spec}
    if label_column is not None and "label_column" in hints:
        named["label_column"] = label_column
    return named


def _value(name: str, hint, value):
    """A value as its type has it."""
    kind, arguments = get_origin(hint), get_args(hint)
    if value is None:
        return None
    if kind is Annotated:
        return _value(name, arguments[0], value)
    if kind is Literal:
        return value
    if kind in (Union, UnionType):
        return _value(name, _alternative(arguments, value), value)
    if kind is tuple:
        inner = arguments[0]
        return tuple(_value(name, inner, item) for item in _several(value))
    if hint in (str, Path) and isinstance(value, os.PathLike):
        return hint(os.fspath(value))
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint in (str, Path) and not isinstance(value, str):
        raise UserError(
            setting=name,
            given=shortened(repr(value)),
            expected="text" if hint is str else "a path",
            remedy="give such a value",
        )
    if hint in (int, float):
        return _number(name, hint, value)
    if hint is bool and isinstance(value, np.bool_):
        return bool(value)
    return value


def _alternative(hints: tuple, value):
    """The type among several that a value is meant for."""
    several = isinstance(value, Iterable) and not isinstance(value, str | os.PathLike | bytes)
    known = [hint for hint in hints if get_origin(hint) is Literal and _is_in(value, hint)]
    tuples = [hint for hint in hints if get_origin(_bare(hint)) is tuple]
    others = [hint for hint in hints if hint is not type(None) and hint not in tuples]
    plain = [hint for hint in others if get_origin(hint) is not Literal]
    return (known or (tuples if several else []) or plain or tuples or others)[0]


def _is_in(value, hint) -> bool:
    return isinstance(value, str | int | float) and value in get_args(hint)


def _bare(hint):
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _several(value) -> Iterable:
    if isinstance(value, str | os.PathLike) or not isinstance(value, Iterable):
        return (value,)
    return value


def _number(name: str, kind: type, value):
    """A number of Python; a whole one that is written as 3.0 is 3."""
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        value = value.item()
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        pass
    elif kind is float or isinstance(value, int):
        return value
    raise UserError(
        setting=name,
        given=shortened(repr(value)),
        expected="a whole number" if kind is int else "a number",
        remedy="give such a value",
    )


def _plain(hint):
    """A type without the bounds that it carries, as an editor shows it."""
    kind, arguments = get_origin(hint), get_args(hint)
    if kind is Annotated:
        return _plain(arguments[0])
    if kind in (Union, UnionType):
        return functools.reduce(lambda a, b: a | b, map(_plain, arguments))
    if kind is tuple:
        return tuple[tuple(_plain(a) if a is not Ellipsis else a for a in arguments)]
    return hint
