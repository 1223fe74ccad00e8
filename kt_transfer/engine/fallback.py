"""When Keras's own ``fit``, ``evaluate`` and ``predict`` are used, and with which steps.

Whatever :class:`~kt_transfer.FusedModel` cannot do exactly as stock Keras does raises
:class:`NeedsStockKeras` before the first callback is called. Stock Keras then does all of it, with
its own results, warnings and errors.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import keras

# A model that overrides any of these decides for itself how steps are executed.
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


class NeedsStockKeras(ValueError):
    """Only stock Keras can do this; the message says why."""


def check_model(model: keras.Model, method: str, steps) -> None:
    """Check that this model, called with these arguments, can be fused.

    Args:
        model: The model.
        method: ``"fit"``, ``"evaluate"`` or ``"predict"``.
        steps: The value of ``steps_per_epoch``, ``validation_steps`` or ``steps``.

    Raises:
        NeedsStockKeras: If it cannot.
    """
    if method != "predict" and not model.compiled:
        raise NeedsStockKeras("the model is not compiled")
    if model.run_eagerly:
        raise NeedsStockKeras("run_eagerly was given to compile")
    if steps or keras.config.max_steps_per_epoch():
        raise NeedsStockKeras("a number of steps was given")
    # A model with complete_targets overrides fit for nothing but completing its targets.
    if not hasattr(model, "complete_targets"):
        for name in _METHODS[method]:
            overridden = getattr(type(model), name) is not getattr(keras.Model, name)
            if overridden or name in vars(model):
                raise NeedsStockKeras(f"the model has a method {name} of its own")


@contextlib.contextmanager
def replaced_steps(
    model: keras.Model, wrap: dict[str, Callable], functions: dict
) -> Iterator[None]:
    """Within this context, stock Keras runs wrapped steps in place of the model's own.

    Args:
        model: The model.
        wrap: For each of ``train_step``, ``test_step`` and ``predict_step``, a function from the
            model's own step to the wrapped one.
        functions: The functions that Keras made of the wrapped steps, updated on exit. Pass the
            same dict each time, so that they are traced only once.
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
