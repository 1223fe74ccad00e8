"""A few epochs are timed, and change nothing."""

import time

import keras
import numpy as np
import pytest
from test_comparison import METHODS, comparison_of, measure_all, noise

from kt_transfer.comparison.pacing import OutOfTime, Watch, measure_pace, now
from kt_transfer.comparison.table import Table


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A comparison, its pace, and its table beside that of one that was not timed."""
    tables = []
    for name in ("timed", "plain"):
        folder = tmp_path_factory.mktemp(name)
        comparison = comparison_of(*noise(), folder, epochs=3)
        if name == "timed":
            began = now()
            pace = measure_pace(comparison, ends=now() + 1000)
            took = now() - began
        tables.append(Table(folder))
        next_cells = list(comparison.cells(1, 1))
        for cell, part in next_cells:
            comparison.measure(tables[-1], cell, part)
    return pace, took, tables


def test_everything_that_a_fold_needs_is_timed(measured):
    pace, took, _ = measured
    assert set(pace.pretraining) == {"own"}
    stepping = (("scratch", ""), ("parameters", "own"), ("distilled", "own"), ("propagated", ""))
    assert set(pace.epoch) == {(*candidate, n) for candidate in stepping for n in (30, 60)}
    assert set(pace.regression) == {"", "own"}
    assert set(pace.before) == {("propagated", "", n) for n in (30, 60)}
    parts = [*pace.pretraining.values(), *pace.epoch.values(), *pace.regression.values()]
    parts += pace.before.values()
    assert min(parts) > 0
    assert sum(parts) < took


def test_the_least_epochs_are_those_of_enough_steps(measured):
    pace, *_ = measured
    # 30 labels in batches of 16: two steps an epoch; 160 examples that two of three folds leave, in
    # batches of 32: five.
    assert pace.least_epochs == 50
    assert pace.least_pretrain_epochs == 60


def test_timing_changes_nothing(measured):
    timed, plain = (
        [(c, r["accuracy"], r["log_loss"]) for c, r in t.rows.items()] for t in measured[2]
    )
    assert timed == plain
    assert {cell.method for cell, *_ in timed} == set(METHODS)


def test_a_fit_ends_when_the_time_is_up():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.zeros((4, 2), np.float32)
    watch = Watch(ends=time.perf_counter() - 1)
    with pytest.raises(OutOfTime):
        model.fit(x, x[:, :1], epochs=5, callbacks=[watch], verbose=0)
    assert len(watch.seconds) == 1
    few = Watch(most_epochs=2)
    assert len(model.fit(x, x[:, :1], epochs=5, callbacks=[few], verbose=0).epoch) == 2


def test_after_a_fit_that_was_ended_the_next_is_what_it_would_have_been(tmp_path):
    tables = [Table(tmp_path / name) for name in ("ended", "plain")]
    for table in tables:
        table.folder.mkdir()
        methods = ("scratch", "linear", "parameters")
        comparison = comparison_of(*noise(), tmp_path / table.folder.name, methods)
        if table is tables[0]:
            comparison.watch = (Watch(ends=0.0),)
            with pytest.raises(OutOfTime):
                measure_all(comparison, table, stop_after=1)
            comparison.watch = ()
        measure_all(comparison, table, stop_after=3)
    ended, plain = ([row["log_loss"] for row in table.rows.values()] for table in tables)
    assert ended == plain
    assert len(ended) == 3
