import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from kt_transfer import Distiller, FusedModel, UserError, load_data
from kt_transfer.engine.strategy import choose_strategy
from kt_transfer.reporting.classification import softmax
from kt_transfer.runs.folder import Run, open_teacher
from kt_transfer.sources.teachers import load_teachers, no_better_than_chance

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


@pytest.fixture
def three(tmp_path):
    """A table of three classes."""
    np.savez(tmp_path / "d.npz", x=RNG.normal(size=(40, 4)), y=np.arange(40) % 3)
    return load_data(f"npz:{tmp_path / 'd.npz'}")


def taught(data, *paths, **options):
    paths = [Path(path) for path in paths]
    return load_teachers(paths, [open_teacher(path) for path in paths], data, **options)


def says(data, *paths, **options):
    """Probabilities of the first test examples."""
    return softmax(taught(data, *paths, **options).model.predict(data.x_test[:20], verbose=0))


@pytest.fixture
def saved(tmp_path):
    """Saves a model of flattened digits; its path."""

    def save(*ending, before=(), name="m.keras", shape=(8, 8)):
        keras.utils.set_random_seed(1)
        dense = layers.Dense(16, "relu"), layers.Dense(10, kernel_initializer="he_normal")
        stack = [keras.Input(shape), *before, layers.Flatten(), *dense, *ending]
        keras.Sequential(stack).save(tmp_path / name)
        return tmp_path / name

    return save


def test_a_run_says_what_it_says(chain, digits):
    run = Run(chain.teacher)
    scaled = run.load_model("preprocessing.keras")(digits.x_test[:20])
    np.testing.assert_allclose(
        says(digits, chain.teacher), softmax(run.load_model()(scaled).numpy()), atol=1e-6
    )


def test_a_file_says_the_same_as_logits_and_as_probabilities(saved, digits):
    scaled = digits.x_test[:20] / 8.0 - 1.0
    logits = keras.saving.load_model(saved())(scaled).numpy()
    for ending in ((), (layers.Softmax(),), (layers.Activation("softmax"),)):
        path = saved(*ending)
        teacher = taught(digits, path)
        found = softmax(teacher.model.predict(digits.x_test[:20], verbose=0))
        np.testing.assert_allclose(found, softmax(logits), atol=1e-5)
        assert teacher.num_parameters == 64 * 16 + 16 + 16 * 10 + 10
        assert teacher.num_bytes == path.stat().st_size


def test_a_nested_file_is_understood_too(saved, digits):
    inner = keras.saving.load_model(saved(layers.Softmax()))
    x = keras.Input((8, 8))
    path = saved().with_name("nested.keras")
    keras.Model(x, inner(x)).save(path)
    np.testing.assert_allclose(says(digits, path), says(digits, saved(layers.Softmax())), atol=1e-6)


def test_a_file_in_doubt_is_decided_by_the_flag(saved, digits):
    path = saved(layers.Activation("sigmoid"))
    with pytest.raises(UserError, match="m.keras was given.* in doubt.*teacher_output=logits"):
        taught(digits, path)
    scaled = digits.x_test[:20] / 8.0 - 1.0
    emitted = keras.saving.load_model(path)(scaled).numpy()
    as_logits = says(digits, path, output="logits")
    np.testing.assert_allclose(as_logits, softmax(emitted), atol=1e-5)
    as_probabilities = says(digits, path, output="probabilities")
    shares = emitted / emitted.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(as_probabilities, shares, atol=1e-5)


def test_a_file_sees_the_range_that_it_was_made_for(saved, digits):
    first = digits.x_test[:20]
    path = saved(before=[layers.Rescaling(1 / 16)])
    model = keras.saving.load_model(path)
    np.testing.assert_allclose(says(digits, path), softmax(model(first).numpy()), atol=1e-5)
    within = says(digits, path, value_range=(0.0, 1.0))
    np.testing.assert_allclose(within, softmax(model(first / 16.0).numpy()), atol=1e-5)


