import keras
import numpy as np
import pytest

from kt_transfer.methods import Distilled
from kt_transfer.methods.learning import Examples, Problem
from kt_transfer.models.classifiers import classifier, dense_encoder


def teacher_of(data, scaled):
    """One that knows the class of the first 300 examples by their pixels."""
    model = classifier(dense_encoder(64, (32,)), 10)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(scaled(data.x[:300]), data.y[:300], epochs=60, verbose=0)
    return keras.Model(scaled.input, model(scaled.output))


@pytest.fixture(scope="module")
def problem(data, scaled):
    return Problem(10, 300, flat=scaled, teacher=teacher_of(data, scaled))


def prepared(problem, **settings):
    steps = {"epochs": 40, "batch_size": 16, "learning_rate": 3e-3, "student_units": (8,)}
    return Distilled(**steps | settings).prepare(problem)


def without_labels(data):
    return Examples(data.x[:300], np.full(300, -1))


def test_a_student_learns_from_soft_targets_alone(data, problem):
    learner = prepared(problem)
    learned = learner.learn(without_labels(data), seed=0)
    right = learned.logits(data.x[:300]).argmax(axis=1) == data.y[:300]
    assert right.mean() > 0.8
    again = learner.learn(without_labels(data), seed=0).logits(data.x[:50])
    other = learner.learn(without_labels(data), seed=1).logits(data.x[:50])
    repeated = learner.learn(without_labels(data), seed=0).logits(data.x[:50])
    np.testing.assert_array_equal(repeated, again)
    assert np.abs(other - again).max() > 0.01


@pytest.mark.parametrize("settings", [{"hint": "encoder", "hint_epochs": 1}, {"temperature": 1.0}])
def test_every_setting_is_learned_again_to_the_same(data, problem, settings):
    # Hints are of the teacher's layers: it is given as a network whose layers have names.
    if "hint" in settings:
        inner = classifier(dense_encoder(64, (12,)), 10)
        scaled = problem.flat
        teacher = keras.Model(scaled.input, inner(scaled.output))
        problem = problem._replace(teacher=teacher)
    learner = prepared(problem, epochs=2, **settings)
    first = learner.learn(without_labels(data), seed=1).logits(data.x[:50])
    learner.learn(without_labels(data), seed=2)
    np.testing.assert_array_equal(
        learner.learn(without_labels(data), seed=1).logits(data.x[:50]), first
    )


def test_a_student_of_many_examples_takes_fewer_epochs(data, problem):
    learned = prepared(problem, max_steps=50).learn(without_labels(data), seed=0)
    assert learned.steps == 2 * 19  # 19 steps an epoch; a third would be the 57th


def test_the_teacher_is_asked_as_it_is_now(data, problem):
    learner = prepared(problem, epochs=1)
    first = learner.learn(without_labels(data), seed=0).logits(data.x[:50])
    head = problem.teacher.layers[-1].get_layer("head")
    kept = head.get_weights()
    head.set_weights([-kept[0], kept[1]])
    other = learner.learn(without_labels(data), seed=0).logits(data.x[:50])
    head.set_weights(kept)
    assert np.abs(first - other).max() > 0.01


def test_a_layer_that_the_teacher_lacks_is_refused(problem):
    with pytest.raises(ValueError, match="absent"):
        prepared(problem, hint="absent")
