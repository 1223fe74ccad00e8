import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.datasets import load_digits

from kt_transfer.comparison.transferability import linear_cka, log_evidence, logme

RNG = np.random.default_rng(0)
IMAGES, LABELS = load_digits(return_X_y=True)
FEATURES = IMAGES / 8 - 1


@pytest.mark.parametrize("num_rows", [60, 20])  # more examples than features, and fewer
def test_the_evidence_is_the_marginal_likelihood(num_rows):
    features, targets = RNG.normal(size=(num_rows, 30)), RNG.normal(size=(num_rows, 2))
    alpha, beta = 2.0, np.array([0.5, 3.0])
    found = log_evidence(features, targets, alpha, beta)
    for own, y, noise in zip(found, targets.T, beta, strict=True):
        covariance = np.eye(num_rows) / noise + features @ features.T / alpha
        expected = multivariate_normal(cov=covariance).logpdf(y)
        assert own == pytest.approx(expected / num_rows, rel=1e-10)


@pytest.mark.parametrize("num_rows", [60, 20])
def test_logme_is_the_highest_evidence_there_is(num_rows):
    features, labels = FEATURES[:num_rows, 10:60:2], LABELS[:num_rows] % 3
    highest = []
    for k in range(3):
        y = (labels == k).astype(float)[:, None]
        worst = minimize(
            lambda logs, y=y: -log_evidence(features, y, *np.exp(logs))[0],
            x0=[3.0, 3.0],
            method="Nelder-Mead",
            options={"xatol": 1e-6, "fatol": 1e-10},
        )
        highest.append(-worst.fun)
    assert logme(features, labels) == pytest.approx(np.mean(highest), abs=2e-4)


# From the authors' reference, github.com/thuml/LogME, LogME()._fit_icml (float64, the same rows):
# not its _fit_fixed_point, whose determinant leaves out directions where n < width.
@pytest.mark.parametrize(("num_rows", "published"), [(500, 0.28288), (200, 0.29996), (40, -0.0094)])
def test_logme_is_that_of_its_authors(num_rows, published):
    assert logme(FEATURES[:num_rows], LABELS[:num_rows]) == pytest.approx(published, abs=1e-4)


def test_what_tells_the_class_ranks_above_noise():
    labels = LABELS[:200]
    told = np.eye(10)[labels] + 0.3 * RNG.normal(size=(200, 10))
    vague = np.eye(10)[labels] + 2.0 * RNG.normal(size=(200, 10))
    noise = RNG.normal(size=(200, 10))
    assert logme(told, labels) > logme(vague, labels) > logme(noise, labels)


def test_logme_does_not_mind_rotation_nor_how_classes_are_numbered():
    rotation = np.linalg.qr(RNG.normal(size=(64, 64)))[0]
    expected = logme(FEATURES[:200], LABELS[:200])
    assert logme(FEATURES[:200] @ rotation, LABELS[:200]) == pytest.approx(expected, abs=1e-8)
    assert logme(FEATURES[:200], 3 * LABELS[:200] + 7) == pytest.approx(expected)


def test_dead_features_say_nothing_and_break_nothing():
    alive = FEATURES[:200]
    dead = np.hstack([alive, np.zeros((200, 5))])
    assert logme(dead, LABELS[:200]) == pytest.approx(logme(alive, LABELS[:200]), abs=1e-8)
    assert logme(np.zeros((200, 5)), LABELS[:200]) < logme(alive, LABELS[:200])


def hsic(x, y):
    """As in the paper, by the centring matrix."""
    h = np.eye(len(x)) - 1 / len(x)
    return np.trace(x @ x.T @ h @ y @ y.T @ h)


@pytest.mark.parametrize("num_rows", [100, 20])
def test_cka_by_the_definition(num_rows):
    x, y = RNG.normal(size=(num_rows, 30)), RNG.normal(size=(num_rows, 8))
    y += x[:, :8]
    expected = hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y))
    assert linear_cka(x, y) == pytest.approx(expected, rel=1e-10)
    assert linear_cka(y, x) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("num_rows", [100, 20])
def test_cka_does_not_mind_rotation_scale_and_shift(num_rows):
    x, y = RNG.normal(size=(num_rows, 30)), RNG.normal(size=(num_rows, 8))
    rotation = np.linalg.qr(RNG.normal(size=(30, 30)))[0]
    assert linear_cka(x, 5 * x @ rotation + 3) == pytest.approx(1)
    assert linear_cka(5 * x @ rotation + 3, y) == pytest.approx(linear_cka(x, y))
    # Any other linear map is seen.
    assert linear_cka(x, x * np.logspace(0, 2, 30)) < 0.9


def test_cka_of_images_and_of_what_never_changes():
    images = FEATURES[:50].reshape(50, 8, 8, 1)
    assert linear_cka(images, FEATURES[:50]) == pytest.approx(1)
    assert linear_cka(images, np.ones((50, 3))) == 0.0
