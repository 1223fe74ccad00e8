import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from kt_transfer import classifier
from kt_transfer.models import classifiers
from kt_transfer.models.classifiers import (
    STRENGTHS,
    after_encoder,
    dense_encoder,
    fit_logistic_regression,
)

RNG = np.random.default_rng(0)


def softmax(logits):
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


def test_the_encoder_is_a_stack_of_relu_layers():
    encoder = dense_encoder(7, (5, 4), latent_dim=3)
    assert encoder.name == "encoder"
    widths = {layer.name: layer.units for layer in encoder.layers[1:]}
    assert widths == {"hidden_1": 5, "hidden_2": 4, "bottleneck": 3}
    assert all(layer.activation is keras.activations.relu for layer in encoder.layers[1:])


def test_without_a_latent_dim_there_is_no_code_layer():
    assert [layer.name for layer in dense_encoder(7, (5,)).layers] == ["features", "hidden_1"]


def test_a_classifier_emits_logits_of_its_backbones_features():
    encoder = dense_encoder(6, (5,))
    model = classifier(encoder, 3, name="student")
    assert model.name == "student"
    x = RNG.normal(size=(4, 6)).astype(np.float32)
    (w1, b1), (w2, b2) = (model.get_layer(name).get_weights() for name in ("encoder", "head"))
    expected = np.maximum(x @ w1 + b1, 0) @ w2 + b2
    np.testing.assert_allclose(model(x), expected, rtol=1e-5, atol=1e-6)
    assert model.get_layer("encoder") is encoder


def test_dropout_is_between_the_backbone_and_the_head_and_in_training_alone():
    plain = classifier(dense_encoder(6, (500,)), 3)
    model = classifier(plain.get_layer("encoder"), 3, dropout=0.4)
    model.set_weights(plain.get_weights())
    x = RNG.normal(size=(4, 6)).astype(np.float32)
    np.testing.assert_array_equal(model(x), plain(x))
    features = np.ones((1, 500), np.float32)
    model.get_layer("head").set_weights([np.ones((500, 3)), np.zeros(3)])
    # 500 ones, of which a share is dropped and the others grow to make up for it.
    logits = np.asarray(head_with_dropout(model)(features, training=True))
    kept = logits * (1 - 0.4)
    assert kept == pytest.approx(np.round(kept), abs=1e-3)
    assert 250 < kept[0, 0] < 350


def head_with_dropout(model):
    features = keras.Input(model.get_layer("encoder").output_shape[1:])
    return keras.Model(features, after_encoder(model, features))


@pytest.mark.parametrize("num_classes", [2, 4])
@pytest.mark.parametrize("each_by_its_own", [True, False])
def test_logistic_regression_gives_scikit_learns_probabilities(num_classes, each_by_its_own):
    labels = np.arange(80) % num_classes
    if each_by_its_own:
        features = RNG.normal(size=(80, 5)) * [1, 10, 0.1, 1, 5] + labels[:, None]
    else:  # what is loud says something, and much that is low does not
        features = RNG.normal(size=(80, 60)) * np.repeat([1, 0.1], [5, 55])
        features[:, :5] += labels[:, None]
    kernel, bias, strength = fit_logistic_regression(features, labels, num_classes, seed=3)
    pipeline = Pipeline([("scaler", None), ("lr", LogisticRegression(max_iter=1000))])
    folds = StratifiedKFold(5, shuffle=True, random_state=3)
    scalers = [StandardScaler(), StandardScaler(with_std=False)]
    grid = {"scaler": scalers, "lr__C": np.logspace(-4, 2, 7)}
    search = GridSearchCV(pipeline, grid, cv=folds, scoring="neg_log_loss")
    same_spread = features / features.std()
    search.fit(same_spread, labels)
    assert search.best_params_["scaler"].with_std == each_by_its_own
    assert strength == pytest.approx(search.best_params_["lr__C"])
    assert kernel.shape == (features.shape[1], num_classes)
    expected = search.predict_proba(same_spread)
    np.testing.assert_allclose(softmax(features @ kernel + bias), expected, atol=1e-4)


def test_one_example_of_a_class_is_enough_for_logistic_regression():
    labels = np.array([0, 0, 0, 1, 1, 2])
    features = np.eye(3)[labels] + RNG.normal(size=(6, 3)) * 0.01
    kernel, bias, strength = fit_logistic_regression(features, labels, 3, seed=0)
    # By the other classes; alone, its example is in every fold to learn from.
    assert strength in STRENGTHS
    assert np.array_equal((features @ kernel + bias).argmax(axis=1), labels)


def test_a_class_without_examples_is_never_answered():
    labels = np.array([0, 2] * 10)
    features = np.eye(3)[labels] + RNG.normal(size=(20, 3)) * 0.01
    kernel, bias, _ = fit_logistic_regression(features, labels, 3, seed=0)
    assert kernel.shape == (3, 3)
    probabilities = softmax(features @ kernel + bias)
    assert np.array_equal(probabilities.argmax(axis=1), labels)
    assert probabilities[:, 1].max() < 0.01


@pytest.fixture(scope="module")
def many():
    """More examples than folds are made of; noise in most features, so that C matters."""
    labels = np.arange(10_500) % 3
    features = RNG.normal(size=(10_500, 30)).astype(np.float32)
    features[:, :2] += labels[:, None] * [0.4, -0.3]
    return features, labels


