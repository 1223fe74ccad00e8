"""How a classifier with scikit-learn's interface learns, and answers as a Keras model."""

from __future__ import annotations

import inspect
import pickle
import time
import warnings

import keras
import numpy as np
import tensorflow as tf

from kt_transfer.engine.fused_model import predict_raw
from kt_transfer.errors import TrainingFailed
from kt_transfer.methods.estimator import Estimator
from kt_transfer.methods.learning import Examples, Learned, Problem, Start
from kt_transfer.models.classifiers import dense_encoder


class EstimatorLearner:
    """A classifier that is fitted again and again, each time anew.

    Args:
        method: Which one.
        problem: With ``flat``.
    """

    def __init__(self, method: Estimator, problem: Problem):
        self.method, self.problem = method, problem
        self.preprocessing = problem.flat
        self.network = _answering(self, problem.flat.output_shape[-1])
        self._as_features = dense_encoder(problem.flat.output_shape[-1], ())
        self._fitted = method.unfitted()

    @property
    def size(self) -> int:
        """Bytes of the fitted classifier, pickled."""
        return len(pickle.dumps(self._fitted))

    def learn(
        self, examples: Examples, *, seed: int, start: Start | None = None, callbacks=()
    ) -> Learned:
        """Learn from labelled examples.

        Args:
            examples: All of them labelled.
            seed: Its ``random_state`` or ``random_seed``, where it has one.
            start: Not used.
            callbacks: Not used.

        Raises:
            TrainingFailed: If the classifier does.
        """
        features = predict_raw(self._as_features, self.preprocessing, examples.x)
        began = time.perf_counter()
        classifier, weights = self.method.unfitted(), {}
        parameters = inspect.signature(type(classifier)).parameters
        for name in ("random_state", "random_seed"):
            if name in parameters:
                classifier.set_params(**{name: seed})
                break
        if examples.sample_weight is not None:
            weights["sample_weight"] = examples.sample_weight
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                classifier.fit(features, examples.y, **weights)
        except Exception as error:
            raise TrainingFailed(
                f"{self.method.title} cannot learn these {len(features)} examples: {error}"
            ) from error
        self._fitted = classifier
        seconds = time.perf_counter() - began
        return Learned(self.network, self.preprocessing, seconds, 0, {})

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Of each class, ``(n, features)`` to ``(n, classes)``; 0 for one that was not given."""
        found = np.zeros((len(features), self.problem.num_classes), np.float32)
        if len(features):
            classes = np.asarray(self._fitted.classes_).astype(int).ravel()
            found[:, classes] = self._fitted.predict_proba(features)
        return found


class CallLayer(keras.layers.Layer):
    """A Python function of a batch as a layer, for a teacher; not to be saved.

    Args:
        function: From an array ``(n, ...)`` to one of shape ``(n, width)``.
        width: Of what it returns.
    """

    def __init__(self, function, width: int, **options):
        super().__init__(trainable=False, **options)
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


def _answering(learner: EstimatorLearner, num_features: int) -> keras.Model:
    """A Keras model from features to the logarithms of the classifier's probabilities."""
    features = keras.Input((num_features,), name="features")
    answers = CallLayer(learner.probabilities, learner.problem.num_classes)(features)
    return keras.Model(features, keras.ops.log(keras.ops.maximum(answers, LEAST_PROBABILITY)))


# Trees are often certain of what they have seen only a few examples of.
LEAST_PROBABILITY = 1e-3
