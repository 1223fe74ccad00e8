import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import AdaBoostClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from kt_transfer import TransferClassifier
from kt_transfer.methods import Parameters
from kt_transfer.methods.reconstruction import AutoencoderLearner

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
    if "sample_weight_equivalence" in str(check):
        # As for scikit-learn's own estimators that learn in batches, or choose by folds.
        pytest.skip("an example that is repeated falls into other batches and folds")
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
    # What lies beyond comes near the ends, and no further.
    far, further = (plain.predict_proba(factor * X) for factor in (1e9, 1e300))
    assert far == pytest.approx(further, abs=1e-4)
    assert np.abs(plain.scaler_.transform(1e9 * X)).max() <= 1


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
        ({"learning_rate": float("nan")}, "learning_rate nan was given, expected a number above 0"),
        ({"learning_rate": "0.1"}, "learning_rate '0.1' was given, expected a number above 0"),
        ({"method": ["linear"]}, "method \\['linear'\\] was given, expected scratch"),
        ({"epochs": "a"}, "epochs 'a' was given, expected a whole number above 0"),
        ({"epochs": 2.5}, "epochs 2.5 was given, expected a whole number above 0"),
        ({"pretrain_epochs": None}, "pretrain_epochs None was given, expected a whole number"),
        ({"batch_size": True}, "batch_size True was given, expected a whole number above 0"),
        ({"latent_dim": (3,)}, "latent_dim \\(3,\\) was given, expected a whole number above 0"),
        ({"hidden_units": 16}, "hidden_units 16 was given, expected a list of widths"),
        ({"hidden_units": "16"}, "hidden_units '16' was given, expected a list of widths"),
        ({"student_units": (8, 0)}, "a width in student_units 0 was given, expected more than 0"),
        ({"student_units": [8.5]}, "a width in student_units 8.5 was given, expected a whole"),
        ({"noise": 1.0}, "noise 1.0 was given, expected from 0 to below 1"),
        ({"noise": None}, "noise None was given, expected a number from 0 to below 1"),
        ({"random_state": "a"}, "'a' cannot be used to seed"),
    ],
)
def test_a_setting_out_of_range_is_refused_when_it_is_fitted(settings, message):
    with pytest.raises(ValueError, match=message):
        TransferClassifier(**settings).fit(X, Y)


# Labels that are none


# Even and odd, of which two have a label: no folds, no time.
PARITY = Y[:60] % 2
NAMES = [("even", "odd")[label] for label in PARITY]


def with_none(values, none):
    return [none if row >= 2 else value for row, value in enumerate(values)]


@pytest.fixture(scope="module")
def of_few_labels():
    y = np.where(np.arange(60) < 2, PARITY, -1)
    return TransferClassifier("linear", **SMALL).fit(X[:60], y).predict_proba(X)


@pytest.mark.parametrize(
    "y",
    [
        with_none(NAMES, -1),
        with_none(NAMES, None),
        with_none(NAMES, float("nan")),
        np.array(with_none(NAMES, -1)),
        np.array(with_none(NAMES, -1), object),
        pd.Series(with_none(NAMES, "-1")),
        pd.Series(with_none(NAMES, "-1"), dtype=object),
        pd.Series(with_none(NAMES, "-1"), dtype="category"),
        pd.Series(with_none(NAMES, None), dtype="string"),
        with_none(PARITY.tolist(), None),
        np.array(with_none(PARITY, np.nan)),
        pd.Series(with_none(PARITY, None), dtype="Int64"),
        pd.Series(with_none(PARITY, -1), dtype="Int8"),
        pd.Series(with_none(PARITY, -1), dtype=object),
    ],
    ids=lambda y: f"{type(y).__name__}-{getattr(y, 'dtype', '')}-{list(y)[-1]}",
)
def test_what_stands_for_no_label_is_no_class(y, of_few_labels):
    found = TransferClassifier("linear", **SMALL).fit(X[:60], y)
    assert len(found.classes_) == 2
    assert (found.predict_proba(X) == of_few_labels).all()
    named = isinstance(y[0], str)
    assert found.classes_.astype(str).tolist() in (
        ["even", "odd"] if named else ["0", "1"],
        ["0.0", "1.0"],
    )


@pytest.mark.parametrize("none", ["-1", -1, None, float("nan")])
def test_no_label_beside_one_name_is_one_class(none):
    with pytest.raises(ValueError, match="with 1 class, expected at least 2 classes"):
        TransferClassifier("linear").fit(X[:60], with_none(["cat"] * 60, none))


def test_a_missing_number_is_never_a_class():
    with pytest.raises(ValueError, match="with 1 class, expected at least 2 classes"):
        TransferClassifier("linear").fit(X[:60], with_none([1] * 60, None))


# Settings of NumPy's types


