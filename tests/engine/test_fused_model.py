"""Fused execution gives what stock Keras gives, and stands on what it says it stands on."""

import doctest
import inspect
import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

from kt_transfer import (
    Distiller,
    FusedModel,
    ReconstructionLoss,
    conv_autoencoder,
    dense_autoencoder,
    engine,
)
from kt_transfer.engine import fused_model as steps
from kt_transfer.engine.feeds import epoch_order
from kt_transfer.engine.strategy import choose_strategy

RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (640, 20)).astype("float32")
Y = RNG.integers(0, 4, 640).astype("int32")


def autoencoder():
    model = dense_autoencoder(20, (16, 8), 4)
    model.compile(keras.optimizers.Adam(1e-3), loss=ReconstructionLoss(), metrics=["mse"])
    return model


def convolutional():
    x = keras.Input((20,))
    output = conv_autoencoder((5, 4, 1), (4, 6), 4)(keras.layers.Reshape((5, 4, 1))(x))
    model = keras.Model(x, keras.layers.Reshape((20,))(output))
    model.compile(keras.optimizers.Adam(1e-3), loss=ReconstructionLoss(), metrics=["mse"])
    return model


def classifier(dropout=0.0):
    layers = [
        keras.Input((20,)),
        keras.layers.Dense(16, activation="relu"),
        keras.layers.BatchNormalization(),
        keras.layers.Dense(4),
    ]
    if dropout:
        layers.insert(3, keras.layers.Dropout(dropout, seed=3))
        layers.insert(1, keras.layers.GaussianNoise(dropout, seed=4))
    model = keras.Sequential(layers)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss=loss, metrics=["accuracy"])
    return model


def distiller():
    teacher, student = classifier(), classifier()
    model = Distiller(teacher=teacher, student=student, alpha=0.3)
    model.compile(keras.optimizers.Adam(1e-3), metrics=["accuracy"])
    return model


def seeded(build, *args):
    keras.utils.set_random_seed(0)
    return build(*args)


def assert_same_weights(one, other, tolerance=1e-5):
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance, rtol=0)


