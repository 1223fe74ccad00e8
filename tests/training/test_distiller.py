"""The distiller against NumPy, and what stock Keras gets wrong (design.md, facts.md)."""

import keras
import numpy as np
import pytest

from kt_transfer import Distiller, FusedModel

RNG = np.random.default_rng(0)
CLASSES = 4
X = RNG.normal(size=(24, 6)).astype(np.float32)
LABELS = np.where(np.arange(24) % 3 == 0, -1, RNG.integers(0, CLASSES, 24))
SOME = LABELS >= 0


def network(name, *, width=8, classes=CLASSES, regularizer=None, normalize=False):
    x = keras.Input((6,))
    hidden = keras.layers.Dense(width, "relu", kernel_regularizer=regularizer)(x)
    if normalize:
        hidden = keras.layers.BatchNormalization()(hidden)
    return keras.Model(x, keras.layers.Dense(classes)(hidden), name=name)


def spread(model):
    """Logits far enough apart for every term to count."""
    model.set_weights([w * 3 for w in model.get_weights()])
    return model


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(0)


def distiller(metrics=("accuracy",), regularizer=None, learning_rate=1e-2, **settings):
    model = Distiller(
        teacher=spread(network("teacher", width=10)),
        student=spread(network("student", regularizer=regularizer)),
        **settings,
    )
    model.compile(keras.optimizers.Adam(learning_rate), metrics=list(metrics), jit_compile=False)
    return model


def log_softmax(logits):
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def losses_in_numpy(model, x, labels, alpha, temperature, loss):
    """Lᵢ as design.md has it."""
    teacher, student = model.teacher(x), model.student(x)
    if loss == "kl":
        t, s = (log_softmax(np.array(a) / temperature) for a in (teacher, student))
        soft = temperature**2 * (np.exp(t) * (t - s)).sum(axis=1)
    else:
        soft = -(np.exp(log_softmax(teacher)) * log_softmax(student)).sum(axis=1)
    hard = -log_softmax(student)[np.arange(len(x)), labels]
    share = alpha * (labels >= 0)
    return share * hard + (1 - share) * soft


@pytest.mark.parametrize("loss", ["kl", "cross_entropy"])
@pytest.mark.parametrize(
    ("alpha", "temperature"), [(0.1, 4.0), (0.0, 1.0), (1.0, 2.0), (0.5, 10.0)]
)
def test_the_loss_over_mixed_labels(loss, alpha, temperature):
    model = distiller(alpha=alpha, temperature=temperature, loss=loss)
    expected = losses_in_numpy(model, X, LABELS, alpha, temperature, loss)
    given = model.evaluate(X, LABELS, batch_size=24, return_dict=True, verbose=0)
    assert given["loss"] == pytest.approx(expected.mean(), rel=1e-5)

    weights = RNG.uniform(0, 2, 24)
    weighted = model.evaluate(X, LABELS, 24, 0, weights, return_dict=True)
    assert weighted["loss"] == pytest.approx((weights * expected).mean(), rel=1e-5)


def test_the_defaults_are_those_of_the_design():
    model = distiller()
    assert (model.temperature, model.alpha) == pytest.approx((4.0, 0.1))
    expected = losses_in_numpy(model, X, LABELS, 0.1, 4.0, "kl").mean()
    assert model.evaluate(X, LABELS, 24, 0)[0] == pytest.approx(expected, rel=1e-5)


