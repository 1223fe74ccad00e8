import keras
import numpy as np
import pytest

from kt_transfer import FusedModel
from kt_transfer.training.callbacks import (
    Checkpoint,
    EarlyStopping,
    EpochLog,
    read_history,
)

X = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)


def model():
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    network.compile(keras.optimizers.Adam(0.1), loss="mse")
    return FusedModel(network)


class Dictated(keras.callbacks.Callback):
    """Losses that a test wants; keeps the weights of each epoch."""

    def __init__(self, losses):
        super().__init__()
        self.losses, self.weights = losses, []

    def on_epoch_end(self, epoch, logs=None):
        logs["val_loss"] = self.losses[epoch]
        self.weights.append(self.model.get_weights())


def test_a_history_is_a_row_an_epoch_as_it_happens(tmp_path):
    path = tmp_path / "history.csv"
    seen = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(len(read_history(path)))

    fused = model()
    fused.fit(X, X[:, :1], epochs=3, callbacks=[EpochLog(path), Look()], verbose=0)
    rows = read_history(path)
    assert seen == [1, 2, 3]
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert [row["loss"] for row in rows] == fused.model.history.history["loss"]
    assert all(row["seconds"] >= 0 for row in rows)


def test_a_resumed_history_keeps_the_epochs_that_are_done(tmp_path):
    path = tmp_path / "history.csv"
    model().fit(X, X[:, :1], epochs=3, callbacks=[EpochLog(path)], verbose=0)
    before = read_history(path)
    log = EpochLog(path)
    model().fit(X, X[:, :1], epochs=4, initial_epoch=2, callbacks=[log], verbose=0)
    rows = read_history(path)
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    assert rows[:2] == before[:2]


def test_no_history_is_no_rows(tmp_path):
    assert read_history(tmp_path / "history.csv") == []


@pytest.mark.parametrize(
    ("patience", "losses", "epochs", "best"),
    [
        (2, [3.0, 1.0, 2.0, 2.0, 0.5], 4, 1),
        (3, [3.0, 1.0, 2.0, 2.0, 0.5], 5, 4),
        (None, [1.0, 2.0, 3.0], 3, 0),
    ],
)
def test_early_stopping_keeps_the_best_epoch(patience, losses, epochs, best):
    dictated, fused = Dictated(losses), model()
    fused.fit(
        X,
        X[:, :1],
        epochs=len(losses),
        callbacks=[dictated, EarlyStopping(patience)],
        verbose=0,
    )
    assert len(dictated.weights) == epochs
    for kept, wanted in zip(fused.get_weights(), dictated.weights[best], strict=True):
        assert np.array_equal(kept, wanted)


def checkpoints(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_only_the_last_checkpoint_is_kept(tmp_path):
    fused = model()
    callback = Checkpoint(tmp_path / "c", every_seconds=0)
    assert callback.first_epoch == 0
    fused.fit(X, X[:, :1], epochs=3, callbacks=[callback], verbose=0)
    assert checkpoints(tmp_path / "c") == ["3"]
    assert Checkpoint(tmp_path / "c").first_epoch == 3


def test_checkpoints_are_not_written_more_often_than_asked(tmp_path):
    fused = model()
    seldom = Checkpoint(tmp_path / "c", every_seconds=3600)
    fused.fit(X, X[:, :1], epochs=3, callbacks=[seldom], verbose=0)
    assert checkpoints(tmp_path / "c") == []


def test_a_half_written_checkpoint_is_not_taken_up(tmp_path, monkeypatch):
    fused = model()
    callback = Checkpoint(tmp_path / "c", every_seconds=0)
    fused.fit(X, X[:, :1], epochs=2, callbacks=[callback], verbose=0)

    def full(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="disk full"):
        callback.on_epoch_end(2)
    monkeypatch.undo()
    again = Checkpoint(tmp_path / "c")
    assert again.first_epoch == 2
    fused.fit(X, X[:, :1], epochs=3, initial_epoch=2, callbacks=[again], verbose=0)


def test_a_checkpoint_holds_weights_optimizer_and_progress(tmp_path):
    whole, first, second = model(), model(), model()
    whole.fit(X, X[:, :1], epochs=6, verbose=0)
    saving = Checkpoint(tmp_path / "c", every_seconds=0)
    first.fit(X, X[:, :1], epochs=3, callbacks=[saving], verbose=0)
    loading = Checkpoint(tmp_path / "c")
    second.fit(X, X[:, :1], epochs=6, initial_epoch=3, callbacks=[loading], verbose=0)
    for a, b in zip(whole.get_weights(), second.get_weights(), strict=True):
        assert np.array_equal(a, b)
    for a, b in zip(whole.optimizer.variables, second.optimizer.variables, strict=True):
        assert np.array_equal(a.numpy(), b.numpy())
