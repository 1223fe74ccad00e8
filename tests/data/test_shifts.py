import numpy as np
import pytest
from scipy import ndimage
from sklearn.datasets import load_digits

from kt_transfer.data.schema import Column, Schema
from kt_transfer.data.shifts import (
    BLUR_SHARE,
    COLUMN_NOISE,
    CONTRAST,
    DEGREES,
    DRIFT,
    NOISE,
    PICTURES,
    changed,
    changes_of,
    spread_of,
)

MIDDLE = np.random.default_rng(0).uniform(0.4, 0.6, (50, 40, 30))  # far from both ends
DIGITS = load_digits().images.astype(np.uint8)
SCHEMA = Schema(
    columns=(
        Column(name="age", kind="number"),
        Column(name="color", kind="category", vocabulary=("red", "blue")),
        Column(name="member", kind="boolean"),
        Column(name="since", kind="date"),
    )
)


def table(rows=2000):
    rng = np.random.default_rng(0)
    x = np.stack(
        [
            rng.normal(40, 10, rows),
            rng.integers(0, 3, rows),
            rng.integers(0, 2, rows),
            rng.normal(15_000, 300, rows),
        ],
        axis=1,
    )
    x[::7, 0], x[::5, 1] = np.nan, np.nan
    return x


def names_of(shape, schema=None):
    return [change.name for change in changes_of(shape, schema)]


def test_what_applies_to_what():
    assert names_of((8, 8)) == names_of((32, 32, 3)) == [change.name for change in PICTURES]
    assert names_of((30,)) == ["noise", "missing", "drift"]
    assert names_of((4,), SCHEMA) == ["noise", "missing", "drift"]
    words = Schema(columns=SCHEMA.columns[1:3])
    assert names_of((2,), words) == ["missing"]
    assert names_of((1,), Schema(columns=SCHEMA.columns[1:2])) == []


@pytest.mark.parametrize("change", PICTURES, ids=lambda change: change.name)
@pytest.mark.parametrize(
    "x",
    [DIGITS[:40], np.stack([DIGITS[:40]] * 3, -1), DIGITS[:40] / 16.0],
    ids=["grey", "colour", "floats"],
)
def test_pictures_keep_shape_type_and_range_and_are_changed(change, x):
    value_range = (0.0, 16.0 if x.dtype == np.uint8 else 1.0)
    before = x.copy()
    made = changed(change.name, x, seed=3, value_range=value_range)
    assert made.shape == x.shape
    assert made.dtype == x.dtype
    assert value_range[0] <= made.min() <= made.max() <= value_range[1]
    np.testing.assert_array_equal(x, before)
    assert (made != x).reshape(len(x), -1).any(axis=1).all()
    again = changed(change.name, x, seed=3, value_range=value_range)
    np.testing.assert_array_equal(made, again)


def test_the_strengths_are_those_that_are_documented():
    unit = {"seed": 0, "value_range": (0.0, 1.0)}
    noise = changed("noise", MIDDLE, **unit) - MIDDLE
    assert noise.std() == pytest.approx(NOISE, rel=0.02)
    assert abs(noise.mean()) < 0.002
    np.testing.assert_allclose(changed("brightness", MIDDLE, **unit), MIDDLE + 0.1)
    flat = changed("contrast", MIDDLE, **unit)
    np.testing.assert_allclose(flat.mean(axis=(1, 2)), MIDDLE.mean(axis=(1, 2)))
    np.testing.assert_allclose(flat.std(axis=(1, 2)), CONTRAST * MIDDLE.std(axis=(1, 2)))
    large = np.random.default_rng(0).random((2, 200, 300))
    blurred = ndimage.gaussian_filter(large[1], BLUR_SHARE * 200, mode="nearest")
    np.testing.assert_allclose(changed("blur", large, **unit)[1], blurred)
    blurred = ndimage.gaussian_filter(MIDDLE[3], 0.6, mode="nearest")
    np.testing.assert_allclose(changed("blur", MIDDLE, **unit)[3], blurred)