@pytest.mark.parametrize("jit", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("build", [autoencoder, convolutional, classifier, distiller])
def test_a_hundred_steps_give_the_weights_of_stock_keras(build, jit):
    # 640 / 32 = 20 steps an epoch, five epochs.
    targets = (X,) if build in (autoencoder, convolutional) else (Y,)
    stock, fused = seeded(build), seeded(build)
    options = {"batch_size": 32, "epochs": 5, "shuffle": False, "verbose": 0}
    expected = stock.fit(X, *targets, **options).history
    given = FusedModel(fused, jit_compile=jit).fit(X, *targets, **options).history
    assert_same_weights(stock, fused)
    assert set(given) == set(expected)
    np.testing.assert_allclose(given["loss"], expected["loss"], rtol=1e-2)


@pytest.mark.parametrize("jit", [True, False])
def test_what_is_drawn_is_what_stock_keras_draws(jit):
    """Dropout and noise, compiled or not, against stock Keras that is not compiled."""
    stock, fused = seeded(classifier, 0.3), seeded(classifier, 0.3)
    options = {"batch_size": 32, "epochs": 5, "shuffle": False, "verbose": 0}
    stock.fit(X, Y, **options)
    FusedModel(fused, jit_compile=jit).fit(X, Y, **options)
    assert_same_weights(stock, fused)


def test_shuffling_follows_epoch_order_and_nothing_else():
    stock, fused = seeded(autoencoder), seeded(autoencoder)
    for epoch in range(3):
        rows = epoch_order(len(X), 7, epoch)
        stock.fit(X[rows], X[rows], batch_size=64, shuffle=False, verbose=0)
    FusedModel(fused, seed=7).fit(X, X, batch_size=64, epochs=3, verbose=0)
    assert_same_weights(stock, fused)


def test_the_last_partial_batch_counts():
    stock, fused = seeded(autoencoder), seeded(autoencoder)
    options = {"batch_size": 96, "epochs": 2, "shuffle": False, "verbose": 0}
    stock.fit(X[:500], X[:500], **options)
    FusedModel(fused, jit_compile=True).fit(X[:500], X[:500], **options)
    assert_same_weights(stock, fused)


@pytest.mark.parametrize("weights", ["sample_weight", "class_weight"])
def test_weights_count_as_in_stock_keras(weights):
    given = {
        "sample_weight": RNG.uniform(0, 2, len(X)).astype("float32"),
        "class_weight": {0: 0.2, 1: 1.0, 2: 3.0, 3: 0.5},
    }
    stock, fused = seeded(classifier), seeded(classifier)
    options = {"batch_size": 64, "shuffle": False, "verbose": 0, weights: given[weights]}
    stock.fit(X, Y, **options)
    FusedModel(fused).fit(X, Y, **options)
    assert_same_weights(stock, fused)


def test_validation_history_and_callbacks_are_those_of_stock_keras():
    def rate(epoch):
        return 1e-3 / (epoch + 1)

    histories, weights = [], []
    for wrap in (lambda model: model, FusedModel):
        model = seeded(classifier)
        callbacks = [
            keras.callbacks.LearningRateScheduler(rate),
            keras.callbacks.EarlyStopping(patience=2, monitor="val_loss"),
        ]
        history = wrap(model).fit(
            X,
            Y,
            batch_size=64,
            epochs=30,
            shuffle=False,
            verbose=0,
            validation_split=0.25,
            callbacks=callbacks,
        )
        histories.append(history.history)
        weights.append(model)
    expected, given = histories
    assert list(given) == list(expected)
    for name in expected:
        np.testing.assert_allclose(given[name], expected[name], rtol=1e-3, atol=1e-4)
    assert_same_weights(*weights)


def test_checkpoints_hold_the_users_own_model(tmp_path):
    model = seeded(classifier)
    path = tmp_path / "best.keras"
    checkpoint = keras.callbacks.ModelCheckpoint(path, save_best_only=True, monitor="loss")
    FusedModel(model).fit(X, Y, batch_size=64, epochs=2, verbose=0, callbacks=[checkpoint])
    loaded = keras.saving.load_model(path)
    assert type(loaded) is keras.Sequential
    assert_same_weights(model, loaded, 0.0)
    # Optimizer state too, as stock Keras saves it.
    assert int(loaded.optimizer.iterations) == 20


def test_backup_and_restore_continues_where_it_stopped(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    whole, parts = seeded(classifier), seeded(classifier)
    FusedModel(whole, seed=1).fit(X, Y, batch_size=64, epochs=4, verbose=0)
    fused = FusedModel(parts, seed=1)

    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup")

    with pytest.raises(KeyboardInterrupt):
        fused.fit(X, Y, batch_size=64, epochs=4, verbose=0, callbacks=[backup(), Stop()])
    keras.utils.set_random_seed(5)  # whatever happened in between
    fresh = FusedModel(classifier(), seed=1)
    fresh.fit(X, Y, batch_size=64, epochs=4, verbose=0, callbacks=[backup()])
    assert_same_weights(whole, fresh.model)


def test_batch_hooks_of_a_users_callback_see_every_batch():
    class Count(keras.callbacks.Callback):
        seen = []

        def on_train_batch_end(self, batch, logs=None):
            self.seen.append((batch, logs["loss"]))

    FusedModel(classifier()).fit(X, Y, batch_size=64, epochs=1, verbose=0, callbacks=[Count()])
    assert [batch for batch, _ in Count.seen] == list(range(10))


@pytest.mark.parametrize("kind", ["memmap", "dataset"])
def test_streamed_data_gives_what_resident_data_gives(kind, tmp_path, monkeypatch):
    # Blocks of four batches, so that an epoch is several, the last one short.
    for size in ("BLOCK_BYTES", "DISK_BLOCK_BYTES"):
        monkeypatch.setattr(f"kt_transfer.engine.feeds.{size}", 4 * 48 * 20 * 4)
    resident, streamed = seeded(autoencoder), seeded(autoencoder)
    options = {"batch_size": 48, "epochs": 2, "shuffle": kind == "memmap", "verbose": 0}
    FusedModel(resident, transform=reconstruct).fit(X, **options)
    if kind == "memmap":
        np.save(tmp_path / "x.npy", X)
        x = np.load(tmp_path / "x.npy", mmap_mode="r")
        fused = FusedModel(streamed, transform=reconstruct, memory_budget=1000)
    else:
        x = tf.data.Dataset.from_tensor_slices(X).batch(48)
        fused = FusedModel(streamed, transform=reconstruct)
        options.pop("batch_size")
    fused.fit(x, **options)
    assert "streamed" in fused.execution
    assert_same_weights(resident, streamed)


def reconstruct(x, y, sample_weight):
    return x, x, sample_weight


def test_uint8_data_is_scaled_inside_the_program():
    raw = RNG.integers(0, 256, (320, 20), dtype=np.uint8)
    scaled = raw.astype("float32") / 127.5 - 1
    stock, fused = seeded(autoencoder), seeded(autoencoder)
    stock.fit(scaled, scaled, batch_size=32, shuffle=False, verbose=0)

    def transform(x, y, sample_weight):
        features = tf.cast(x, tf.float32) / 127.5 - 1
        return features, features, sample_weight

    model = FusedModel(fused, transform=transform)
    model.fit(raw, batch_size=32, shuffle=False, verbose=0)
    assert_same_weights(stock, fused)
    np.testing.assert_allclose(model.predict(raw), stock.predict(scaled, verbose=0), atol=1e-4)
    measured = model.evaluate(raw, return_dict=True)
    expected = stock.evaluate(scaled, scaled, return_dict=True, verbose=0)
    assert measured["mse"] == pytest.approx(expected["mse"], rel=1e-4)


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
@pytest.mark.parametrize("budget", [None, 100])
def test_a_transform_sees_every_digit_of_the_examples(dtype, budget):
    raw = (10**9 + np.arange(320).reshape(-1, 1)).astype(dtype)
    scaled = (np.arange(320).reshape(-1, 1) / 160 - 1).astype("float32")

    def transform(x, y, sample_weight):
        return tf.cast(tf.cast(x, tf.float64) - 1e9, tf.float32) / 160 - 1, y, sample_weight

    def line():
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        return model

    stock, fused = seeded(line), seeded(line)
    model = FusedModel(fused, transform=transform, memory_budget=budget)
    options = {"batch_size": 32, "shuffle": False, "verbose": 0}
    stock.fit(scaled, scaled, **options)
    model.fit(raw, scaled, **options)
    assert_same_weights(stock, fused)
    expected = stock.predict(scaled, verbose=0)
    np.testing.assert_allclose(model.predict(raw), expected, atol=1e-6)
    measured = model.evaluate(raw, scaled)
    assert measured == pytest.approx(stock.evaluate(scaled, scaled, verbose=0), rel=1e-4)


def test_what_a_transform_leaves_alone_reaches_the_model_in_keras_type():
    seen = []

    class Own(keras.Sequential):
        def train_step(self, data):
            seen.append([leaf.dtype for leaf in data])
            return super().train_step(data)

    model = Own([keras.Input((2,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    FusedModel(model, transform=reconstruct).fit(np.ones((8, 2)), verbose=0)
    assert seen[0] == [tf.float32, tf.float32]


def test_many_fits_of_one_shape_trace_once():
    traces = []

    def transform(x, y, sample_weight):
        traces.append(1)
        return x, y, sample_weight

    model = FusedModel(seeded(classifier), transform=transform)
    start = model.get_weights()
    results = []
    for rows in (100, 97, 101, 100):
        model.reset(start)
        model.fit(X[:rows], Y[:rows], batch_size=32, epochs=2, verbose=0)
        results.append(model.get_weights())
        if rows == 97:
            first = len(traces)
    assert len(traces) == first
    for a, b in zip(results[0], results[-1], strict=True):
        np.testing.assert_array_equal(a, b)


def test_compiling_again_takes_effect():
    model = FusedModel(classifier())
    model.fit(X, Y, batch_size=64, verbose=0)
    model.layers[0].trainable = False
    locked = model.layers[0].get_weights()
    model.compile(keras.optimizers.SGD(0.1), loss=model.loss, metrics=["accuracy"])
    model.fit(X, Y, batch_size=64, verbose=0)
    for before, after in zip(locked, model.layers[0].get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert isinstance(model.optimizer, keras.optimizers.SGD)


def test_a_model_with_a_train_step_of_its_own():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(4)

        def call(self, x):
            return self.dense(x)

        def train_step(self, data):
            logs = super().train_step(data)
            return {**logs, "one": tf.constant(1.0)}

    model = Own()
    model.compile("adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = FusedModel(model).fit(X, Y, batch_size=64, epochs=2, verbose=0)
    assert history.history["one"] == [1.0, 1.0]


def test_xla_only_where_the_fit_is_long_enough(caplog):
    with caplog.at_level(logging.INFO, "kt_transfer"):
        short = FusedModel(autoencoder())
        short.fit(X, X, batch_size=64, epochs=2, verbose=0)
        short.fit(X, X, batch_size=64, epochs=2, verbose=0)
    assert short.execution == "graph, data resident, 1 replica"
    assert len([r for r in caplog.records if "graph, data resident" in r.message]) == 1
    long = FusedModel(autoencoder())
    long.fit(X, X, batch_size=64, epochs=steps.MIN_STEPS_FOR_XLA // 10, verbose=0)
    assert long.execution == "XLA, data resident, 1 replica"


@pytest.mark.parametrize(("expected", "how"), [(1, "graph"), (steps.MIN_STEPS_FOR_XLA, "XLA")])
def test_many_fits_are_executed_as_their_usual_length_asks(expected, how):
    model = FusedModel(autoencoder(), expected_steps=expected)
    model.fit(X, X, batch_size=64, epochs=1, verbose=0)
    assert model.execution.startswith(how)


def test_convolutions_on_a_cpu_are_not_compiled_unasked(monkeypatch):
    monkeypatch.setattr(steps, "MIN_STEPS_FOR_XLA", 1)
    model = FusedModel(convolutional())
    model.fit(X, X, batch_size=64, verbose=0)
    assert model.execution.startswith("graph")


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("build", [autoencoder, classifier])
def test_two_replicas_equal_one(build, shuffle):
    y = X if build is autoencoder else Y
    if build is classifier:
        # Each replica normalizes by its own statistics, here as in stock Keras.
        build = without_batch_norm
    options = {"batch_size": 64, "epochs": 5, "shuffle": shuffle, "verbose": 0}
    options["validation_data"] = (X[:100], y[:100])
    one = seeded(build)
    expected = FusedModel(one, seed=3).fit(X, y, **options).history
    with choose_strategy("mirrored").scope():
        two = seeded(build)
    fused = FusedModel(two, seed=3)
    given = fused.fit(X, y, **options).history
    assert fused.execution.endswith("2 replicas")
    assert_same_weights(one, two)
    for name in expected:
        np.testing.assert_allclose(given[name], expected[name], rtol=1e-2)


def without_batch_norm():
    model = keras.Sequential(
        [keras.Input((20,)), keras.layers.Dense(16, activation="relu"), keras.layers.Dense(4)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss=loss, metrics=["accuracy"])
    return model


def test_what_cannot_be_fused_goes_to_stock_keras():
    def batches():
        for start in range(0, 640, 64):
            yield X[start : start + 64], Y[start : start + 64]

    model = FusedModel(classifier())
    history = model.fit(batches(), epochs=1, verbose=0)
    assert history.history["loss"][0] > 0
    assert model.execution == "stock Keras: x of type generator was given"


def test_xla_across_devices_is_refused():
    with choose_strategy("mirrored").scope():
        model = autoencoder()
    with pytest.raises(ValueError, match="jit_compile=True was given with 2 replicas"):
        FusedModel(model, jit_compile=True).fit(X, X, batch_size=64, verbose=0)


def test_the_private_methods_of_keras_that_this_stands_on_are_still_there():
    """If this fails, Keras has moved: engine/fused_model.py has to follow.

    ``Model._symbolic_build(data_batch=...)`` must make every variable of the model, its
    metrics and its optimizer; ``Model._flatten_layers()`` must list all layers;
    ``Model._initial_epoch`` must be what BackupAndRestore sets; ``Model.compile`` must make a new
    ``Model._loss_tracker``; ``Model._flatten_metrics_in_order`` must make the list of
    ``evaluate``; ``TensorBoard._stop_batch`` must say whether it profiles.
    """
    assert "data_batch" in inspect.signature(keras.Model._symbolic_build).parameters
    model = classifier()
    assert model._initial_epoch is None or model._initial_epoch == 0
    assert not model.optimizer.built
    model._symbolic_build(data_batch=(X[:2], Y[:2]))
    assert model.optimizer.built
    assert "accuracy" in model.get_metrics_result()
    assert set(model.layers) < set(model._flatten_layers())
    assert "_initial_epoch" in inspect.getsource(keras.callbacks.BackupAndRestore)
    tracker = model._loss_tracker
    model.compile(model.optimizer, loss="mse")
    assert model._loss_tracker is not tracker
    assert model._flatten_metrics_in_order({"loss": 1.0, "other": 2.0}) == [1.0, 2.0]
    assert keras.callbacks.TensorBoard()._stop_batch == 0
    # What stock Keras trains by, where it is handed over.
    assert {"train_function", "test_function", "predict_function"} <= set(vars(model))


def test_a_graph_serves_batches_of_every_size():
    traced = []

    class Counted(keras.Model):
        def train_step(self, data):
            traced.append(1)
            return super().train_step(data)

    x = keras.Input((4,))
    model = Counted(x, keras.layers.Dense(2)(x))
    model.compile("sgd", "mse")
    x, y = np.ones((70, 4), np.float32), np.ones((70, 2), np.float32)
    FusedModel(model, jit_compile=False).fit(x, y, batch_size=32, epochs=2, verbose=0)
    assert len(traced) == 1  # 32, 32 and the last 6


@pytest.mark.parametrize("module", [engine, steps])
def test_the_examples_of_the_documentation_run(module):
    results = doctest.testmod(module)
    assert results.attempted and not results.failed
