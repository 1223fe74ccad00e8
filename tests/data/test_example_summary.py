import json

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine

from kt_transfer.data.arrays import dataset_from_arrays
from kt_transfer.data.example_summary import ExampleSummary, summarize, why_unlike

RNG = np.random.default_rng(0)
TABLES = {"wine": load_wine(), "cancer": load_breast_cancer(), "iris": load_iris()}
IMAGES = load_digits().images[:400]


def data_of(x, value_range=None):
    return dataset_from_arrays("npz:some", x, None, x[:2], None, value_range=value_range)


@pytest.mark.parametrize("name", TABLES)
def test_parts_of_a_table_pass_and_other_units_do_not(name):
    x, y = TABLES[name].data, TABLES[name].target
    order = RNG.permutation(len(x))
    before, after = x[order[::2]], x[order[1::2]]
    summary = summarize(data_of(before))
    for size in (2, 3, 5, 20, 50):
        some = [after[RNG.choice(len(after), size, replace=False)] for _ in range(40)]
        assert not any(why_unlike(summary, data_of(rows)) for rows in some)
    for label in np.unique(y):
        assert why_unlike(summary, data_of(x[y == label])) is None
    others = [
        (after - before.mean(0)) / before.std(0),
        (after - before.min(0)) / np.ptp(before, axis=0),
        after / 255,
        after * 1000,
    ]
    for other in others:
        assert "columns, such as column" in why_unlike(summary, data_of(other))


def test_single_columns_may_drift_whatever_they_do():
    x = TABLES["wine"].data
    summary = summarize(data_of(x))
    for change in (lambda v: v * 1e6, lambda v: v - 1e6, lambda v: v * 0):
        drifted = x.copy()
        drifted[:, 3:6] = change(drifted[:, 3:6])
        assert why_unlike(summary, data_of(drifted)) is None


BYTES = (IMAGES * 15.9375).astype(np.uint8)
MADE_FOR = {
    "bytes, declared": (BYTES, (0.0, 255.0)),
    "bytes, observed": (IMAGES.astype(np.uint8), None),
    "binary bytes": ((IMAGES > 7).astype(np.uint8), None),
    "whole floats": (IMAGES.astype(np.float32), None),
    "floats to 255": (IMAGES * 15.9, None),
    "floats to 1": (IMAGES / 16, None),
}


@pytest.mark.parametrize("kind", MADE_FOR)
def test_pictures_may_be_dark_or_of_another_type_but_not_of_another_unit(kind):
    x, declared = MADE_FOR[kind]
    summary = summarize(data_of(x, declared))
    whole = x.dtype == np.uint8
    dark = x // 12 if whole else x * 0.08
    for like in (x, x.astype(np.float64), dark, x[:2], x[:2] * 0):
        assert why_unlike(summary, data_of(like)) is None
    largest = float(x.max())
    unit = x / largest
    other = [2 * unit - 1, (unit - unit.mean()) / unit.std(), unit * 65535]
    other += [unit] * (largest > 1) + [unit * 255] * (largest < 100)
    for elsewhere in other:
        assert why_unlike(summary, data_of(elsewhere))


def test_one_outlier_does_not_make_other_pictures_faint():
    x = IMAGES / 16
    x[0, 0, 0] = 1e6
    assert why_unlike(summarize(data_of(x)), data_of(IMAGES[5:] / 16)) is None
    assert why_unlike(summarize(data_of(IMAGES[5:] / 16)), data_of(x)) is None


@pytest.mark.parametrize("x", [IMAGES, TABLES["iris"].data, np.ones((4, 3))])
def test_it_is_kept_as_json(x):
    summary = summarize(data_of(x))
    assert ExampleSummary.from_note(json.loads(json.dumps(summary.to_note()))) == summary
