"""The distiller against NumPy, and what stock Keras gets wrong (design.md, facts.md)."""

import keras
import numpy as np
import pytest

from kt_transfer import Distiller, FusedModel
from kt_transfer.engine.strategy import choose_strategy
from kt_transfer.training.schedules import SettingSchedule, hints_first

RNG = np.random.default_rng(0)
CLASSES = 4
X = RNG.normal(size=(24, 6)).astype(np.float32)
LABELS = np.where(np.arange(24) % 3 == 0, -1, RNG.integers(0, CLASSES, 24))
SOME = LABELS >= 0


def network(name, *, width=8, classes=CLASSES, regularizer=None, normalize=False):
    x = keras.Input((6,))
    hidden = keras.layers.Dense(width, "relu", kernel_regularizer=regularizer, name="hidden")(x)
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


def distiller(metrics=("accuracy",), regularizer=None, learning_rate=1e-2, replicas=1, **settings):
    strategy = choose_strategy("mirrored" if replicas > 1 else "one_device")
    with strategy.scope():
        models = {
            "teacher": spread(network("teacher", width=10)),
            "student": spread(network("student", regularizer=regularizer)),
        }
        model = Distiller(**models | settings)
        optimizer = keras.optimizers.Adam(learning_rate)
        model.compile(optimizer, metrics=list(metrics), jit_compile=False)
    return model


def evaluated(model, y, batch_size=24, **options):
    """What the metrics say, on however many replicas the model was made for."""
    return FusedModel(model).evaluate(X, y, batch_size=batch_size, return_dict=True, **options)


def log_softmax(logits):
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def soft_losses(teacher, student, labels, temperature, loss):
    if loss == "cross_entropy":
        return -(np.exp(log_softmax(teacher)) * log_softmax(student)).sum(axis=1)
    t, s = (log_softmax(np.array(a) / temperature) for a in (teacher, student))
    p, q = np.exp(t), np.exp(s)
    if loss == "kl":
        return temperature**2 * (p * (t - s)).sum(axis=1)
    if loss == "standardized":
        t, s = (np.array(a, np.float64) for a in (teacher, student))
        t, s = ((a - a.mean(1, keepdims=True)) / a.std(1, ddof=1, keepdims=True) for a in (t, s))
        return 9 * soft_losses(t, s, labels, temperature, "kl")
    # Decoupled: the binary divergence, and 8 times that of the others among themselves.
    rows = np.arange(len(p))
    target = np.where(labels >= 0, labels, p.argmax(axis=1))
    own = np.stack([p[rows, target], q[rows, target]])
    binary = own[0] * np.log(own[0] / own[1]) + (1 - own[0]) * np.log((1 - own[0]) / (1 - own[1]))
    p[rows, target] = q[rows, target] = np.nan
    p, q = (x / np.nansum(x, axis=1, keepdims=True) for x in (p, q))
    return temperature**2 * (binary + 8 * np.nansum(p * np.log(p / q), axis=1))


def losses_in_numpy(model, x, labels, alpha, temperature, loss):
    """Lᵢ as design.md has it."""
    teacher, student = model.teacher(x), model.student(x)
    soft = soft_losses(teacher, student, labels, temperature, loss) if loss != "none" else 0.0
    hard = -log_softmax(student)[np.arange(len(x)), labels]
    share = alpha * (labels >= 0)
    return share * hard + (1 - share) * soft


@pytest.mark.parametrize(
    ("loss", "replicas"),
    [
        ("kl", 1),
        ("kl", 2),
        ("cross_entropy", 1),
        ("decoupled", 1),
        ("standardized", 1),
        pytest.param("cross_entropy", 2, marks=pytest.mark.slow),
        pytest.param("decoupled", 2, marks=pytest.mark.slow),
    ],
)
def test_the_loss_over_mixed_labels(loss, replicas):
    model = distiller(loss=loss, replicas=replicas)
    fused = FusedModel(model)
    weights = RNG.uniform(0, 2, 24)
    for alpha, temperature in ((0.1, 4.0), (0.0, 1.0), (1.0, 2.0), (0.5, 10.0)):
        model.alpha, model.temperature = alpha, temperature
        expected = losses_in_numpy(model, X, LABELS, alpha, temperature, loss)
        given = fused.evaluate(X, LABELS, batch_size=8, return_dict=True)
        assert given["loss"] == pytest.approx(expected.mean(), rel=1e-4)
        soft = soft_losses(model.teacher(X), model.student(X), LABELS, temperature, loss)
        assert given["distillation_loss"] == pytest.approx(soft.mean(), rel=1e-4)
        weighted = fused.evaluate(X, LABELS, batch_size=24, sample_weight=weights, return_dict=True)
        assert weighted["loss"] == pytest.approx((weights * expected).mean(), rel=1e-4)


