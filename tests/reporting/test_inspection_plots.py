"""Pictures of a data set: that they can be drawn, and that they show what is there."""

import matplotlib.image
import numpy as np
import pytest

from kt_transfer.reporting.inspection_plots import (
    Values,
    plot_classes,
    plot_columns,
    plot_pictures,
)

RNG = np.random.default_rng(0)
BLUE, ORANGE = (0, 0x72, 0xB2), (0xE6, 0x9F, 0)


def pixels(path):
    return (matplotlib.image.imread(path)[..., :3] * 255).round().astype(int)


def count(image, colour):
    return int((image == colour).all(axis=-1).sum())


def test_a_word_of_one_class_has_a_bar_of_its_colour_alone(tmp_path):
    y = np.arange(100) % 2
    apart = Values("a", y.astype(float), words=("no", "yes"))
    plot_columns([apart], y, ["no", "yes"], tmp_path / "a.png")
    image = pixels(tmp_path / "a.png")
    # Two bars of one length, and the two patches of the legend.
    assert count(image, BLUE) > 5000 and count(image, ORANGE) > 5000
    plot_columns([apart._replace(values=np.zeros(100))], y, ["no", "yes"], tmp_path / "b.png")
    assert np.abs(image - pixels(tmp_path / "b.png")[: len(image)]).mean() > 1


@pytest.mark.parametrize(
    "column",
    [
        Values("numbers", RNG.normal(size=200)),
        Values("wide", RNG.lognormal(5, 4, 200)),
        Values("holes", np.where(RNG.random(200) < 0.5, np.nan, RNG.random(200)), note="a note"),
        Values("empty", np.full(200, np.nan)),
        Values("constant", np.ones(200)),
        Values("dates", RNG.integers(15_000, 20_000, 200) + 0.5, is_date=True),
        Values("many words", RNG.integers(0, 40, 200) * 1.0, tuple(f"word {n}" for n in range(40))),
        Values("a $strange name_{of a column", np.r_[np.nan, np.arange(199) % 2], ("$", "a" * 99)),
        Values("large", np.r_[1e300, -1e300, np.zeros(198)]),
    ],
)
@pytest.mark.parametrize("num_classes", [0, 2, 12])
def test_columns_of_all_kinds(tmp_path, column, num_classes):
    y = RNG.integers(-1, num_classes, 200) if num_classes else np.full(200, -1)
    names = [f"class {n}" for n in range(num_classes)]
    assert plot_columns([column, column], y, names, tmp_path / "c.png") == 0
    assert (pixels(tmp_path / "c.png").mean(axis=-1) < 230).mean() > 0.003


def test_of_many_columns_the_first_are_drawn(tmp_path):
    columns = [Values(f"c{n}", RNG.normal(size=50)) for n in range(37)]
    assert plot_columns(columns, np.full(50, -1), [], tmp_path / "c.png") == 7
    assert plot_columns(columns[:30], np.full(50, -1), [], tmp_path / "c.png") == 0


@pytest.mark.parametrize("num_classes", [1, 2, 300])
def test_classes(tmp_path, num_classes):
    names = [f"class {n}" for n in range(num_classes)]
    train = RNG.integers(0, 100, num_classes)
    plot_classes(names, train, train // 4, tmp_path / "c.png")
    image = pixels(tmp_path / "c.png")
    assert count(image, BLUE) > 1000 and image.shape[0] < 1500


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (20, 30, 3), (9, 5, 2)])
def test_pictures_of_classes(tmp_path, shape):
    rows = [
        (f"class {n}", RNG.integers(0, 256, (1 + n, *shape)).astype(np.uint8)) for n in range(3)
    ]
    assert plot_pictures(rows, (0, 255), tmp_path / "p.png") == 0
    assert plot_pictures(rows * 9, (0, 255), tmp_path / "p.png") == 7


def test_colours_are_those_of_the_pictures(tmp_path):
    red = np.zeros((2, 10, 10, 3), np.uint8) + np.array([255, 0, 0], np.uint8)
    plot_pictures([("red", red)], (0, 255), tmp_path / "p.png")
    assert count(pixels(tmp_path / "p.png"), (255, 0, 0)) > 5000
