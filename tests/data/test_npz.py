import io
import os
import re
import zipfile

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
    assert data.value_range == (X.min(), X.max())
    assert data.has_observed_range  # a type is not a range
    assert np.array_equal(data.x, X)
    assert np.array_equal(data.x_test, X[:4])
    assert np.array_equal(data.y, Y)
    assert data.class_names == ("0", "1")


@pytest.mark.parametrize(
    ("dtype", "taken_as"),
    [
        (np.float64, np.float64),
        (np.float32, np.float32),
        (np.float16, np.float32),
        (np.int16, np.float32),
        (np.int8, np.float32),
        (np.int32, np.float64),
        (np.int64, np.float64),
        (">f8", np.float64),
        (">i2", np.float32),
    ],
)
def test_numbers_keep_their_digits_and_the_range_that_they_span(load, dtype, taken_as):
    x = np.array([[3, -4], [5, 0], [1, 2]], dtype)
    data = load(x=x, y=np.array([0, 1, 0]), x_test=2 * x, y_test=np.array([0, 1, 0]))
    assert data.x.dtype == data.x_test.dtype == taken_as
    assert np.array_equal(data.x, x)
    assert data.value_range == (-4.0, 5.0)
    assert data.has_observed_range


def test_bools_are_bytes_and_large_whole_numbers_stay_whole(load):
    data = load(x=X > 100, y=Y)
    assert data.x.dtype == np.uint8
    assert data.value_range == (0.0, 1.0)
    large = 2**32 - 1 - np.arange(40, dtype=np.uint32).reshape(20, 2)
    assert np.array_equal(load(x=large, y=Y).x, large[load(x=large, y=Y).rows])


def test_parts_of_two_float_types_are_taken_as_the_larger(load):
    data = load(x=FLOATS, y=Y, x_test=FLOATS[:3].astype(np.float64), y_test=Y[:3])
    assert data.x.dtype == data.x_test.dtype == np.float64


def test_numbers_that_floats_do_not_tell_apart_are_refused(load):
    with pytest.raises(UserError, match="around 4.61e\\+18 in x that lie closer together"):
        load(x=(2**62 + np.arange(20)).reshape(20, 1), y=Y)
    times = 1_700_000_000 * 10**9 + np.arange(20).reshape(20, 1) * 10**9  # nanoseconds
    assert len(np.unique(load(x=times, y=Y, x_test=times, y_test=Y).x)) == 20


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_is_not_finite_is_refused(load, value, dtype):
    x = FLOATS.astype(dtype)
    x[3, 1] = value
    with pytest.raises(UserError, match="in row 3 of x that is not finite"):
        load(x=x, y=Y)


def test_what_is_too_large_to_be_scaled_is_refused(load):
    with pytest.raises(UserError, match="beyond 1e\\+300 in x"):
        load(x=FLOATS * np.float64(1e301), y=Y)
    assert load(x=FLOATS * np.float64(1e299), y=Y).has_observed_range


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


def test_examples_that_are_not_numbers_are_refused(load):
    with pytest.raises(UserError, match="x of type <U1"):
        load(x=np.full((4, 2), "a"))
    for kind in ("complex64", "datetime64[s]"):
        with pytest.raises(UserError, match="with x of type"):
            load(x=np.zeros((4, 2), kind))
    with pytest.raises(UserError, match="x_test of type <U1"):
        load(x=X, x_test=np.full((4, 2), "a"))


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


@pytest.mark.parametrize("shape", [(), (5,), (1, 3), (0, 3), (5, 0), (5, 0, 4)])
def test_x_of_another_shape_is_refused(load, shape):
    with pytest.raises(UserError, match=re.escape(f"x of shape {shape}, expected")):
        load(x=np.zeros(shape))
    with pytest.raises(UserError, match=re.escape(f"x_test of shape {shape}, expected")):
        load(x=FLOATS, x_test=np.zeros(shape))