def test_channels_and_pictures_are_not_mixed():
    x = np.zeros((2, 9, 9, 3))
    x[0, 4, 4, 1] = 1.0
    for name in ("blur", "contrast", "rotation"):
        made = changed(name, x, seed=0, value_range=(0.0, 1.0))
        assert made[0, :, :, 1].any()
        assert not made[1].any()
        assert not made[0, :, :, [0, 2]].any()


def test_a_bar_is_turned_by_the_angle_to_both_sides():
    x = np.zeros((40, 101, 101))
    x[:, 50, 10:91] = 1.0
    turned = changed("rotation", x, seed=0, value_range=(0.0, 1.0))
    rows, columns = np.mgrid[:101, :101] - 50.0
    slopes = np.array(
        [np.degrees(np.arctan((a * rows * columns).sum() / (a * columns**2).sum())) for a in turned]
    )
    np.testing.assert_allclose(np.abs(slopes), DEGREES, atol=0.2)
    assert 10 < (slopes > 0).sum() < 30


def test_noise_of_a_table_goes_by_the_spread_of_numbers_alone():
    x = table()
    x[3, 0] = 1e12  # an outlier is not what is usual
    spread = spread_of(x, SCHEMA)
    assert spread.deviation == pytest.approx([10, 0, 0, 300], rel=0.1)
    difference = changed("noise", x, seed=0, spread=spread) - x
    np.testing.assert_array_equal(np.isnan(difference), np.isnan(x))
    deviation = np.nanstd(np.delete(difference, 3, axis=0), axis=0)
    assert deviation == pytest.approx(COLUMN_NOISE * spread.deviation, rel=0.05)
    assert deviation[1] == deviation[2] == 0  # codes and booleans stay what they are


def test_columns_of_a_table_are_missing_in_every_row():
    x = table()
    lost = {
        tuple(np.flatnonzero(np.isnan(made).all(axis=0)))
        for seed in range(40)
        for made in [changed("missing", x, seed=seed, spread=spread_of(x, SCHEMA))]
        if np.array_equal(made[~np.isnan(made)], x[~np.isnan(made)])
    }
    assert lost == {(0,), (1,), (2,), (3,)}


def test_columns_of_vectors_become_their_median():
    x = np.random.default_rng(0).normal(size=(500, 20))
    made = changed("missing", x, seed=0, spread=spread_of(x))
    lost = np.flatnonzero((made != x).any(axis=0))
    assert len(lost) == 4
    expected = np.broadcast_to(np.quantile(x[:, lost], 0.5, axis=0, method="lower"), (500, 4))
    np.testing.assert_allclose(made[:, lost], expected)
    one = np.ones((3, 2))
    assert (changed("missing", 2 * one, seed=0, spread=spread_of(one)) == 2).any()


def test_a_fifth_of_the_numbers_drift_by_half_a_deviation():
    x = np.random.default_rng(0).normal(size=(500, 20))
    x[:, 5] = 3.0
    spread = spread_of(x)
    shift = changed("drift", x, seed=0, spread=spread) - x
    np.testing.assert_allclose(shift, np.broadcast_to(shift[:1], shift.shape), atol=1e-12)
    moved = np.flatnonzero(np.abs(shift[0]) > 1e-9)
    assert len(moved) == 4
    assert 5 not in moved
    np.testing.assert_allclose(np.abs(shift[0, moved]), DRIFT * spread.deviation[moved])


def test_whole_numbers_stay_whole_and_in_their_range():
    x = np.random.default_rng(0).integers(0, 256, (300, 6)).astype(np.uint8)
    for name in names_of((6,)):
        made = changed(name, x, seed=0, spread=spread_of(x), value_range=(0, 255))
        assert made.dtype == np.uint8
        # It does not wrap around at the ends.
        assert np.abs(made.astype(int) - x).max() < 255


def test_another_kinds_change_is_refused():
    with pytest.raises(ValueError, match="'missing' was given, expected one of noise, blur"):
        changed("missing", DIGITS, seed=0, value_range=(0, 16))
