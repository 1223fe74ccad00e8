import numpy as np
import pytest

from kt_transfer import UserError
from kt_transfer.data import draw_labels, hold_out
from kt_transfer.data.splits import split_test, stratified_order

UNEVEN = np.repeat([0, 1, 2, -1], [200, 50, 10, 40])[np.random.default_rng(1).permutation(300)]


def shares(y, rows):
    return {label: (y[rows] == label).mean() for label in np.unique(y)}


def test_test_rows_are_a_stratified_fifth():
    train, test = split_test(UNEVEN)
    assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(300))
    assert len(test) == 60
    for label, count in {0: 40, 1: 10, 2: 2, -1: 8}.items():
        assert abs((UNEVEN[test] == label).sum() - count) <= 1


def test_test_rows_depend_on_the_data_alone():
    before = split_test(UNEVEN)[1]
    np.random.seed(5)
    assert np.array_equal(split_test(UNEVEN)[1], before)


def test_without_labels_there_is_a_test_part_too():
    train, test = split_test(np.full(7, -1))
    assert (len(train), len(test)) == (6, 1)


def test_every_beginning_of_the_order_is_stratified():
    order = stratified_order(UNEVEN, np.random.default_rng(0))
    assert np.array_equal(np.sort(order), np.arange(300))
    assert set(UNEVEN[order[:4]]) == {-1, 0, 1, 2}
    whole = shares(UNEVEN, np.arange(300))
    for size in (60, 150, 250):
        for label, share in shares(UNEVEN, order[:size]).items():
            assert abs(share - whole[label]) * size <= 2


@pytest.mark.parametrize("seed", [0, 7])
def test_a_larger_draw_contains_the_smaller(seed):
    draws = [set(draw_labels(UNEVEN, count, seed)) for count in (3, 10, 100, 260)]
    assert [len(draw) for draw in draws] == [3, 10, 100, 260]
    for smaller, larger in zip(draws, draws[1:], strict=False):
        assert smaller < larger


def test_a_draw_is_stratified_and_labelled():
    drawn = draw_labels(UNEVEN, 52, seed=3)
    counts = np.bincount(UNEVEN[drawn])  # raises if a row without a label was drawn
    assert np.abs(counts - [40, 10, 2]).max() <= 1


def test_a_draw_depends_on_seed_and_number_alone():
    first = draw_labels(UNEVEN, 40, seed=0)
    np.random.seed(9)
    assert np.array_equal(draw_labels(UNEVEN, 40, seed=0), first)
    assert set(draw_labels(UNEVEN, 40, seed=1)) != set(first)


def test_all_labels_are_drawn_without_a_number():
    assert np.array_equal(np.sort(draw_labels(UNEVEN, None, 0)), np.flatnonzero(UNEVEN >= 0))


def test_more_labels_than_there_are_is_an_error():
    with pytest.raises(UserError, match="--labels 261 .* 260 labelled"):
        draw_labels(UNEVEN, 261, 0)


def test_fewer_labels_than_classes_is_an_error():
    with pytest.raises(UserError, match="--labels 2 .* 3 classes"):
        draw_labels(UNEVEN, 2, 0)


def test_validation_is_a_stratified_share():
    train, validation = hold_out(UNEVEN, 0.25, seed=0)
    assert np.array_equal(np.sort(np.concatenate([train, validation])), np.arange(300))
    assert len(validation) == 75
    for label, count in {0: 50, 1: 12.5, 2: 2.5, -1: 10}.items():
        assert abs((UNEVEN[validation] == label).sum() - count) <= 1.5
    assert np.array_equal(hold_out(UNEVEN, 0.25, seed=0)[1], validation)
    assert not np.array_equal(hold_out(UNEVEN, 0.25, seed=1)[1], validation)


def test_a_share_below_one_row_holds_out_nothing():
    train, validation = hold_out(np.array([0, 1, 0, 1]), 0.2, seed=0)
    assert (len(train), len(validation)) == (4, 0)


def test_training_keeps_every_class_that_validation_could_take():
    y = np.repeat(np.arange(10), 2)
    train, validation = hold_out(y, 0.5, seed=0)
    assert set(y[train]) == set(range(10))
    assert len(validation) == 10
