import numpy as np
import pytest

from kt_transfer import UserError, load_data

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (20, 4, 3), dtype=np.uint8)
FLOATS = RNG.normal(size=(20, 5)).astype(np.float32)
Y = np.tile([0, 1], 10)


@pytest.fixture
def load(tmp_path):
    """Loads arrays by way of a file."""

    def load_arrays(**arrays):
        np.savez(tmp_path / "data.npz", **arrays)
        return load_data(f"npz:{tmp_path / 'data.npz'}")

    return load_arrays


def test_bytes_stay_bytes(load):
    data = load(x=X, y=Y, x_test=X[:4], y_test=Y[:4])
    assert data.x.dtype == np.uint8
    assert data.value_range == (0.0, 255.0)
    assert not data.has_observed_range
    assert np.array_equal(data.x, X)
    assert np.array_equal(data.x_test, X[:4])
    assert np.array_equal(data.y, Y)
    assert data.class_names == ("0", "1")


@pytest.mark.parametrize("dtype", [np.float64, np.int16])
def test_other_numbers_become_floats_with_the_range_that_they_span(load, dtype):
    x = np.array([[3, -4], [5, 0], [1, 2]], dtype)
    data = load(x=x, y=np.array([0, 1, 0]), x_test=2 * x, y_test=np.array([0, 1, 0]))
    assert data.x.dtype == data.x_test.dtype == np.float32
    assert data.value_range == (-4.0, 5.0)
    assert data.has_observed_range


def test_what_is_split_off_as_test_does_not_enter_the_range(load):
    x, y = np.arange(20.0).reshape(10, 2), np.tile([0, 1], 5)
    rows_test = load(x=x, y=y).rows_test
    x[rows_test] = 100.0
    data = load(x=x, y=y)
    assert set(data.rows_test) == set(rows_test)
    assert data.value_range == (data.x.min(), data.x.max())
    assert data.value_range[1] < 100


def test_a_constant_set_has_a_range_all_the_same(load):
    assert load(x=np.full((4, 2), 3.0)).value_range == (3.0, 4.0)


def test_without_y_nothing_is_labelled(load):
    data = load(x=X)
    assert set(data.y) == set(data.y_test) == {-1}
    assert data.num_classes == 0
    with pytest.raises(UserError, match="at least 2 classes, but it has 0"):
        data.require_labels()


def test_minus_one_is_no_label(load):
    y = np.where(np.arange(20) < 10, Y, -1)
    data = load(x=X, y=y)
    assert data.class_names == ("0", "1")
    assert np.array_equal(data.y, y[data.rows])


def test_a_value_that_is_not_finite_is_refused(load):
    broken = FLOATS.copy()
    broken[7, 2] = np.nan
    with pytest.raises(UserError, match="row 7 of x that is not finite"):
        load(x=broken, y=Y)
    with pytest.raises(UserError, match="row 7 of x_test that is not finite"):
        load(x=FLOATS, y=Y, x_test=broken)


def test_labels_of_another_number_are_refused(load):
    with pytest.raises(UserError, match=r"y of shape \(19,\), expected \(20,\)"):
        load(x=X, y=Y[:-1])
    with pytest.raises(UserError, match=r"y_test of shape \(3,\), expected \(4,\)"):
        load(x=X, y=Y, x_test=X[:4], y_test=Y[:3])


@pytest.mark.parametrize(
    ("y", "received"),
    [
        (np.where(Y, "cat", "dog"), "<U3"),
        (Y.astype(float), "float64"),
        (Y - 2, "-2"),
    ],
    ids=["strings", "floats", "below -1"],
)
def test_labels_that_are_not_numbers_from_0_on_are_refused(load, y, received):
    with pytest.raises(UserError, match=f"y of type .*{received}"):
        load(x=X, y=y)


def test_examples_that_are_not_numbers_are_refused(load):
    with pytest.raises(UserError, match="x of type <U1"):
        load(x=np.full((4, 2), "a"))


def test_examples_of_different_shape_are_refused(load):
    with pytest.raises(UserError, match=r"\(4, 3\) but test examples of shape \(5, 3\)"):
        load(x=X, y=Y, x_test=np.zeros((4, 5, 3), np.uint8))


@pytest.mark.parametrize(
    ("x", "x_test"), [(X, X[:4] / 255.0), (X / 255.0, X[:4])], ids=["floats", "bytes"]
)
def test_test_examples_of_another_type_are_refused(load, x, x_test):
    # 0 to 1 beside 0 to 255: scaled as one, the test part would be nonsense.
    with pytest.raises(UserError, match="uint8"):
        load(x=x, y=Y, x_test=x_test, y_test=Y[:4])


@pytest.mark.parametrize("x", [np.zeros(5), np.zeros((1, 3))], ids=["a vector", "one example"])
def test_x_of_another_shape_is_refused(load, x):
    with pytest.raises(UserError, match=rf"x of shape \({len(x)},"):
        load(x=x)


def test_a_file_without_x_is_refused(load):
    with pytest.raises(UserError, match="the arrays images, expected x"):
        load(images=X)


@pytest.mark.parametrize("content", [None, b"", b"no zip"], ids=["absent", "empty", "text"])
def test_what_is_no_npz_file_is_refused(tmp_path, content):
    path = tmp_path / "data.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=f"npz:{path} .*cannot be read"):
        load_data(f"npz:{path}")


def test_pickled_objects_are_not_loaded(load):
    with pytest.raises(UserError, match="cannot be read"):
        load(x=np.array([{}, {}], object))
