"""The models of ``keras.applications``: lookup by name, download, and expected inputs."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import io
import socket
import sys
import traceback
import warnings
from collections.abc import Callable

import keras
import numpy as np

from kt_transfer.errors import UserError
from kt_transfer.models.finite import why_not_finite
from kt_transfer.sources.adapting import Expected

# Most were trained on images of this size; larger ones cost more than they gain.
LARGEST_SIDE = 224
_SMALLEST_SIDES = {"InceptionV3": 75, "InceptionResNetV2": 75, "Xception": 71}
SECONDS_WITHOUT_AN_ANSWER = 10.0


def find_application(name: str) -> Callable:
    """The function of ``keras.applications`` of that name, ignoring case.

    Raises:
        UserError: If there is none; the message lists similar names.
    """
    known = {found.lower(): found for found in dir(keras.applications) if found[0].isupper()}
    if name.lower() not in known:
        near = difflib.get_close_matches(name.lower(), known, n=5, cutoff=0.4) or known
        raise UserError(
            setting="source",
            given=f"keras_applications:{name}",
            expected="a name of keras.applications, such as "
            f"{', '.join(known[found] for found in near)}",
            remedy="give one",
        )
    return getattr(keras.applications, known[name.lower()])


def smallest_side(application: Callable) -> int:
    """Height and width of the smallest images that an application takes."""
    return _SMALLEST_SIDES.get(application.__name__, 32)


def expected_by(application: Callable, image: tuple[int, int, int]) -> Expected:
    """The inputs that an application expects: 3 channels, scaled as by its ``preprocess_input``.

    Images keep their size, within the smallest that it takes and ``LARGEST_SIDE``.

    Args:
        application: As from :func:`find_application`.
        image: Height, width and channels of the images.
    """
    # preprocess_input is linear per channel, so its results for black and white determine it.
    preprocess = inspect.getmodule(application).preprocess_input
    black, white, red = (
        preprocess(np.array([[[pixel]]], "float32")).ravel().tolist()
        for pixel in ([0, 0, 0], [255, 255, 255], [255, 0, 0])
    )
    alike = len(set(black)) == len(set(white)) == 1
    low, high = smallest_side(application), LARGEST_SIDE
    return Expected(
        shape=(*(min(max(side, low), high) for side in image[:2]), 3),
        values=(black[0], white[0]) if alike else (tuple(black), tuple(white)),
        reversed_channels=red[0] == black[0],
    )


def fetch_application(application: Callable, input_shape: tuple[int, int, int]) -> keras.Model:
    """An application without its head, with ImageNet weights, which Keras downloads once.

    Args:
        application: As from :func:`find_application`.
        input_shape: Height, width and channels of the input.

    Raises:
        UserError: If the weights cannot be downloaded or read; the message says where to put them.
    """
    # Keras prints the progress of downloads, and warns about sizes without weights of their own.
    progress = sys.stderr if sys.stderr.isatty() else io.StringIO()
    with contextlib.redirect_stdout(progress), warnings.catch_warnings(), _short_timeout():
        warnings.simplefilter("ignore")
        try:
            model = application(include_top=False, weights="imagenet", input_shape=input_shape)
        except Exception as error:
            path, url = _weights_location(error)
            if path is None:
                raise
            raise UserError(
                setting="source",
                given=f"keras_applications:{application.__name__}",
                expected=f"its weights in {path}",
                but=f"they cannot be fetched or read ({_reason(error)})",
                remedy=f"where there is a network fetch {url}, and put it there",
            ) from error
    if reason := why_not_finite(model.variables):
        raise UserError(
            setting="source",
            given=f"keras_applications:{application.__name__}",
            expected="its weights",
            but=f"what Keras keeps of them {reason}",
            remedy="remove the file, so that it is fetched again",
        )
    return model


@contextlib.contextmanager
def _short_timeout():
    """Give up early on an unresponsive network, for which Python waits minutes by default."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS_WITHOUT_AN_ANSWER)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _weights_location(error: Exception) -> tuple[str | None, str]:
    """The file of weights that Keras looked for, and its URL.

    Both are known only to the frames of the traceback, since file names differ by application.
    """
    path, url = None, "them"
    for frame, _ in traceback.walk_tb(error.__traceback__):
        found = frame.f_locals
        path = found.get("download_target") or found.get("weights_path") or path
        url = found.get("origin") or url
    return path, url


def _reason(error: Exception) -> str:
    return str(error).strip().split("\n")[0].split(" -- ")[-1]  # Keras puts the URL first
