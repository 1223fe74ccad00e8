"""Callbacks see what they see in stock Keras: every batch, where they do something at batches."""

import collections

import keras
import numpy as np
import pytest
import tensorflow as tf

from kt_transfer import FusedModel
from kt_transfer.engine.batch_hooks import uses_batch_hooks

X = np.random.default_rng(0).normal(size=(70, 2)).astype("float32")
OPTIONS = {"batch_size": 4, "shuffle": False, "verbose": 0}  # 18 steps, the last one of 2


def line(**compiled):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", **compiled)
    return model


class Notes(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(("train", batch, round(logs["loss"], 4)))

    def on_test_batch_begin(self, batch, logs=None):
        self.seen.append(("test begins", batch))

    def on_test_batch_end(self, batch, logs=None):
        self.seen.append(("test", batch, round(logs["loss"], 4)))

    def on_predict_batch_begin(self, batch, logs=None):
        self.seen.append(("predict begins", batch))

    def on_predict_batch_end(self, batch, logs=None):
        self.seen.append(("predict", batch, np.asarray(logs["outputs"]).shape))


class Lambda(keras.callbacks.LambdaCallback):
    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_begin(self, batch, logs=None):
        self.seen.append(batch)


def set_on_an_instance():
    callback = keras.callbacks.Callback()
    callback.seen = []
    callback.on_train_batch_end = lambda batch, logs=None: callback.seen.append(batch)
    return callback


@pytest.mark.parametrize("together", [1, 4])
@pytest.mark.parametrize("make", [Notes, Lambda, set_on_an_instance])
def test_batch_hooks_are_called_as_in_stock_keras(make, together):
    seen = []
    for wrap in (lambda model: model, FusedModel):
        model, callback = wrap(line(steps_per_execution=together)), make()
        model.fit(X, X[:, :1], validation_data=(X, X[:, :1]), callbacks=[callback], **OPTIONS)
        model.evaluate(X, X[:, :1], batch_size=16, callbacks=[callback], verbose=0)
        model.predict(X, batch_size=16, callbacks=[callback], verbose=0)
        seen.append(callback.seen)
    assert seen[1] and str(seen[1]) == str(seen[0])


@pytest.mark.parametrize("kind", ["evaluate", "predict"])
def test_a_callback_can_stop_evaluation_and_prediction(kind):
    class Stop(keras.callbacks.Callback):
        def on_test_batch_end(self, batch, logs=None):
            self.model.stop_evaluating = batch == 1

        def on_predict_batch_end(self, batch, logs=None):
            self.model.stop_predicting = batch == 1

    given = []
    for model in (line(), FusedModel(line())):
        options = {"batch_size": 16, "callbacks": [Stop()], "verbose": 0}
        if kind == "evaluate":
            given.append(model.evaluate(X, X[:, :1], **options))
        else:
            given.append(model.predict(X, **options))
    np.testing.assert_allclose(given[1], given[0], rtol=1e-5)


class Summary(keras.layers.Layer):
    def call(self, x):
        tf.summary.scalar("sum", tf.reduce_sum(x))
        return x


def summaries(folder):
    """How often each tag was written, by run; what numbers the models leads a tag."""
    counts = collections.Counter()
    for file in folder.rglob("events*"):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                counts[file.parent.name, value.tag.split("/")[-1]] += 1
    return counts


def with_summaries():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), Summary(), keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=False)
    return model


@pytest.mark.parametrize("jit", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_summaries_of_a_layer_are_written_as_in_stock_keras(jit, tmp_path):
    def fit(model, name):
        board = keras.callbacks.TensorBoard(tmp_path / name, update_freq=1)
        data = (X, X[:, :1])
        model.fit(*data, validation_data=data, epochs=2, callbacks=[board], **OPTIONS)
        return summaries(tmp_path / name)

    expected = fit(with_summaries(), "stock")
    assert expected["train", "sum"] == expected["validation", "sum"] == 36
    fused = FusedModel(with_summaries(), jit_compile=jit)
    assert fit(fused, "first") == expected
    assert fused.execution.startswith("graph")  # XLA cannot write summaries
    # Where stock Keras fails, since its step still writes to what the first fit has closed.
    assert fit(fused, "second") == expected
    fused.fit(X, X[:, :1], **OPTIONS)


@pytest.mark.parametrize("kind", ["ModelCheckpoint", "BackupAndRestore"])
def test_checkpoints_every_few_batches(kind, tmp_path, monkeypatch):
    saved = []
    for wrap in (lambda model: model, FusedModel):
        times = []
        if kind == "ModelCheckpoint":
            callback = keras.callbacks.ModelCheckpoint(tmp_path / "m.keras", save_freq=10)
        else:
            callback = keras.callbacks.BackupAndRestore(tmp_path / "b", save_freq=10)
        monkeypatch.setattr(
            callback,
            "_save_model",
            lambda *args, times=times, callback=callback, **kwargs: times.append(
                int(callback.model.optimizer.iterations)
            ),
        )
        wrap(line()).fit(X, X[:, :1], epochs=3, callbacks=[callback], **OPTIONS)
        saved.append(times)
    assert saved[1] == saved[0] == [10, 20, 30, 40, 50]


def test_training_ends_at_the_first_batch_that_is_not_finite():
    x = X.copy()
    x[5] = np.nan
    model = line()
    fused = FusedModel(model)
    fused.fit(x, X[:, :1], callbacks=[keras.callbacks.TerminateOnNaN()], epochs=2, **OPTIONS)
    assert int(model.optimizer.iterations) == 2


def callback_list(*callbacks):
    return keras.callbacks.CallbackList(list(callbacks), add_progbar=True, add_history=True)


def test_what_of_keras_looks_at_batches(tmp_path):
    kinds = keras.callbacks
    idle = [
        kinds.EarlyStopping(),
        kinds.ModelCheckpoint(tmp_path / "m.keras"),
        kinds.BackupAndRestore(tmp_path / "b"),
        kinds.TensorBoard(tmp_path / "t"),
        kinds.CSVLogger(tmp_path / "c.csv"),
        kinds.LambdaCallback(on_epoch_end=print),
    ]
    assert not uses_batch_hooks(callback_list(*idle), "train")
    assert not uses_batch_hooks(callback_list(*idle), "test")
    for busy in (
        kinds.TensorBoard(tmp_path / "t", update_freq=10),
        kinds.TensorBoard(tmp_path / "t", update_freq="batch"),
        kinds.TensorBoard(tmp_path / "t", profile_batch=2),
        kinds.TensorBoard(tmp_path / "t", write_steps_per_second=True),
        kinds.ModelCheckpoint(tmp_path / "m.keras", save_freq=3),
        kinds.TerminateOnNaN(),
        kinds.LambdaCallback(on_train_batch_end=print),
    ):
        assert uses_batch_hooks(callback_list(busy), "train")
