"""Learners of many settings, as few of which are compiled as can be."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

# Compiled programs that are kept. What TensorFlow keeps of a traced update of a Keras optimizer,
# some 3 MB, is never freed: one that is let go too early, and is traced again, costs that again.
MOST_KEPT = 64


class Learners:
    """The learners of methods whose settings differ: those that can share a program do.

    Weights, optimizer and random states are a function of the seed alone in every fit, so that
    what a shared learner learns is what one of its own would.

    Args:
        prepare: Function of a method that makes its learner.
    """

    def __init__(self, prepare: Callable[[Any], Any]):
        self._prepare = prepare
        self._kept: OrderedDict[Any, Any] = OrderedDict()

    def learner(self, method):
        """The learner of a method; valid until so many others are asked for."""
        key = program_of(method)
        if key in self._kept:
            self._kept.move_to_end(key)
            if getattr(method, "given_anew", ()):
                self._kept[key].take(method)
            return self._kept[key]
        self._kept[key] = self._prepare(method)
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return self._kept[key]


def program_of(method):
    """The method without the settings that its program is given anew: those that are equal so can
    share a learner.

    Example:
        >>> from kt_transfer.methods import Scratch
        >>> program_of(Scratch(learning_rate=0.1)) == program_of(Scratch())
        True
        >>> program_of(Scratch(dropout=0.1)) == program_of(Scratch())
        False
    """
    given_anew = getattr(method, "given_anew", ())
    if not given_anew:
        return method
    defaults = {field.name: field.default for field in dataclasses.fields(method)}
    return dataclasses.replace(method, **{name: defaults[name] for name in given_anew})
