"""Classifiers with scikit-learn's interface as candidates and teachers."""

import dataclasses

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from kt_transfer.data.ranges import column_ranges, scaled_rows
from kt_transfer.errors import TrainingFailed, UserError
from kt_transfer.methods import Distilled
from kt_transfer.methods.candidates import require_candidates, to_json, with_students
from kt_transfer.methods.estimator import TREES, Estimator
from kt_transfer.methods.learning import Examples, Problem, on_raw
from kt_transfer.models.preprocessing import preprocessing_model

X, Y = load_breast_cancer(return_X_y=True)
RANGES = column_ranges(X)
LABELLED = np.arange(0, 569, 6)


@pytest.fixture
def problem():
    scaled = preprocessing_model((30,), RANGES, "float64")
    return Problem(2, len(LABELLED), flat=scaled)


def examples(rows=LABELLED, weights=None):
    return Examples(X[rows], Y[rows], weights)


def test_it_is_the_classifier_itself_on_scaled_inputs(problem):
    learned = Estimator(estimator=TREES).prepare(problem).learn(examples(), seed=3)
    own = ExtraTreesClassifier(random_state=3)
    own.fit(scaled_rows(X[LABELLED], RANGES), Y[LABELLED])
    expected = own.predict_proba(scaled_rows(X, RANGES))
    expected = np.log(np.maximum(expected, 1e-3))
    assert learned.logits(X) == pytest.approx(expected, abs=1e-5)
    assert learned.steps == 0


def test_settings_of_an_instance_are_kept_and_its_state_is_not(problem):
    given = LogisticRegression(C=1e-4)
    learner = Estimator(estimator=given).prepare(problem)
    learned = learner.learn(examples(), seed=0).logits(X)
    expected = LogisticRegression(C=1e-4).fit(scaled_rows(X[LABELLED], RANGES), Y[LABELLED])
    probabilities = expected.predict_proba(scaled_rows(X, RANGES))
    # scikit-learn solves in float32 what the network is given.
    assert np.exp(learned) == pytest.approx(probabilities, abs=1e-4)
    assert not hasattr(given, "classes_")


def test_instances_without_a_hash_are_taken():
    class Odd(LogisticRegression):
        __hash__ = None

    found = with_students([Odd()])
    assert found["Odd student"].teacher is found["Odd"] and len({*found.values()}) == 2


def test_weights_count(problem):
    weights = np.where(Y[LABELLED] == 1, 1e-9, 1.0)
    learned = Estimator(estimator=LogisticRegression()).prepare(problem)
    answers = learned.learn(examples(weights=weights), seed=0).logits(X).argmax(axis=1)
    assert (answers == 0).all()


def test_a_class_that_is_not_there_has_no_probability(problem):
    learned = Estimator(estimator=TREES).prepare(problem._replace(num_classes=3))
    answers = learned.learn(examples(), seed=0).logits(X)
    assert answers.shape == (569, 3) and (answers[:, 2] == np.float32(np.log(1e-3))).all()


def test_a_network_that_it_teaches_answers_as_it_does(problem):
    teacher = Estimator(estimator=TREES).prepare(problem)
    taught = teacher.learn(examples(), seed=0).logits(X).argmax(axis=1)
    asked = on_raw(teacher.network, teacher.preprocessing)
    student = Distilled(teacher=teacher.method, student_units=(32,), epochs=30).prepare(
        problem._replace(teacher=asked, num_examples=len(X))
    )
    labels = np.where(np.isin(np.arange(569), LABELLED), Y, -1)
    learned = student.learn(Examples(X, labels), seed=0)
    assert (learned.logits(X).argmax(axis=1) == taught).mean() > 0.95
    assert not any("python" in layer.name for layer in learned.network.layers)


def test_candidates_come_with_their_students():
    found = with_students([TREES, LogisticRegression(C=3)], student_units=(8,), epochs=7)
    assert list(found) == [
        "ExtraTreesClassifier",
        "ExtraTreesClassifier student",
        "LogisticRegression",
        "LogisticRegression student",
    ]
    student = found["LogisticRegression student"]
    assert student.teacher == found["LogisticRegression"]
    assert (student.student_units, student.epochs) == ((8,), 7)
    assert to_json(found["ExtraTreesClassifier student"])["teacher"] == {
        "method": "estimator",
        "estimator": TREES,
    }
    with pytest.raises(UserError, match="a method for each name"):
        require_candidates(found)  # it would have no student, if it were the best


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nowhere.Classifier", "nowhere.Classifier was given, expected the import path"),
        ("sklearn.ensemble.NoTrees", "NoTrees was given, expected the import path"),
        ("Classifier", "Classifier was given, expected the import path"),
        ("os", "it has no dot"),
        ("os.system", "os.system is no class"),
        (
            "sklearn.linear_model.LinearRegression",
            "expected a classifier with fit and predict_proba",
        ),
        (SVC(), "expected a classifier with fit and predict_proba"),
        ("sklearn.ensemble.VotingClassifier", "needs no arguments"),
    ],
)
def test_what_cannot_teach_is_refused_by_name(given, message):
    with pytest.raises(UserError, match=message) as caught:
        with_students([given])
    assert str(caught.value).startswith("teachers=")


def test_the_same_twice_is_refused():
    with pytest.raises(UserError, match="expected each of them once"):
        with_students([TREES, TREES, TREES])


def test_one_that_fails_says_so(problem):
    class Broken(DummyClassifier):
        def fit(self, X, y, sample_weight=None):
            raise ValueError("no such luck")

    with pytest.raises(TrainingFailed, match=r"Broken cannot learn these 95 examples \(no such"):
        Estimator(estimator=Broken()).prepare(problem).learn(examples(), seed=0)


def test_it_is_frozen_as_all_methods_are():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Estimator().estimator = TREES
