import keras
import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

from kt_transfer import Distiller, FusedModel
from kt_transfer.engine.strategy import choose_strategy
from kt_transfer.training.augmentation import (
    add_noise,
    affine,
    augmentation,
    cut_out,
    random_affine,
    random_shift,
    resample,
)

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(1, 200, (64, 6, 5), dtype=np.uint8)


def moved(image, down, right, fill):
    """The image moved, in NumPy."""
    height, width = image.shape[:2]
    found = np.full_like(image, fill)
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                found[row, column] = image[row - down, column - right]
    return found


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("channels", [(), (2,)])
def test_every_image_is_shifted_on_its_own(jit_compile, channels):
    x = RNG.integers(1, 200, (64, 6, 5, *channels), dtype=np.uint8)
    shift = tf.function(
        lambda x: random_shift(x, (3, 4), pixels=2, fill=7), jit_compile=jit_compile
    )
    shifted = shift(x).numpy()
    assert shifted.dtype == x.dtype
    steps = range(-2, 3)
    found = set()
    for before, after in zip(x, shifted, strict=True):
        fits = [(d, r) for d in steps for r in steps if (moved(before, d, r, 7) == after).all()]
        assert len(fits) == 1
        found.add(fits[0])
    assert len(found) > 15  # of 25


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_an_affine_transform_is_that_of_scipy(jit_compile, channels, dtype):
    x = RNG.integers(1, 200, (3, 6, 5, *channels)).astype(dtype)
    matrices = np.array(
        [[[0.9, 0.3], [-0.4, 1.2]], [[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.5], [-0.7, 0.0]]]
    )
    offsets = np.array([[0.4, -0.3], [-9.0, 0.0], [-1.0, 3.6]])
    transform = tf.function(lambda x, m, o: affine(x, m, o, fill=7), jit_compile=jit_compile)
    found = transform(x, matrices.astype("float32"), offsets.astype("float32")).numpy()
    assert found.dtype == dtype
    # Channel by channel: its transforms are of all axes.
    planes = np.moveaxis(x.reshape(3, 6, 5, -1).astype("float64"), -1, 1)
    expected = [
        [
            scipy.ndimage.affine_transform(plane, m, o, order=1, mode="grid-constant", cval=7)
            for plane in image
        ]
        for image, m, o in zip(planes, matrices, offsets, strict=True)
    ]
    expected = np.moveaxis(np.array(expected), 1, -1).reshape(x.shape)
    expected = expected.round() if dtype == "uint8" else expected
    # A half is rounded either way, by how exactly the place of a pixel is known.
    assert np.abs(found - expected).max() <= (1 if dtype == "uint8" else 1e-3)
    assert np.abs(found - expected).mean() < (0.05 if dtype == "uint8" else 1e-4)
    assert (found[1] == 7).all()  # outside


def affine_views(x, seed, **strengths):
    nothing = {"rotation": 0.0, "scale": 0.0, "shear": 0.0, "shift": 0.0}
    return random_affine(x, seed, **nothing | strengths)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_no_strength_changes_nothing(jit_compile, dtype):
    x = RNG.integers(1, 200, (8, 6, 5, 3)).astype(dtype)
    views = tf.function(lambda x: affine_views(x, (0, 1)), jit_compile=jit_compile)
    np.testing.assert_array_equal(views(x).numpy(), x)


def transforms_of(height, width, **strengths):
    """The drawn transforms, as pixels that hold their own row and column tell them."""
    places = np.stack(np.mgrid[:height, :width], axis=-1).astype("float32")
    views = affine_views(np.repeat(places[None], 400, axis=0), (1, 2), fill=np.nan, **strengths)
    inside = ~np.isnan(views.numpy()).any(axis=-1)
    for view, kept in zip(views.numpy(), inside, strict=True):
        columns = np.column_stack([places[kept], np.ones(kept.sum())])
        solved = np.linalg.lstsq(columns, view[kept], rcond=None)[0]
        yield solved[:2].T, solved[2]