@pytest.mark.parametrize(
    ("loss", "hint_loss", "replicas"),
    [
        ("kl", "mse", 1),
        ("kl", "mse", 2),
        ("none", "cosine", 1),
        ("none", "cosine", 2),
        pytest.param("kl", "cosine", 1, marks=pytest.mark.slow),
        pytest.param("kl", "cosine", 2, marks=pytest.mark.slow),
        pytest.param("none", "mse", 1, marks=pytest.mark.slow),
        pytest.param("none", "mse", 2, marks=pytest.mark.slow),
    ],
)
def test_the_loss_with_a_hint(loss, hint_loss, replicas):
    settings = {"alpha": 0.5, "loss": loss, "hint_loss": hint_loss, "hint_weight": 3.0}
    # A teacher of 10 units and a student of 8: a projection makes up for it.
    model = distiller(hint="hidden", replicas=replicas, **settings)
    hidden = {
        name: keras.Model(net.input, net.get_layer("hidden").output)(X).numpy()
        for name, net in (("teacher", model.teacher), ("student", model.student))
    }
    kernel, bias = model.trainable_variables[-2:]
    projected = hidden["student"] @ kernel.numpy() + bias.numpy()
    if hint_loss == "mse":
        hint = np.square(projected - hidden["teacher"]).mean(axis=1)
    else:
        lengths = [np.linalg.norm(f, axis=1) for f in (projected, hidden["teacher"])]
        hint = 1 - (projected * hidden["teacher"]).sum(axis=1) / (lengths[0] * lengths[1])
    expected = losses_in_numpy(model, X, LABELS, 0.5, 4.0, loss) + 3.0 * hint
    given = evaluated(model, LABELS, batch_size=8)
    assert given["loss"] == pytest.approx(expected.mean(), rel=1e-4)
    assert given["hint_loss"] == pytest.approx(hint.mean(), rel=1e-4)
    assert ("distillation_loss" in given) == (loss == "kl")


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


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("loss", ["kl", "cross_entropy", "decoupled", "standardized"])
def test_what_a_teacher_said_of_some_examples(loss, replicas):
    # With and without a label, said something of and not: all four in every batch of 8.
    labels, is_taught = np.where(np.arange(24) % 2, LABELS.clip(0), -1), np.arange(24) % 4 < 2
    said = RNG.normal(size=(24, CLASSES)).astype(np.float32)
    model = distiller(loss=loss, alpha=0.3, replicas=replicas, teacher=None)
    student = model.student(X)
    soft = soft_losses(said, student, labels, 4.0, loss)
    hard = -log_softmax(student)[np.arange(24), labels]
    has_label = labels >= 0
    taught = np.where(has_label, 0.3 * hard + 0.7 * soft, soft)
    expected = np.where(is_taught, taught, has_label * hard)
    targets = (labels, np.where(is_taught[:, None], said, np.nan).astype(np.float32))
    given = evaluated(model, targets, batch_size=8)
    assert given["loss"] == pytest.approx(expected.mean(), rel=1e-4)
    assert given["distillation_loss"] == pytest.approx(soft[is_taught].mean(), rel=1e-4)
    weights = RNG.uniform(0, 2, 24)
    given = evaluated(model, targets, sample_weight=weights)
    assert given["loss"] == pytest.approx((weights * expected).mean(), rel=1e-4)
    history = FusedModel(model).fit(X, targets, batch_size=8, epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert all(np.isfinite(weight).all() for weight in model.student.get_weights())


def test_examples_of_which_nothing_is_known_change_nothing():
    model = distiller(teacher=None)
    before = model.student.get_weights()
    model.fit(X, (np.full(24, -1), np.full((24, CLASSES), np.nan, np.float32)), verbose=0)
    for a, b in zip(before, model.student.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("fused", [False, True])
def test_without_a_teacher_its_logits_are_wanted(fused):
    model = distiller(teacher=None)
    model = FusedModel(model) if fused else model
    for y in (LABELS, None):
        with pytest.raises(ValueError, match=r"labels alone were given .* \(labels, logits\)"):
            model.fit(X, y, verbose=0)
    with pytest.raises(ValueError, match="hint 'hidden' was given without a teacher"):
        distiller(teacher=None, hint="hidden")


@pytest.mark.parametrize("loss", ["kl", "cross_entropy", "decoupled"])
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


@pytest.mark.parametrize(
    ("hint", "replicas"),
    [
        (None, 1),
        ("hidden", 2),
        pytest.param(None, 2, marks=pytest.mark.slow),
        pytest.param("hidden", 1, marks=pytest.mark.slow),
    ],
)
def test_the_students_regularizers_are_counted(replicas, hint):
    regularizer = keras.regularizers.L2(0.1)
    model = distiller(regularizer=regularizer, replicas=replicas, hint=hint, hint_weight=0.0)
    kernel = model.student.layers[1].kernel.numpy()
    distilled = losses_in_numpy(model, X, LABELS, 0.1, 4.0, "kl").mean()
    expected = distilled + 0.1 * np.square(kernel).sum()
    assert evaluated(model, LABELS, batch_size=8)["loss"] == pytest.approx(expected, rel=1e-4)


class Counted(keras.layers.Layer):
    """Counts how often a model is run; in a graph, how often it is traced."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def call(self, x):
        self.count += 1
        return x + 0.0


def counting(name):
    x = keras.Input((6,))
    counted = Counted()
    hidden = keras.layers.Dense(5, "relu", name="hidden")(counted(x))
    return keras.Model(x, keras.layers.Dense(CLASSES)(hidden), name=name), counted


@pytest.mark.parametrize("hint", [None, "hidden"])
def test_student_and_teacher_run_once_a_step(hint):
    teacher, asked = counting("teacher")
    student, answered = counting("student")
    model = Distiller(teacher=teacher, student=student, hint=hint)
    model.compile("adam", metrics=["accuracy"], run_eagerly=True)
    asked.count = answered.count = 0
    model.train_on_batch(X, LABELS)
    assert (asked.count, answered.count) == (1, 1)


@pytest.mark.parametrize("hint", [None, "hidden"])
def test_the_teacher_is_asked_once_for_each_example_of_a_fit(hint):
    teacher, asked = counting("teacher")
    model = Distiller(teacher=teacher, student=network("student"), hint=hint)
    model.compile("adam", run_eagerly=True)
    asked.count = 0
    # 24 examples and 24 to validate on: two questions, however many epochs and batches.
    fused = FusedModel(model)
    validation = X, model.complete_targets(X, LABELS, model.target_model.predict_on_batch)
    model.fit(X, LABELS, batch_size=8, epochs=3, validation_data=validation, verbose=0)
    traced = asked.count
    assert traced <= 2
    model.compile("adam", jit_compile=False)
    fused.fit(X, LABELS, batch_size=8, epochs=3, validation_data=(X, LABELS), verbose=0)
    assert asked.count <= traced + 2  # and never inside a step


def test_class_weights_and_sample_weights_count():
    weights = {0: 2.0, 1: 0.5, 3: 0.0}
    by_class = np.array([weights.get(label, 1.0) for label in LABELS])
    for fused in (True, False):
        models = [distiller(), distiller()]
        models[1].student.set_weights(models[0].student.get_weights())
        models[1].teacher.set_weights(models[0].teacher.get_weights())
        ways = [{"class_weight": weights}, {"sample_weight": by_class}]
        for model, way in zip(models, ways, strict=True):
            trained = FusedModel(model) if fused else model
            trained.fit(X, LABELS, batch_size=8, epochs=2, shuffle=False, verbose=0, **way)
        for a, b in zip(*(model.student.get_weights() for model in models), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)


def test_kl_is_not_what_keras_computes_by_default():
    # facts.md: 10.5 where 1.10 is right, since there is neither softmax nor T².
    teacher, student = np.array([[4.0, 1.0, -2.0]]), np.array([[1.0, 1.0, 0.5]])
    p, q = (np.exp(x / 3.0) / np.exp(x / 3.0).sum() for x in (teacher, student))
    right = 9 * (p * np.log(p / q)).sum()
    x = keras.Input((3,))
    as_they_are = keras.Model(x, keras.layers.Identity()(x))
    known = keras.layers.Dense(3, use_bias=False)
    answering = keras.Model(x, known(x))
    known.set_weights([np.linalg.pinv(teacher) @ student])
    model = Distiller(teacher=as_they_are, student=answering, temperature=3.0)
    model.compile("adam", jit_compile=False)
    given = model.evaluate(teacher, np.array([-1]), verbose=0, return_dict=True)["loss"]
    assert given == pytest.approx(right, rel=1e-4)


def test_soft_cross_entropy_is_never_negative():
    model = distiller(loss="cross_entropy", alpha=0.0)
    model.teacher.set_weights([-5 * w for w in model.teacher.get_weights()])
    assert model.teacher(X).numpy().min() < 0
    assert evaluated(model, None)["distillation_loss"] > 0


class Broken(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


@pytest.mark.parametrize("hint", [None, "hidden"])
def test_an_interrupted_fit_goes_on_as_if_nothing_happened(tmp_path, hint):
    models = [distiller(hint=hint) for _ in range(3)]
    for other in models[1:]:
        other.set_weights(models[0].get_weights())
        other.teacher.set_weights(models[0].teacher.get_weights())

    def fit(model, *callbacks):
        options = {"batch_size": 8, "epochs": 4, "shuffle": False, "verbose": 0}
        FusedModel(model).fit(X, LABELS, callbacks=list(callbacks), **options)

    fit(models[0])
    backup = keras.callbacks.BackupAndRestore
    with pytest.raises(KeyboardInterrupt):
        fit(models[1], backup(tmp_path), Broken())
    fit(models[2], backup(tmp_path))
    for a, b in zip(models[0].get_weights(), models[2].get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_saved_student_goes_on_with_a_teacher(tmp_path):
    model = distiller()
    model.fit(X, LABELS, batch_size=8, epochs=2, verbose=0)
    model.save(tmp_path / "student.keras")
    again = Distiller(
        teacher=model.teacher, student=keras.saving.load_model(tmp_path / "student.keras")
    )
    again.compile("adam", metrics=["accuracy"], jit_compile=False)
    before = evaluated(model, LABELS)
    assert evaluated(again, LABELS) == pytest.approx(before, rel=1e-5)


def test_a_compiled_student_stays_compiled(tmp_path):
    model = distiller()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.student.compile("sgd", loss=loss, metrics=["accuracy"])
    model.save(tmp_path / "student.keras")
    loaded = keras.saving.load_model(tmp_path / "student.keras")
    assert loaded.compiled
    assert len(loaded.evaluate(X[SOME], LABELS[SOME], verbose=0)) == 2


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


@pytest.mark.parametrize("jit_compile", [False, True])
def test_hints_come_first(jit_compile):
    model = distiller(hint="hidden", learning_rate=1e-12, hint_weight=2.0)
    each = evaluated(model, LABELS)
    hint = each["hint_loss"]
    distilled = losses_in_numpy(model, X, LABELS, 0.1, 4.0, "kl").mean()
    assert each["loss"] == pytest.approx(distilled + 2 * hint, rel=1e-4)
    fused = FusedModel(model, jit_compile=jit_compile)
    fused.fit(X, LABELS, batch_size=8, epochs=3, callbacks=[hints_first(2, 2.0)], verbose=0)
    expected = [2 * hint, 2 * hint, distilled]
    np.testing.assert_allclose(model.history.history["loss"], expected, rtol=1e-3)


def test_a_setting_follows_a_function_of_the_epoch():
    model = distiller(learning_rate=1e-12)
    cooling = SettingSchedule(temperature=lambda epoch: 4.0 / (epoch + 1))
    FusedModel(model).fit(X, LABELS, batch_size=8, epochs=2, callbacks=[cooling], verbose=0)
    expected = [losses_in_numpy(model, X, LABELS, 0.1, t, "kl").mean() for t in (4.0, 2.0)]
    np.testing.assert_allclose(model.history.history["loss"], expected, rtol=1e-4)
    with pytest.raises(ValueError, match="temperature 0.0"):
        model.fit(X, LABELS, callbacks=[SettingSchedule(temperature=lambda _: 0.0)], verbose=0)


def test_hints_alone_move_what_leads_to_them():
    model = distiller(hint="hidden", loss="none", alpha=0.0)
    before = model.student.get_weights()
    start = evaluated(model, LABELS)["hint_loss"]
    FusedModel(model).fit(X, LABELS, batch_size=8, epochs=60, verbose=0)
    assert evaluated(model, LABELS)["hint_loss"] < 0.5 * start
    moved = [
        not np.array_equal(a, b) for a, b in zip(before, model.student.get_weights(), strict=True)
    ]
    assert moved == [True, True, False, False]  # the hidden layer, not the head


def test_a_teacher_of_other_classes_gives_hints():
    teacher = network("teacher", classes=7)
    model = Distiller(teacher=teacher, student=network("student"), loss="none", hint="hidden")
    model.compile("adam", metrics=["accuracy"], jit_compile=False)
    model.fit(X, LABELS, batch_size=8, epochs=1, verbose=0)
    assert model.predict(X, verbose=0).shape == (24, CLASSES)


def test_predictions_are_the_students_logits():
    model = distiller(hint="hidden")
    for predicted in (model.predict(X, verbose=0), FusedModel(model).predict(X)):
        np.testing.assert_allclose(predicted, model.student(X), rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 1.5}, "alpha 1.5"),
        ({"alpha": -0.1}, "alpha -0.1"),
        ({"alpha": float("nan")}, "alpha nan"),
        ({"temperature": 0.0}, "temperature 0.0"),
        ({"temperature": -4}, "temperature -4"),
        (
            {"loss": "mse"},
            "loss 'mse' .* 'kl', 'cross_entropy', 'decoupled', 'standardized', 'none'",
        ),
        ({"student": network("student", classes=3)}, "teacher of 4 and a student of 3 classes"),
        ({"hint": "conv9"}, r"layer conv9 was given, expected one of teacher's .*hidden"),
        ({"hint": "hidden", "hint_student": "conv9"}, "layer conv9 .* one of student's"),
        ({"hint": "hidden", "hint_loss": "l1"}, "hint_loss 'l1' .* 'mse', 'cosine'"),
        ({"hint": "hidden", "hint_weight": -1.0}, "hint_weight -1.0"),
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


@pytest.mark.parametrize("kind", ["logits", "probabilities"])
def test_a_function_teaches_as_the_model_that_it_is(kind):
    teacher, answers = spread(network("teacher")), []

    def function(x):
        answers.append(len(x))
        logits = teacher(x).numpy()
        if kind == "logits":
            return logits
        return np.exp(log_softmax(logits))

    histories = []
    for given in (teacher, function):
        keras.utils.set_random_seed(1)
        model = Distiller(teacher=given, student=network("student"))
        model.compile(keras.optimizers.Adam(1e-2), metrics=["accuracy"])
        history = FusedModel(model).fit(X, LABELS, epochs=3, batch_size=8, verbose=0).history
        histories.append(history["loss"])
    assert histories[1] == pytest.approx(histories[0], rel=1e-4)
    # Once for every example, beside what tells logits from probabilities.
    assert sum(answers) <= len(X) + 4


def test_what_neither_is_nor_answers_as_a_model_is_refused():
    with pytest.raises(
        ValueError, match="teacher 'a word' was given, expected a built Keras model"
    ):
        Distiller(teacher="a word", student=network("student"))
