"""How far long work is, where there is no terminal."""

import re

import keras
import numpy as np

from kt_transfer.training.progress import Progress, progress_bar

X = np.zeros((8, 2), np.float32)


def fit(progress, epochs=4, initial_epoch=0):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    options = {"epochs": epochs, "initial_epoch": initial_epoch, "verbose": 0}
    model.fit(X, X[:, :1], callbacks=[progress], **options)


def test_what_takes_seconds_says_nothing(capfd):
    fit(Progress(4, "training"))
    with progress_bar("folds", 3) as advance:
        advance("scratch")
    assert capfd.readouterr() == ("", "")


def test_what_takes_long_says_how_far_it_is(capfd):
    fit(Progress(4, "training", seconds=0.0))
    out, err = capfd.readouterr()
    assert out == ""
    assert [line.split(",")[0] for line in err.splitlines()] == [
        f"training: {number} of 4" for number in (1, 2, 3)
    ]
    assert all(re.search(r", loss 0, about \d+ s left$", line) for line in err.splitlines())


def test_the_time_left_goes_by_what_this_process_has_done(capfd, monkeypatch):
    ticks = iter([0.0, *np.arange(100.0, 1000.0, 100.0)])
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks))
    progress = Progress(1000, "training", seconds=60.0)
    progress.on_train_begin()
    for epoch in (990, 991):  # 100 s each
        progress.on_epoch_begin(epoch)
        progress.on_epoch_end(epoch, {"loss": 0.5})
    assert capfd.readouterr().err.splitlines() == [
        "training: 991 of 1000, loss 0.5, about 15 min left",
        "training: 992 of 1000, loss 0.5, about 13 min left",
    ]


def test_pieces_of_work_are_counted_with_those_done_before(capfd, monkeypatch):
    ticks = iter(np.arange(0.0, 900.0, 40.0))
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks))
    with progress_bar("compare digits", 10, done=7) as advance:
        advance("scratch, 50 labels")
        advance("linear, 50 labels")
    with progress_bar("quiet", 10, quiet=True) as advance:
        advance("nothing")
    assert capfd.readouterr().err.splitlines() == [
        "compare digits: 8 of 10, scratch, 50 labels, about 80 s left",
        "compare digits: 9 of 10, linear, 50 labels, about 40 s left",
    ]
