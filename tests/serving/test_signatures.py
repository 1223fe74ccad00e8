import numpy as np
import pytest
import tensorflow as tf

from kt_transfer.serving.signatures import require_same_answers

X = np.array([[1.0], [200.0]], np.float32)


def functions(labels=("a", "b")):
    return {"f": lambda x: {"twice": 2 * x, "label": tf.constant(labels)[: len(x)]}}


def answers(error=0.0, label="b"):
    served = {"f/twice/all": 2 * X, "f/label/all": np.array(["a", label])}
    served |= {"f/twice/one": 2 * X[:1] + error, "f/label/one": np.array(["a"])}
    return served


def test_the_difference_is_the_largest_of_all_answers():
    assert require_same_answers("model", functions(), X, answers()) == 0.0
    given = answers(error=4e-6)
    assert require_same_answers("model", functions(), X, given) == pytest.approx(2e-6, rel=0.1)


@pytest.mark.parametrize("wrong", [{"error": 1e-3}, {"error": np.nan}, {"label": "c"}])
def test_other_answers_are_refused(wrong):
    with pytest.raises(RuntimeError, match="the model differs from Keras by"):
        require_same_answers("model", functions(), X, answers(**wrong))
