import numpy as np
import pytest

from kt_transfer import UserError
from kt_transfer.methods import Distilled, Features, Parameters, Scratch
from kt_transfer.methods.views import augmentation_of, views_of


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        (None, None),
        ("affine", ("affine", 1.0)),
        ("affine:0.5", ("affine", 0.5)),
        ("shift:2", ("shift", 2.0)),
        ("noise:0.1", ("noise", 0.1)),
    ],
)
def test_a_spec_names_a_kind_and_a_strength(spec, found):
    assert augmentation_of(spec) == found


@pytest.mark.parametrize("method", [Scratch, Parameters, Features, Distilled])
@pytest.mark.parametrize(
    "spec",
    [
        *("turn", "affine:", "affine:0", "affine:11", "affine:a", "affine:nan", "shift"),
        *("shift:1.5", "shift:inf", "noise:-1", "noise:inf", ""),
    ],
)
def test_what_names_none_is_refused(method, spec):
    with pytest.raises(UserError, match=f"augment={spec} was given, expected auto, none, affine"):
        method(augment=spec)


@pytest.mark.parametrize("spec", ["affine", "shift:1"])
def test_rows_of_a_table_are_no_images(spec):
    with pytest.raises(UserError, match=rf"augment={spec} .* images, but .* shape \(30,\)"):
        views_of(spec, (30,), (0.0, 1.0))


def test_views_are_of_the_strength_that_is_given():
    x = np.zeros((50, 11, 11), np.uint8)
    x[:, 5, 5] = 200
    changed = {
        spec: (views_of(spec, (11, 11), (0.0, 255.0))(x, (0, 1)).numpy() != x).mean()
        for spec in ("affine:0.01", "affine:1", "shift:1", "noise:0.5")
    }
    assert changed["affine:0.01"] < changed["affine:1"] < changed["noise:0.5"]
    assert changed["shift:1"] > 0


def test_views_of_its_own_are_those_of_images_alone():
    x = np.zeros((5, 8, 8), np.uint8)
    x[:, 3] = 200
    own, affine = (views_of(spec, (8, 8), (0.0, 255.0))(x, (0, 1)) for spec in ("auto", "affine"))
    np.testing.assert_array_equal(own, affine)
    assert views_of("auto", (30,), (0.0, 1.0)) is None
    assert views_of("none", (8, 8), (0.0, 255.0)) is views_of(None, (8, 8), (0.0, 255.0)) is None
