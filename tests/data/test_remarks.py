"""What is said of data before anything learns from it, and what is refused."""

import numpy as np
import pytest

from kt_transfer import UserError, load_data
from kt_transfer.data.remarks import remarks, require_variety

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype(np.float32)
Y = np.arange(60) % 2


@pytest.fixture
def told(tmp_path, monkeypatch):
    """Saves arrays as ``d.npz``; the data set and what is said of it."""
    monkeypatch.chdir(tmp_path)

    def call(num_folds=None, **arrays):
        np.savez("d.npz", **arrays)
        data = load_data("npz:d.npz")
        return data, list(remarks(data, num_folds))

    return call


def test_of_plain_data_nothing_is_said(told):
    data, lines = told(x=X, y=Y, num_folds=5)
    assert lines == []
    assert data.copies.tolist() == list(range(48))


def test_copies_are_counted_and_on_one_side(told):
    data, lines = told(x=np.concatenate([X, X[:6], X[:6]]), y=np.concatenate([Y, Y[:6], Y[:6]]))
    assert lines == [
        "npz:d.npz: 18 of 72 examples occur more than once: no split separates duplicates"
    ]
    assert not np.isin(*data.same).any()


def test_contradicting_labels_are_counted(told):
    _, lines = told(x=np.concatenate([X, X[:3]]), y=np.concatenate([Y, Y[:1], 1 - Y[1:3]]))
    assert lines[1:] == [
        "npz:d.npz: 4 of these have duplicates with a different label: check the labels"
    ]


def test_a_copy_without_a_label_does_not_contradict(told):
    _, lines = told(x=np.concatenate([X, X[:3]]), y=np.concatenate([Y, [-1, -1, -1]]))
    assert len(lines) == 1


def test_training_examples_of_a_given_test_part_are_left_out(told):
    test = np.concatenate([X[:10], RNG.normal(size=(10, 4)).astype(np.float32)])
    data, lines = told(x=X, y=Y, x_test=test, y_test=np.arange(20) % 2)
    assert lines[-1] == (
        "npz:d.npz: 10 of 20 test examples are also training examples: these 10 of 60 are left out "
        "of training"
    )
    assert np.flatnonzero(data.copies < 0).tolist() == list(range(10))
    assert len(data.x) == 60  # to be predicted and measured all the same


def test_rare_classes_are_named(told):
    y = Y.copy()
    y[3], y[[8, 20, 30]] = 2, 3
    _, lines = told(x=X, y=y, num_folds=5)
    assert "class 2 with a single labelled training example" in lines[0]
    assert lines[1] == (
        "npz:d.npz: class 3 with fewer labelled examples than the 5 folds: it is missing from some "
        "folds"
    )


def test_classes_of_the_test_part_alone_are_named(told):
    arrays = {"x": X, "y": Y * 2000, "x_test": X + 9}
    _, lines = told(**arrays, y_test=np.where(np.arange(60) < 3, 1999, Y * 2000))
    assert lines == [
        "npz:d.npz: class 1999 only in the test part: it cannot be learned, so 3 test "
        "examples count as errors"
    ]
    _, lines = told(**arrays, y_test=np.arange(60) % 3 * 1000)
    assert "class 1000 only in the test part" in lines[0]
    _, lines = told(**arrays, y_test=np.arange(60) % 4 * 1000)
    assert "only in the test part: they cannot be learned" in lines[0]
    # Without any label there is nothing to be learned.
    assert told(x=X, x_test=X + 9, y_test=Y)[1] == []


def test_examples_that_are_all_the_same_are_refused(told):
    data, _ = told(x=np.full((30, 4), 3.0), y=np.arange(30) % 2)
    with pytest.raises(UserError, match="24 training examples that are all the same"):
        require_variety(data)


def test_training_examples_that_are_all_test_examples_are_refused(told):
    data, _ = told(x=X, y=Y, x_test=X, y_test=Y)
    with pytest.raises(UserError, match="60 training examples that are all in the test part"):
        require_variety(data)
