"""What is left to stock Keras: why, and how a transform still sees every batch there.

Whatever :class:`~kt_transfer.FusedModel` cannot do exactly as stock Keras does is noticed before
the first callback is called, as :class:`HandOver`. Then stock Keras does all of it: with its own
numbers, warnings and errors.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import keras

# Whoever writes these anew decides how steps are executed.
_METHODS = {
    "fit": ("fit", "make_train_function", "evaluate", "make_test_function"),
    "evaluate": ("evaluate", "make_test_function"),
    "predict": ("predict", "make_predict_function"),
}
_STEPS = {
    "train_step": "train_function",
    "test_step": "test_function",
    "predict_step": "predict_function",
}


class HandOver(ValueError):
    """Stock Keras has to do it; the message says why."""


def check_model(model: keras.Model, method: str, steps) -> None:
    """Whether this model, called with these arguments, can be executed in another way.

    Args:
        model: The model.
        method: ``"fit"``, ``"evaluate"`` or ``"predict"``.
        steps: What was given for ``steps_per_epoch``, ``validation_steps`` or ``steps``.

    Raises:
        HandOver: If it cannot.
    """
    if method != "predict" and not model.compiled:
        raise HandOver("the model is not compiled")
    if model.run_eagerly:
        raise HandOver("run_eagerly was given to compile")
    if steps or keras.config.max_steps_per_epoch():
        raise HandOver("a number of steps was given")
    # A model that completes its targets has a fit of its own that does nothing else.
    if not hasattr(model, "complete_targets"):
        for name in _METHODS[method]:
            own = getattr(type(model), name) is not getattr(keras.Model, name)
            if own or name in vars(model):
                raise HandOver(f"the model has a method {name} of its own")


@contextlib.contextmanager
def steps_of_stock_keras(
    model: keras.Model, wrap: dict[str, Callable], functions: dict
) -> Iterator[None]:
    """Within it, stock Keras runs other steps in place of the model's own.

    Args:
        model: The model.
        wrap: For ``train_step``, ``test_step`` and ``predict_step``, a function from the model's
            own step to the one that is run.
        functions: What Keras has made of these steps; kept from call to call, so that it is
            traced once.
    """
    attributes = vars(model)
    names = (*_STEPS, *_STEPS.values())
    before = {name: attributes[name] for name in names if name in attributes}
    for step, function in _STEPS.items():
        attributes[step] = wrap[step](getattr(model, step))
        attributes[function] = functions.get(function)
    try:
        yield
    finally:
        functions.update({name: attributes[name] for name in _STEPS.values()})
        for name in names:
            attributes.pop(name, None)
        attributes.update(before)
