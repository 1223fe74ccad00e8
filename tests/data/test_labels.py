import numpy as np
import pytest

from kt_transfer import UserError, load_data

X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
THREE = np.arange(40) % 3


@pytest.fixture
def load(tmp_path):
    """Loads labels by way of a file."""

    def load_labels(y, **arrays):
        np.savez(tmp_path / "data.npz", x=X, y=y, **arrays)
        return load_data(f"npz:{tmp_path / 'data.npz'}")

    return load_labels


def labels_of(data):
    """Every label by its name, in the order of the source."""
    names = np.array([*data.class_names, None], object)
    found = np.empty(len(X), object)
    found[data.rows], found[data.rows_test] = names[data.y], names[data.y_test]
    return found.tolist()


@pytest.mark.parametrize(
    ("values", "dtype", "names"),
    [
        ([0, 1, 2], "int64", ("0", "1", "2")),
        ([1999, 2000, 2001], "int16", ("1999", "2000", "2001")),
        ([5, 2**32, 2**32 + 1], "int64", ("5", "4294967296", "4294967297")),
        ([0, 2**63, 2**64 - 1], "uint64", ("0", "9223372036854775808", "18446744073709551615")),
        ([-7, -2, 255], "int32", ("-7", "-2", "255")),
        ([0, 1, 255], "uint8", ("0", "1", "255")),
        ([False, True, True], "bool", ("False", "True")),
        ([3.0, 4.0, 2.0**40], "float64", ("3", "4", "1099511627776")),
        (["cat", "dog", "\u00e9lan"], "U", ("cat", "dog", "\u00e9lan")),
        ([b"cat", b"dog", "\u00e9lan".encode()], "S", ("cat", "dog", "\u00e9lan")),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_labels_of_any_value_are_the_classes_that_occur(load, values, dtype, names):
    data = load(np.array(values, dtype)[THREE])
    assert data.class_names == names
    assert data.y.dtype == data.y_test.dtype == np.int32
    each = [*names, names[-1]][:3]
    assert labels_of(data) == [each[number] for number in THREE]


def test_numbers_from_0_on_stay_as_they_are(load):
    data = load(THREE)
    assert np.array_equal(data.y, THREE[data.rows])
    assert load(THREE.astype(np.uint8)).fingerprint == data.fingerprint
    # Split as these are, whatever they are called.
    other = load(THREE + 1999)
    assert np.array_equal(other.rows_test, data.rows_test)
    assert np.array_equal(other.y, data.y)


@pytest.mark.parametrize(
    ("y", "absent"),
    [(THREE * 10, -1), (THREE.astype(float), -1.0), (THREE.astype(float), np.nan)],
    ids=["integer", "float", "nan"],
)
def test_minus_one_and_missing_numbers_are_no_label(load, y, absent):
    y = y.copy()
    y[::4] = absent
    found = labels_of(load(y))
    assert found == [None if row % 4 == 0 else str(int(y[row])) for row in range(40)]


@pytest.mark.parametrize("dtype", ["U", "S"])
def test_minus_one_among_names_is_no_label(load, dtype):
    names = np.array(["a", "b", "-1"], dtype)
    data = load(names[THREE])
    assert data.class_names == ("a", "b")
    assert labels_of(data) == [["a", "b", None][number] for number in THREE]


def test_training_and_test_part_have_the_same_numbers(load):
    data = load(np.array([2000, 1999])[THREE % 2], x_test=X, y_test=np.full(40, 2000, np.uint16))
    assert data.class_names == ("1999", "2000")
    assert set(data.y_test) == {1}


@pytest.mark.parametrize(
    ("y", "received"),
    [
        (np.where(THREE, 1.5, THREE), "1.5 in row 1"),
        (np.where(THREE == 2, np.inf, THREE), "inf in row 2"),
        (THREE.astype(complex), "of type complex128"),
        (THREE.astype("datetime64[s]"), "datetime64"),
        (np.array([b"\xff", b"a", b"b"])[THREE], "no UTF-8"),
    ],
    ids=["fraction", "infinity", "complex", "dates", "bytes"],
)
def test_what_is_neither_whole_nor_a_name_is_refused(load, y, received):
    with pytest.raises(UserError, match=f"with y .*{received}.*expected whole numbers or names"):
        load(y)


def test_names_in_one_part_and_numbers_in_the_other_are_refused(load):
    with pytest.raises(UserError, match="y of type int64 but y_test of type <U1"):
        load(THREE, x_test=X, y_test=np.array(["a", "b", "c"])[THREE])


@pytest.mark.parametrize("only", [0, 1, 7])
def test_one_class_is_none_to_learn(load, only):
    data = load(np.full(40, only), x_test=X, y_test=np.full(40, only))
    with pytest.raises(UserError, match=rf"at least 2 classes, but it has 1 \({only}; -1 stands"):
        data.require_labels()
    # What only the test part has cannot be learned.
    data = load(np.full(40, only), x_test=X, y_test=THREE)
    with pytest.raises(UserError, match="at least 2 classes, but it has 1"):
        data.require_labels()
