import numpy as np
import pytest

from kt_transfer.explaining.columns import changes_by_column, importance_of_columns

RNG = np.random.default_rng(0)
X = RNG.normal(size=(500, 10))
Y = (X[:, 2] + X[:, 7] > 0).astype(int)


def logits_of(x):
    """Two of ten columns carry the class."""
    both = np.nan_to_num(x[:, 2]) + np.nan_to_num(x[:, 7])
    return np.stack([-both, both], axis=1)


def probabilities_of(x):
    return 1 / (1 + np.exp(-2 * logits_of(x)))


def accuracy(y, logits):
    return (logits.argmax(axis=1) == y).mean()


def importance(x=X, y=Y, score=accuracy, repeats=5, seed=0):
    return importance_of_columns(logits_of, x, y, score, repeats=repeats, seed=seed)


def test_the_columns_that_carry_the_class_come_out_on_top():
    found = importance()
    assert set(np.argsort(-found.means)[:2]) == {2, 7}
    # Two sums of two normal columns that share one differ in sign with probability arccos(1/2) / π.
    assert found.means[[2, 7]] == pytest.approx([1 / 3, 1 / 3], abs=0.05)
    others = np.delete(np.arange(10), [2, 7])
    assert (found.means[others] == 0).all()
    assert (found.deviations[others] == 0).all()
    assert found.score == 1.0


def test_the_score_is_asked_with_whole_rows_of_which_one_column_is_permuted():
    seen = []

    def watched(x):
        seen.append(x.copy())
        return logits_of(x)

    importance_of_columns(watched, X[:20, :8], Y[:20], accuracy, repeats=2, seed=0)
    for x in seen:
        changed = np.flatnonzero((x != X[:20, :8]).any(axis=0))
        assert len(changed) <= 1
        for column in changed:
            assert sorted(x[:, column]) == sorted(X[:20, column])


def test_gaps_move_with_their_column():
    x = X.copy()
    x[::3, 2] = np.nan
    assert importance(x).means[2] > 0.1


def test_the_same_seed_gives_the_same():
    assert (importance(seed=3).means == importance(seed=3).means).all()
    assert (importance(seed=3).means != importance(seed=4).means).any()


def test_a_score_of_which_less_is_better_is_negated_by_the_caller():
    found = importance(score=lambda y, logits: -np.mean(logits.argmax(axis=1) != y))
    assert found.means == pytest.approx(importance().means)
    assert found.score == 0


def test_what_one_example_would_be_with_the_values_of_others():
    x, others = X[:6], X[100:140]
    classes = np.array([0, 1, 0, 1, 1, 0])
    found = changes_by_column(probabilities_of, x, classes, others)
    assert found.shape == (6, 10)
    for row in range(6):
        for column in (0, 2, 7):
            replaced = np.repeat(x[row : row + 1], 40, axis=0)
            replaced[:, column] = others[:, column]
            own = probabilities_of(x[row : row + 1])[0, classes[row]]
            expected = own - probabilities_of(replaced)[:, classes[row]].mean()
            assert found[row, column] == pytest.approx(expected, abs=1e-12)


def test_many_columns_are_asked_about_in_blocks():
    wide = np.concatenate([X, RNG.normal(size=(500, 400))], axis=1)
    sizes = []

    def counted(x):
        sizes.append(len(x))
        return probabilities_of(x)

    found = changes_by_column(counted, wide[:8], np.zeros(8, int), wide[:50])
    assert max(sizes) <= 2**14
    narrow = changes_by_column(probabilities_of, X[:8], np.zeros(8, int), X[:50])
    assert found[:, :10] == pytest.approx(narrow)
    assert found[:, 10:] == pytest.approx(0, abs=1e-12)
