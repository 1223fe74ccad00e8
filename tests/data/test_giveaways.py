"""How well one column tells the label, where the truth is known."""

import numpy as np
import pytest

from kt_transfer.data.giveaways import GIVES_AWAY, rows_to_ask, told_alone, told_by_missing

RNG = np.random.default_rng(0)


def told(values, y, copies=None, is_category=False):
    asked = rows_to_ask(y, np.arange(len(y)) if copies is None else copies)
    return told_alone(np.asarray(values, float), y, asked, is_category)


@pytest.mark.parametrize("num_classes", [2, 3, 40])
def test_a_copy_tells_all_whatever_it_is_called(num_classes):
    y = RNG.integers(0, num_classes, 2000)
    assert told(y, y) == 1
    assert told(RNG.permutation(num_classes)[y], y, is_category=True) == 1
    noisy = np.where(RNG.random(2000) < 0.01, RNG.integers(0, num_classes, 2000), y)
    assert GIVES_AWAY < told(noisy, y) < 1


def test_a_rare_class_counts_as_much_as_a_frequent_one():
    y = (np.arange(20_000) % 1000 == 0).astype(int)
    assert told(y, y) == 1
    # All of the frequent class and nothing of the rare one.
    assert told(np.zeros(20_000), y) == 0.5
    assert told(np.where(y, np.arange(20_000) % 2, 0), y) <= 0.76


@pytest.mark.parametrize("share", [0.5, 0.1, 0.02])
@pytest.mark.parametrize("kind", ["number", "few values", "words"])
def test_chance_tells_little_more_than_chance(kind, share):
    def once():
        y = (RNG.random(3000) < share).astype(int)
        values = RNG.normal(size=3000) if kind == "number" else RNG.integers(0, 9, 3000)
        return told(values, y, is_category=kind == "words")

    assert 0.5 <= np.mean([once() for _ in range(10)]) < 0.56


def test_a_threshold_tells_all_and_overlap_does_not():
    x = RNG.normal(size=3000)
    assert told(x, (x > 1.5).astype(int)) > 0.99
    # The best that any model could do with this column is 0.841.
    y = np.arange(3000) % 2
    assert 0.75 < told(x + 2 * y, y) < 0.87


def test_being_missing_is_a_value():
    y = np.arange(500) % 2
    assert told(np.where(y, RNG.normal(size=500), np.nan), y) == 1
    assert told(np.where(y, np.nan, 3.0), y) == 1


def test_copies_of_a_row_do_not_tell_its_label():
    x, y = np.repeat(RNG.normal(size=300), 3), np.repeat(RNG.integers(0, 2, 300), 3)
    assert told(x, y) > 0.95  # as it would seem
    assert told(x, y, copies=np.repeat(np.arange(300) * 3, 3)) < 0.65


def test_words_that_occur_once_tell_nothing():
    y = np.arange(300) % 2
    assert told(np.arange(300), y, is_category=True) == 0.5


def test_nothing_is_said_of_too_few():
    assert rows_to_ask(np.array([0] * 50 + [1] * 4), np.arange(54)) is None
    assert rows_to_ask(np.full(50, -1), np.arange(50)) is None
    assert rows_to_ask(np.arange(50) % 2, np.full(50, -1)) is None
    # A class of four is left out, the others are asked.
    y = np.array([0] * 50 + [1] * 50 + [2] * 4)
    assert not (y[rows_to_ask(y, np.arange(104)).every] == 2).any()


def test_few_rows_are_asked_of_many():
    y = RNG.integers(0, 4, 100_000)
    asked = rows_to_ask(y, np.arange(100_000))
    assert np.bincount(y[asked.every]).tolist() == [500] * 4
    assert (rows_to_ask(y, np.arange(100_000)).every == asked.every).all()


def test_unlabelled_rows_and_those_of_the_test_part_are_not_asked():
    y, copies = np.arange(90) % 3 - 1, np.arange(90)
    copies[:30] = -1
    asked = rows_to_ask(y, copies)
    for rows in asked:
        assert rows.min() >= 30 and (y[rows] >= 0).all()


def test_what_is_missing_tells_one_class_of_several():
    y = RNG.integers(0, 3, 600)
    side = told_by_missing(np.where(y == 1, np.nan, 1.0), y)
    assert (side.is_missing, side.label, side.share, side.elsewhere) == (True, 1, 1, 0)
    side = told_by_missing(np.where((y == 2) & (RNG.random(600) < 0.5), 1.0, np.nan), y)
    assert not side.is_missing and side.label == 2 and 0 < side.elsewhere < 0.5


def test_what_is_missing_by_chance_tells_nothing():
    y = (RNG.random(3000) < 0.2).astype(int)
    assert told_by_missing(np.where(RNG.random(3000) < 0.3, np.nan, 1.0), y) is None
    # All eleven are of the frequent class, as nearly one in ten such elevens is.
    assert (
        told_by_missing(np.where(np.arange(3000) < 11, np.nan, 1.0), np.r_[[0] * 11, y[11:]])
        is None
    )
    assert told_by_missing(np.ones(3000), y) is None
    assert told_by_missing(np.full(3000, np.nan), y) is None
    assert told_by_missing(np.full(3000, np.nan), np.full(3000, -1)) is None


def test_what_is_missing_of_nearly_all_there_is_tells_nothing():
    y = (np.arange(5000) % 100 == 0).astype(int)
    y[:2000] = 0
    assert told_by_missing(np.where(np.arange(5000) < 2000, np.nan, 1.0), y) is None
