"""How a classifier with scikit-learn's interface learns, and answers as a Keras model."""

from __future__ import annotations

import inspect
import pickle
import time
import warnings

import keras
import numpy as np

from kt_transfer.engine.fused_model import predict_raw
from kt_transfer.errors import TrainingFailed
from kt_transfer.methods.estimator import Estimator
from kt_transfer.methods.learning import Examples, Learned, Problem, Start
from kt_transfer.models.classifiers import dense_encoder
from kt_transfer.models.python_function import model_of

# Trees give a probability of 0 to what none of a few examples was: too sure to teach by.
LEAST_PROBABILITY = 1e-3


class EstimatorLearner:
    """A classifier that is fitted again and again, each time anew.

    Args:
        method: Which one.
        problem: With ``flat``.
    """

    def __init__(self, method: Estimator, problem: Problem):
        self.method, self.preprocessing = method, problem.flat
        self._num_classes = problem.num_classes
        self._as_features = dense_encoder(problem.flat.output_shape[-1], ())
        answers = model_of(self.probabilities, problem.flat.output_shape[1:], problem.num_classes)
        logits = keras.ops.log(keras.ops.maximum(answers.output, LEAST_PROBABILITY))
        self.network = keras.Model(answers.input, logits, name="estimator")
        self._fitted = None

    @property
    def is_fitted(self) -> bool:
        """Whether it has learned anything yet."""
        return self._fitted is not None

    @property
    def num_bytes(self) -> int:
        """Size of the fitted classifier, pickled."""
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
        weights = examples.sample_weight
        given = {} if weights is None else {"sample_weight": weights}
        began = time.perf_counter()
        classifier = self.method.unfitted()
        parameters = inspect.signature(type(classifier)).parameters
        names = [name for name in ("random_state", "random_seed") if name in parameters]
        classifier.set_params(**dict.fromkeys(names[:1], seed))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                classifier.fit(features, examples.y, **given)
        except Exception as error:
            raise TrainingFailed(
                f"{self.method.title} cannot learn these {len(features)} examples ({error}): "
                "leave it out, or give it other settings in Python"
            ) from error
        self._fitted = classifier
        return Learned(self.network, self.preprocessing, time.perf_counter() - began, 0, {})

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Of each class, ``(n, features)`` to ``(n, classes)``; 0 for one that was not given."""
        found = np.zeros((len(features), self._num_classes), np.float32)
        if len(features):
            classes = np.ravel(self._fitted.classes_).astype(int)
            found[:, classes] = self._fitted.predict_proba(features)
        return found
