"""What the page to try a model on says, and that what it is given stays text."""

import re

import numpy as np
import pytest

from kt_transfer.reporting import trying
from kt_transfer.reporting.trying import Cell, Usual

HOSTILE = "<img src=x onerror=alert(1)>"
QUANTILES = {"0.5": 4.0, "0.9": 6.0, "0.99": 10.0, "0.999": 12.0}


def answered(names=("cat", "dog"), probabilities=(0.25, 0.75), **given):
    given = {"asked": "asked so", "usual": Usual(None, {}, None)} | given
    return trying.answered(names, np.array(probabilities), **given)


def words(html):
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def test_the_most_probable_class_comes_first():
    told = words(answered())
    assert told.startswith("Answer dog 75.0 % dog 75.0 % cat 25.0 %")
    assert "asked so" in told


def test_of_many_classes_the_first_ten_are_shown():
    probabilities = np.arange(1.0, 101.0) / 5050
    told = words(answered([f"class{n}" for n in range(100)], probabilities))
    assert len({*re.findall(r"class\d+", told)}) == 10
    assert "class99" in told
    assert "90 further classes have 81.1 % together" in told


def test_whatever_is_given_stays_text():
    cell = Cell(HOSTILE, HOSTILE, HOSTILE, 0.5)
    parts = [
        answered([HOSTILE, "b"], (0.9, 0.1), cells=[cell], done=[HOSTILE], carried=HOSTILE),
        trying.nothing(HOSTILE, is_mistake=True),
        trying.eyebrow(HOSTILE),
        trying.heading(
            {"labels": [HOSTILE], "data": HOSTILE, "command": HOSTILE}, HOSTILE, HOSTILE
        ),
    ]
    for part in parts:
        assert "<img src=x" not in part
        assert "&lt;img src=x" in part


@pytest.mark.parametrize(
    "usual, expected",
    [
        (Usual(28.0, QUANTILES, True), "28, is 2.8 times the 0.99 quantile"),
        (Usual(2800.0, QUANTILES, True), "2.8e+03, is 280 times the 0.99 quantile"),
        (Usual(3.0, QUANTILES, False), "3, is below the 0.5 quantile of the training examples, 4"),
        (Usual(5.0, QUANTILES, False), "5, is below the 0.9 quantile of the training examples, 6"),
        (Usual(10.0005, {"0.99": 10.0}, False), "10, is below the 0.99 quantile"),
        (Usual(5.0, {}, None), "has nothing to be compared with"),
        (Usual(None, {}, None), "has no autoencoder"),
    ],
)
def test_how_usual_it_is_is_said_in_words(usual, expected):
    assert expected in trying.usual_in_words(usual)
    head = {True: "Unusual", False: "Usual", None: "not known"}[usual.unusual]
    told = words(answered(usual=usual))
    assert f"{head}:" in told
    assert expected in told


def test_the_hand_of_the_gauge_stands_at_the_error():
    for error, left in ((0.0, 0.0), (5.0, 25.0), (10.0, 50.0), (20.0, 100.0), (500.0, 100.0)):
        assert f'class="kt-here" style="left: {left}%"' in answered(
            usual=Usual(error, QUANTILES, error > 10)
        )


def test_columns_are_ordered_by_what_they_carry_and_further_ones_folded_away():
    cells = [
        Cell(f"column{n}", str(n), "", change) for n, change in enumerate(np.linspace(-0.2, 0, 20))
    ]
    html = answered(cells=cells)
    shown, folded = html.split("<details>")
    assert re.findall(r">(column\d+)<", shown) == [f"column{n}" for n in range(12)]
    assert len(re.findall(r">(column\d+)<", folded)) == 8
    assert "8 further columns" in folded
    assert "\N{MINUS SIGN}20.0" in shown
    assert "reconstructed" not in html


def test_facts_are_those_that_are_known():
    metrics = {"accuracy": 0.8, "num_examples": 10}
    known = trying.facts(
        {"metrics": metrics, "data": "d", "labels": list("abcdef"), "command": "c"}
    )
    assert known[0] == ("right on", "80.0 % of 10 test examples", "95 % interval 49.0 to 94.3 %")
    assert ("tells apart", "6 classes", "a, b, c, d and 2 more") in known
    for metadata in ({}, {"metrics": None}, {"metrics": {"accuracy": "x", "num_examples": 0}}):
        assert trying.facts(metadata)[0][1] == "not known"
