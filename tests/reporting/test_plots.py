import matplotlib.image
import numpy as np
import pytest

from kt_transfer.reporting.plots import plot_confusion_matrix, plot_history, plot_reconstructions

RNG = np.random.default_rng(0)


def picture(path):
    """What was drawn, as grey values; it must be more than an empty page."""
    pixels = matplotlib.image.imread(path)[..., :3].mean(axis=-1)
    assert min(pixels.shape) > 100
    assert (pixels < 0.9).mean() > 0.005
    return pixels


def test_a_history(tmp_path):
    rows = [{"epoch": e, "loss": 1 / (e + 1), "val_loss": 1.1 / (e + 1)} for e in range(5)]
    plot_history(rows, tmp_path / "loss.png")
    plot_history([r | {"accuracy": 0.5} for r in rows], tmp_path / "both.png")
    loss, both = picture(tmp_path / "loss.png"), picture(tmp_path / "both.png")
    assert both.shape[1] > 1.5 * loss.shape[1]


def test_one_epoch_without_validation(tmp_path):
    plot_history([{"epoch": 0, "loss": 1.0}], tmp_path / "loss.png")
    picture(tmp_path / "loss.png")


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (8, 8, 3), (20,)])
def test_reconstructions_of_images_and_of_features(tmp_path, shape):
    originals = RNG.integers(0, 256, (4, *shape), dtype=np.uint8)
    plot_reconstructions(originals, originals * 0.5, tmp_path / "r.png")
    picture(tmp_path / "r.png")


def test_a_confusion_matrix_shows_its_counts(tmp_path):
    counts = RNG.integers(0, 50, (10, 10))
    plot_confusion_matrix(counts, list("0123456789"), tmp_path / "a.png")
    plot_confusion_matrix(np.diag(counts.sum(axis=1)), list("0123456789"), tmp_path / "b.png")
    assert np.abs(picture(tmp_path / "a.png") - picture(tmp_path / "b.png")).mean() > 0.01


def test_many_classes_with_long_names(tmp_path):
    names = [f"class number {n}" for n in range(40)]
    plot_confusion_matrix(np.eye(40, dtype=int), names, tmp_path / "c.png")
    picture(tmp_path / "c.png")


def test_colours_are_those_of_the_image_whatever_its_numbers_are(tmp_path):
    red, blue = [255, 0, 0], [0, 0, 255]
    originals = np.array([[[red, blue], [blue, red]]] * 3, np.uint8)
    plot_reconstructions(originals, originals.astype(np.float32), tmp_path / "r.png")
    pixels = matplotlib.image.imread(tmp_path / "r.png")[..., :3]
    for half in np.array_split(pixels, 2):
        for colour in (red, blue):
            assert (half == np.array(colour) / 255).all(axis=-1).sum() > 1000


@pytest.mark.parametrize("channels", [2, 4])
def test_any_other_number_of_channels_is_grey(tmp_path, channels):
    originals = RNG.integers(0, 256, (4, 8, 8, channels), dtype=np.uint8)
    plot_reconstructions(originals, originals * 0.5, tmp_path / "r.png")
    picture(tmp_path / "r.png")
    pixels = matplotlib.image.imread(tmp_path / "r.png")[..., :3]
    assert np.ptp(pixels, axis=-1).max() < 0.02


def test_what_is_neither_image_nor_curve_is_a_curve(tmp_path):
    originals = RNG.integers(0, 256, (4, 3, 3, 3, 3), dtype=np.uint8)
    plot_reconstructions(originals, originals * 0.5, tmp_path / "r.png")
    picture(tmp_path / "r.png")
