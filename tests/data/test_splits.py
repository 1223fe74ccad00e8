import numpy as np
import pytest

from kt_transfer import UserError
from kt_transfer.data import draw_labels, hold_out
from kt_transfer.data.splits import (
    of_every_class,
    single_classes,
    split_test,
    stratified_order,
    without_copies_of,
)

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
    with pytest.raises(UserError, match="labels=261 .* 260 labelled"):
        draw_labels(UNEVEN, 261, 0)


def test_fewer_labels_than_classes_is_an_error():
    with pytest.raises(UserError, match="labels=2 .* 3 classes"):
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


# Each of 60 examples five times, in no order.
COPIES = np.random.default_rng(2).permutation(np.repeat(np.arange(60) * 3, 5))
OF_COPIES = (COPIES // 3) % 3


def test_where_none_is_equal_nothing_changes():
    differ = np.arange(300)
    for split in (split_test, lambda y, copies=None: hold_out(y, 0.25, 3, copies)):
        for part, before in zip(split(UNEVEN, differ), split(UNEVEN), strict=True):
            np.testing.assert_array_equal(part, before)
    for labels in (50, None):
        drawn = draw_labels(UNEVEN, labels, 3, differ)
        np.testing.assert_array_equal(drawn, draw_labels(UNEVEN, labels, 3))


@pytest.mark.parametrize("split", [split_test, lambda y, copies: hold_out(y, 0.2, 5, copies)])
def test_copies_are_on_one_side_of_a_stratified_split(split):
    train, held = split(OF_COPIES, COPIES)
    assert np.array_equal(np.sort(np.concatenate([train, held])), np.arange(300))
    assert not set(COPIES[train]) & set(COPIES[held])
    assert np.bincount(OF_COPIES[held]).tolist() == [20, 20, 20]


def test_an_example_of_many_copies_stays_in_training():
    copies = np.concatenate([np.zeros(150, int), np.arange(1, 51)])
    for train, held in (split_test(copies % 2, copies), hold_out(copies % 2, 0.2, 0, copies)):
        assert set(np.flatnonzero(copies == 0)) <= set(train)
        assert len(held) == 40


def test_where_no_example_fits_the_one_of_fewest_copies_is_test():
    copies = np.repeat([0, 1, 2], [4, 5, 3])
    assert split_test(np.zeros(12, int), copies)[1].tolist() == [9, 10, 11]


def test_examples_that_are_all_the_same_are_split_by_rows():
    assert len(split_test(np.arange(10) % 2, np.zeros(10, int))[1]) == 2


def test_copies_without_a_label_are_split_as_those_with_one():
    y = np.where(np.arange(300) % 2, OF_COPIES, -1)
    train, test = split_test(y, COPIES)
    assert not set(COPIES[train]) & set(COPIES[test])


def test_labels_are_drawn_of_examples_that_differ_while_there_are_some():
    for labels in (20, 60):
        drawn = draw_labels(OF_COPIES, labels, 0, COPIES)
        assert len(set(COPIES[drawn])) == labels
        assert set(np.bincount(OF_COPIES[drawn])) <= {labels // 3, labels // 3 + 1}
    more = draw_labels(OF_COPIES, 100, 0, COPIES)
    assert len(set(COPIES[more])) == 60
    assert set(drawn) < set(more)
    assert sorted(draw_labels(OF_COPIES, None, 0, COPIES)) == list(range(300))


def test_copies_of_two_labels_are_two_labelled_examples_on_one_side():
    y, copies = np.array([0, 1, 0, 1, 0, 1]), np.array([0, 0, 2, 3, 4, 5])
    assert sorted(draw_labels(y, 6, 0, copies)) == list(range(6))
    train, held = hold_out(y, 0.5, 0, copies)
    assert not set(copies[train]) & set(copies[held])


def test_rows_that_are_in_the_test_part_do_not_teach():
    copies = np.where(np.arange(300) < 100, -1, np.arange(300))
    assert draw_labels(UNEVEN, None, 0, copies).min() == 100
    train, held = hold_out(UNEVEN, 0.25, 0, copies)
    assert np.array_equal(np.sort(np.concatenate([train, held])), np.arange(100, 300))
    with pytest.raises(UserError, match="labelled examples"):
        draw_labels(UNEVEN, 250, 0, copies)
    assert without_copies_of(np.array([150]), copies).tolist() == [
        *range(100, 150),
        *range(151, 300),
    ]


def test_the_only_example_of_a_class_is_for_training():
    y = np.append(UNEVEN, [7, 8])
    train, test = split_test(y)
    assert {300, 301} <= set(train)
    assert len(test) == 60
    assert single_classes(y).tolist() == [7, 8]
    # One example and its copies likewise.
    copies = np.append(np.arange(300), [300, 300])
    y[300:] = 7
    assert {300, 301} <= set(split_test(y, copies)[0])
    assert {300, 301} <= set(hold_out(y, 0.5, 0, copies)[0])
    assert single_classes(y, copies).tolist() == [7]


def test_the_numbers_of_examples_that_differ_do_not_matter():
    """Drawn rows come in the order of the draw, not of their numbers."""
    y, numbers = np.arange(60) % 3, np.random.default_rng(0).permutation(60)
    for given, expected in zip(hold_out(y, 0.2, 1, numbers), hold_out(y, 0.2, 1), strict=True):
        assert np.array_equal(given, expected)


def test_of_every_class_shows_each_before_any_twice():
    y = np.array([2, 2, 2, 0, 1, 1, -1])
    rows = of_every_class(y, 6)
    assert sorted(y[rows[:4]]) == [-1, 0, 1, 2]
    assert sorted(y[rows[4:]]) == [1, 2]
    # More classes than asked for are all shown, as far as there is room.
    assert len(of_every_class(np.arange(15), 10)) == 15
    assert len(of_every_class(np.arange(30), 10)) == 24
