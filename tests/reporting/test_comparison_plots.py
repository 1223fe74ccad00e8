import re
from xml.etree import ElementTree

import matplotlib.image
import numpy as np
import pytest

from kt_transfer.reporting.comparison_plots import (
    COLOURS,
    INK,
    as_svg,
    colour_variables,
    plot_folds,
    plot_label_efficiency,
    save_png,
)

SVG = "{http://www.w3.org/2000/svg}"
PAGES = ("#ffffff", "#1a2029")  # what report.html lays them on, light and dark


def texts(svg):
    return [text.text for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def parsed(figure, title="A title", description="What it shows"):
    # As it stands in a page, where these are known.
    svg = as_svg(figure, title, description).replace("<svg ", f'<svg xmlns="{SVG[1:-1]}" ', 1)
    return svg.replace("<svg ", '<svg xmlns:xlink="http://www.w3.org/1999/xlink" ', 1)


def test_the_curve_says_every_candidate_and_budget(simulated):
    *_, curve = simulated(sources=("runs/a", "runs/b"))
    said = texts(parsed(plot_label_efficiency(curve, "accuracy")))
    assert {"scratch", "features · runs/a", "features · runs/b", "linear"} <= set(said)
    assert {"50", "200", "1,000", "labels"} <= set(said)


def test_the_means_are_where_the_axis_says(simulated):
    *_, curve = simulated()
    axis = plot_label_efficiency(curve, "accuracy").axes[0]
    for container in axis.containers:
        rows = [row for row in curve if row["method"] == container.get_label()]
        assert container.lines[0].get_ydata() == pytest.approx([row["mean"] for row in rows])
        ends = np.array(container.lines[2][0].get_segments())[:, :, 1]
        assert ends == pytest.approx(np.array([[row["low"], row["high"]] for row in rows]))


def test_every_fold_is_a_dot_and_every_mean_a_line(simulated):
    _, scores, curve = simulated()
    axis = plot_folds(scores, 200, "accuracy").axes[0]
    dots, means = axis.lines[::2], axis.lines[1::2]
    names = [label.get_text() for label in axis.get_yticklabels()]
    own = [row for name in names for row in curve if (row["method"], row["labels"]) == (name, 200)]
    assert [len(line.get_xdata()) for line in dots] == [15] * len(own)
    for row, line, mean in zip(own, dots, means, strict=True):
        values = [
            score["accuracy"]
            for score in scores
            if score["labels"] == 200 and score["method"] == row["method"]
        ]
        assert sorted(line.get_xdata()) == pytest.approx(sorted(values))
        assert mean.get_xdata() == pytest.approx([row["mean"]] * 2)


def test_names_are_text_whatever_is_in_them(simulated):
    *_, curve = simulated(sources=("$x_1$", "<b>&"))
    said = texts(parsed(plot_label_efficiency(curve, "accuracy"), "<i>", "a & b"))
    assert "features · $x_1$" in said
    assert "features · <b>&" in said


def test_title_and_description_come_first(simulated):
    _, scores, _ = simulated()
    svg = ElementTree.fromstring(parsed(plot_folds(scores, 50, "accuracy"), "<i>", "a & b"))
    assert [(child.tag, child.text) for child in list(svg)[:2]] == [
        (f"{SVG}title", "<i>"),
        (f"{SVG}desc", "a & b"),
    ]


def test_every_colour_is_the_pages(simulated):
    _, scores, curve = simulated()
    for figure in (plot_label_efficiency(curve, "accuracy"), plot_folds(scores, 50, "accuracy")):
        svg = as_svg(figure, "t", "d")
        assert not re.findall(r"(?:fill|stroke): ?#(?!fff)", svg)
        used = set(re.findall(r"var\((--[a-z]+)\)", svg))
        assert used <= set(re.findall(r"(--[a-z]+):", colour_variables(dark=True)))
        assert {"--scratch", "--ink", "--faint"} <= used


def luminance(colour):
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize("dark", [False, True])
def test_colours_stand_out_as_wcag_asks(dark):
    page = luminance(PAGES[dark])
    for pair in [*COLOURS.values(), INK]:
        lower, higher = sorted([page, luminance(pair[dark])])
        assert (higher + 0.05) / (lower + 0.05) >= 4.5


def test_a_png_for_the_folder(simulated, tmp_path):
    _, scores, curve = simulated()
    save_png(plot_label_efficiency(curve, "accuracy"), tmp_path / "curve.png")
    pixels = matplotlib.image.imread(tmp_path / "curve.png")[..., :3]
    assert min(pixels.shape[:2]) > 300
    assert (pixels[0, 0] == 1).all()
    assert (np.ptp(pixels, axis=-1) > 0.3).mean() > 0.005
