"""Whatever stock Keras is given, ``FusedModel`` gives the same, by itself or by handing over."""

import copy
import logging
import pickle

import keras
import numpy as np
import pytest
import scipy.sparse
import tensorflow as tf

from kt_transfer import Distiller, FusedModel
from kt_transfer.engine import feeds

RNG = np.random.default_rng(1)
X = RNG.uniform(-1, 1, (70, 4)).astype("float32")
Y = RNG.integers(0, 3, 70)
ONE_HOT = np.eye(3, dtype="float32")[Y]
OPTIONS = {"batch_size": 16, "shuffle": False, "verbose": 0}


def classifier(optimizer="adam", metrics=("accuracy",), loss=None, kind=keras.Sequential):
    keras.utils.set_random_seed(0)
    layers = [keras.Input((4,)), keras.layers.Dense(8, activation="tanh"), keras.layers.Dense(3)]
    model = kind(layers)
    loss = loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss=loss, metrics=list(metrics))
    return model


def two_outputs():
    keras.utils.set_random_seed(0)
    x = keras.Input((4,))
    model = keras.Model(x, {"b": keras.layers.Dense(3)(x), "a": keras.layers.Dense(4)(x)})
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", {"b": loss, "a": "mse"}, metrics={"b": ["accuracy"], "a": ["mae"]})
    return model


def doubled(x, y, sample_weight):
    return tf.cast(x, tf.float32) * 2, y, sample_weight


def batches(*arrays, size=16):
    return tf.data.Dataset.from_tensor_slices(arrays).batch(size)


def unequal():
    """Batches of 16, 54 in one, and a small one first."""
    head = batches(X[:6], Y[:6], size=6)
    return head.concatenate(batches(X[6:38], Y[6:38])).concatenate(batches(X, Y, size=23))


class Pieces(keras.utils.PyDataset):
    def __len__(self):
        return 5

    def __getitem__(self, number):
        rows = slice(16 * number, 16 * number + 16)
        return X[rows], Y[rows]


def generator(of=None):
    for number in range(5):
        rows = slice(16 * number, 16 * number + 16)
        yield (X[rows], Y[rows]) if of is None else (of[rows],)


def assert_same_weights(one, other, tolerance=1e-5):
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance, rtol=0)


def assert_same_history(given, expected):
    assert list(given) == list(expected)
    for name in expected:
        np.testing.assert_allclose(given[name], expected[name], rtol=1e-3, atol=1e-5)


def assert_fits_alike(build=classifier, fused_options=None, x=X, y=Y, **options):
    """The weights, the history and the steps of stock Keras; each side with its own iterators."""
    made = {name: value for name, value in options.items() if not callable(value)}

    def arguments():
        given = {name: value() for name, value in options.items() if callable(value)}
        given |= {"x": x() if callable(x) else x, **OPTIONS, **made}
        if y is not None:
            given["y"] = y
        if given["x"] is not X:
            given.pop("batch_size" if "batch_size" not in made else "", None)
        return given

    stock, model = build(), build()
    expected = stock.fit(**arguments()).history
    fused = FusedModel(model, **(fused_options or {}))
    assert_same_history(fused.fit(**arguments()).history, expected)
    assert_same_weights(stock, model)
    assert int(model.optimizer.iterations) == int(stock.optimizer.iterations)
    return fused


WEIGHTS = {0: 0.1, 1: 7.0, 2: 2.0}


@pytest.mark.parametrize(
    ("weights", "budget"),
    [({"class_weight": WEIGHTS}, None), ({"sample_weight": RNG.uniform(0, 3, 70)}, 1)],
)
def test_the_validation_loss_is_weighed_as_stock_keras_does(weights, budget):
    assert_fits_alike(
        fused_options={"memory_budget": budget}, validation_split=0.3, epochs=2, **weights
    )


def test_class_weights_of_one_hot_labels_and_a_split():
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    assert_fits_alike(
        lambda: classifier(loss=loss), y=ONE_HOT, validation_split=0.5, class_weight=WEIGHTS
    )


def test_a_distillers_validation_loss_is_not_weighed():
    def build():
        keras.utils.set_random_seed(0)
        model = Distiller(teacher=classifier(), student=classifier())
        model.compile("sgd", metrics=["accuracy"])
        return model

    weighed = FusedModel(build()).fit(
        X, Y, validation_split=0.3, class_weight={0: 9.0, 1: 9.0, 2: 9.0}, epochs=1, **OPTIONS
    )
    distiller = build()
    cut = 49
    FusedModel(distiller).fit(
        X[:cut], Y[:cut], sample_weight=np.full(cut, 9.0, "float32"), **OPTIONS
    )
    expected = FusedModel(distiller).evaluate(X[cut:], Y[cut:], return_dict=True, verbose=0)
    assert weighed.history["val_loss"][0] == pytest.approx(expected["loss"], rel=1e-4)


