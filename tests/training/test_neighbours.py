import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from kt_transfer.training import neighbours
from kt_transfer.training.neighbours import (
    in_blocks,
    nearest_by_views,
    nearest_neighbours,
    principal_components,
)


@pytest.fixture(scope="module")
def digits():
    return load_digits().data.astype(np.float32)


def exact(x, num):
    squared, rows = NearestNeighbors(n_neighbors=num + 1).fit(x).kneighbors(x)
    return rows[:, 1:], squared[:, 1:] ** 2


def test_neighbours_are_the_nearest(digits):
    rows, squared = nearest_neighbours(digits, 7, seed=0)
    expected = exact(digits, 7)[1]
    np.testing.assert_allclose(squared, expected, rtol=1e-4)
    own = ((digits[:, None] - digits[rows]) ** 2).sum(axis=2)
    np.testing.assert_allclose(own, expected, rtol=1e-4)


def test_lists_find_nearly_all_of_them_again_and_again(digits, monkeypatch):
    monkeypatch.setattr(neighbours, "_MOST_EXACT", 100)
    rows, squared = nearest_neighbours(digits, 7, seed=0)
    again = nearest_neighbours(digits, 7, seed=0)
    np.testing.assert_array_equal(again[0], rows)
    np.testing.assert_array_equal(again[1], squared)
    found = [len(set(own) & set(true)) for own, true in zip(rows, exact(digits, 7)[0], strict=True)]
    assert np.sum(found) / rows.size > 0.98
    assert np.all(rows != np.arange(len(digits))[:, None])


def test_where_lists_hold_too_few_all_are_read(digits, monkeypatch):
    monkeypatch.setattr(neighbours, "_MOST_EXACT", 100)
    monkeypatch.setattr(neighbours, "_LISTS_READ", 1)
    rows, squared = nearest_neighbours(digits[:200], 50, seed=0)  # 14 lists of about 14
    np.testing.assert_allclose(squared, exact(digits[:200], 50)[1], rtol=1e-4)
    assert rows.min() >= 0


def test_no_example_is_its_own_neighbour_where_many_are_alike():
    x = np.repeat(np.eye(3, dtype=np.float32), 5, axis=0)  # five copies of each of three
    rows, squared = nearest_neighbours(x, 3, seed=0)
    assert np.all(rows != np.arange(15)[:, None])
    assert np.all(rows // 5 == np.arange(15)[:, None] // 5)
    assert np.all(squared == 0)


def test_of_fewer_examples_all_are_neighbours():
    rows, _ = nearest_neighbours(np.arange(4, dtype=np.float32)[:, None], 10, seed=0)
    assert [sorted(row) for row in rows] == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]


def test_distances_along_views_are_least_squares(digits):
    x, rng = digits[:300], np.random.default_rng(0)
    moves = rng.normal(size=(4, 300, 64)).astype(np.float32)
    candidates, squared = nearest_neighbours(x, 40, seed=0)
    penalty = 5 * np.median(squared[:, 0]) / 64
    rows, found = nearest_by_views(x, candidates, lambda a, b: x[a:b] + moves[:, a:b], 7)
    for i in (0, 100, 299):
        along = np.concatenate([moves[:, i].T, np.sqrt(penalty) * np.eye(4)]).astype(np.float64)
        expected = []
        for j in candidates[i]:
            apart = np.concatenate([x[j] - x[i], np.zeros(4)])
            steps = np.linalg.lstsq(along, apart, rcond=None)[0]
            expected.append(((apart - along @ steps) ** 2).sum())
        np.testing.assert_allclose(found[i], np.sort(expected)[:7], rtol=1e-3)
        np.testing.assert_array_equal(rows[i], candidates[i][np.argsort(expected)[:7]])


def test_views_that_are_the_examples_change_nothing(digits):
    candidates, squared = nearest_neighbours(digits, 9, seed=0)
    rows, found = nearest_by_views(digits, candidates, lambda a, b: [digits[a:b]] * 3, 5)
    np.testing.assert_allclose(found, squared[:, :5], rtol=1e-4)
    again = nearest_by_views(digits, candidates[:, :4], lambda a, b: [digits[a:b]], 5)[0]
    assert again.shape == (len(digits), 4)  # there are no more candidates


def test_where_most_are_copies_distances_are_finite():
    x = np.repeat(np.eye(3, dtype=np.float32), 9, axis=0)
    candidates, _ = nearest_neighbours(x, 12, seed=0)
    rows, squared = nearest_by_views(x, candidates, lambda a, b: [x[a:b]], 10)
    assert np.isfinite(squared).all() and np.all(squared[:, :8] == 0)


def components_of(x, describe, num):
    return in_blocks(x, principal_components(x, describe, num, seed=0))


def test_components_are_those_of_scikit_learn(digits, monkeypatch):
    monkeypatch.setattr(neighbours, "_ROWS_AT_ONCE", 500)
    found = components_of(digits.reshape(-1, 8, 8), lambda x: x.reshape(-1, 64), 10)
    expected = PCA(10).fit_transform(digits)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=2e-2)
    assert found.dtype == np.float32


def test_components_of_some_examples_are_nearly_those_of_all(digits, monkeypatch):
    monkeypatch.setattr(neighbours, "_MOST_TO_FIT", 600)
    found = components_of(digits, lambda x: x, 10)
    assert found.shape == (len(digits), 10)
    kept = found.var(axis=0).sum() / digits.var(axis=0).sum()
    assert kept > 0.98 * PCA(10).fit(digits).explained_variance_ratio_.sum()


def test_few_features_stay_as_they_are(digits):
    found = components_of(digits, lambda x: x[:, 20:25], 5)
    np.testing.assert_array_equal(found, digits[:, 20:25])