def test_settings_may_be_numpys_numbers():
    numpys = {
        "hidden_units": np.array([24]),
        "latent_dim": np.int64(12),
        "student_units": [np.int32(24)],
        "noise": np.float32(0.25),
        "epochs": np.int16(4),
        "pretrain_epochs": np.uint8(2),
        "batch_size": np.int64(32),
        "learning_rate": np.float32(2**-7),
        "random_state": np.int64(3),
    }
    found = TransferClassifier("distilled", **numpys).fit(X[:60], PARITY)
    assert [layer.units for layer in found.network_.get_layer("encoder").layers[1:]] == [24]


def test_a_generator_is_a_random_state():
    settings = {**SMALL, "random_state": np.random.default_rng(0)}
    assert TransferClassifier("linear", **settings).fit(X[:60], PARITY).score(X, Y % 2) > 0.7


# Weights


# What is distilled stands on the network, the features and the pretraining of the others.
@pytest.mark.parametrize("method", ["linear", "distilled"])
def test_weights_of_zero_leave_out_and_equal_ones_change_nothing(method):
    settings = {**SMALL, "epochs": 3, "pretrain_epochs": 1}

    def fit(*arguments, **weights):
        return TransferClassifier(method, **settings).fit(*arguments, **weights)

    y = few_labels(60)[:120]
    used = np.arange(120) % 3 > 0
    whole, left_out = fit(X[:120], y, sample_weight=2.5 * used), fit(X[:120][used], y[used])
    assert (whole.predict_proba(X) == left_out.predict_proba(X)).all()


@pytest.mark.parametrize(("method", "heavy"), [("linear", 0), ("linear", 1), ("distilled", 1)])
def test_what_weighs_more_is_learned_rather(method, heavy):
    # One and the same picture with either of two labels: only weights can tell.
    x, y = np.repeat(X[:4], 20, axis=0), np.tile([0, 1], 40)
    settings = {**SMALL, "hidden_units": (), "latent_dim": 8, "epochs": 20, "noise": 0.0}
    weights = np.where(y == heavy, 9.0, 1.0) * 1e-4
    found = TransferClassifier(method, **settings).fit(x, y, sample_weight=weights)
    # Nine to one, as a weighted likelihood has it.
    assert found.predict_proba(X[:4])[:, heavy] == pytest.approx(0.9, abs=0.06)


def test_weights_count_in_pretraining():
    y = with_none(PARITY, -1)
    # Only examples without a label weigh more.
    weights = np.where(np.arange(60) < 2, 1.0, np.linspace(1, 9, 60))
    plain, weighted = (
        TransferClassifier("features", **SMALL).fit(X[:60], y, sample_weight=given)
        for given in (None, weights)
    )
    assert np.abs(plain.predict_proba(X) - weighted.predict_proba(X)).max() > 1e-3


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(399), r"sample_weight of shape \(399,\) was given, expected \(400,\)"),
        (np.ones((400, 1)), r"expected \(400,\)"),
        (np.where(Y == 2, -1.0, 1.0), "sample_weight -1.0 was given in row 2"),
        (np.where(Y == 3, np.nan, 1.0), "sample_weight nan was given in row 3"),
        (np.zeros(400), "every sample_weight given is zero"),
        (np.where(Y == 3, 1.0, 0.0), "with 1 class, expected at least 2 classes"),
    ],
    ids=["too few", "two dimensions", "negative", "nan", "zeros", "one class is left"],
)
def test_weights_that_are_none_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        TransferClassifier("linear").fit(X, Y, sample_weight=weights)


def test_in_adaboost_and_calibration():
    small = TransferClassifier("linear", **SMALL)
    x, y, weights = X[:12], PARITY[:12], np.linspace(1, 2, 12)
    boosted = AdaBoostClassifier(small, n_estimators=2, random_state=0).fit(x, y)
    assert boosted.score(x, y) == 1
    calibrated = CalibratedClassifierCV(small, cv=2).fit(x, y, sample_weight=weights)
    assert calibrated.predict_proba(x).shape == (12, 2)


def test_weights_in_cross_validation_where_routing_is_on():
    weights = np.linspace(1, 2, 12)
    with config_context(enable_metadata_routing=True):
        small = TransferClassifier("linear", **SMALL).set_fit_request(sample_weight=True)
        small.set_score_request(sample_weight=True)
        params = {"sample_weight": weights}
        found = cross_validate(small, X[:12], PARITY[:12], cv=2, params=params)
    assert np.isfinite(found["test_score"]).all()


