import base64
import io

import numpy as np
import pytest
from PIL import Image

from kt_transfer.reporting.examples import (
    Answers,
    Differing,
    differing_answers,
    most_confident_mistakes,
    pairs,
    show,
)


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


def counts(*by_class):
    return {
        "num_answers": 12,
        "num_examples": 6,
        "both_right": 7,
        "only_own": 3,
        "only_other": 1,
        "both_wrong": 1,
        "by_class": [
            {"num_answers": 6, "only_own": own, "only_other": other} for own, other in by_class
        ],
    }


def differing(rows, own, other, texts=None):
    pictures = np.zeros((len(rows), 4, 4))
    numbers = [np.array(each, int) for each in (rows, np.zeros(len(rows)), own, other)]
    return Differing(pictures, *numbers, texts)


def test_where_two_candidates_differ():
    helped, hurt = differing([7, 9], [0, 0], [1, 1]), differing([], [], [])
    found = differing_answers(
        counts((0, 1), (3, 0)), ("features", "scratch"), helped, hurt, ["cat", "dog"], (0, 1)
    )
    assert found["sentence"] == (
        "Of 12 answers to 6 held-out examples, features is right in 3 where scratch is wrong, and "
        "wrong in 1 where scratch is right; both are right in 7 and wrong in 1."
    )
    # The class that it helps most comes first.
    assert [(row["name"], row["net"]) for row in found["classes"]] == [("dog", "+3"), ("cat", "−1")]
    (group,) = found["groups"]  # nothing is hurt
    assert group["title"] == "Right with features, wrong with scratch"
    assert [one["number"] for one in group["examples"]] == [7, 9]
    assert group["examples"][0]["answered"] == "features: cat, scratch: dog"
    assert pixels(group["examples"][0]).shape == (4, 4)


def test_rows_of_a_table_that_differ_are_shown_by_their_columns():
    helped = differing([3], [0], [1], texts=[["red", "1.5"]])
    hurt, names = differing([], [], []), ("features", "scratch")
    found = differing_answers(
        counts((1, 0), (0, 0)), names, helped, hurt, ["no", "yes"], (0, 1), ("colour", "size")
    )
    (one,) = found["groups"][0]["examples"]
    assert (one["names"], one["values"]) == (["colour", "size"], ["red", "1.5"])
    assert [row["name"] for row in found["classes"]] == ["no"]