def test_a_file_for_larger_images_is_given_larger_ones(saved, digits):
    found = says(digits, saved(shape=(12, 12, 3)))
    assert found.shape == (20, 10)
    assert len(np.unique(found.round(4))) > 20


def export(path, function, shape=(None, 8, 8), dtype=tf.uint8):
    module = tf.Module()
    module.kernel = tf.Variable(RNG.normal(size=(64, 10)), dtype=tf.float32)
    served = tf.function(
        lambda x: function(tf.reshape(tf.cast(x, tf.float32), (-1, 64)) @ module.kernel),
        input_signature=[tf.TensorSpec(shape, dtype, name="x")],
    )
    tf.saved_model.save(module, str(path), signatures=served)
    return module.kernel.numpy()


def test_a_saved_model_teaches_several_replicas(tmp_path, digits):
    kernel = export(tmp_path / "served", lambda z: {"logits": z})
    with choose_strategy("mirrored").scope():
        model = taught(digits, tmp_path / "served").model
        asked = FusedModel(model).predict(digits.x_test[:20])
        student = keras.Sequential([keras.Input((8, 8)), layers.Flatten(), layers.Dense(10)])
        distiller = Distiller(teacher=model, student=student, alpha=0.0)
        distiller.compile("adam")
    logits = digits.x_test[:20].reshape(20, 64).astype(np.float64) @ kernel
    np.testing.assert_allclose(softmax(asked), softmax(logits), atol=1e-4)
    # And in every step, each replica for itself.
    fused = FusedModel(distiller, augment=lambda x, seed: x)
    fused.fit(digits.x[:64], None, batch_size=16, epochs=1, verbose=0)
    assert np.isfinite(distiller.history.history["loss"][0])


def test_our_own_export_teaches_as_its_run_does(chain, digits):
    teacher = taught(digits, chain.exported)
    assert teacher.num_parameters >= Run(chain.student).load_model().count_params()
    np.testing.assert_allclose(says(digits, chain.exported), says(digits, chain.student), atol=1e-5)


@pytest.mark.parametrize(
    ("function", "shape", "dtype"),
    [
        (lambda z: {"logits": z, "other": z * 0}, (None, 8, 8), tf.uint8),
        (lambda z: {"output_0": z}, (None, 64), tf.float32),
        (lambda z: {"scores": tf.nn.softmax(z)}, (None, 8, 8, 1), tf.float32),
        (lambda z: {"probabilities": tf.nn.softmax(z), "label": z}, (None, None, None), tf.int64),
    ],
)
def test_any_saved_model_with_raw_input_teaches(tmp_path, digits, function, shape, dtype):
    kernel = export(tmp_path / "served", function, shape, dtype)
    teacher = taught(digits, tmp_path / "served")
    logits = digits.x_test[:20].reshape(20, 64).astype(np.float64) @ kernel
    found = softmax(teacher.model.predict(digits.x_test[:20], verbose=0))
    np.testing.assert_allclose(found, softmax(logits), atol=1e-4)
    assert teacher.num_parameters == 640
    assert teacher.num_bytes > 2560


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda z: {"scores": tf.sigmoid(z)}, "in doubt.*teacher_output"),
        (lambda z: {"a": z, "b": z}, r"outputs of which none \(a, b\) is probabilities"),
        (lambda z: {"class_id": tf.argmax(z, axis=1)}, r"emits \(\) for an example"),
        (lambda z: {"logits": z[:, :7]}, "7 classes"),
    ],
)
def test_a_saved_model_that_does_not_fit_is_refused(tmp_path, digits, function, reason):
    export(tmp_path / "served", function)
    with pytest.raises(UserError, match=reason) as refused:
        taught(digits, tmp_path / "served")
    assert f"teacher={tmp_path / 'served'} was given" in str(refused.value)


def test_a_saved_model_for_other_examples_is_refused(tmp_path, three):
    export(tmp_path / "served", lambda z: {"logits": z})
    with pytest.raises(UserError, match="a row of 4 values cannot become 8x8"):
        taught(three, tmp_path / "served")


