import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from kt_transfer import TransferClassifier

X, Y = load_digits(return_X_y=True)
X, Y = X[:400], Y[:400]
METHODS = ["scratch", "linear", "parameters", "distilled", "features"]
SMALL = {
    "hidden_units": (24,),
    "latent_dim": 12,
    "student_units": (24,),
    "noise": 0.3,
    "epochs": 30,
    "pretrain_epochs": 3,
    "learning_rate": 0.01,
    "random_state": 0,
}


def few_labels(count=100):
    y = Y.copy()
    y[count:] = -1
    return y


@pytest.fixture(scope="module", params=METHODS)
def fitted(request):
    return TransferClassifier(request.param, **SMALL).fit(X, few_labels())


# Every check for the default method and for the one without a network; the others differ from
# these in what a network learns from, not in what scikit-learn sees.
@pytest.mark.slow
@parametrize_with_checks([TransferClassifier(method, **SMALL) for method in METHODS[1:3]])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def test_a_few_labels_teach_every_method(fitted):
    assert list(fitted.classes_) == list(range(10))
    probabilities = fitted.predict_proba(X)
    assert probabilities.shape == (400, 10)
    assert probabilities.sum(axis=1) == pytest.approx(1)
    assert (fitted.predict(X) == probabilities.argmax(axis=1)).all()
    assert fitted.score(X[100:], Y[100:]) > 0.6


def test_it_is_pickled_with_its_weights(fitted):
    again = pickle.loads(pickle.dumps(fitted))
    assert again.predict_proba(X) == pytest.approx(fitted.predict_proba(X), abs=1e-7)
    assert again.get_params() == fitted.get_params()


def test_unlabelled_examples_are_learned_from():
    """By the encoder: the logistic regression on its features sees the labels alone."""
    seen, unseen = (TransferClassifier("features", **SMALL) for _ in range(2))
    seen, unseen = seen.fit(X, few_labels()), unseen.fit(X[:100], Y[:100])
    assert np.abs(seen.predict_proba(X) - unseen.predict_proba(X)).max() > 0.01


def test_their_labels_are_not():
    other = few_labels()
    assert (other[100:] == -1).all()
    one, two = (TransferClassifier("scratch", **SMALL) for _ in range(2))
    names = np.array([f"digit {label}" for label in Y], object)
    names[100:] = -1
    probabilities = two.fit(X, names).predict_proba(X)
    assert (one.fit(X, other).predict_proba(X) == probabilities).all()
    assert list(two.classes_) == [f"digit {label}" for label in range(10)]


def test_features_are_scaled_by_what_it_was_given():
    stretch, shift = np.logspace(-2, 3, 64), np.linspace(-50, 50, 64)
    plain, other = (TransferClassifier("linear", **SMALL) for _ in range(2))
    plain.fit(X[:200], Y[:200])
    other.fit(X[:200] * stretch + shift, Y[:200])
    found = other.predict_proba(X[:200] * stretch + shift)
    assert found == pytest.approx(plain.predict_proba(X[:200]), abs=1e-3)
    # Of what lies beyond, as much as was seen.
    assert (plain.predict_proba(1000 * X) == plain.predict_proba(np.where(X, 16, 0))).all()


def test_a_random_state_repeats_exactly():
    others = {name: value for name, value in SMALL.items() if name != "random_state"}
    fits = [TransferClassifier("scratch", random_state=n, **others).fit(X, Y) for n in (3, 3, 4)]
    one, again, other = (fit.predict_proba(X) for fit in fits)
    assert (one == again).all()
    assert np.abs(one - other).max() > 0.01


def test_minus_one_and_one_other_value_are_two_classes():
    y = np.where(Y[:100] < 5, -1, 1)
    with pytest.warns(UserWarning, match="-1 and one other value: taken as two classes"):
        found = TransferClassifier("linear", **SMALL).fit(X[:100], y)
    assert list(found.classes_) == [-1, 1]
    assert found.score(X[:100], y) > 0.9


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="with 1 class, expected at least 2 classes"):
        TransferClassifier("linear").fit(X, np.zeros(400))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "magic"}, "method 'magic' was given, expected scratch, linear, parameters"),
        ({"epochs": 0}, "epochs 0 was given, expected more than 0"),
        ({"learning_rate": -1.0}, "learning_rate -1.0 was given"),
    ],
)
def test_a_setting_out_of_range_is_refused_when_it_is_fitted(settings, message):
    with pytest.raises(ValueError, match=message):
        TransferClassifier(**settings).fit(X, Y)


def test_in_cross_validation_search_and_pipeline():
    small = TransferClassifier("linear", **SMALL)
    scores = cross_validate(make_pipeline(PCA(20, random_state=0), small), X, Y, cv=2)
    assert (scores["test_score"] > 0.8).all()
    search = GridSearchCV(small, {"method": ["linear", "scratch"]}, cv=2).fit(X, Y)
    assert search.best_params_["method"] in ("linear", "scratch")
    assert search.score(X, Y) > 0.8
    assert clone(small).get_params() == small.get_params()
