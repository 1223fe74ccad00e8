import numpy as np
import pytest

from kt_transfer.training.oriented_gradients import cell_size, oriented_gradients


def by_hand(image, cell):
    """The definition, vote by vote: one picture, ``(height, width, channels)``."""
    height, width, _ = image.shape
    votes = np.zeros((height, width, 16))
    for i in range(height):
        for j in range(width):
            down = image[i + 1, j] - image[i - 1, j] if 0 < i < height - 1 else 0 * image[i, j]
            right = image[i, j + 1] - image[i, j - 1] if 0 < j < width - 1 else 0 * image[i, j]
            best = np.hypot(down, right).argmax()
            place = np.degrees(np.arctan2(down[best], right[best])) % 360 / 22.5
            first, share = int(place), place % 1
            magnitude = np.hypot(down, right)[best]
            votes[i, j, first % 16] += magnitude * (1 - share)
            votes[i, j, (first + 1) % 16] += magnitude * share
    before = (cell - 1) // 2

    def around(i, j):
        """The mean of the pixels around one that are in the picture."""
        top, left = i - before, j - before
        return votes[max(top, 0) : top + cell, max(left, 0) : left + cell].mean(axis=(0, 1))

    cells = [
        np.mean(
            [around(r * cell + i, c * cell + j) for i in range(cell) for j in range(cell)], axis=0
        )
        for r in range(height // cell)
        for c in range(width // cell)
    ]
    roots = np.sqrt(np.concatenate(cells))
    return roots / np.linalg.norm(roots)


@pytest.mark.parametrize("shape", [(8, 8, 1), (13, 10, 1), (24, 27, 3)])
def test_histograms_are_as_defined(shape):
    images = np.random.default_rng(0).random((3, *shape)).astype(np.float32)
    expected = [by_hand(image.astype(np.float64), cell_size(*shape[:2])) for image in images]
    np.testing.assert_allclose(oriented_gradients(images), expected, atol=1e-4)


def test_neither_brightness_nor_contrast_matters():
    images = np.random.default_rng(0).integers(0, 100, (3, 8, 8, 1), np.uint8)
    found = oriented_gradients(images)
    np.testing.assert_allclose(oriented_gradients(0.3 * images + 5), found, atol=1e-3)
    np.testing.assert_array_equal(oriented_gradients(images + np.uint8(20)), found)


@pytest.mark.parametrize("turns", range(4))
def test_an_edge_has_the_orientation_of_its_gradient(turns):
    image = np.zeros((1, 8, 8, 1), np.float32)
    image[:, :, 4:] = 1
    found = oriented_gradients(np.rot90(image, turns, axes=(1, 2))).numpy().reshape(16, 16)
    # Anticlockwise, while angles are counted from right to down.
    assert np.flatnonzero(found.sum(axis=0)).tolist() == [-4 * turns % 16]


def test_a_blank_picture_has_no_gradients():
    assert np.all(oriented_gradients(np.ones((2, 8, 8, 1))).numpy() == 0)


@pytest.mark.parametrize("shape", [(1, 5, 1), (2, 2, 3), (3, 3, 1)])
def test_the_smallest_pictures_are_described(shape):
    found = oriented_gradients(np.random.default_rng(0).random((2, *shape))).numpy()
    assert np.isfinite(found).all() and found.shape[1] % 16 == 0


@pytest.mark.parametrize("size, cell", [((28, 28), 4), ((8, 8), 2), ((96, 64), 8), ((1, 9), 1)])
def test_cells_follow_the_size(size, cell):
    assert cell_size(*size) == cell