def test_a_search_over_numpys_numbers():
    grid = {"latent_dim": np.array([4, 8]), "learning_rate": np.float32([0.01])}
    search = GridSearchCV(TransferClassifier("linear", **SMALL), grid, cv=2, refit=False)
    search.fit(X[:12], PARITY[:12])
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.slow
def test_in_cross_validation_search_and_pipeline():
    small = TransferClassifier("linear", **SMALL)
    scores = cross_validate(make_pipeline(PCA(20, random_state=0), small), X, Y, cv=2)
    assert (scores["test_score"] > 0.8).all()
    search = GridSearchCV(small, {"method": ["linear", "scratch"]}, cv=2).fit(X, Y)
    assert search.best_params_["method"] in ("linear", "scratch")
    assert search.score(X, Y) > 0.8
    assert clone(small).get_params() == small.get_params()


@pytest.mark.parametrize(("given", "rate"), [(None, 1e-4), (1e-3, 1e-3)])
def test_pretrained_parameters_are_trained_at_their_own_rate(monkeypatch, given, rate):
    prepared, prepare = [], Parameters.prepare
    monkeypatch.setattr(
        Parameters, "prepare", lambda self, problem: prepared.append(self) or prepare(self, problem)
    )
    X, y = load_digits(return_X_y=True)
    settings = SMALL | {"epochs": 1, "pretrain_epochs": 1, "learning_rate": given}
    TransferClassifier("parameters", **settings).fit(X[:60], y[:60])
    assert {method.learning_rate for method in prepared} == {rate}


def test_views_of_images_teach_more_than_the_images():
    settings = SMALL | {"epochs": 200, "learning_rate": 1e-3, "image_shape": (8, 8)}
    plain, turned = (
        TransferClassifier("scratch", **settings, augment=augment).fit(X, few_labels(50))
        for augment in ("none", "affine")
    )
    assert turned.score(X[50:], Y[50:]) > plain.score(X[50:], Y[50:])
    # Pixels are scaled together, from the smallest to the largest.
    assert plain.scaler_.transform(X).min() == pytest.approx(-0.8)
    assert plain.scaler_.transform(X[:, :1]) == pytest.approx(-0.8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"augment": "turn"}, "augment=turn was given, expected auto, none, affine"),
        ({"augment": 3}, "augment 3 was given, expected words such as 'affine'"),
        ({"augment": "affine"}, r"augment=affine .* images, but an example has the shape \(64,\)"),
        ({"image_shape": (8, 9)}, r"image_shape \(8, 9\) was given, expected one of 64 pixels"),
        ({"image_shape": 8}, r"image_shape 8 was given, expected \(height, width"),
        ({"image_shape": (0, 8)}, "a size in image_shape 0 was given, expected more than 0"),
    ],
)
def test_what_makes_no_views_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TransferClassifier("scratch", **SMALL | settings).fit(X, Y)


def mixed(rows: int = 178):
    """Scikit-learn's wines, with words, a date, a truth value and gaps among the numbers."""
    rng, wine = np.random.default_rng(0), load_wine(as_frame=True)
    X = wine.data.iloc[:, :9].copy()
    X["colour"] = pd.cut(
        wine.data["color_intensity"], [0, 3, 5, 99], labels=["pale", "red", "dark"]
    )
    X["filled"] = pd.Timestamp("2001-03-01") + pd.to_timedelta(
        wine.data["proline"].astype(int), "D"
    )
    X["strong"] = wine.data["alcohol"] > 13
    X["ash"] = X["ash"].mask(rng.random(len(X)) < 0.2)
    X["colour"] = X["colour"].astype(object).mask(rng.random(len(X)) < 0.2)
    order = rng.permutation(len(X))[:rows]
    return X.iloc[order], np.array(wine.target_names)[wine.target][order]


@pytest.mark.parametrize("method", ["linear", "features", "parameters"])
def test_a_frame_of_words_dates_and_gaps(method):
    X, y = mixed()
    given = np.where(np.arange(len(y)) < 60, y.astype(object), "-1")
    classifier = TransferClassifier(method, epochs=20, pretrain_epochs=5, random_state=0)
    classifier.fit(X, given)
    assert classifier.score(X[60:], y[60:]) > 0.85
    kinds = {column.name: column.kind for column in classifier.schema_}
    assert (kinds["colour"], kinds["filled"], kinds["strong"]) == ("category", "date", "boolean")
    again = pickle.loads(pickle.dumps(classifier))
    assert np.array_equal(again.predict_proba(X), classifier.predict_proba(X))


def test_a_frame_may_hold_unknown_words_and_must_hold_all_columns():
    X, y = mixed()
    classifier = TransferClassifier("linear", random_state=0).fit(X, y)
    assert classifier.predict(X.assign(colour="blue")).shape == y.shape
    with pytest.raises(ValueError, match="feature names"):
        classifier.predict(X.drop(columns="ash"))
    with pytest.raises(ValueError, match="an array was given, expected a data frame"):
        classifier.predict(X.to_numpy())
    with pytest.raises(ValueError, match="'much' in row 1 of the column 'ash'"):
        classifier.predict(X.assign(ash="much"))