def test_many_examples_choose_by_one_hold_out(many):
    features, labels = many
    kernel, bias, strength = fit_logistic_regression(features, labels, 3, seed=5)
    scaled = StandardScaler().fit_transform(features)
    x, held_x, y, held_y = train_test_split(
        scaled, labels, test_size=0.2, stratify=labels, random_state=5
    )
    strengths = np.logspace(-4, 2, 7)
    losses = [
        log_loss(held_y, LogisticRegression(C=c, max_iter=1000).fit(x, y).predict_proba(held_x))
        for c in strengths
    ]
    # Neighbours may lie within what an early stop leaves open.
    assert losses[list(strengths).index(strength)] <= min(losses) + 1e-4
    assert losses[0] > min(losses) + 1e-3
    regression = LogisticRegression(C=strength, max_iter=1000).fit(scaled, labels)
    expected = regression.predict_proba(scaled)
    np.testing.assert_allclose(softmax(features @ kernel + bias), expected, atol=5e-3)
    assert (kernel.dtype, bias.dtype) == (np.float32, np.float32)


def test_many_examples_give_the_same_again(many):
    first, second = (fit_logistic_regression(*many, 3, seed=5) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


@pytest.mark.parametrize("many", [10, 10_000], ids=["hold-out", "folds"])
def test_weights_of_logistic_regression_count_beside_one_another(monkeypatch, many):
    monkeypatch.setattr("kt_transfer.models.classifiers.MANY_EXAMPLES", many)
    # Every example with either label, one of them nine times as heavy.
    x, y = np.repeat(np.eye(2, dtype="float32"), 40, axis=0), np.tile([0, 1], 40)
    heavy = np.where(y == 1, 9.0, 1.0) * 1e-5
    kernel, bias, _ = fit_logistic_regression(x, y, 2, seed=0, sample_weight=heavy)
    logits = x @ kernel + bias
    assert logits[:, 1] - logits[:, 0] == pytest.approx(np.log(9), abs=0.1)
    plain = fit_logistic_regression(x, y, 2, seed=0)
    alike = fit_logistic_regression(x, y, 2, seed=0, sample_weight=np.full(80, 0.125))
    for one, other in zip(plain, alike, strict=True):
        assert np.array_equal(one, other)


def test_far_more_columns_than_examples_take_the_same_solution(monkeypatch):
    """In the span of 24 examples instead of 2,000 columns, which stock scikit-learn solves in."""
    rng = np.random.default_rng(0)
    labels = np.arange(24) % 3
    centres = rng.normal(size=(3, 2000))
    features = 0.3 * centres[labels] + rng.normal(size=(24, 2000))
    new = 0.3 * centres[np.arange(60) % 3] + rng.normal(size=(60, 2000))
    weights = rng.uniform(0.5, 2, 24)
    for weight in (None, weights):
        kernel, bias, strength = fit_logistic_regression(
            features, labels, 3, seed=0, sample_weight=weight
        )
        monkeypatch.setattr(classifiers, "FAR_WIDER", 1e9)
        plain, plain_bias, _ = fit_logistic_regression(
            features, labels, 3, seed=0, sample_weight=weight
        )
        monkeypatch.undo()
        ours, theirs = new @ kernel + bias, new @ plain + plain_bias
        np.testing.assert_array_equal(ours.argmax(axis=1), theirs.argmax(axis=1))
        assert (ours.argmax(axis=1) == np.arange(60) % 3).mean() > 0.9
        # Of one strength and scaling, the solution is that of all columns.
        scaler = StandardScaler(with_std=False).fit(features / features.std(), None, weight)
        scaled = scaler.transform(features / features.std())
        weight = None if weight is None else weight / weight.mean()
        left, singular, rotation = np.linalg.svd(scaled, full_matrices=False)
        tight = {"C": strength, "tol": 1e-8, "max_iter": 5000}
        whole = LogisticRegression(**tight).fit(scaled, labels, weight).coef_
        span = LogisticRegression(**tight).fit(left * singular, labels, weight).coef_
        np.testing.assert_allclose(span @ rotation, whole, atol=1e-4 * np.abs(whole).max())


def test_wide_features_are_rotated_to_the_same_solution(monkeypatch):
    """More columns than examples, though not far more: a rotation in every fold, or none."""
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    centres = rng.normal(size=(3, 1200))
    features, new = (0.3 * centres[labels] + rng.normal(size=(90, 1200)) for _ in range(2))
    for weight in (None, rng.uniform(0.5, 2, 90)):
        given = {"seed": 0, "sample_weight": weight}
        kernel, bias, strength = fit_logistic_regression(features, labels, 3, **given)
        monkeypatch.setattr(classifiers, "WIDE", 10_000)
        plain, plain_bias, plain_strength = fit_logistic_regression(features, labels, 3, **given)
        monkeypatch.undo()
        assert strength == plain_strength
        ours, theirs = (softmax(x) for x in (new @ kernel + bias, new @ plain + plain_bias))
        # As far as the solver goes: it stops by the largest entry of a gradient, in either basis.
        np.testing.assert_allclose(ours, theirs, atol=0.05)
