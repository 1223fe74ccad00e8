"""Drawings and dropped files as raw examples: like those of training, and said how."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from kt_transfer import UserError
from kt_transfer.serving.pictures_given import (
    can_be_drawn,
    drawn,
    dropped,
    frame_of,
    ground_of,
)
from kt_transfer.serving.trial import answer, open_trial


@pytest.fixture(scope="module")
def digits(chain):
    return open_trial(chain.exported)


@pytest.fixture(scope="module")
def photographs(of_photographs):
    return open_trial(of_photographs.version)


def board(line=(), width=30, ground=255, ink=0):
    image = Image.new("L", (320, 320), ground)
    if line:
        ImageDraw.Draw(image).line(line, fill=ink, width=width)
    return np.asarray(image)


def saved(folder, picture, name="p.png", **options):
    picture.save(folder / name, **options)
    return folder / name


def test_digits_are_light_on_dark_and_can_be_drawn(digits, photographs):
    assert ground_of(digits) == "dark"
    assert can_be_drawn(digits)
    assert ground_of(photographs) is None
    assert not can_be_drawn(photographs)


def test_the_frame_is_where_digits_have_their_strokes(digits):
    frame = frame_of(digits)
    # Digits of scikit-learn fill their 8 × 8 pixels from top to bottom.
    assert frame.size == pytest.approx(1.0, abs=0.05)
    assert frame.middle == pytest.approx((0.5, 0.5), abs=0.06)


def test_a_drawing_becomes_light_on_dark_where_digits_are(digits):
    given = drawn(digits, board((60, 40, 60, 100)), match=True)
    assert given.example.dtype == "uint8"
    assert given.example.shape == (8, 8)
    assert given.content is None
    columns = given.example.sum(axis=0)
    assert 3 <= columns.argmax() <= 4
    assert (given.example.max(axis=1) > 6).all()
    assert given.example[:, [0, 1, 6, 7]].max() <= 2
    told = "; ".join(given.done)
    for words in ("exchanged", "moved and scaled", "reduced to 8 × 8", "brought to 0 to 16"):
        assert words in told


def test_a_drawing_is_left_where_it_is_if_that_is_wanted(digits):
    given = drawn(digits, board((60, 40, 60, 100)), match=False)
    dark = 16 - given.example.astype(int)
    assert dark[:, 4:].max() == 0
    assert dark[5:].max() == 0
    assert dark.max() > 6
    assert not [words for words in given.done if "moved" in words or "exchanged" in words]


def test_where_it_was_drawn_and_how_large_makes_no_difference(digits):
    here = drawn(digits, board((40, 40, 40, 120), width=20), match=True).example
    there = drawn(digits, board((200, 80, 200, 280), width=50), match=True).example
    np.testing.assert_allclose(here.astype(int), there, atol=2)


def test_an_empty_board_is_a_sentence(digits):
    with pytest.raises(UserError, match="nothing is drawn"):
        drawn(digits, board(), match=True)


def test_a_dropped_file_is_scaled_to_the_values_of_training(digits, tmp_path):
    small = np.arange(64, dtype="uint8").reshape(8, 8) * 4
    given = dropped(digits, saved(tmp_path, Image.fromarray(small)), match=False)
    np.testing.assert_array_equal(given.example, np.round(small / 255 * 16))
    assert "8 × 8 pixels as in the file" in given.done[0]


def test_a_digit_on_paper_is_exchanged_and_one_on_black_is_not(digits, tmp_path):
    paper = saved(tmp_path, Image.fromarray(board((160, 40, 160, 280), ground=240, ink=20)))
    matched, plain = (dropped(digits, paper, match).example.astype(int) for match in (True, False))
    np.testing.assert_allclose(matched, 16 - plain, atol=1)
    assert matched[0, 0] <= 1
    black = saved(tmp_path, Image.fromarray(board((160, 40, 160, 280), ground=0, ink=250)))
    given = dropped(digits, black, True)
    assert given.example[0, 0] == 0
    assert "exchanged" not in "; ".join(given.done)


@pytest.mark.parametrize("name", ["p.jpg", "p.png"])
def test_a_file_goes_to_the_model_as_it_is(photographs, tmp_path, name):
    rng = np.random.default_rng(0)
    pixels = np.repeat(np.repeat(rng.integers(0, 256, (9, 12, 3), dtype="uint8"), 8, 0), 8, 1)
    path = saved(tmp_path, Image.fromarray(pixels), name)
    given = dropped(photographs, path, match=True)
    assert given.content == path.read_bytes()
    said = answer(photographs, given.example, given.content)
    np.testing.assert_allclose(
        said.probabilities, photographs.model(given.example[None])[0], atol=1e-5
    )
    assert "resized from 72 × 96" in given.done[0]


def test_other_formats_go_there_as_png(photographs, tmp_path):
    pixels = np.full((40, 30, 3), (200, 20, 90), "uint8")
    given = dropped(photographs, saved(tmp_path, Image.fromarray(pixels), "p.bmp"), match=True)
    with Image.open(io.BytesIO(given.content)) as image:
        np.testing.assert_array_equal(np.asarray(image), given.example)
    assert (given.example == (200, 20, 90)).all()


@pytest.mark.parametrize(
    "content", [b"", b"no picture", b"\x89PNG\r\n\x1a\nbroken", b"\xff\xd8\xff"]
)
def test_what_is_no_picture_is_a_sentence(digits, photographs, tmp_path, content):
    (tmp_path / "p.png").write_bytes(content)
    for trial in (digits, photographs):
        with pytest.raises(UserError, match="cannot be read as a picture"):
            dropped(trial, tmp_path / "p.png", match=True)


def test_16_bits_are_refused_by_models_of_8(photographs, tmp_path):
    path = saved(tmp_path, Image.fromarray(np.full((30, 30), 40_000, "uint16")))
    with pytest.raises(UserError, match="16-bit picture, expected one of 8 bits"):
        dropped(photographs, path, match=True)
