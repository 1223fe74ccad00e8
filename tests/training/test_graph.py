import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.semi_supervised import LabelSpreading

from kt_transfer.training.graph import (
    neighbour_graph,
    propagate,
    with_class_masses,
)
from kt_transfer.training.neighbours import nearest_neighbours


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return x[:300], y[:300]


def one_hot(labels, num_classes):
    """-1 is none."""
    return (labels[:, None] == np.arange(num_classes)).astype(np.float32)


def affinities(x, k, sharpness):
    """The same as neighbour_graph, densely and one pair at a time."""
    squared = ((x[:, None].astype(np.float64) - x[None]) ** 2).sum(axis=2)
    weights = np.zeros_like(squared)
    for i, row in enumerate(squared):
        near = [j for j in np.argsort(row, kind="stable") if j != i][:k]
        weights[i, near] = np.exp(-sharpness * row[near] / row[near].max())
    weights = np.maximum(weights, weights.T)
    degree = weights.sum(axis=1)
    return weights, weights / np.sqrt(degree[:, None] * degree[None])


def graph_of(x, k=10, **options):
    return neighbour_graph(*nearest_neighbours(x.astype(np.float32), k, seed=0), **options)


@pytest.mark.parametrize("sharpness", [4.0, 0.5])
def test_affinities_are_as_defined(digits, sharpness):
    x, _ = digits
    _, expected = affinities(x, 10, sharpness)
    graph = graph_of(x, sharpness=sharpness)
    assert graph.dtype == np.float32
    np.testing.assert_allclose(graph.toarray(), expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.5, 0.9, 0.99])
def test_propagation_is_the_closed_form(digits, alpha):
    x, y = digits
    targets = one_hot(np.where(np.arange(300) < 30, y, -1), 10)
    graph = graph_of(x)
    system = np.eye(300) - alpha * graph.toarray().astype(np.float64)
    expected = (1 - alpha) * np.linalg.solve(system, targets)
    found = propagate(graph, targets, alpha=alpha)
    np.testing.assert_allclose(found, expected, atol=2e-4 * expected.max())


def test_classes_are_those_of_scikit_learn(digits):
    x, y = digits
    labels = np.where(np.arange(300) < 30, y, -1)
    weights, _ = affinities(x, 10, 4.0)
    theirs = LabelSpreading(kernel=lambda a, b: weights, alpha=0.9, max_iter=2000, tol=1e-9)
    theirs.fit(x, labels)
    found = propagate(graph_of(x), one_hot(labels, 10), alpha=0.9)
    shares = found / found.sum(axis=1, keepdims=True)
    # Their graph Laplacian has the affinities off the diagonal, and so has ours.
    np.testing.assert_allclose(shares, theirs.label_distributions_, atol=2e-3)
    np.testing.assert_array_equal(found.argmax(axis=1), theirs.transduction_)


def test_what_cannot_be_reached_has_no_score():
    apart = np.concatenate([np.arange(20), 1000 + np.arange(20)]).astype(np.float32)[:, None]
    targets = one_hot(np.where(np.arange(40) == 3, 0, -1), 1)
    found = propagate(graph_of(apart, 5), targets, alpha=0.99)
    assert np.all(found[:20] > 0)
    assert np.all(found[20:] == 0)


def test_copies_of_one_example_are_all_reached():
    alike = np.zeros((15, 2), np.float32)
    found = propagate(graph_of(alike, 3), one_hot(np.where(np.arange(15) < 5, 0, -1), 1), alpha=0.9)
    assert np.isfinite(found).all()


def test_class_masses_become_the_shares():
    scores = np.random.default_rng(0).random((50, 3)).astype(np.float32)
    shares = np.array([0.7, 0.2, 0.1])
    found = with_class_masses(scores, shares)
    np.testing.assert_allclose(found.sum(axis=0), shares, rtol=1e-5)
    np.testing.assert_allclose(found[:, 0] / found[0, 0], scores[:, 0] / scores[0, 0], rtol=1e-5)
    none = scores * np.array([1, 1, 0], np.float32)  # a class that no label spreads
    assert np.all(with_class_masses(none, shares)[:, 2] == 0)