@pytest.mark.parametrize("name", ["rotation", "scale", "shear", "shift"])
def test_each_strength_is_drawn_evenly_up_to_its_largest(name):
    largest = {"rotation": 30.0, "scale": 0.5, "shear": 20.0, "shift": 0.25}[name]
    drawn = []
    for matrix, offset in transforms_of(40, 20, **{name: largest}):
        centre = np.array([19.5, 9.5])
        found = {
            "rotation": np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])),
            "scale": np.log(np.diag(matrix)) / np.log(1.5),
            "shear": np.degrees(np.arctan(matrix[1, 0])),
            "shift": offset / (40, 20),
        }
        if name == "rotation":
            assert np.linalg.det(matrix) == pytest.approx(1, abs=1e-3)
        if name != "shift":  # about the centre
            assert matrix @ centre + offset == pytest.approx(centre, abs=1e-2)
        drawn.append(np.ravel(found[name]))
    drawn = np.array(drawn) * (0.5 if name == "scale" else 1.0)
    assert np.abs(drawn).max() <= largest * 1.001
    # Of a uniform distribution: quarters.
    quarters = np.quantile(drawn, [0.25, 0.5, 0.75], axis=0) / largest
    assert quarters == pytest.approx(np.tile([[-0.5], [0], [0.5]], drawn.shape[1]), abs=0.15)
    if drawn.shape[1] == 2:  # height and width independently
        assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.2


def test_views_of_strength_one_half_are_half_as_strong():
    x = np.zeros((500, 21, 21), np.float32)
    x[:, 10, 10] = 1.0

    def spread(strength):
        views = augmentation("affine", strength, (0.0, 1.0))(x, (0, 1)).numpy()
        return (views * np.arange(21)[:, None]).sum(axis=(1, 2)).std()

    assert spread(0.5) == pytest.approx(spread(1.0) / 2, rel=0.1)


@pytest.mark.parametrize("kind", ["affine", "shift", "noise"])
def test_a_view_is_a_function_of_its_seed(kind):
    view = augmentation(kind, 1.0, (0.0, 200.0))
    one, again, other = (view(IMAGES, (0, n)).numpy() for n in (1, 1, 2))
    assert (one == again).all()
    assert (one != other).any()


def test_noise_has_the_deviation_it_is_given():
    x = np.full((100, 50), 0.5, np.float32)
    noisy = augmentation("noise", 0.1, (0.0, 1.0))(x, (0, 1)).numpy()
    assert noisy.std() == pytest.approx(0.05, rel=0.05)  # of [-1, 1]: half as much of [0, 1]
    assert noisy.mean() == pytest.approx(0.5, abs=0.005)


def test_noisy_bytes_are_bytes_within_their_range():
    noisy = add_noise(np.full((100, 50), 15, np.uint8), (0, 1), deviation=4.0, value_range=(0, 16))
    assert noisy.dtype == "uint8"
    assert (noisy.numpy().min(), noisy.numpy().max()) == (pytest.approx(2, abs=2), 16)
    assert noisy.numpy().mean() < 15


def network(name, width):
    x = keras.Input((6, 5), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 200)(x)
    flat = keras.layers.Flatten()(scaled)
    hidden = keras.layers.BatchNormalization()(keras.layers.Dense(width, "relu")(flat))
    hidden = keras.layers.Dropout(0.5)(hidden) if name == "teacher" else hidden
    return keras.Model(x, keras.layers.Dense(3)(hidden), name=name)


@pytest.mark.parametrize(("jit_compile", "replicas"), [(False, 1), (True, 1), (False, 2)])
def test_teacher_and_student_see_the_same_view(jit_compile, replicas):
    """The teacher is asked about each view, in inference mode, inside the program."""
    strategy = choose_strategy("mirrored" if replicas > 1 else "one_device")
    keras.utils.set_random_seed(0)
    with strategy.scope():
        teacher = network("teacher", 8)
        student = network("student", 8)
        # Their answers are the same, if and only if what they see is.
        twins = [(s, t) for s, t in zip(student.weights, teacher.weights[:8], strict=True)]
        for mine, its in twins:
            mine.assign(its)
        student.layers[-2].trainable = False
        model = Distiller(teacher=teacher, student=student, alpha=0.0)
        model.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    student.get_layer(student.layers[-2].name).trainable = False
    before = teacher.get_weights()
    fused = FusedModel(
        model, augment=augmentation("shift", 2, (0.0, 200.0)), jit_compile=jit_compile
    )
    fused.fit(IMAGES, None, batch_size=16, epochs=2, verbose=0)
    assert max(model.history.history["loss"]) == pytest.approx(0, abs=1e-6)
    assert all(np.array_equal(a, b) for a, b in zip(before, teacher.get_weights(), strict=True))
    # Soft targets of the examples as they are would not fit the views.
    labels, soft = model.complete_targets(IMAGES, None, FusedModel(model.teacher).predict)
    fused.fit(IMAGES, (labels, soft), batch_size=16, epochs=1, verbose=0)
    assert model.history.history["loss"][0] > 1e-3
    # Evaluation sees them as they are.
    assert fused.evaluate(IMAGES, (labels, soft), return_dict=True)["loss"] < 1e-6


