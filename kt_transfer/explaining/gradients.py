"""Integrated gradients: how much of an answer each raw value of an example carries."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kt_transfer.engine.feeds import predict_batch_size

# Steps along the path: of a smooth network, 32 are enough; those of kinked ones are doubled.
FIRST_STEPS, MOST_STEPS = 32, 1024
# How far the sum of the attributions may be from what they have to add up to.
TOLERANCE = 1e-3


class Attribution(NamedTuple):
    """What each value of some examples contributes to the answer.

    Attributes:
        values: Shape ``(n, ...)`` as the examples; above 0 where a value speaks for the class.
        differences: Shape ``(n,)``: the log-odds of the class for each example minus those for the
            baseline, which ``values`` add up to.
    """

    values: np.ndarray
    differences: np.ndarray


def on_floats(network: keras.Model, preprocessing: keras.Model) -> keras.Model:
    """A network as a model of raw examples that are floats, whatever their type was.

    Pixels are whole numbers from 0 to 255, of which no gradient exists and no mean can be shown.

    Args:
        network: From inputs to logits.
        preprocessing: From raw examples to inputs.

    Returns:
        A functional model, ``(batch, ...)`` to ``(batch, classes)``, over copies of the layers of
        ``preprocessing``; ``network`` is the same object.
    """
    given = preprocessing.input
    dtype = "float64" if given.dtype == "float64" else "float32"
    raw = keras.Input(given.shape[1:], dtype=dtype, name="raw")
    inputs = keras.models.clone_model(preprocessing, input_tensors=raw)
    inputs.set_weights(preprocessing.get_weights())
    return keras.Model(raw, network(inputs(raw)), name="on_floats")


def log_odds(logits: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    """The logit of a class's probability, log p / (1 - p), ``(n, classes)`` to ``(n,)``.

    A network's own logit of the class may rise while its probability falls, for all logits may be
    raised by the same number; this one cannot.

    Example:
        >>> log_odds(tf.constant([[0.0, 0.0, 0.0]]), tf.constant([2])).numpy().round(3).tolist()
        [-0.693]
    """
    own = tf.one_hot(classes, logits.shape[-1], on_value=True, off_value=False)
    others = tf.where(own, tf.cast(-np.inf, logits.dtype), logits)
    return logit(logits, classes) - tf.reduce_logsumexp(others, axis=-1)


def logit(logits: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    """The logit of a class, ``(n, classes)`` to ``(n,)``."""
    return tf.gather(logits, classes, batch_dims=1)


def integrated_gradients(
    model: keras.Model,
    x: np.ndarray,
    classes: np.ndarray,
    baseline: np.ndarray,
    *,
    of: Callable = log_odds,
) -> Attribution:
    """Attribute the log-odds of a class to the values of each example.

    Sundararajan, Taly & Yan (2017), https://arxiv.org/abs/1703.01365: the gradient is averaged over
    the straight path from the baseline to the example and multiplied by the way. The average is
    taken by the trapezoid rule, whose steps are doubled for those examples whose attributions do
    not yet add up to within 0.1 % (completeness).

    Args:
        model: From raw floats to logits, as from :func:`on_floats`.
        x: Examples, shape ``(n, ...)``.
        classes: Number of the class of each, shape ``(n,)``.
        baseline: An example that stands for nothing, shape ``(...)``.
        of: What is attributed, a function of logits and classes: :func:`log_odds` or
            :func:`logit`.

    Example:
        >>> linear = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        >>> linear.set_weights([np.array([[1.0, 0], [2, 0], [3, 0]]), np.zeros(2)])
        >>> x = np.array([[1.0, 1.0, 0.0]])
        >>> found = integrated_gradients(linear, x, np.array([0]), np.zeros(3))
        >>> found.values.round(3).tolist(), found.differences.round(3).tolist()
        ([[1.0, 2.0, 0.0]], [3.0])
    """
    dtype = model.inputs[0].dtype
    baseline, classes = np.asarray(baseline, dtype), np.asarray(classes)
    ways = np.asarray(x, dtype) - baseline
    path = _Path(_gradient(model, of), ways, baseline, classes)
    answers, of_baseline = (
        of(model(ends, training=False), tf.constant(classes)).numpy().astype(np.float64)
        for ends in (baseline + ways, np.broadcast_to(baseline, ways.shape))
    )
    differences = answers - of_baseline
    pending, steps = np.arange(len(ways)), FIRST_STEPS
    means = path.mean(pending, _trapezoid(steps))
    while True:
        sums = (means * ways).reshape(len(ways), -1).sum(axis=1)
        pending = np.flatnonzero(np.abs(sums - differences) > TOLERANCE * np.abs(differences))
        if not len(pending) or steps >= MOST_STEPS:
            return Attribution(means * ways, differences)
        # The points of twice as many steps are those there are and the middles between them.
        middles = path.mean(pending, ((np.arange(steps) + 0.5) / steps, np.full(steps, 1 / steps)))
        means[pending] = (means[pending] + middles) / 2
        steps *= 2


def _trapezoid(steps: int) -> tuple[np.ndarray, np.ndarray]:
    weights = np.full(steps + 1, 1 / steps)
    weights[[0, -1]] /= 2
    return np.arange(steps + 1) / steps, weights


def _gradient(model: keras.Model, of: Callable) -> Callable:
    shape = tf.TensorSpec((None, *model.inputs[0].shape[1:]), model.inputs[0].dtype)

    @tf.function(input_signature=[shape, tf.TensorSpec((None,), tf.int32)], autograph=False)
    def gradient(x, classes):
        with tf.GradientTape() as tape:
            tape.watch(x)
            answers = of(model(x, training=False), classes)
        return tape.gradient(answers, x)

    return gradient


class _Path(NamedTuple):
    """The straight lines from a baseline to examples, and the gradient at their points."""

    gradient: Callable
    ways: np.ndarray
    baseline: np.ndarray
    classes: np.ndarray

    def mean(self, rows: np.ndarray, points: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """The weighted mean of the gradient at points between 0 and 1 of the lines of some rows."""
        places, weights = points
        owner = np.repeat(np.arange(len(rows)), len(places))
        place, weight = np.tile(places, len(rows)), np.tile(weights, len(rows))
        total = np.zeros((len(rows), *self.ways.shape[1:]))
        size = predict_batch_size(self.ways)
        wide = (-1,) + (1,) * (self.ways.ndim - 1)
        for start in range(0, len(owner), size):
            part = slice(start, start + size)
            own = rows[owner[part]]
            x = self.baseline + place[part].reshape(wide) * self.ways[own]
            found = self.gradient(
                tf.constant(x, self.ways.dtype), tf.constant(self.classes[own], tf.int32)
            )
            np.add.at(total, owner[part], weight[part].reshape(wide) * found.numpy())
        return total