@pytest.mark.parametrize(("frequency", "jit"), [(None, True), (3, False)])
def test_averaged_weights_are_those_of_stock_keras(frequency, jit):
    def build():
        optimizer = keras.optimizers.Adam(
            0.05, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=frequency
        )
        return classifier(optimizer)

    assert_fits_alike(build, {"jit_compile": jit}, epochs=2)


CALLS = [
    lambda model, x: model.predict(batches(x), verbose=0),
    lambda model, x: model.predict(x, callbacks=[keras.callbacks.Callback()], verbose=0),
    lambda model, x: model.predict(x, steps=2, batch_size=16, verbose=0),
    lambda model, x: model.predict(generator(x), verbose=0),
    lambda model, x: model.evaluate(x, Y, batch_size=16, steps=2, verbose=0),
    lambda model, x: model.evaluate(batches(x, Y), verbose=0),
    lambda model, x: model.evaluate(iter_of(x), verbose=0),
    lambda model, x: model.fit(iter_of(x), verbose=0).history["loss"],
    lambda model, x: model.fit(x, Y, steps_per_epoch=2, **OPTIONS).history["loss"],
    lambda model, x: model.fit(
        x, Y, validation_data=iter_of(x), validation_steps=2, **OPTIONS
    ).history["val_loss"],
]


def test_a_transform_is_never_skipped():
    stock, fused = classifier(), FusedModel(classifier(), transform=doubled)
    for number, call in enumerate(CALLS):
        given, expected = call(fused, X), call(stock, 2 * X)
        np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-5, err_msg=str(number))
    # What was put in place of the model's steps is gone again.
    np.testing.assert_allclose(
        fused.model.predict(X, verbose=0), stock.predict(X, verbose=0), rtol=1e-4, atol=1e-5
    )


def iter_of(x):
    return ((x[i : i + 16], Y[i : i + 16]) for i in range(0, 70, 16))


def test_a_transform_is_not_skipped_in_eager_execution():
    stock, model = classifier(), classifier()
    model.run_eagerly = True
    stock.fit(2 * X, Y, **OPTIONS)
    FusedModel(model, transform=doubled).fit(X, Y, **OPTIONS)
    assert_same_weights(stock, model)


def test_views_are_made_where_stock_keras_trains():
    seeds = []

    def augment(x, seed):
        seeds.append(seed)
        return 2 * x

    stock, model = classifier(), classifier()
    stock.fit(2 * X, Y, **OPTIONS)
    FusedModel(model, augment=augment).fit(generator(), verbose=0)
    assert seeds
    assert_same_weights(stock, model)


def test_a_transform_that_a_models_own_fit_would_skip_is_said():
    class Own(keras.Sequential):
        def fit(self, x, y, **kwargs):
            return {"loss": 0.0}

    with pytest.raises(ValueError, match="Own was given with a transform or augment"):
        FusedModel(classifier(kind=Own), transform=doubled).fit(X, Y)


def test_handing_over_is_said_once(caplog):
    model = FusedModel(classifier())
    with caplog.at_level(logging.WARNING, "kt_transfer"):
        for _ in range(2):
            model.fit(generator(), verbose=0)
    assert len(caplog.records) == 1
    assert model.execution == "stock Keras: x of type generator was given"


@pytest.mark.parametrize(
    ("dataset", "jit"),
    [
        (unequal, True),
        (unequal, False),
        (lambda: batches(X, Y).shuffle(9, seed=3, reshuffle_each_iteration=False), False),
        (lambda: batches(X[:64], Y[:64]).repeat(2), True),
    ],
)
def test_batches_of_a_dataset_are_taken_as_they_come(dataset, jit):
    fused = assert_fits_alike(
        fused_options={"jit_compile": jit},
        x=dataset,
        y=None,
        epochs=2,
        validation_data=dataset,
    )
    assert "tf.data streamed" in fused.execution


def test_batches_that_grow_in_later_blocks(monkeypatch):
    monkeypatch.setattr("kt_transfer.engine.feeds.BLOCK_BYTES", 400)
    fused = assert_fits_alike(x=unequal, y=None, epochs=3)
    assert "tf.data streamed" in fused.execution