class Seen(keras.Model):
    """Keeps what its last step was given."""

    def __init__(self):
        super().__init__()
        self.seen = self.add_weight(shape=(8, 6, 5), trainable=False)
        self.dense = keras.layers.Dense(1)

    def call(self, x):
        return self.dense(keras.ops.reshape(keras.ops.cast(x, "float32"), (-1, 30)))

    def train_step(self, data):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        self.seen.assign(keras.ops.cast(x, "float32"))
        return super().train_step(data)


def test_every_epoch_is_a_new_view_and_a_resumed_fit_sees_the_same():
    views = {}
    for name, starts in (("whole", [(0, 1), (1, 2)]), ("resumed", [(1, 2)])):
        model = Seen()
        model.compile(keras.optimizers.SGD(0.0), loss="mse", jit_compile=False)
        fused = FusedModel(model, augment=augmentation("shift", 2, (0.0, 200.0)), seed=5)
        for first, end in starts:
            if name == "resumed":
                model.optimizer.build(model.trainable_variables) if model.built else None
                model.optimizer.iterations.assign(1)
            options = {"batch_size": 8, "shuffle": False, "verbose": 0}
            fused.fit(IMAGES[:8], np.zeros(8), initial_epoch=first, epochs=end, **options)
            views[name, first] = model.seen.numpy()
    assert (views["whole", 0] != views["whole", 1]).any()
    assert (views["whole", 1] == views["resumed", 1]).all()


def test_what_stock_keras_trains_sees_views_too():
    model = Seen()
    model.compile(keras.optimizers.SGD(0.0), loss="mse", jit_compile=False)
    fused = FusedModel(model, augment=augmentation("shift", 2, (0.0, 200.0)))
    fused.fit(IMAGES[:8], np.zeros(8), batch_size=8, shuffle=False, steps_per_epoch=1, verbose=0)
    assert fused.execution.startswith("stock Keras")
    assert (model.seen.numpy() != IMAGES[:8]).any()


@pytest.mark.parametrize("jit_compile", [pytest.param(False, marks=pytest.mark.slow), True])
def test_fits_with_other_seeds_share_a_program_and_not_the_views(jit_compile):
    """As the folds of a comparison do, whichever is first."""

    def fitted(seeds):
        model = Seen()
        model.compile(keras.optimizers.SGD(0.0), loss="mse", jit_compile=False)
        views = augmentation("shift", 2, (0.0, 200.0))
        fused = FusedModel(model, augment=views, jit_compile=jit_compile)
        for seed in seeds:
            fused.seed = seed
            fused.reset()
            fused.fit(IMAGES[:8], np.zeros(8), batch_size=8, shuffle=False, verbose=0)
        return model.seen.numpy()

    assert (fitted([3]) == fitted([1, 2, 3])).all()
    assert (fitted([3]) != fitted([2])).any()


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_a_square_of_each_image_is_covered(jit_compile, channels):
    x = RNG.integers(1, 200, (300, 8, 6, *channels), dtype=np.uint8)
    cover = tf.function(lambda x: cut_out(x, (3, 4), share=0.5, fill=250), jit_compile=jit_compile)
    found = cover(x).numpy()
    assert found.dtype == "uint8"
    covered = found == 250
    assert (found[~covered] == x[~covered]).all()
    covered = covered.reshape(300, 8, 6, -1)
    assert (covered == covered[..., :1]).all()  # all channels alike
    rows, columns = covered[..., 0].any(axis=2), covered[..., 0].any(axis=1)
    assert (covered[..., 0] == rows[:, :, None] & columns[:, None, :]).all()
    # Half of the height and the width, or less at an edge.
    assert (rows.sum(axis=1).min(), rows.sum(axis=1).max()) == (2, 4)
    assert columns.sum(axis=1).max() == 3
    middle = covered[:, 3, 2, ...].mean()
    assert middle == pytest.approx(4 / 8 * 3 / 6, abs=0.08)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32", "int32"])
def test_values_are_replaced_by_others_of_their_column(jit_compile, dtype):
    x = np.arange(4000).reshape(1000, 4).astype(dtype)
    views = tf.function(lambda x: resample(x, (3, 4), share=0.3), jit_compile=jit_compile)
    found = views(x).numpy()
    assert found.dtype == dtype
    assert (found % 4 == x % 4).all()
    changed = found != x
    assert changed.mean(axis=0) == pytest.approx(0.3, abs=0.05)
    # Each value by itself, from anywhere in the batch.
    assert np.corrcoef(changed.T)[np.triu_indices(4, 1)] == pytest.approx(0, abs=0.15)
    assert found[changed].mean() == pytest.approx(2000, rel=0.1)
