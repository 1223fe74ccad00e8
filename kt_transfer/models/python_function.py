"""A Python function as a Keras model, so that anything that answers can teach."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf


class PythonLayer(keras.layers.Layer):
    """A Python function of a batch as a layer; not to be saved.

    It runs outside the program that TensorFlow compiles, one call for each batch.

    Args:
        function: From an array ``(n, ...)`` to one of shape ``(n, width)``.
        width: Of what it returns.
    """

    def __init__(self, function: Callable, width: int):
        super().__init__(trainable=False, dtype="float32", autocast=False)
        self.supports_jit = False
        self._function, self._width = function, width

    def call(self, x):
        """What the function returns, as ``float32``."""

        def answer(rows):
            return np.asarray(self._function(rows), np.float32)

        answers = tf.numpy_function(answer, [x], tf.float32, stateful=True)
        return tf.ensure_shape(answers, [None, self._width])

    def compute_output_shape(self, input_shape):
        """``(batch, width)``."""
        return (input_shape[0], self._width)


def model_of(
    function: Callable, input_shape: tuple[int, ...], width: int, dtype: str = "float32"
) -> keras.Model:
    """A functional model that answers as a Python function does.

    Args:
        function: From an array ``(n, *input_shape)`` to one of shape ``(n, width)``.
        input_shape: Shape of one example.
        width: Numbers that the function returns for an example.
        dtype: Type of the examples.

    Example:
        >>> model = model_of(lambda x: x[:, :2] * 2, (3,), 2)
        >>> model(np.ones((1, 3))).numpy()
        array([[2., 2.]], dtype=float32)
    """
    x = keras.Input(input_shape, dtype=dtype)
    return keras.Model(x, PythonLayer(function, width)(x), name="function")