def test_what_is_no_teacher_is_refused(tmp_path, chain):
    with pytest.raises(UserError, match="absent.keras was given.* does not exist"):
        open_teacher(tmp_path / "absent.keras")
    with pytest.raises(UserError, match=f"such as {chain.exported}"):
        open_teacher(chain.exported.parent)
    with pytest.raises(UserError, match="is not a run folder"):
        open_teacher(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"no model")
    with pytest.raises(UserError, match="it has a saved_model.pb that is none"):
        taught(load_data("digits"), tmp_path)


def test_several_teachers_of_any_kind_are_weighed_in_probability(saved, chain, digits):
    paths = chain.teacher, saved(), chain.exported
    each = [says(digits, path) for path in paths]
    np.testing.assert_allclose(says(digits, *paths), np.mean(each, axis=0), atol=1e-5)
    weighed = says(digits, *paths, weights=(2.0, 1.0, 0.0))
    np.testing.assert_allclose(weighed, (2 * each[0] + each[1]) / 3, atol=1e-5)
    teacher = taught(digits, *paths)
    assert teacher.num_parameters == sum(taught(digits, path).num_parameters for path in paths)


def test_classes_are_mapped(saved, tmp_path, digits):
    rows = (digits.y == 3) | (digits.y == 8)
    np.savez(tmp_path / "few.npz", x=digits.x[rows], y=(digits.y[rows] == 3).astype(int))
    data = load_data(f"npz:{tmp_path / 'few.npz'}")
    all_classes = says(digits, saved())
    with pytest.raises(UserError, match=r"10 classes .*2 classes \(0, 1\).*class_map"):
        taught(data, saved())
    class_map = {"3": "1", "5": "1", "8": "0"}
    # The file is shown the same values, whatever the range of the other data set.
    low, high = (value / 8 - 1 for value in data.value_range)
    teacher = taught(data, saved(), class_map=class_map, value_range=(low, high))
    found = softmax(teacher.model.predict(digits.x_test[:20], verbose=0))
    kept = np.stack([all_classes[:, 8], all_classes[:, 3] + all_classes[:, 5]], axis=1)
    np.testing.assert_allclose(found, kept / kept.sum(axis=1, keepdims=True), atol=1e-4)
    hot = teacher.model.predict(digits.x_test[:20], verbose=0) / 20.0
    np.testing.assert_allclose(
        hot[:, 0] - hot[:, 1], np.log(kept[:, 0] / kept[:, 1]) / 20, atol=1e-4
    )


