"""Columns that say the same as another."""

import numpy as np
import pytest

from kt_transfer.data.column_copies import column_copies

RNG = np.random.default_rng(0)
NUMBERS = RNG.normal(100, 20, 500)
CODES = RNG.integers(0, 5, 500).astype(float)
GAPS = np.where(RNG.random(500) < 0.2, np.nan, NUMBERS)


def kinds(*columns):
    return [tuple(copy) for copy in column_copies(np.stack(columns, axis=1))]


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        (NUMBERS, NUMBERS, "equal"),
        (GAPS, GAPS, "equal"),
        (CODES, 4 - CODES, "recoded"),
        (CODES, np.array([7, 1, 0, 30, 2.0])[CODES.astype(int)], "recoded"),
        (NUMBERS, np.log(NUMBERS), "recoded"),
        (GAPS, -GAPS, "recoded"),
        (NUMBERS, (1.8 * NUMBERS + 32).round(1), "scaled"),
        (GAPS, (GAPS * 0.17).round(2), "scaled"),
        (CODES > 2, CODES <= 2, "recoded"),
        (np.isnan(GAPS), np.where(np.isnan(GAPS), np.nan, 1), "recoded"),
    ],
)
def test_a_copy_is_found(one, other, kind):
    assert kinds(one.astype(float), RNG.normal(size=500), other.astype(float)) == [(2, 0, kind)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (NUMBERS, NUMBERS + RNG.normal(0, 1, 500)),
        (NUMBERS, GAPS),
        (CODES, np.where(np.arange(500) == 77, (CODES + 1) % 5, CODES)),
        (CODES, np.minimum(CODES, 3)),
        (NUMBERS, RNG.normal(size=500)),
        (np.ones(500), np.zeros(500)),
        (np.full(500, np.nan), np.full(500, np.nan)),
        (np.arange(500), RNG.permutation(500)),
    ],
)
def test_what_is_only_alike_is_no_copy(one, other):
    assert kinds(one.astype(float), other.astype(float)) == []


def test_the_first_of_several_is_named():
    assert kinds(CODES, NUMBERS, CODES, 9 - CODES) == [(2, 0, "equal"), (3, 0, "recoded")]


def test_a_difference_in_one_row_of_many_is_noticed():
    x = RNG.integers(0, 5, (100_000, 1)).repeat(2, axis=1).astype(float)
    assert column_copies(x) == [(1, 0, "equal")]
    x[77_777, 1] = (x[77_777, 1] + 1) % 5
    assert column_copies(x) == []


def test_a_few_rows_are_alike_by_chance():
    assert column_copies(np.zeros((10, 2)) + np.arange(10)[:, None]) == []
