import inspect
import socket

import keras
import numpy as np
import pytest

from kt_transfer import UserError
from kt_transfer.sources import applications
from kt_transfer.sources.adapting import adapting_model
from kt_transfer.sources.applications import (
    expected_by,
    fetch_application,
    find_application,
    smallest_side,
)

NAMES = [name for name in dir(keras.applications) if name[0].isupper()]
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 80, 90, 3), dtype=np.uint8)


def test_names_are_found_in_any_case():
    assert find_application("mobilenetv2") is keras.applications.MobileNetV2
    assert find_application("ResNet50") is keras.applications.ResNet50


def test_an_unknown_name_lists_near_ones():
    with pytest.raises(UserError, match="keras_applications:MobilNet .*MobileNet, "):
        find_application("MobilNet")


@pytest.mark.parametrize("name", NAMES)
def test_the_smallest_side_is_keras_own(name):
    application = find_application(name)
    least = smallest_side(application)
    with pytest.raises(ValueError, match=f"at least {least}x{least}"):
        application(include_top=False, weights=None, input_shape=(least - 1, least - 1, 3))


@pytest.mark.parametrize("name", NAMES)
def test_values_are_made_as_the_application_makes_them(name):
    application = find_application(name)
    expected = expected_by(application, IMAGES.shape[1:])
    given = adapting_model(IMAGES.shape[1:], (0.0, 255.0), "uint8", expected)(IMAGES)
    preprocess = inspect.getmodule(application).preprocess_input
    np.testing.assert_allclose(given, preprocess(IMAGES.astype("float32")), atol=1e-3)


@pytest.mark.parametrize(
    ("name", "image", "shape"),
    [
        ("MobileNetV2", (28, 28, 1), (32, 32, 3)),
        ("MobileNetV2", (100, 60, 3), (100, 60, 3)),
        ("MobileNetV2", (300, 200, 3), (224, 200, 3)),
        ("Xception", (64, 80, 3), (71, 80, 3)),
    ],
)
def test_images_keep_their_size_within_what_it_takes(name, image, shape):
    assert expected_by(find_application(name), image).shape == shape


def offline(url, cache):
    """An application, as Keras writes them, whose weights lie behind a network."""

    def Tiny(include_top, weights, input_shape):
        return keras.utils.get_file("tiny.h5", url, cache_dir=cache, cache_subdir="models")

    return Tiny


def test_a_network_that_does_not_answer_is_given_up(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(applications, "SECONDS_WITHOUT_AN_ANSWER", 0.2)
    before = socket.getdefaulttimeout()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/there.h5"
        with pytest.raises(UserError) as refused:
            fetch_application(offline(url, tmp_path), (32, 32, 3))
    message = str(refused.value)
    assert message.startswith("source=keras_applications:Tiny was given")
    assert str(tmp_path / "models" / "tiny.h5") in message
    assert url in message
    assert socket.getdefaulttimeout() == before
    assert capsys.readouterr() == ("", "")


def test_any_other_failure_is_not_mended_by_a_file():
    def Broken(include_top, weights, input_shape):
        raise MemoryError("too large")

    with pytest.raises(MemoryError):
        fetch_application(Broken, (32, 32, 3))