def test_a_class_that_no_teacher_knows_is_never_taught(saved, digits):
    class_map = {str(n): str(n) for n in range(9)}
    found = says(digits, saved(), class_map=class_map)
    assert (found[:, 9] == 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("class_map", "reason"),
    [
        ({"ten": "1"}, "no class of teacher="),
        ({"0": "0", "ten": "1"}, "names 'ten', expected a class of the teacher .*10 classes"),
        ({"0": "zero"}, "names 'zero', expected a class of digits"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(saved, digits, class_map, reason):
    with pytest.raises(UserError, match=reason):
        taught(digits, saved(), class_map=class_map)


def test_an_export_knows_its_classes(chain, tmp_path, digits):
    names = json.loads((chain.exported / "metadata.json").read_text())["labels"]
    assert names == list(digits.class_names)
    assert taught(digits, chain.exported).class_names == names


def by_means(digits, *before, scale=1.0, offset=0.0):
    """Which class's mean is nearest, of values that are ``scale * raw + offset``."""
    rows = digits.x.reshape(len(digits.x), 64) * scale + offset
    means = np.stack([rows[digits.y == k].mean(axis=0) for k in range(10)])
    x = flat = keras.Input((8, 8))
    for change in before:
        flat = change(flat)
    head = layers.Dense(10)
    model = keras.Model(x, head(layers.Flatten()(flat)))
    head.set_weights([means.T * 2, -np.square(means).sum(axis=1)])
    return model


def accuracy(digits, *paths, **options):
    found = taught(digits, *paths, **options).model.predict(digits.x_test, verbose=0)
    return (found.argmax(axis=1) == digits.y_test).mean()


def augmentation():
    flips = [layers.GaussianNoise(0.1), layers.Dropout(0.1)]
    return keras.Sequential([keras.Input((8, 8)), *flips])


@pytest.mark.parametrize(
    ("before", "scale", "offset"),
    [
        ((lambda x: x / 16.0,), 1 / 16, 0.0),
        ((lambda x: (x - 12.0) * 5.0,), 5.0, -60.0),
        ((lambda x: augmentation()(x), layers.Rescaling(5.0, -60.0)), 5.0, -60.0),
        ((lambda x: 40.0 - x,), -1.0, 40.0),
    ],
)
def test_a_teacher_that_scales_in_whatever_way_sees_raw_values(
    before, scale, offset, digits, tmp_path
):
    network = by_means(digits, *before, scale=scale, offset=offset)
    network.save(tmp_path / "m.keras")
    right = (network(digits.x_test).numpy().argmax(axis=1) == digits.y_test).mean()
    assert right > 0.85
    assert accuracy(digits, tmp_path / "m.keras") == pytest.approx(right)


def test_a_teacher_of_other_values_is_asked_about(digits, tmp_path):
    # Of 0 to 255, made black and white by a threshold: ops without a scaling.
    network = by_means(digits, lambda x: keras.ops.cast(x > 128.0, "float32"), scale=0, offset=0)
    hot = (digits.x.reshape(-1, 64) * (255 / 16) > 128).astype(np.float32)
    means = np.stack([hot[digits.y == k].mean(axis=0) for k in range(10)])
    network.layers[-1].set_weights([means.T * 2, -np.square(means).sum(axis=1)])
    network.save(tmp_path / "m.keras")
    network.export(tmp_path / "served", verbose=False)
    right = (network(digits.x_test * (255 / 16)).numpy().argmax(axis=1) == digits.y_test).mean()
    assert right > 0.85
    for path in (tmp_path / "m.keras", tmp_path / "served"):
        with pytest.raises(
            UserError, match=r"so for \d+\.\d% of 500 .*teacher_range=\(0.0, 255.0\)"
        ):
            taught(digits, path)
        assert accuracy(digits, path, value_range=(0, 255)) == pytest.approx(right)
        taught(digits, path, value_range=(-1, 1))  # what is said is not doubted


@pytest.mark.parametrize(
    ("share", "answers", "at_chance"),
    [
        (0.5, "right", False),
        (0.5, "first", True),
        (0.5, "random", True),
        (0.9, "first", True),
        (0.9, "right", False),
        (0.9, "often right", False),  # less often than the most frequent class, and yet it knows
    ],
)
def test_a_teacher_at_chance_is_told(share, answers, at_chance, tmp_path):
    y = (np.arange(400) >= 400 * share).astype(int)
    said = {
        "right": y,
        "first": np.zeros(400),
        "random": RNG.integers(0, 2, 400),
        "often right": np.where(RNG.random(400) < 0.2, 1 - y, y),
    }[answers]
    np.savez(tmp_path / "d.npz", x=np.stack([said, -said], 1), y=y, x_test=np.eye(2), y_test=[0, 1])
    data = load_data(f"npz:{tmp_path / 'd.npz'}")
    x = keras.Input((2,))
    teacher = keras.Model(x, layers.Rescaling([-1.0, 1.0], offset=[0.5, 0.0])(x[:, :1]))
    reason = no_better_than_chance(teacher, data)
    assert (reason is not None) == at_chance
    if reason:
        assert f"the most frequent class alone is right for {share:.1%}" in reason
    few = load_data(f"npz:{tmp_path / 'd.npz'}")
    object.__setattr__(few, "y", np.where(np.arange(400) < 10, few.y, -1))
    assert no_better_than_chance(teacher, few) is None
