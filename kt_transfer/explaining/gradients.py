"""Integrated gradients: how much of an answer each raw value of an example carries."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kt_transfer.engine.feeds import predict_batch_size

# Steps along the path: 32 are enough for a smooth network; of a kinked one they are tripled, but of
# a large one only while it takes seconds.
FIRST_STEPS, MOST_STEPS, MOST_SECONDS = 32, 32 * 3**5, 10.0
# How far the sum of the attributions may be from what it has to be, as a share of that; below the
# least difference, of the least difference: there is nothing to be explained.
TOLERANCE, LEAST_DIFFERENCE = 1e-3, 0.1


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
        >>> log_odds(tf.constant([[0.0, 0.0, 0.0, 0.0]]), tf.constant([2])).numpy().round(2)
        array([-1.1], dtype=float32)
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
    the straight path from the baseline to the example and multiplied by the way. It is taken in the
    middle of each of many steps, and of three times as many for those examples whose attributions
    do not yet add up to the difference within 0.1 % (completeness).

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
    began, dtype = time.perf_counter(), model.inputs[0].dtype
    baseline, classes = np.asarray(baseline, dtype), np.asarray(classes)
    ways = np.asarray(x, dtype) - baseline
    path = _Path(_gradient(model, of), ways, baseline, classes)
    answers, of_baseline = (
        of(model(ends, training=False), tf.constant(classes)).numpy().astype(np.float64)
        for ends in (baseline + ways, np.broadcast_to(baseline, ways.shape))
    )
    differences = answers - of_baseline
    everyone, steps = np.arange(len(ways)), FIRST_STEPS
    means = path.mean(everyone, (np.arange(steps) + 1 / 2) / steps)
    while True:
        sums = (means * ways).reshape(len(ways), -1).sum(axis=1)
        allowed = TOLERANCE * np.maximum(np.abs(differences), LEAST_DIFFERENCE)
        pending = everyone[np.abs(sums - differences) > allowed]
        took = time.perf_counter() - began
        if not len(pending) or steps >= MOST_STEPS or 3 * took > MOST_SECONDS:
            return Attribution(means * ways, differences)
        # The middle of a step is that of one of its thirds, too: those of the others are new.
        new = np.concatenate([(np.arange(steps) + place) / steps for place in (1 / 6, 5 / 6)])
        means[pending] += 2 / 3 * (path.mean(pending, new) - means[pending])
        steps *= 3


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

    def mean(self, rows: np.ndarray, places: np.ndarray) -> np.ndarray:
        """The mean of the gradient at places between 0 and 1 of the lines of some rows."""
        owner, place = np.repeat(np.arange(len(rows)), len(places)), np.tile(places, len(rows))
        total = np.zeros((len(rows), *self.ways.shape[1:]))
        size = predict_batch_size(self.ways)
        for start in range(0, len(owner), size):
            part = slice(start, start + size)
            own = rows[owner[part]]
            share = place[part].reshape(-1, *(1,) * (self.ways.ndim - 1))
            x = self.baseline + share * self.ways[own]
            found = self.gradient(
                tf.constant(x, self.ways.dtype), tf.constant(self.classes[own], tf.int32)
            )
            np.add.at(total, owner[part], found.numpy())
        return total / len(places)