def test_padded_batches_whose_length_differs():
    def build():
        keras.utils.set_random_seed(0)
        x = keras.Input((None,), dtype="int32")
        pooled = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(9, 4)(x))
        model = keras.Model(x, keras.layers.Dense(1)(pooled))
        model.compile("adam", "mse")
        return model

    def dataset():
        def sentences():
            for length in range(1, 9):
                yield np.full(length, length, np.int32), np.float32(length)

        spec = (tf.TensorSpec((None,), tf.int32), tf.TensorSpec((), tf.float32))
        return tf.data.Dataset.from_generator(sentences, output_signature=spec).padded_batch(3)

    assert_fits_alike(build, x=dataset, y=None, epochs=2)


@pytest.mark.parametrize(
    "given",
    [
        {"x": tf.constant(X), "y": tf.constant(Y)},
        {"x": X.astype("float16"), "y": Y},
        {"validation_data": Pieces},
        {"validation_data": lambda: batches(X, Y)},
        {"x": Pieces, "y": None},
        {"x": scipy.sparse.csr_matrix(X)},
        {"sample_weight": tf.ones(70)},
        {"steps_per_epoch": 2, "epochs": 2},
    ],
)
def test_inputs_of_every_kind(given):
    assert_fits_alike(**given)


def test_columns_of_a_data_frame():
    import pandas as pd

    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1].astype("float64")})

    def build():
        keras.utils.set_random_seed(0)
        inputs = {name: keras.Input((1,), name=name) for name in frame}
        both = keras.layers.Concatenate()(list(inputs.values()))
        model = keras.Model(inputs, keras.layers.Dense(1)(both))
        model.compile("sgd", "mse")
        return model

    assert_fits_alike(build, x={name: frame[name] for name in frame}, y=frame["b"])
    assert feeds.pack({"a": frame["a"]})["a"].shape == (70, 1)
    assert feeds.pack(frame).shape == (70, 2)


def test_metrics_that_are_vectors():
    def build():
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        return classifier(metrics=[keras.metrics.F1Score()], loss=loss)

    stock, fused = build(), FusedModel(build())
    for model in (stock, fused):
        model.history = model.fit(X, ONE_HOT, epochs=2, validation_split=0.5, **OPTIONS)
    for name in ("f1_score", "val_f1_score"):
        np.testing.assert_allclose(
            fused.history.history[name], stock.history.history[name], atol=1e-5
        )
    measured = [model.evaluate(X, ONE_HOT, verbose=0) for model in (stock, fused)]
    np.testing.assert_allclose(measured[1][1], measured[0][1], atol=1e-5)


class Gan(keras.Model):
    """A model without ``call``."""

    def __init__(self):
        super().__init__()
        self.generator = keras.Sequential([keras.Input((2,)), keras.layers.Dense(4)])
        self.critic = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        self.loss_tracker = keras.metrics.Mean(name="critic")

    @property
    def metrics(self):
        return [self.loss_tracker]

    def train_step(self, data):
        noise = data[:, :2]
        with tf.GradientTape() as tape:
            fake = self.critic(self.generator(noise))
            loss = tf.reduce_mean(fake) - tf.reduce_mean(self.critic(data))
        weights = self.critic.trainable_weights
        self.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        self.loss_tracker.update_state(loss)
        return {"of": {"critic": self.loss_tracker.result()}, "rows": tf.shape(data)[0]}


def test_a_model_without_call_and_with_nested_logs():
    def build():
        keras.utils.set_random_seed(0)
        model = Gan()
        model.compile(keras.optimizers.Adam(0.01))
        return model

    assert_fits_alike(build, y=None, epochs=2)


