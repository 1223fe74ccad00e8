import numpy as np
import pytest

from kt_transfer.data.ranges import (
    WITHIN,
    column_ranges,
    observed_range,
    range_of,
    raw_rows,
    scaled_rows,
)

RNG = np.random.default_rng(0)


def scaled(*columns):
    x = np.stack(columns, axis=1)
    return scaled_rows(x, column_ranges(x))


def test_each_column_has_a_range_of_its_own_and_one_outlier_changes_nothing():
    small, large = RNG.normal(size=500), RNG.uniform(2e4, 2e5, 500)
    plain = scaled(small, large)
    assert np.ptp(plain[:, 0]) > 1.7 and np.ptp(plain[:, 1]) > 1.5
    small[7] = 1e6
    assert np.abs(np.delete(scaled(small, large) - plain, 7, axis=0)).max() < 0.02


def test_one_outlier_among_twenty_does_not_leak_in():
    column = np.arange(20.0)
    column[3] = 1e9
    assert np.ptp(np.delete(scaled(column)[:, 0], 3)) > 1


@pytest.mark.parametrize("share", [0.5, 0.02], ids=["half", "rare"])
def test_what_is_mostly_zero_keeps_what_its_other_values_say(share):
    zero_one = (np.arange(1000) < 1000 * share).astype(float)
    apart = np.unique(scaled(zero_one, RNG.normal(size=1000))[:, 0])
    assert len(apart) == 2 and np.ptp(apart) >= WITHIN - 1e-6
    counts = zero_one * np.arange(1, 1001)
    values = scaled(counts)[:, 0]
    assert len(np.unique(values)) == len(np.unique(counts))


def test_distinct_values_stay_distinct_far_from_zero_and_beyond_the_range():
    offset = 1e9 + np.arange(320.0)
    assert len(np.unique(scaled(offset))) == 320
    heavy = np.sort(RNG.standard_t(1, 500))
    assert (np.diff(scaled(heavy)[:, 0]) > 0).all()
    assert np.abs(scaled(heavy)).max() <= 1


@pytest.mark.parametrize("value", [0.0, 3.0, -1e9, 1e300])
def test_a_constant_column_is_harmless(value):
    x = np.full((10, 1), value)
    assert (scaled_rows(x, column_ranges(x)) == 0).all()
    new = scaled_rows(np.array([[value + 1], [-value], [1e305]]), column_ranges(x))
    assert (np.abs(new) <= 1).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_largest_numbers_have_a_range(dtype):
    largest = np.finfo(np.float32).max * np.linspace(-1, 1, 11).astype(dtype)
    values = scaled(largest)
    assert np.isfinite(values).all() and len(np.unique(values)) == 11
    low, high = observed_range(largest[:, None, None])
    assert np.isfinite(high / 2 - low / 2)


def test_raw_values_come_back():
    x = RNG.normal(1e6, 3, (200, 4))
    ranges = column_ranges(x)
    np.testing.assert_allclose(raw_rows(scaled_rows(x, ranges), ranges), x, atol=1e-3)


def test_a_value_that_is_rare_among_many_rows_is_found():
    x = np.zeros((30_000, 1))
    x[12_345] = 5.0
    low, high = column_ranges(x)
    assert (low, high) == (-5, 5)


def test_images_have_one_range():
    x = RNG.integers(0, 17, (50, 4, 4)).astype(np.uint8)
    assert range_of(x) == (0.0, 16.0)
    assert len(range_of(x.reshape(50, 16))[0]) == 16


def test_missing_values_have_no_part_in_a_range():
    x = np.array([[1.0, 5.0], [2.0, 7.0], [4.0, 6.0]])
    gaps = np.insert(x, 1, np.nan, axis=0)
    assert observed_range(gaps) == observed_range(x) == (1.0, 7.0)
    for with_gaps, without in zip(column_ranges(gaps), column_ranges(x), strict=True):
        assert np.array_equal(with_gaps, without)
    nothing = np.full((3, 1), np.nan)
    assert observed_range(nothing) == (0.0, 1.0)
    assert np.isfinite(column_ranges(nothing)).all()
