import base64
import io

import numpy as np
import pytest
from PIL import Image

from kt_transfer.reporting.examples import Answers, most_confident_mistakes, pairs, show


def pixels(shown):
    kind, data = shown["image"].split(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_an_image_keeps_its_values():
    grey = np.array([[0, 8], [16, 4]])
    assert pixels(show(grey, (0, 16))) == pytest.approx(np.array([[0, 128], [255, 64]]), abs=1)
    colours = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    assert (pixels(show(colours, (0, 255))) == colours).all()


def test_a_large_image_is_made_smaller():
    assert pixels(show(np.zeros((400, 200, 1), np.uint8), (0, 255))).shape == (160, 80)


def test_what_lies_outside_the_range_is_black_or_white():
    assert pixels(show(np.array([[-3.0, 20.0]]), (0, 16))).tolist() == [[0, 255]]


def test_a_row_of_values():
    shown = show(np.arange(30) / 3, (0, 10))
    assert shown == {
        "image": None,
        "values": [f"{n / 3:.4g}" for n in range(12)],
        "left_out": 18,
    }


def test_the_surest_of_the_wrong_answers():
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]])
    answers = Answers(
        np.arange(8.0).reshape(4, 2), np.array([0, 0, 0, 1]), probabilities, "ab", (0, 8)
    )
    first, second = most_confident_mistakes(answers, 5)
    assert (first["number"], first["true"], first["predicted"]) == (2, "a", "b")
    assert first["sure"].split() == ["80", "%"]
    assert first["values"] == ["4", "5"]
    assert second["number"] == 1
    assert len(most_confident_mistakes(answers, 1)) == 1


def test_inputs_with_their_reconstructions():
    originals = np.arange(8.0).reshape(4, 2)
    shown = pairs(originals, originals + 1, (0, 8), 3)
    assert [one["values"] for one in shown] == [["0", "1"], ["2", "3"], ["4", "5"]]
    assert [one["made"]["values"] for one in shown] == [["1", "2"], ["3", "4"], ["5", "6"]]