REFUSED = {
    "class weights, several outputs": (
        two_outputs,
        {"x": X, "y": {"b": Y, "a": X}, "class_weight": WEIGHTS},
    ),
    "class and sample weights": (
        classifier,
        {"x": X, "y": Y, "class_weight": WEIGHTS, "sample_weight": np.ones(70)},
    ),
    "weights beside a dataset": (
        classifier,
        {"x": lambda: batches(X, Y), "sample_weight": np.ones(70)},
    ),
    "targets beside a dataset": (classifier, {"x": lambda: batches(X, Y), "y": Y}),
    "nothing to train on": (classifier, {"x": X, "y": Y, "validation_split": 0.999}),
    "nothing to validate on": (classifier, {"x": X[:3], "y": Y[:3], "validation_split": 1e-20}),
    "a split of a dataset": (classifier, {"x": lambda: batches(X, Y), "validation_split": 0.5}),
    "labels that are a list": (classifier, {"x": X, "y": Y.tolist()}),
    "a target for another argument": (classifier, {"x": X, "y": Y, "validation_data": 3}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_stock_keras_refuses_is_refused(name):
    build, given = REFUSED[name]
    said = []
    for wrap in (lambda model: model, FusedModel):
        arguments = {key: v() if callable(v) else v for key, v in given.items()}
        with pytest.raises((ValueError, TypeError)) as refusal:
            wrap(build()).fit(verbose=0, **arguments)
        said.append(str(refusal.value)[:60])
    assert said[0] == said[1]


@pytest.mark.parametrize("y", [{"b": Y, "a": X}, {"a": X, "b": Y}])
def test_evaluate_gives_its_list_in_the_order_of_stock_keras(y):
    stock, fused = two_outputs(), FusedModel(two_outputs())
    weight = RNG.uniform(0, 2, 70)
    expected = stock.evaluate(X, y, sample_weight=weight, verbose=0)
    given = fused.evaluate(X, y, sample_weight=weight, verbose=0)
    np.testing.assert_allclose(given, expected, rtol=1e-4)
    assert fused.execution.startswith("graph")


def test_what_is_set_on_the_wrapper_is_set_on_the_model():
    fused = FusedModel(classifier())
    fused.trainable = False
    assert not fused.model.trainable and not fused.model.layers[0].trainable
    fused.trainable = True
    fused.stop_training = True
    assert fused.model.stop_training
    fused.seed, fused.transform = 5, doubled
    assert not hasattr(fused.model, "seed") and not hasattr(fused.model, "transform")
    distiller = Distiller(teacher=classifier(), student=classifier())
    FusedModel(distiller).temperature = 2.0
    assert distiller.temperature == 2.0
    with pytest.raises(ValueError, match="temperature"):
        FusedModel(distiller).temperature = -1.0


def test_a_transform_set_later_takes_effect():
    stock, fused = classifier(), FusedModel(classifier())
    for x, transform in ((X, None), (2 * X, doubled)):
        stock.fit(x, Y, **OPTIONS)
        fused.transform = transform
        fused.fit(X, Y, **OPTIONS)
        np.testing.assert_allclose(
            fused.predict(X, verbose=0), stock.predict(x, verbose=0), atol=1e-5
        )


def test_what_is_locked_and_compiled_again_stays_whatever_metrics_the_model_has():
    class Own(keras.Sequential):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.own = keras.metrics.Mean(name="own")

        @property
        def metrics(self):
            return [self.own]

    optimizer = keras.optimizers.SGD(0.1)
    fused = FusedModel(classifier(optimizer, metrics=(), kind=Own))
    fused.fit(X, Y, **OPTIONS)
    fused.layers[0].trainable = False
    fused.compile(optimizer, loss=fused.loss)
    before = fused.layers[0].get_weights()
    fused.fit(X, Y, **OPTIONS)
    for a, b in zip(before, fused.layers[0].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_limits_of_keras_are_kept():
    try:
        keras.config.set_max_epochs(2)
        assert_fits_alike(epochs=5)
        keras.config.set_max_steps_per_epoch(3)
        assert int(assert_fits_alike(epochs=5).optimizer.iterations) < 10
    finally:
        keras.config.set_max_epochs(None)
        keras.config.set_max_steps_per_epoch(None)


def test_a_stateful_network_predicts_in_batches_of_32():
    def build():
        keras.utils.set_random_seed(0)
        return keras.Sequential(
            [keras.Input(batch_shape=(32, 5, 1)), keras.layers.LSTM(3, stateful=True)]
        )

    x = RNG.uniform(size=(96, 5, 1)).astype("float32")
    np.testing.assert_allclose(
        FusedModel(build()).predict(x, verbose=0), build().predict(x, verbose=0), atol=1e-5
    )


@pytest.mark.parametrize("verbose", [0, 1, 2])
def test_evaluate_and_predict_print_what_stock_keras_prints(verbose, capsys):
    printed = []
    for model in (classifier(), FusedModel(classifier())):
        model.evaluate(X, Y, verbose=verbose)
        model.predict(X, verbose=verbose)
        printed.append(capsys.readouterr().out)
    assert bool(printed[1]) == bool(verbose) == bool(printed[0])
    if verbose:
        assert "accuracy" in printed[1] and "3/3" in printed[1]


def test_a_model_that_is_not_compiled_predicts():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    expected = model.predict(X, verbose=0)
    for fused in (FusedModel(model), FusedModel(model, transform=lambda x, y, w: (x * 1.0, y, w))):
        np.testing.assert_allclose(fused.predict(X, verbose=0), expected, atol=1e-6)
        np.testing.assert_allclose(fused.answers(X), expected, atol=1e-6)


@pytest.mark.parametrize("size", [32, 70])
def test_a_number_for_each_batch_is_predicted_as_in_stock_keras(size):
    x = keras.Input((4,))
    model = keras.Model(x, [keras.ops.mean(x), keras.layers.Dense(2)(x)])
    expected = model.predict(X, batch_size=size, verbose=0)
    given = FusedModel(model).predict(X, batch_size=size, verbose=0)
    for one, other in zip(given, expected, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_without_an_optimizer():
    stock, fused = classifier(None), FusedModel(classifier(None))
    expected = stock.evaluate(X, Y, verbose=0)
    np.testing.assert_allclose(fused.evaluate(X, Y, verbose=0), expected, rtol=1e-5)


@pytest.mark.parametrize("jit", [True, False])
def test_a_one_shot_dataset_keeps_its_first_batch(jit):
    def dataset():
        once = iter(list(generator()))
        spec = (tf.TensorSpec((None, 4), tf.float32), tf.TensorSpec((None,), tf.int64))
        return tf.data.Dataset.from_generator(lambda: once, output_signature=spec)

    stock = classifier()
    stock.fit(batches(X, Y), verbose=0)
    fused = FusedModel(classifier(), jit_compile=jit)
    fused.fit(dataset(), verbose=0)
    assert "tf.data streamed" in fused.execution
    assert_same_weights(stock, fused)
    expected = stock.evaluate(batches(X, Y), verbose=0)
    np.testing.assert_allclose(fused.evaluate(dataset(), verbose=0), expected, rtol=1e-5)


def test_a_dataset_of_unknown_length_is_trained_as_one_that_says_it():
    """Stock Keras counts the read past the end as a step of the optimizer, in every epoch."""
    stock, fused = classifier(), FusedModel(classifier())
    stock.fit(batches(X, Y), epochs=2, verbose=0)
    fused.fit(batches(X, Y).filter(lambda x, y: tf.shape(x)[0] > 0), epochs=2, verbose=0)
    assert "tf.data streamed" in fused.execution
    assert_same_weights(stock, fused)
    assert int(fused.optimizer.iterations) == int(stock.optimizer.iterations) == 10


def fitted():
    fused = FusedModel(classifier(), seed=3, transform=doubled)
    fused.fit(X, Y, **OPTIONS)
    return fused


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda f: pickle.loads(pickle.dumps(f))]
)
def test_a_copy_answers_as_the_original_and_trains_on(again):
    fused = fitted()
    other = again(fused)
    np.testing.assert_allclose(other.predict(X, verbose=0), fused.predict(X, verbose=0), atol=1e-6)
    assert (type(other), other.seed, other.transform) == (FusedModel, 3, doubled)
    other.fit(X, Y, **OPTIONS)


def test_it_stands_where_the_model_stood(tmp_path):
    fused = fitted()
    expected = fused.model.predict(X, verbose=0)
    np.testing.assert_allclose(fused(X), expected, atol=1e-6)
    assert isinstance(fused, keras.Model) and isinstance(fused, FusedModel)
    keras.saving.save_model(fused, tmp_path / "a.keras")
    fused.save(tmp_path / "b.keras")
    for name in "ab":
        loaded = keras.saving.load_model(tmp_path / f"{name}.keras")
        assert type(loaded) is keras.Sequential
        np.testing.assert_allclose(loaded.predict(X, verbose=0), expected, atol=1e-6)
        assert int(loaded.optimizer.iterations) == 5
    clone = keras.models.clone_model(fused)
    clone.set_weights(fused.get_weights())
    np.testing.assert_allclose(clone.predict(X, verbose=0), expected, atol=1e-6)
    outer = keras.Model(x := keras.Input((4,)), keras.layers.Softmax()(fused(x)))
    assert len(outer.trainable_weights) == 4


def in_numpy(y_true, y_pred):
    """A metric that XLA does not know."""
    total = tf.numpy_function(lambda y: np.float32(y.sum()), [y_pred], tf.float32)
    total.set_shape(())
    return total


@pytest.mark.parametrize("jit", [True, "auto"])
def test_what_xla_does_not_know_runs_as_a_graph(jit, caplog, monkeypatch):
    monkeypatch.setattr("kt_transfer.engine.fused_model.MIN_STEPS_FOR_XLA", 4)
    with caplog.at_level(logging.WARNING, "kt_transfer"):
        fused = assert_fits_alike(
            lambda: classifier(metrics=[in_numpy]),
            {"jit_compile": jit},
            epochs=2,
            validation_split=0.5,
        )
    assert fused.execution.startswith("graph")
    assert "XLA cannot compile this" in caplog.text