def test_without_any_label_the_loss_is_the_soft_one():
    model = distiller(alpha=0.9)
    nothing = np.full(24, -1)
    expected = losses_in_numpy(model, X, nothing, 0.9, 4.0, "kl").mean()
    assert model.evaluate(X, nothing, 24, 0)[0] == pytest.approx(expected, rel=1e-5)
    assert model.evaluate(X, None, 24, 0)[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", ["kl", "cross_entropy"])
def test_cached_soft_targets_are_as_good_as_the_teacher(loss):
    asked, cached = distiller(loss=loss), distiller(loss=loss)
    cached.student.set_weights(asked.student.get_weights())
    cached.teacher.set_weights(asked.teacher.get_weights())
    soft = asked.teacher.predict(X, verbose=0)
    cached.teacher.set_weights([w * 0 for w in cached.teacher.get_weights()])  # nobody asks it
    for model, y in ((asked, LABELS), (cached, (LABELS, soft))):
        FusedModel(model).fit(X, y, batch_size=8, epochs=3, shuffle=False, verbose=0)
    for a, b in zip(asked.student.get_weights(), cached.student.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    losses = [model.history.history["loss"] for model in (asked, cached)]
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_metrics_leave_out_examples_without_a_label():
    model = distiller(
        ["accuracy", keras.metrics.SparseCategoricalCrossentropy(from_logits=True, name="xent")]
    )
    # Several batches, one of them without any label.
    labels = np.concatenate([LABELS[:16], np.full(8, -1)])
    given = model.evaluate(X, labels, batch_size=8, return_dict=True, verbose=0)
    log_p = log_softmax(model.student(X))[labels >= 0]
    own = labels[labels >= 0]
    assert given["accuracy"] == pytest.approx((log_p.argmax(axis=1) == own).mean())
    assert given["xent"] == pytest.approx(-log_p[np.arange(len(own)), own].mean(), rel=1e-5)
    assert given["student_loss"] == pytest.approx(given["xent"], rel=1e-5)
    soft = losses_in_numpy(model, X, np.full(24, -1), 0.1, 4.0, "kl").mean()
    assert given["distillation_loss"] == pytest.approx(soft, rel=1e-5)


@pytest.mark.parametrize("fused", [True, False])
def test_the_teacher_stays_what_it_was(fused):
    teacher = network("teacher", normalize=True)
    teacher.layers[1].trainable = False
    student = network("student", normalize=True)
    before = teacher.get_weights()
    model = Distiller(teacher=teacher, student=student)
    model.compile("adam", metrics=["accuracy"], jit_compile=False)
    trained = FusedModel(model) if fused else model
    trained.fit(X + 5.0, LABELS, batch_size=8, epochs=2, validation_data=(X, LABELS), verbose=0)
    trained.evaluate(X, LABELS, verbose=0)
    for old, new in zip(before, teacher.get_weights(), strict=True):
        assert np.array_equal(old, new)
    assert teacher.trainable
    assert [layer.trainable for layer in teacher.layers[1:]] == [False, True, True]
    # The student learns, and alone: neither the teacher nor the settings are trained or counted.
    assert model.count_params() - len(model.settings) == student.count_params()
    assert len(model.trainable_variables) == len(student.trainable_variables)
    assert student.layers[2].moving_mean.numpy().any()


def test_evaluation_leaves_the_students_statistics_alone():
    model = Distiller(teacher=network("teacher"), student=network("student", normalize=True))
    model.compile("adam", jit_compile=False)
    before = model.student.get_weights()
    model.evaluate(X + 5.0, LABELS, verbose=0)
    for old, new in zip(before, model.student.get_weights(), strict=True):
        assert np.array_equal(old, new)


def test_the_students_regularizers_are_counted():
    model = distiller(regularizer=keras.regularizers.L2(0.1))
    kernel = model.student.layers[1].kernel.numpy()
    distilled = losses_in_numpy(model, X, LABELS, 0.1, 4.0, "kl").mean()
    expected = distilled + 0.1 * np.square(kernel).sum()
    assert model.evaluate(X, LABELS, 24, 0)[0] == pytest.approx(expected, rel=1e-5)


def test_the_student_comes_near_its_teacher():
    model = distiller(alpha=0.0)
    before = model.evaluate(X, LABELS, 24, 0)[0]
    FusedModel(model).fit(X, LABELS, batch_size=8, epochs=100, verbose=0)
    assert model.evaluate(X, LABELS, 24, 0)[0] < 0.2 * before


def test_only_the_student_is_saved(tmp_path):
    model = distiller()
    model.save(tmp_path / "student.keras")
    loaded = keras.saving.load_model(tmp_path / "student.keras")
    assert loaded.name == "student"
    assert loaded.count_params() == model.student.count_params()
    np.testing.assert_allclose(loaded(X), model.student(X), rtol=1e-6)


class Annealing(keras.callbacks.Callback):
    """From a soft start to hard labels alone."""

    def on_epoch_begin(self, epoch, logs=None):
        self.model.temperature = [4.0, 2.0][epoch]
        self.model.alpha = [0.1, 0.7][epoch]


@pytest.mark.parametrize("jit_compile", [False, True])
def test_temperature_and_alpha_change_while_a_compiled_fit_runs(jit_compile):
    model = distiller(learning_rate=1e-12)
    expected = [
        losses_in_numpy(model, X, LABELS, alpha, temperature, "kl").mean()
        for alpha, temperature in ((0.1, 4.0), (0.7, 2.0))
    ]
    fused = FusedModel(model, jit_compile=jit_compile)
    fused.fit(X, LABELS, batch_size=8, epochs=2, callbacks=[Annealing()], verbose=0)
    np.testing.assert_allclose(model.history.history["loss"], expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 1.5}, "alpha 1.5"),
        ({"alpha": -0.1}, "alpha -0.1"),
        ({"alpha": float("nan")}, "alpha nan"),
        ({"temperature": 0.0}, "temperature 0.0"),
        ({"temperature": -4}, "temperature -4"),
        ({"loss": "mse"}, "loss 'mse' .* 'kl', 'cross_entropy', 'decoupled', 'none'"),
        ({"student": network("student", classes=3)}, "teacher of 4 and a student of 3 classes"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Distiller(**{"teacher": network("teacher"), "student": network("student"), **settings})


@pytest.mark.parametrize("name", ["loss", "weighted_metrics"])
def test_compile_takes_no_loss(name):
    model = Distiller(teacher=network("teacher"), student=network("student"))
    with pytest.raises(ValueError, match=f"{name} was given to Distiller.compile"):
        model.compile("adam", **{name: "mse"})


@pytest.mark.parametrize("name", ["temperature", "alpha"])
def test_settings_changed_later_are_checked_as_well(name):
    model = distiller()
    with pytest.raises(ValueError, match=f"{name} -1"):
        setattr(model, name, -1)
