"""Models and labels that the distiller takes: probabilities, one unit, subclassed, any type."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from kt_transfer import Distiller, FusedModel

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 6)).astype(np.float32)
LABELS = np.array([0, 1, 2, -1] * 3)
BINARY = np.array([0, 1, -1] * 4)


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(0)


@pytest.fixture
def policy():
    """Sets the global policy, for one test."""
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


def network(units=3, activation=None, dtype=None):
    x = keras.Input((6,), dtype="float64" if dtype == "float64" else None)
    hidden = layers.Dense(5, "relu", name="hidden", dtype=dtype)(x)
    return keras.Model(x, layers.Dense(units, activation, dtype=dtype)(hidden))


class Subclassed(keras.Model):
    def __init__(self, activation=None):
        super().__init__()
        self.hidden, self.head = layers.Dense(5, "relu"), layers.Dense(3, activation)

    def call(self, x):
        return self.head(self.hidden(x))


def subclassed(activation=None):
    model = Subclassed(activation)
    model(X)
    return model


def distiller(teacher, student, eager=False, **settings):
    """Compiled; eagerly where stock Keras is what runs, since that is over before a trace is."""
    model = Distiller(teacher=teacher, student=student, **settings)
    options = {"run_eagerly": True} if eager else {"jit_compile": False}
    model.compile(keras.optimizers.Adam(0.03), metrics=["accuracy"], **options)
    return model


def log_p(model, units=3):
    """Logarithms of the probabilities of a model that ends as a functional one of logits."""
    logits = model(X).numpy().astype(np.float64)
    if units == 1:
        logits = np.concatenate([0 * logits, logits], axis=1)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def loss_in_numpy(teacher, student, labels, alpha, temperature):
    t, s = teacher / temperature, student / temperature
    t, s = (x - np.log(np.exp(x).sum(axis=1, keepdims=True)) for x in (t, s))
    soft = temperature**2 * (np.exp(t) * (t - s)).sum(axis=1)
    hard = -student[np.arange(len(labels)), labels]
    share = alpha * (labels >= 0)
    return (share * hard + (1 - share) * soft).mean()


def with_weights_of(model, other):
    model.set_weights(other.get_weights())
    return model


@pytest.mark.parametrize(
    ("units", "labels", "activations"),
    [
        (3, LABELS, ("softmax", None)),
        (3, LABELS, (None, "softmax")),
        (3, LABELS, ("softmax", "softmax")),
        (1, BINARY, (None, None)),
        (1, BINARY, ("sigmoid", None)),
        (1, BINARY, (None, "sigmoid")),
        (1, BINARY, ("sigmoid", "sigmoid")),
    ],
)
def test_the_loss_is_that_of_the_same_models_with_logits(units, labels, activations):
    plain = [network(units), network(units)]
    made = [
        with_weights_of(network(units, activation), model)
        for activation, model in zip(activations, plain, strict=True)
    ]
    own, other = (log_p(model, units) for model in plain)
    expected = loss_in_numpy(own, other, labels, 0.5, 4.0)
    model = distiller(*made, eager=activations[0] is None, alpha=0.5)
    accuracy = (other.argmax(axis=1) == labels)[labels >= 0].mean()
    found = FusedModel(model).evaluate(X, labels, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(expected, rel=1e-4)
    assert found["accuracy"] == pytest.approx(accuracy)
    predicted = FusedModel(model).predict(X).astype(np.float64)
    p = np.exp(predicted) / np.exp(predicted).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(p, np.exp(other), atol=1e-5)


def test_one_unit_and_two_units_are_the_same_classes():
    teacher, student = network(2), network(1, "sigmoid")
    assert distiller(teacher, student).predict(X, verbose=0).shape == (12, 2)
    with pytest.raises(ValueError, match="a teacher of 3 and a student of 2 classes"):
        distiller(network(3), student)


@pytest.mark.parametrize(
    ("units", "activation", "fused"),
    [(2, "softmax", True), (1, "sigmoid", True), (1, None, False)],
)
def test_a_student_becomes_as_sure_as_its_teacher(fused, units, activation):
    x = keras.Input((6,))
    sure = layers.Dense(2, "softmax", kernel_initializer="zeros")
    teacher = keras.Model(x, sure(x))
    sure.bias.assign(np.log([0.1, 0.9]))
    head = layers.Dense(units, activation, kernel_initializer="zeros")  # begins at even odds
    student = keras.Sequential([keras.Input((6,)), head])
    model = distiller(teacher, student, eager=not fused, alpha=0.0, temperature=1.0)
    model.optimizer.learning_rate.assign(0.1)
    trained = FusedModel(model) if fused else model
    trained.fit(X, None, batch_size=12, epochs=40, verbose=0)
    logits = FusedModel(model).predict(X)
    np.testing.assert_allclose(1 / (1 + np.exp(logits[:, 0] - logits[:, 1])), 0.9, atol=0.08)
    if activation:  # and it says so itself
        np.testing.assert_allclose(student(X)[:, -1], 0.9, atol=0.08)


def test_a_softmax_teacher_gives_hints():
    model = distiller(network(3, "softmax"), network(3, "softmax"), eager=True, hint="hidden")
    found = model.evaluate(X, LABELS, verbose=0, return_dict=True)
    own, other = (
        np.log(net(X).numpy().astype(np.float64)) for net in (model.teacher, model.student)
    )
    soft = loss_in_numpy(own, other, np.full(12, -1), 0.0, 4.0)
    assert found["distillation_loss"] == pytest.approx(soft, rel=1e-4)


HOT = np.eye(3)[[0, 1, 2, 1] * 3]


@pytest.mark.parametrize("fused", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "labels",
    [HOT, HOT.astype(int).tolist(), HOT.argmax(axis=1).tolist(), HOT.argmax(axis=1)[:, None] * 1.0],
)
def test_labels_come_in_any_of_the_usual_forms(labels, fused):
    right = HOT.argmax(axis=1)
    teacher, student = network(), network()
    models = [
        distiller(teacher, with_weights_of(network(), student), eager=not fused) for _ in range(2)
    ]
    histories = []
    for model, y in zip(models, (right, labels), strict=True):
        trained = FusedModel(model) if fused else model
        trained.fit(X, y, batch_size=6, validation_data=(X, y), shuffle=False, verbose=0)
        histories.append(model.history.history)
        histories[-1]["evaluated"] = trained.evaluate(X, y, verbose=0)
        if not fused:
            histories[-1]["batch"] = model.test_on_batch(X, y)
    for name, values in histories[0].items():
        np.testing.assert_allclose(values, histories[1][name], rtol=1e-5, err_msg=name)


def test_labels_of_views_come_in_any_form_too():
    model = distiller(network(), network())
    fused = FusedModel(model, augment=lambda x, seed: x)
    fused.fit(X, HOT, batch_size=4, epochs=1, verbose=0)
    assert np.isfinite(model.history.history["loss"]).all()


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (HOT * 0.8 + 0.1, r"\(12, 3\) that are not one-hot"),
        (np.full(12, 3), "label 3 was given, expected integers from 0 to 2, or -1"),
        (np.full(12, -2), "label -2 was given"),
        (np.full(12, 0.5), "label 0.5 was given"),
        (np.full(12, np.nan), "label nan was given"),
        (["a"] * 12, "of shape .12,. and type <U1"),
        (np.zeros((12, 2)), "shape .12, 2. and type"),
    ],
)
def test_labels_of_another_kind_are_refused(labels, message, fused):
    model = distiller(network(), network(), eager=not fused)
    trained = FusedModel(model) if fused else model
    for use in (trained.fit, trained.evaluate):
        with pytest.raises(ValueError, match=message):
            use(X, labels, verbose=0)


def test_one_hot_labels_in_a_dataset_are_refused_in_a_sentence():
    model = distiller(network(), network())
    dataset = tf.data.Dataset.from_tensor_slices((X, HOT)).batch(4)
    for use in (model.fit, model.evaluate, FusedModel(model).fit):
        with pytest.raises(ValueError, match=r"expected integers of shape \(batch,\)"):
            use(dataset, verbose=0)


@pytest.mark.parametrize("activations", [(None, None), ("softmax", None), (None, "softmax")])
def test_subclassed_models_teach_and_learn(activations):
    teacher, student = (subclassed(activation) for activation in activations)
    own, other = (log_p(with_weights_of(network(), model)) for model in (teacher, student))
    expected = loss_in_numpy(own, other, LABELS, 0.1, 4.0)
    for eager in (True, False):
        model = distiller(teacher, student, eager=eager)
        trained = FusedModel(model)
        found = trained.evaluate(X, LABELS, verbose=0, return_dict=True)["loss"]
        assert found == pytest.approx(expected, rel=1e-4)
        trained.fit(X, LABELS, batch_size=12, epochs=1, verbose=0)
        other = log_p(with_weights_of(network(), student))
        expected = loss_in_numpy(own, other, LABELS, 0.1, 4.0)
    with pytest.raises(ValueError, match="expected a model that has been built"):
        distiller(Subclassed(), network())
    with pytest.raises(ValueError, match="does not say how its layers follow"):
        distiller(subclassed(), network(), hint="hidden")


@pytest.mark.parametrize(
    ("teacher", "student", "hint", "fused"),
    [
        ("mixed_bfloat16", "mixed_bfloat16", None, True),
        ("mixed_bfloat16", "mixed_bfloat16", "hidden", False),
        ("mixed_float16", "mixed_float16", None, False),
        ("mixed_float16", "mixed_float16", "hidden", True),
        ("float32", "mixed_bfloat16", "hidden", True),
        ("float32", "bfloat16", None, False),
        ("mixed_float16", "float32", "hidden", False),
        ("float32", "float64", None, True),
        ("float32", "float64", "hidden", False),
        ("float64", "float32", "hidden", True),
    ],
)
def test_any_precision(teacher, student, hint, fused):
    networks = network(dtype=teacher), network(dtype=student)
    model = distiller(*networks, eager=not fused, hint=hint, hint_weight=0.0)
    emitted = [np.array(keras.ops.cast(net(X), "float64")) for net in networks]
    own, other = (z - np.log(np.exp(z).sum(axis=1, keepdims=True)) for z in emitted)
    expected = loss_in_numpy(own, other, LABELS, 0.1, 4.0)
    trained = FusedModel(model) if fused else model
    found = trained.evaluate(X, LABELS, verbose=0, return_dict=True)["loss"]
    assert found == pytest.approx(expected, rel=1e-3)
    kernel = networks[1].layers[-1].kernel
    before = np.array(keras.ops.cast(kernel, "float32"))
    if student == "bfloat16":  # Adam of Keras takes no step there: its 0.999 is 1
        model.compile("sgd", jit_compile=False)
        model.optimizer.learning_rate.assign(0.5)
    trained.fit(X, LABELS, batch_size=6, epochs=2, verbose=0)
    assert not np.array_equal(before, keras.ops.cast(kernel, "float32"))
    assert np.isfinite(model.history.history["loss"]).all()
    assert FusedModel(model).predict(X).dtype == ("float64" if student == "float64" else "float32")
    scales = type(model.optimizer).__name__ == "LossScaleOptimizer"
    assert scales == (student == "mixed_float16")


@pytest.mark.parametrize("name", ["mixed_bfloat16", "mixed_float16"])
def test_a_global_policy_changes_no_input_of_a_float32_student(policy, name):
    networks = network(), network()
    expected = loss_in_numpy(*(log_p(net) for net in networks), LABELS, 0.1, 4.0)
    policy(name)
    model = distiller(*networks, eager=True)
    found = model.evaluate(X, LABELS, verbose=0, return_dict=True)["loss"]
    assert found == pytest.approx(expected, rel=1e-4)
    mixed = distiller(network(), network(), eager=True, hint="hidden")
    assert np.isfinite(mixed.fit(X, LABELS, epochs=2, verbose=0).history["loss"]).all()


@pytest.mark.parametrize("as_list", [True, False])
def test_class_weights_are_of_the_training_examples_alone(as_list):
    teacher, student = network(), network()
    y = np.array([0, 1, 2, 1] * 3)
    model = distiller(teacher, student, eager=True, alpha=0.5)
    model.optimizer.learning_rate.assign(0.0)
    each = [
        loss_in_numpy(log_p(teacher)[[i]], log_p(student)[[i]], y[[i]], 0.5, 4.0) for i in range(12)
    ]
    targets = [y, teacher(X).numpy()] if as_list else y
    weights = {0: 9.0, 1: 2.0, 2: 0.0}
    model.fit(
        X, targets, batch_size=12, validation_split=0.5, class_weight=weights, verbose=0, epochs=1
    )
    history = model.history.history
    by_class = np.array([weights[label] for label in y])
    assert history["loss"][0] == pytest.approx((by_class * each)[:6].mean(), rel=1e-4)
    assert history["val_loss"][0] == pytest.approx(np.mean(each[6:]), rel=1e-4)
