"""What is searched: one plain function for each command and method, over its own settings.

Each takes KerasTuner's ``hp`` and settings, and returns the settings with what ``hp`` chose. Its
defaults are the settings themselves, so that the first trial of a search changes nothing, and a
setting that lies beyond the usual values widens the range. The same function takes the dataclass
of a method and that of a command, which have fields of the same names::

    >>> import keras_tuner
    >>> from kt_transfer.methods import Scratch
    >>> scratch(keras_tuner.HyperParameters(), Scratch(learning_rate=0.02)).learning_rate
    0.02
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from kt_transfer.errors import UserError, listed
from kt_transfer.files.reading import read_json

DECAYS = ("none", "exponential", "step", "cosine")


def pretrain(hp, base):
    """Learning rate, batch size, masked share and widths of an autoencoder."""
    changes = {
        "learning_rate": _learning_rate(hp, base),
        "batch_size": _choice(hp, base, "batch_size", 32, 64, 128),
        "noise": _choice(hp, base, "noise", 0.0, 0.3, 0.5, 0.7),
    }
    if base.model == "conv":
        changes["filters"] = _widths(hp, "filters", base.filters, (32, 64), (16, 32, 64))
    else:
        others = (256, 128), (1000,)
        changes["hidden_units"] = _widths(hp, "hidden_units", base.hidden_units, *others)
    return dataclasses.replace(base, **changes)


def scratch(hp, base):
    """Learning rate and its decay, batch size and dropout of a network from fresh weights."""
    return dataclasses.replace(base, **_steps(hp, base), **_dropout(hp, base))


def parameters(hp, base):
    """Those of :func:`scratch`, and how many layers are locked."""
    locked = _choice(hp, base, "freeze", "0", "1", "all", default=str(base.freeze))
    changes = {"freeze": locked if locked == "all" else int(locked)}
    return dataclasses.replace(base, **_steps(hp, base), **_dropout(hp, base), **changes)


def features(hp, base):
    """Which layers' features a logistic regression takes; of a dense head what :func:`scratch`
    has."""
    head = getattr(base, "chosen_head", None) or base.head
    if head == "logistic_regression":
        chosen = _choice(hp, base, "features_from", "bottleneck", "all")
        return dataclasses.replace(base, features_from=chosen)
    return scratch(hp, base)


def propagated(hp, base):
    """Neighbours in the graph, and how far labels spread; ``alpha`` 0 leaves it to the labels."""
    alpha = _choice(hp, base, "alpha", 0.0, 0.9, 0.99, default=base.alpha or 0.0)
    return dataclasses.replace(
        base,
        neighbours=_choice(hp, base, "neighbours", 5, 10, 20),
        alpha=alpha or None,
        learning_rate=_learning_rate(hp, base),
    )


def consistency(hp, base):
    """Learning rate, threshold of confidence and weight of the unlabelled examples."""
    return dataclasses.replace(
        base,
        learning_rate=_learning_rate(hp, base),
        threshold=_choice(hp, base, "threshold", 0.7, 0.9, 0.95),
        unlabelled_weight=_choice(hp, base, "unlabelled_weight", 0.5, 1.0, 2.0),
    )


def vat(hp, base):
    """Learning rate and weight of the unlabelled examples."""
    return dataclasses.replace(
        base,
        learning_rate=_learning_rate(hp, base),
        unlabelled_weight=_choice(hp, base, "unlabelled_weight", 0.5, 1.0, 2.0),
    )


def distilled(hp, base):
    """Learning rate, weight of the hard labels, and temperature where the loss has one."""
    changes = {
        "learning_rate": _learning_rate(hp, base),
        "alpha": _choice(hp, base, "alpha", 0.0, 0.1, 0.5),
    }
    if base.loss in ("kl", "decoupled", "standardized"):
        changes["temperature"] = _choice(hp, base, "temperature", 1.0, 2.0, 4.0, 8.0, 16.0)
    return dataclasses.replace(base, **changes)


BY_METHOD = {
    function.__name__: function
    for function in (scratch, parameters, features, propagated, consistency, vat, distilled)
}


def space_of(method: str) -> Callable:
    """The space of a method.

    Raises:
        UserError: If it has no settings to search.
    """
    if method not in BY_METHOD:
        raise UserError(
            setting="method",
            given=method,
            expected=f"a method with settings to search: {', '.join(BY_METHOD)}",
            but="it chooses its only one, the regularization, by itself",
            remedy="train it with finetune",
        )
    return BY_METHOD[method]


def read_description(path: Path) -> dict:
    """What a JSON file says of a space: of each setting its values, or the ends of a range.

    For example::

        {"learning_rate": {"min": 1e-5, "max": 1e-2, "sampling": "log"},
         "batch_size": [16, 32, 64],
         "dropout": {"min": 0.0, "max": 0.6}}

    Raises:
        UserError: If it cannot be read, or a setting in it is described in no such way.
    """
    try:
        described = read_json(path)
        if not isinstance(described, dict) or not described:
            raise ValueError("it is not an object with a setting")
    except (OSError, ValueError) as error:
        raise UserError(
            setting="space",
            given=path,
            expected='a JSON file such as {"batch_size": [16, 32], "learning_rate": {"min": 1e-4, '
            '"max": 1e-2, "sampling": "log"}}',
            but=f"it cannot be read ({error})",
            remedy="correct it",
        ) from error
    return described


def from_description(described: Mapping, known: Collection[str], base) -> Callable:
    """A space from what :func:`read_description` gives.

    Args:
        described: Settings with their values or ranges.
        known: The settings that can be searched.
        base: The settings to search around.

    Raises:
        UserError: If it has others, describes one in no such way, or has a value that cannot be.
    """
    for name, values in described.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise UserError(
                setting="space",
                given=name,
                expected="a setting of what is searched",
                but="there is none of this name",
                remedy=f"did you mean {near[0]}?" if near else f"give some of {listed(known)}",
            )
        try:
            _require_described(name, values, getattr(base, name))
            ends = values if isinstance(values, list) else (values["min"], values["max"])
            for value in ends:
                value = tuple(value) if isinstance(value, list) else value
                dataclasses.replace(base, **{name: value})
        except (ValueError, TypeError) as error:
            raise UserError(
                setting="space",
                given={name: values},
                expected='values, [16, 32], or a range, {"min": 1e-4, "max": 1e-2}',
                but=str(error),
                remedy="correct it",
            ) from error

    def suggest(hp, base):
        return dataclasses.replace(
            base, **{name: _described(hp, base, name, v) for name, v in described.items()}
        )

    return suggest


def _require_described(name: str, values, default) -> None:
    if isinstance(values, list) and values:
        return
    if not isinstance(values, dict) or not {"min", "max"} <= set(values) <= {
        "min",
        "max",
        "sampling",
    }:
        raise ValueError(f"{name} is neither a list of values nor a range with min and max")
    ends = values["min"], values["max"]
    if not all(_is_number(end) for end in ends):
        raise ValueError(f"{name}: min and max are not both numbers")
    if default is not None and not _is_number(default):
        raise ValueError(f"{name} is {default}, not a number: give a list of values")
    if not values["min"] < values["max"]:
        raise ValueError(f"{name}: min is not below max")
    if values.get("sampling", "linear") not in ("linear", "log"):
        raise ValueError(f"{name}: sampling is neither linear nor log")
    least = values["min"] if default is None else min(values["min"], default)
    if values.get("sampling") == "log" and least <= 0:
        raise ValueError(
            f"{name}: sampling log needs numbers above 0, in the range and as the setting is given"
        )


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _described(hp, base, name: str, values):
    default = getattr(base, name)
    if isinstance(values, list):
        if any(isinstance(value, list | tuple) for value in (*values, default)):
            return _widths(hp, name, tuple(default or ()), *map(tuple, values))
        kinds = {type(value) for value in (*values, default)}
        if len(kinds) > 1 and not kinds <= {int, float}:
            # KerasTuner chooses among values of one kind only.
            options = {str(value): value for value in (default, *values)}
            return options[hp.Choice(name, list(options), default=str(default))]
        return _choice(hp, base, name, *values)
    low, high = values["min"], values["max"]
    whole = all(isinstance(number, int) for number in (low, high, default))
    usual = low if default is None else default
    ask = hp.Int if whole else hp.Float
    return ask(
        name,
        min(low, usual),
        max(high, usual),
        sampling=values.get("sampling", "linear"),
        default=usual,
    )


def _steps(hp, base) -> dict:
    """How the network is trained."""
    return {
        "learning_rate": _learning_rate(hp, base),
        "batch_size": _choice(hp, base, "batch_size", 16, 32, 64),
        "lr_decay": _choice(hp, base, "lr_decay", *DECAYS),
    }


def _dropout(hp, base) -> dict:
    return {"dropout": _choice(hp, base, "dropout", 0.0, 0.2, 0.5)}


def _learning_rate(hp, base) -> float:
    """The usual rates, or as far as the default lies."""
    default = base.learning_rate
    low, high = min(1e-4, default), max(1e-2, default)
    return hp.Float("learning_rate", low, high, sampling="log", default=default)


def _choice(hp, base, name: str, *values, default=None):
    """A choice that offers the default too, wherever it lies."""
    default = getattr(base, name) if default is None else default
    kinds = {type(value) for value in (*values, default)}
    if len(kinds) > 1 and kinds <= {int, float}:
        values, default = map(float, values), float(default)
    return hp.Choice(name, sorted({*values, default}, key=_order), default=default)


def _order(value):
    return (isinstance(value, str), value)


def _widths(hp, name: str, base: tuple[int, ...], *others: tuple[int, ...]) -> tuple[int, ...]:
    """Widths as a word, since KerasTuner chooses among words and numbers only."""
    options = {"-".join(map(str, widths)): widths for widths in (base, *others)}
    return options[hp.Choice(name, list(options), default=next(iter(options)))]
