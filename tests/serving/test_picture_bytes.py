"""Picture files through the graph, beside what training reads with Pillow."""

import io

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_sample_images

from kt_transfer import predict
from kt_transfer.data.pictures import decode
from kt_transfer.serving.inspection import require_harmless
from kt_transfer.serving.picture_bytes import decode_pictures

RNG = np.random.default_rng(0)
PHOTOGRAPHS = [Image.fromarray(pixels) for pixels in load_sample_images().images]
SHAPES = {(32, 24, 3): (32, 24, 3), (28, 28): (28, 28, 1)}


@pytest.fixture(scope="module", params=list(SHAPES))
def graph(request):
    spec = tf.TensorSpec([None], tf.string)
    function = tf.function(
        lambda files: decode_pictures(files, request.param), input_signature=[spec]
    )
    return request.param, function


def piece(size):
    """A picture of that width and height, with all that a photograph has in it."""
    return PHOTOGRAPHS[int(RNG.integers(2))].resize(size)


def both(graph, tmp_path, picture, **saved):
    """Of one file what the graph makes, and what Pillow does."""
    shape, function = graph
    path = tmp_path / "picture"
    picture.save(path, **saved)
    (ours,) = function(tf.constant([path.read_bytes()])).numpy().astype(int)
    theirs = decode(path, SHAPES[shape])[0].reshape(shape).astype(int)
    return ours, theirs


def require_same(ours, theirs):
    """But for what Pillow rounds between the two directions of resizing."""
    assert np.abs(ours - theirs).max() <= 1
    assert (ours != theirs).mean() < 0.35


def test_what_needs_no_resizing_is_the_same_to_the_last_bit(graph, tmp_path):
    size = (graph[0][1], graph[0][0])
    for saved in ({"format": "JPEG", "quality": 60}, {"format": "PNG"}):
        ours, theirs = both(graph, tmp_path, piece(size), **saved)
        assert np.array_equal(ours, theirs)


def exif(orientation, order="<"):
    found = Image.Exif()
    found.endian = order
    found[0x010E], found[0x0112] = "a description before it", orientation
    return found.tobytes()


@pytest.mark.parametrize("saved", [{"format": "JPEG", "quality": 90}, {"format": "PNG"}])
@pytest.mark.parametrize(
    "size", [(1, 1), (3, 200), (24, 32), (31, 17), (300, 200), (200, 300), (640, 427), (25, 400)]
)
def test_every_size_is_resized_as_in_training(graph, tmp_path, size, saved):
    ours, theirs = both(graph, tmp_path, piece(size), **saved)
    require_same(ours, theirs)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_turned_picture_is_upright(graph, tmp_path, orientation, order, kind):
    given = {"format": kind, "exif": exif(orientation, order)}
    ours, theirs = both(graph, tmp_path, piece((90, 60)), **given)
    require_same(ours, theirs)


@pytest.mark.parametrize("stated", [0, 9, 65535])
def test_an_orientation_that_is_none_turns_nothing(graph, tmp_path, stated):
    ours, theirs = both(graph, tmp_path, piece((90, 60)), format="JPEG", exif=exif(stated))
    require_same(ours, theirs)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_kinds_of_jpeg(graph, tmp_path, subsampling, progressive, mode):
    given = {"subsampling": subsampling, "progressive": progressive, "quality": 75}
    ours, theirs = both(graph, tmp_path, piece((77, 50)).convert(mode), format="JPEG", **given)
    require_same(ours, theirs)


@pytest.mark.parametrize("mode", ["L", "P", "1", "RGB", "RGBA", "LA"])
def test_kinds_of_png(graph, tmp_path, mode):
    picture = piece((77, 50)).convert(mode)
    if mode in ("RGBA", "LA"):
        picture.putalpha(Image.fromarray(RNG.integers(0, 256, (50, 77), dtype=np.uint8)))
    ours, theirs = both(graph, tmp_path, picture, format="PNG")
    require_same(ours, theirs)