@pytest.mark.parametrize("names", [range(12), [*"abcdefghijk", 3]], ids=["numbers", "both"])
def test_columns_of_a_frame_may_be_numbered(names):
    X, y = mixed()
    one, other = (TransferClassifier("linear", random_state=0, epochs=2) for _ in range(2))
    numbered = X.set_axis([*names], axis=1)
    named = X.set_axis([*map(str, names)], axis=1)
    one.fit(numbered, y), other.fit(named, y)
    assert np.array_equal(one.predict_proba(numbered), other.predict_proba(named))
    twice = X.set_axis(["1", 1, *X.columns[2:]], axis=1)
    for call in (lambda: one.fit(twice, y), lambda: other.predict(twice)):
        with pytest.raises(ValueError, match="with two columns '1' was given, expected names"):
            call()


def test_intervals_and_categories_of_a_frame_are_words():
    X, y = mixed()
    X["cut"] = pd.cut(X["alcohol"], [0, 12.5, 13.5, 99]).mask(np.arange(len(X)) % 9 == 0)
    X["level"] = pd.Categorical((X["alcohol"] > 13) + 3)
    found = TransferClassifier("linear", random_state=0, epochs=2).fit(X, y)
    words = {column.name: {*column.vocabulary} for column in found.schema_}
    assert words["cut"] == {"(0.0, 12.5]", "(12.5, 13.5]", "(13.5, 99.0]"}
    assert words["level"] == {"3", "4"}
    assert found.schema_.columns[-2].missing == pytest.approx(1 / 9, abs=0.01)
    empty = found.predict_proba(X[:0])
    assert empty.shape == (0, 3)
    assert found.predict(X[:0]).shape == (0,)
    one = X.iloc[:1]  # of a type of its own
    assert found.predict_proba(one) == pytest.approx(found.predict_proba(X)[:1])


def test_an_infinite_cell_of_a_frame_is_refused_without_advice_that_is_none():
    X, y = mixed()
    with pytest.raises(ValueError, match="with inf in row 0 of X in the column alcohol") as error:
        TransferClassifier("linear").fit(X.assign(alcohol=np.inf), y)
    assert "categorical" not in str(error.value)


def test_a_frame_in_folds_of_scikit_learn():
    X, y = mixed(120)
    scores = cross_val_score(TransferClassifier("linear", random_state=0), X, y, cv=3)
    assert scores.mean() > 0.85


def test_a_frame_of_numbers_is_an_array_of_numbers():
    X, y = load_wine(return_X_y=True, as_frame=True)
    one, other = (
        TransferClassifier("linear", random_state=0).fit(given, y) for given in (X, X.to_numpy())
    )
    assert one.schema_ is None
    assert np.array_equal(one.predict_proba(X), other.predict_proba(X.to_numpy()))


@pytest.mark.parametrize("place", ["a file", "in a file", "/proc/x"])
def test_a_memory_in_which_nothing_can_be_kept_is_refused_first(tmp_path, place):
    (file := tmp_path / "file").touch()
    memory = {"a file": file, "in a file": str(file / "kept")}.get(place, place)
    with pytest.raises(ValueError, match=f"memory={memory} was given, expected a place to write"):
        TransferClassifier("features", memory=memory).fit(X, Y)


@pytest.mark.slow
def test_memory_pretrains_the_same_once_and_changes_no_answer(tmp_path, monkeypatch):
    pretrained = []
    learn = AutoencoderLearner.learn
    monkeypatch.setattr(
        AutoencoderLearner, "learn", lambda *a, **k: pretrained.append(1) or learn(*a, **k)
    )
    few = np.where(np.arange(len(X)) < 60, Y, -1)
    settings = {"hidden_units": (8,), "latent_dim": 4, "pretrain_epochs": 2, "epochs": 2}
    settings |= {"random_state": 0}

    def answers(memory, **changed):
        classifier = TransferClassifier("features", **settings | changed, memory=memory)
        return classifier.fit(X, few).predict_proba(X)

    plain = answers(None)
    assert np.array_equal(answers(tmp_path / "kept"), plain)
    assert np.array_equal(answers(str(tmp_path / "kept")), plain)
    assert np.array_equal(answers(joblib.Memory(str(tmp_path / "kept"), verbose=0)), plain)
    assert len(pretrained) == 2
    answers(tmp_path / "kept", epochs=3, batch_size=32)  # of what comes after it
    assert len(pretrained) == 2
    for changed in ({"latent_dim": 5}, {"random_state": 1}, {"pretrain_epochs": 3}):
        answers(tmp_path / "kept", **changed)
    assert len(pretrained) == 5
