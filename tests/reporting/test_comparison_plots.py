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
    plot_reliability,
    plot_shift,
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


def test_every_candidate_has_a_mark_for_every_change(simulated, with_shift_and_calibration):
    comparison, *_ = simulated(sources=("runs/a", "runs/b"))
    rows = with_shift_and_calibration(comparison)["shift"]["rows"]
    figure = plot_shift(rows, "accuracy")
    said = texts(parsed(figure))
    assert {"clean", "noise", "second set", "scratch", "features · runs/a"} <= set(said)
    marks = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 3]
    assert len(marks) == len(rows) / 3
    for line in marks:
        own = [row for row in rows if line.get_label() in _names(row)]
        assert line.get_xdata() == pytest.approx([row["mean"] for row in own])
        assert np.round(line.get_ydata()).tolist() == [0, 1, 2]


def _names(row):
    return row["method"], f"{row['method']} · {row['source']}"


def test_reliability_is_where_the_bins_are(simulated, with_shift_and_calibration):
    found = with_shift_and_calibration(simulated()[0])["calibration"]
    axis = plot_reliability({name: found[name]["bins"] for name in ("before", "after")}).axes[0]
    for container, name in zip(axis.containers, ("before", "after"), strict=True):
        bins = found[name]["bins"]
        line, ends = container.lines[0], container.lines[2][0].get_segments()
        assert line.get_xdata() == pytest.approx([each["confidence"] for each in bins])
        assert line.get_ydata() == pytest.approx([each["accuracy"] for each in bins])
        spans = np.array(ends)[:, :, 1]
        assert spans == pytest.approx(np.array([each["interval"] for each in bins]))
    sizes = axis.collections[-1].get_sizes()
    assert sizes.argmax() == np.argmax([each["num_examples"] for each in found["after"]["bins"]])
    diagonal = axis.lines[0]
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) == [0, 1]


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
