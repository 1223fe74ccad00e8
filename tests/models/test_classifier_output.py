import keras
import numpy as np
import pytest
from keras import layers

from kt_transfer.models.classifier_output import ClassifierOutput, classifier_output


class Subclassed(keras.Model):
    def __init__(self, width, activation=None):
        super().__init__()
        self.dense = layers.Dense(width, activation)

    def call(self, x):
        return self.dense(x)


def ending_in(*ending):
    return keras.Sequential([keras.Input((4,)), *ending])


def built(model):
    model(np.ones((2, 4), np.float32))
    return model


def by_an_operation(operation, units):
    x = keras.Input((4,))
    return keras.Model(x, operation(layers.Dense(units)(x)))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: ending_in(layers.Dense(3)), (3, "logits")),
        (lambda: ending_in(layers.Dense(3), layers.BatchNormalization()), (3, "logits")),
        (lambda: ending_in(layers.Dense(3, "softmax")), (3, "probabilities")),
        (
            lambda: ending_in(layers.Dense(3, "softmax"), layers.Activation("linear")),
            (3, "probabilities"),
        ),
        (
            lambda: ending_in(layers.Dense(3, "softmax"), layers.Rescaling(1.0)),
            (3, "probabilities"),
        ),
        (lambda: ending_in(ending_in(layers.Dense(3), layers.Softmax())), (3, "probabilities")),
        (lambda: by_an_operation(keras.ops.softmax, 3), (3, "probabilities")),
        (lambda: by_an_operation(keras.ops.log_softmax, 3), (3, "logits")),
        (lambda: ending_in(layers.Dense(1)), (1, "logits")),
        (lambda: ending_in(layers.Dense(1, "sigmoid")), (1, "probabilities")),
        (lambda: by_an_operation(keras.ops.sigmoid, 1), (1, "probabilities")),
        (lambda: built(Subclassed(3)), (3, "logits")),
        (lambda: built(Subclassed(3, "softmax")), (3, "probabilities")),
        (lambda: keras.Sequential([layers.Dense(3, "softmax")]), "been built"),
        (lambda: Subclassed(3), "been built"),
        (lambda: built(Subclassed(1)), "emits one number"),
        (lambda: ending_in(layers.Dense(1, "softmax")), "emits one number"),
        (lambda: ending_in(layers.Dense(3, "sigmoid")), "ends in 3 sigmoid units"),
        (lambda: ending_in(layers.Reshape((2, 2))), r"emits \(None, 2, 2\)"),
    ],
)
def test_what_a_classifier_emits_is_told(make, expected):
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            classifier_output(make())
    else:
        assert classifier_output(make()) == expected


def test_whatever_is_emitted_becomes_logits_of_the_same_probabilities():
    z = np.array([[-3.0], [0.5], [9.0]], np.float32)
    p = 1 / (1 + np.exp(-z.astype(np.float64)))
    of_two = np.concatenate([1 - p, p], axis=1)
    for width, what, rows in (
        (1, "logits", z),
        (1, "probabilities", p),
        (2, "logits", np.log(of_two) + 5.0),
        (2, "probabilities", of_two),
    ):
        logits = np.array(ClassifierOutput(width, what).as_logits(rows), np.float64)
        assert ClassifierOutput(width, what).num_classes == 2
        np.testing.assert_allclose(logits[:, 1:] - logits[:, :1], z, atol=2e-3)