def test_a_file_without_x_is_refused(load):
    with pytest.raises(UserError, match="the arrays images, expected x"):
        load(images=X)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"y_test": Y}, "y_test but without x_test"),
        ({"x_Test": X}, "an array x_Test, .* rename it to x_test"),
        ({"labels": Y}, "an array labels, expected x, y, x_test and y_test alone: leave it out"),
        ({"x_unlabelled": X}, "x_unlabelled.* append them to x with labels of -1"),
    ],
)
def test_nothing_is_left_out_without_a_word(load, others, message):
    with pytest.raises(UserError, match=message):
        load(x=X, y=Y, **others)


@pytest.mark.parametrize("content", [None, b"", b"no zip"], ids=["absent", "empty", "text"])
def test_what_is_no_npz_file_is_refused(tmp_path, content):
    path = tmp_path / "data.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=f"npz:{path} .*cannot be read"):
        load_data(f"npz:{path}")


@pytest.mark.parametrize("name", ["x", "y"])
def test_pickled_objects_are_not_loaded(load, name):
    arrays = {"x": X, "y": Y, name: np.array([{}, {}], object)}
    with pytest.raises(UserError, match=f"{name}.npy holds Python objects"):
        load(**arrays)


def npy(shape, content=b"", descr="<f8"):
    """A file of one array whose header may say what it likes."""
    file = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + content


def zeros(size):
    """So many bytes, which take a thousandth in the archive."""
    for _ in range(size >> 20):
        yield bytes(2**20)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        # 65 MB each, as the header says, and as it does not.
        ([npy((65, 2**17)), zeros(65 * 2**20)], [npy((65,), bytes(520))], "would unpack to"),
        ([npy((10, 4), bytes(320))], [npy((10,)), zeros(65 * 2**20)], "would unpack to"),
        # A header that promises more or less than there is, or an endless header.
        ([npy((2**40, 4), bytes(320))], [npy((10,), bytes(80))], "header of x.npy does not"),
        ([npy((10, 4), bytes(3200))], [npy((10,), bytes(80))], "header of x.npy does not"),
        ([b"\x93NUMPY\x02\x00\xff\xff\xff\x7f", zeros(2**25)], [npy((10,))], "header"),
    ],
    ids=["honest", "labels", "too little", "too much", "header"],
)
def test_what_unpacks_to_far_more_is_refused_unread(tmp_path, peak_memory, x, y, message):
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, parts in (("x.npy", x), ("y.npy", y)):
            with archive.open(name, "w") as file:
                for part in parts:
                    for piece in [part] if isinstance(part, bytes) else part:
                        file.write(piece)
    with peak_memory(2**22), pytest.raises(UserError, match=f"npz:{path} .*{message}"):
        load_data(f"npz:{path}")


def test_what_is_larger_than_the_memory_is_refused_unread(tmp_path, monkeypatch):
    np.savez(tmp_path / "data.npz", x=FLOATS)
    monkeypatch.setattr(os, "sysconf", lambda name: 10)
    with pytest.raises(UserError, match="it holds .* bytes, and this machine has 100"):
        load_data(f"npz:{tmp_path / 'data.npz'}")


def test_compressed_and_columns_first_are_read_as_they_are(tmp_path):
    path = tmp_path / "data.npz"
    np.savez_compressed(path, x=np.asfortranarray(FLOATS), y=Y)
    data = load_data(f"npz:{path}")
    assert np.array_equal(data.x, FLOATS[data.rows])


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (4, 24, 40)])
def test_pictures_with_the_channels_first_are_refused(tmp_path, shape):
    np.savez(path := tmp_path / "x.npz", x=np.zeros((4, *shape), np.uint8), y=[0, 1, 0, 1])
    sides = f"{shape[0]} channels of {shape[1]} x {shape[2]} pixels"
    with pytest.raises(UserError, match=rf"{sides}: .*numpy.moveaxis\(x, 1, -1\)"):
        load_data(f"npz:{path}")


@pytest.mark.parametrize("shape", [(32, 32, 3), (3, 32, 3), (3, 4, 5), (3, 32, 4), (28, 28)])
def test_other_pictures_are_not(tmp_path, shape):
    np.savez(path := tmp_path / "x.npz", x=np.zeros((4, *shape), np.uint8), y=[0, 1, 0, 1])
    assert load_data(f"npz:{path}").input_shape == shape
