import json

import matplotlib.image
import numpy as np
import pytest

from kt_transfer.reporting.explanations import (
    AGAINST,
    FOR,
    ColumnExplanation,
    Explained,
    PixelExplanation,
    blended,
    describe_explanation,
    on_page,
    save_explanation,
)

RNG = np.random.default_rng(0)


def of_pixels(attributions, pictures=None):
    pictures = np.zeros(attributions.shape) if pictures is None else pictures
    one = Explained("right", 3, "cat", "cat", 0.98)
    sums = attributions.sum(axis=(1, 2))
    return PixelExplanation([one] * len(pictures), "test", pictures, (0, 255), attributions, sums)


def of_columns(importance, deviations=None, metric="accuracy", names=None):
    width = len(importance)
    return ColumnExplanation(
        examples=[Explained("wrong", 8, "cat", "dog", 0.7)],
        part="test",
        names=names or [f"c{n}" for n in range(width)],
        metric=metric,
        score=0.8,
        num_examples=100,
        repeats=5,
        importance=np.array(importance),
        deviations=np.zeros(width) if deviations is None else np.array(deviations),
        texts=[[str(n) for n in range(width)]],
        changes=np.array([[(-1) ** n * n / width for n in range(width)]]),
    )


def test_the_strongest_pixel_has_the_full_colour_of_its_direction():
    found = np.array([[[4.0, 0.0], [-2.0, -4.0]]])
    pixels = blended(of_pixels(found), 0)
    assert tuple(pixels[0, 0]) == FOR
    assert tuple(pixels[1, 1]) == AGAINST
    assert len(set(pixels[0, 1].tolist())) == 1  # grey
    half = (pixels[0, 1].astype(int) + AGAINST) / 2
    assert pixels[1, 0] == pytest.approx(half, abs=1)


def test_a_picture_without_any_attribution_is_grey():
    pixels = blended(of_pixels(np.zeros((1, 2, 2)), RNG.integers(0, 256, (1, 2, 2, 3))), 0)
    assert pixels.shape == (2, 2, 3)
    assert (pixels == pixels[..., :1]).all()


@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_pixels_are_drawn_and_noted(tmp_path, channels):
    pictures = RNG.integers(0, 256, (3, 9, 7, *channels)).astype(np.uint8)
    explanation = of_pixels(RNG.normal(size=(3, 9, 7)), pictures)
    note = json.loads(json.dumps(save_explanation(explanation, tmp_path)))
    assert note["file"] == "plots/explanations.png"
    drawn = matplotlib.image.imread(tmp_path / "explanations.png")[..., :3]
    assert (np.abs(drawn - np.array(FOR) / 255).max(axis=-1) < 0.01).sum() > 100
    assert [one["row"] for one in note["examples"]] == [3, 3, 3]
    sums = [one["difference_in_log_odds"] for one in note["examples"]]
    assert sums == pytest.approx(explanation.differences)


def test_columns_are_drawn_and_noted_with_the_most_important_first(tmp_path):
    explanation = of_columns([0.0, 0.2, -0.01, 0.1], [0.01, 0.02, 0.03, 0.0])
    note = json.loads(json.dumps(save_explanation(explanation, tmp_path)))
    assert note["file"] == "plots/importance.png"
    assert (tmp_path / "importance.png").stat().st_size > 5000
    assert [one["column"] for one in note["columns"]] == ["c1", "c3", "c0", "c2"]
    assert note["columns"][0] == {"column": "c1", "importance": 0.2, "deviation": 0.02}
    strongest = note["examples"][0]["columns"][0]
    assert strongest == {"column": "c3", "value": "3", "change": -0.75}


def test_long_names_that_begin_alike_are_each_drawn(tmp_path):
    names = [f"{'a very long name of a column ' * 3}{n}" for n in range(30)]
    save_explanation(of_columns(np.linspace(0, 1, 30), names=names), tmp_path)
    tall = matplotlib.image.imread(tmp_path / "importance.png").shape[0]
    save_explanation(of_columns([0.1, 0.2]), tmp_path)
    assert tall > 3 * matplotlib.image.imread(tmp_path / "importance.png").shape[0]


def test_amounts_are_points_or_the_metric_itself():
    explanation = of_columns([0.257, -0.008, 0.0001], [0.017, 0.012, 0.0])
    amounts = [explanation.amount(place) for place in range(3)]
    assert amounts == ["25.7 ± 1.7 points", "-0.8 ± 1.2 points", "0.0 ± 0.0 points"]
    assert of_columns([0.25], [0.01], "log_loss").amount(0) == "0.250 ± 0.010"


def test_the_terminal_shows_the_first_columns():
    said = describe_explanation(of_columns(np.linspace(0.3, 0, 12)))
    lines = said.splitlines()
    assert "accuracy" in lines[0] and "100 test examples, 5 repeats" in lines[0]
    assert lines[1].split() == ["column", "of", "12", "worse", "by"]
    assert len(lines) == 2 + 10
    assert lines[2].split()[0] == "c0"


def test_the_terminal_says_which_pictures_are_drawn():
    said = describe_explanation(of_pixels(np.zeros((2, 3, 3))))
    assert "2 right and most confident, 0 wrong and most confident" in said
    assert "plots/explanations.png" in said


def test_bars_begin_at_zero_and_end_at_the_largest_deviation():
    (first, *_, last) = on_page(of_columns([0.3, 0.1, -0.1], [0.0, 0.0, 0.1]))["columns"]
    assert (first["zero"], first["left"], first["width"]) == (40.0, 40.0, 60.0)
    assert (last["left"], last["width"], last["low"], last["high"]) == (20.0, 20.0, 0.0, 40.0)
    assert last["amount"].startswith("\N{MINUS SIGN}10.0")


def test_groups_without_an_example_are_left_out():
    assert [g["title"] for g in on_page(of_pixels(np.zeros((1, 3, 3))))["groups"]] == [
        "Right and most confident"
    ]
    assert on_page(None) is None