@pytest.mark.parametrize("colour", [0, 128, 255])
@pytest.mark.parametrize("opacity", [(0, 0), (255, 255), (0, 255), (100, 180)])
def test_transparency_is_on_white_unless_nothing_would_be_seen(graph, tmp_path, colour, opacity):
    pixels = np.full((40, 60, 4), colour, np.uint8)
    pixels[..., 3] = np.where(np.arange(60) < 30, *opacity)
    ours, theirs = both(graph, tmp_path, Image.fromarray(pixels), format="PNG")
    require_same(ours, theirs)


@pytest.mark.parametrize("opacity", [0, 20, 128, 254, 255])
def test_transparency_that_is_everywhere_the_same(graph, tmp_path, opacity):
    picture = piece((77, 50))
    picture.putalpha(opacity)
    ours, theirs = both(graph, tmp_path, picture, format="PNG")
    require_same(ours, theirs)


@pytest.mark.parametrize("is_apart", [False, True])
def test_of_an_animated_png_the_first_picture_is_read(graph, tmp_path, is_apart):
    others = [piece((77, 50)), piece((77, 50))]
    given = {"save_all": True, "append_images": others, "default_image": is_apart}
    ours, theirs = both(graph, tmp_path, piece((77, 50)), format="PNG", **given)
    require_same(ours, theirs)


def test_several_at_once_and_none(graph):
    shape, function = graph
    files = []
    for size in ((30, 40), (400, 20), (9, 9)):
        buffer = io.BytesIO()
        piece(size).save(buffer, "JPEG")
        files.append(buffer.getvalue())
    together = function(tf.constant(files)).numpy()
    alone = [function(tf.constant([file])).numpy()[0] for file in files]
    assert np.array_equal(together, np.stack(alone))
    assert function(tf.constant([], tf.string)).shape == (0, *shape)


def content_of(picture, kind):
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "neither a JPEG nor a PNG"),
        (b"\0" * 100, "neither a JPEG nor a PNG"),
        (content_of(Image.new("RGB", (3, 3)), "BMP"), "neither a JPEG nor a PNG"),
        (content_of(Image.new("RGB", (300, 300)), "JPEG")[:300], "JPEG"),
        (content_of(Image.new("I;16", (3, 3)), "PNG"), "of 16 bits"),
        (tf.io.encode_png(np.zeros((3, 3, 4), np.uint16)).numpy(), "of 16 bits"),
        (content_of(Image.new("RGB", (3, 3)), "GIF"), "neither a JPEG nor a PNG"),
    ],
)
def test_what_is_no_such_picture_is_an_error(graph, content, said):
    with pytest.raises(tf.errors.InvalidArgumentError, match=said):
        graph[1](tf.constant([content]))


def test_damaged_metadata_do_not_make_a_picture_unreadable(graph):
    """Random bytes in place of the metadata: whatever they say, there is an end and a picture."""
    whole = content_of_turned()
    start = whole.index(b"Exif") - 4
    for _ in range(50):
        damaged = bytearray(whole)
        for place in RNG.integers(start + 10, start + 60, 8):
            damaged[place] = RNG.integers(256)
        assert graph[1](tf.constant([bytes(damaged)])).shape == (1, *graph[0])


def content_of_turned():
    buffer = io.BytesIO()
    piece((40, 30)).save(buffer, "JPEG", exif=exif(6))
    return buffer.getvalue()


def test_the_answer_to_a_file_is_that_of_predict(of_photographs, tmp_path):
    """Eighty files, from the bytes, against the command on their folder."""
    table = tmp_path / "answers.csv"
    predict.run(
        model=of_photographs.version,
        data=f"images:{of_photographs.data}",
        split="all",
        out=table,
        quiet=True,
    )
    answers = pd.read_csv(table)
    files = sorted(path for path in of_photographs.data.rglob("*") if path.is_file())
    model = tf.saved_model.load(str(of_photographs.version))
    contents = tf.constant([path.read_bytes() for path in files])
    given = model.signatures["serving_image_bytes"](image_bytes=contents)
    columns = ["probability_china", "probability_flower"]
    theirs = answers.sort_values("row")[columns].to_numpy()
    assert given["probabilities"].numpy() == pytest.approx(theirs, abs=0.01)
    assert np.ptp(theirs[:, 0]) > 0.1
    require_harmless(of_photographs.version, "model", "trust_model")
