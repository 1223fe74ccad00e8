"""An interrupted fit goes on exactly where it was."""

import keras
import numpy as np
import pytest

from kt_transfer import FusedModel, classifier, freeze_layers
from kt_transfer.engine import fused_model as steps
from kt_transfer.models.freezing import layers_with_weights
from kt_transfer.reporting.layers import layer_weights
from kt_transfer.runs import recording
from kt_transfer.runs.folder import Run
from kt_transfer.training import fitting
from kt_transfer.training.callbacks import Checkpoint, read_history
from kt_transfer.training.schedules import learning_rate_callbacks, unfreezing

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 4)).astype(np.float32)
Y = (X[:, :1] > 0).astype(np.float32)
EPOCHS = 9


class Interrupt(keras.callbacks.Callback):
    """Ctrl-C in an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            raise KeyboardInterrupt


def fit_in_folder(model, network, folder, x, y, *, epochs, **options):
    """As the commands fit: what watches it writes a run folder."""
    run = Run(folder)
    watching = recording.watching(run, epochs, "training", quiet=True)
    fitting.fit(model, network, x, y, epochs=epochs, callbacks=watching, **options)
    return recording.history_of(run)


def fit(folder, *, interrupt=None, decay="none", patience=None, dropout=0.0, rate=0.05):
    keras.utils.set_random_seed(0)
    x = keras.Input((4,))
    hidden = keras.layers.Dense(8, "relu")(x)
    if dropout:
        hidden = keras.layers.Dropout(dropout)(hidden)
    network = keras.Model(x, keras.layers.Dense(1)(hidden))
    network.compile(keras.optimizers.Adam(rate), loss="mse")
    model = FusedModel(network, seed=3)
    callbacks = learning_rate_callbacks(decay, rate, EPOCHS, warmup_epochs=2)
    if interrupt is not None:
        callbacks.append(Interrupt(interrupt))
    folder.mkdir(exist_ok=True)
    history = fit_in_folder(
        model,
        network,
        folder,
        X,
        Y,
        epochs=EPOCHS,
        batch_size=16,
        validation_data=(X[:20], 1 - Y[:20]),  # gets worse, for plateau and patience
        schedule=callbacks,
        patience=patience,
    )
    return network.get_weights(), history, model.execution


def without_seconds(history):
    return [{name: row[name] for name in row if name != "seconds"} for row in history]


@pytest.fixture(autouse=True)
def checkpoint_after_every_epoch(monkeypatch):
    class Often(Checkpoint):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **{**kwargs, "every_seconds": 0})

    monkeypatch.setattr(recording, "Checkpoint", Often)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"dropout": 0.5},
        {"decay": "cosine"},
        {"decay": "plateau"},
        {"patience": 4},
        {"patience": 100, "decay": "plateau", "dropout": 0.2},
    ],
    ids=str,
)
def test_a_resumed_fit_ends_with_exactly_the_same_weights(tmp_path, settings):
    weights, history, _ = fit(tmp_path / "whole", **settings)
    resumed = tmp_path / "resumed"
    with pytest.raises(KeyboardInterrupt):
        fit(resumed, interrupt=3, **settings)
    assert [row["epoch"] for row in read_history(resumed / "history.csv")] == [0, 1, 2]
    resumed_weights, resumed_history, _ = fit(resumed, **settings)
    for a, b in zip(weights, resumed_weights, strict=True):
        assert np.array_equal(a, b)
    assert without_seconds(history) == without_seconds(resumed_history)


def test_a_resumed_fit_is_executed_as_the_whole_one(tmp_path, monkeypatch):
    # 36 steps are worth compiling, the 8 that remain are not: the numbers would differ.
    monkeypatch.setattr(steps, "MIN_STEPS_FOR_XLA", 20)
    weights, _, execution = fit(tmp_path / "whole")
    assert execution.startswith("XLA")
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "resumed", interrupt=7)
    resumed_weights, _, resumed_execution = fit(tmp_path / "resumed")
    assert resumed_execution == execution
    for a, b in zip(weights, resumed_weights, strict=True):
        assert np.array_equal(a, b)


def test_a_folder_holds_history_and_logs(tmp_path):
    _, history, _ = fit(tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "history.csv",
        "logs",
        "checkpoint",
    }
    assert history == read_history(tmp_path / "run" / "history.csv")
    assert set(history[0]) == {"epoch", "seconds", "loss", "val_loss", "learning_rate"}


def test_without_validation_patience_watches_the_training_loss(tmp_path):
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    network.compile(keras.optimizers.SGD(10.0), loss="mse")  # grows from step to step
    history = fit_in_folder(
        FusedModel(network),
        network,
        tmp_path,
        X,
        Y,
        epochs=9,
        batch_size=50,
        patience=2,
    )
    assert len(history) == 3


def fit_in_stages(folder, *, interrupt=None):
    """Head, then one layer, then all; each stage with an optimizer of its own."""
    keras.utils.set_random_seed(0)
    x = keras.Input((4,))
    first, second = (keras.layers.Dense(8, "relu", name=name) for name in ("first", "second"))
    body = keras.Model(x, second(first(x)), name="encoder")
    network = classifier(body, 2)
    before = layer_weights(layers_with_weights(network))
    folder.mkdir(exist_ok=True)
    moved = {}
    for stage in unfreezing(2, EPOCHS, unfreeze_every=3):
        freeze_layers(body, stage.num_frozen)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        network.compile(keras.optimizers.Adam(0.05), loss=loss)
        history = fit_in_folder(
            FusedModel(network, seed=3),
            network,
            folder,
            X,
            Y[:, 0].astype(np.int32),
            epochs=stage.end,
            batch_size=16,
            schedule=[] if interrupt is None else [Interrupt(interrupt)],
            first_epoch=stage.first,
        )
        for name, weights in layer_weights(layers_with_weights(network)).items():
            same = all(map(np.array_equal, weights, before[name]))
            moved.setdefault(name, []).append(not same)
    return network.get_weights(), history, moved


def test_layers_move_from_the_stage_on_that_unlocks_them(tmp_path):
    _, history, moved = fit_in_stages(tmp_path / "run")
    assert moved == {
        "first": [False, False, True],
        "second": [False, True, True],
        "head": [True, True, True],
    }
    assert [row["epoch"] for row in history] == list(range(EPOCHS))


@pytest.mark.parametrize("epoch", [1, 2, 3, 5, 7])
def test_a_fit_in_stages_goes_on_exactly(tmp_path, epoch):
    whole, history, _ = fit_in_stages(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit_in_stages(tmp_path / "run", interrupt=epoch)
    weights, resumed, _ = fit_in_stages(tmp_path / "run")
    for one, other in zip(whole, weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert without_seconds(resumed) == without_seconds(history)
