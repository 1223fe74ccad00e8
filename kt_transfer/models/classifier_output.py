"""The output of a classifier: logits or probabilities, one number per class or one for two."""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np
from keras import layers, ops, tree

_NO_PROBABILITY = 1e-30
_ROUNDED_AWAY = 2.0**-25
# Size of a probe along dimensions of unknown size.
_ANY_SIZE = 32
_CHANGE_NOTHING = (layers.Identity, layers.Dropout, layers.Flatten, layers.Reshape)


class ClassifierOutput(NamedTuple):
    """The output of a classifier.

    Attributes:
        width: Numbers per example; 1 for a binary classifier with a single unit.
        kind: ``"logits"`` or ``"probabilities"``.
    """

    width: int
    kind: str

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return max(self.width, 2)

    def as_logits(self, rows, dtype: str = "float32"):
        """Convert outputs of shape ``(batch, width)`` to logits of shape ``(batch, classes)``.

        The logits of probabilities are their logarithms. A single logit z becomes 0 and z, whose
        softmax equals sigmoid(z).

        Example:
            >>> np.array(ClassifierOutput(1, "logits").as_logits(np.array([[3.0]])))
            array([[0., 3.]], dtype=float32)
        """
        rows = ops.cast(rows, dtype)
        if self.kind == "logits":
            return rows if self.width > 1 else ops.concatenate([ops.zeros_like(rows), rows], -1)
        if self.width == 1:
            # The precision of 1 - p for p near one, so that the logit is 17 rather than 69.
            rows = ops.concatenate([ops.maximum(1.0 - rows, _ROUNDED_AWAY), rows], -1)
        return logarithm(rows)


def classifier_output(model: keras.Model) -> ClassifierOutput:
    """Determine the output of a classifier from its last layer or, failing that, from probes.

    Args:
        model: A functional or sequential model, or a subclassed one that has been built.

    Raises:
        ValueError: If it is not built, its output is not a row of numbers, or the output is neither
            logits nor probabilities or is ambiguous.

    Example:
        >>> stack = [keras.Input((4,)), keras.layers.Dense(3, "softmax")]
        >>> classifier_output(keras.Sequential(stack))
        ClassifierOutput(width=3, kind='probabilities')
    """
    kind = f"{model.name} ({type(model).__name__})"
    is_graph = bool(getattr(model, "inputs", None))
    activation = last_activation(model) if is_graph else None
    rows = None if activation in ("softmax", "linear", "sigmoid") else _probe_outputs(model)
    if rows is None and not is_graph:
        raise ValueError(
            f"{kind} was given, expected a model that has been built: call it on some examples "
            "first"
        )
    shape = model.output_shape if is_graph else np.shape(rows)
    if not isinstance(shape, tuple) or len(shape) != 2:
        raise ValueError(f"{kind} was given, which emits {shape}, expected (batch, classes)")
    width = shape[-1]
    if activation == "sigmoid" and width > 1:
        raise ValueError(
            f"{kind} was given, which ends in {width} sigmoid units, expected logits or "
            "probabilities that sum to one: leave the sigmoid out"
        )
    if width == 1 and activation not in ("linear", "sigmoid"):
        raise ValueError(
            f"{kind} was given, which emits one number, expected a last Dense layer of one unit "
            "that is linear or a sigmoid, or of two units: end it so"
        )
    if activation is None and rows is not None and are_distributions(rows):
        return ClassifierOutput(width, "probabilities")
    return ClassifierOutput(
        width, "probabilities" if activation in ("softmax", "sigmoid") else "logits"
    )


def last_activation(model: keras.Model) -> str | None:
    """Name of a model's last activation, ignoring layers that leave values unchanged."""
    # Not model.output: for a Sequential that has been called, this is the output of that call.
    graph = keras.Model(model.inputs, model.outputs)
    made_by = {id(operation.output): operation for operation in graph.operations}
    tensor = graph.outputs[0]
    while (last := made_by.get(id(tensor))) is not None:
        name = getattr(getattr(last, "activation", None), "__name__", None)
        has_weights = bool(getattr(last, "weights", ()))
        if isinstance(last, keras.Model):
            return last_activation(last)
        if isinstance(last, layers.Softmax) or type(last).__name__ in ("Softmax", "Sigmoid"):
            return type(last).__name__.lower()
        if (name == "linear" and not has_weights) or isinstance(last, _CHANGE_NOTHING):
            tensor = last.input
        else:
            return name if name != "linear" or isinstance(last, layers.Dense) else None
    return None


def _probe_outputs(model: keras.Model) -> np.ndarray | None:
    """Outputs for an example of zeros and one of ones; ``None`` if the model takes neither."""
    if getattr(model, "inputs", None):
        # A Sequential that has not been called has inputs, but no input.
        given = model.inputs[0] if len(model.inputs) == 1 else model.input
        x = tree.map_structure(lambda it: _zero_and_one(tuple(it.shape), it.dtype), given)
    elif shape := (model.get_build_config() or {}).get("input_shape"):
        x = _zero_and_one(tuple(shape), "float32")
    else:
        return None
    try:
        return ops.convert_to_numpy(ops.cast(model(x, training=False), "float32"))
    except Exception:  # it takes other examples: the fit will see its real outputs
        return None


def _zero_and_one(shape: tuple, dtype: str):
    num = shape[0] or 2
    one = np.arange(num).reshape(num, *[1] * (len(shape) - 1)) % 2
    sizes = [num, *(size or _ANY_SIZE for size in shape[1:])]
    return ops.convert_to_tensor(np.broadcast_to(one, sizes), dtype)


def logarithm(probabilities):
    """Logits of probabilities, finite for a probability of zero."""
    return ops.log(ops.maximum(probabilities, _NO_PROBABILITY))


def are_distributions(rows: np.ndarray) -> bool:
    """Whether rows are probability distributions: non-negative, with a sum of one."""
    return bool((rows >= 0).all()) and bool(np.allclose(rows.sum(axis=1), 1.0, atol=1e-3))
