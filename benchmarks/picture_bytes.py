"""Picture files in the served graph, beside Pillow as training reads them.

Pieces of scikit-learn's two photographs, as JPEG files of many sizes: how far the values differ
that a network is given, with ``tf.image.resize`` as it is served and as it is by default.
"""

import io
import sys
import tempfile
import time
from pathlib import Path

import measuring
import numpy as np

SHAPES = {"32 x 32 x 3": (32, 32, 3), "28 x 28": (28, 28), "128 x 96 x 3": (128, 96, 3)}


def main() -> None:
    args = measuring.arguments(__doc__, rounds=1, files=300)
    measuring.write(
        "picture_bytes",
        "JPEG files in the served graph",
        f"{args.files} JPEG files of 8 to 640 pixels a side (quality 30 to 98, all ways of "
        "subsampling, some progressive, turned by their metadata), made of the two photographs of "
        "scikit-learn. What a model is given, on the scale from 0 to 255, beside what "
        "`data/pictures.py` reads with Pillow: the share of values that differ at all, the mean "
        "and the largest difference.",
        measuring.table(
            ["shape", "`tf.image.resize`", "values that differ", "mean difference", "largest"],
            [row for name in SHAPES for row in differences(name, args.files)],
        ),
        "Milliseconds for one file, decoded, turned and resized to 32 x 32 x 3, median of 20:",
        measuring.table(["file", "the graph", "Pillow"], speeds()),
    )


def photographs():
    from PIL import Image
    from sklearn.datasets import load_sample_images

    return [Image.fromarray(pixels) for pixels in load_sample_images().images]


def files(count: int) -> list[bytes]:
    from PIL import Image

    rng, contents = np.random.default_rng(0), []
    for number in range(count):
        size = tuple(int(side) for side in np.exp(rng.uniform(np.log(8), np.log(640), 2)))
        exif, buffer = Image.Exif(), io.BytesIO()
        exif[0x0112] = int(rng.integers(1, 9))
        photographs_of(number).resize(size).save(
            buffer,
            "JPEG",
            quality=int(rng.integers(30, 99)),
            subsampling=int(rng.integers(0, 3)),
            progressive=bool(rng.integers(2)),
            exif=exif.tobytes(),
        )
        contents.append(buffer.getvalue())
    return contents


def photographs_of(number: int):
    pictures = photographs()
    return pictures[number % len(pictures)]


def differences(name: str, count: int) -> list[list[str]]:
    """A row for each way of resizing."""
    import tensorflow as tf

    from kt_transfer.serving import picture_bytes

    shape, contents = SHAPES[name], files(count)
    wanted = np.stack([by_pillow(content, shape) for content in contents])

    def without_antialias(picture, height, width):
        return tf.cast(tf.round(tf.image.resize(picture, (height, width))), tf.uint8)

    rows, own = [], picture_bytes._resized
    ways = {"antialias, as served": own, "without": without_antialias}
    for way, resize in ways.items():
        picture_bytes._resized = resize
        try:
            found = in_graph(shape)(tf.constant(contents)).numpy().astype(int)
        finally:
            picture_bytes._resized = own
        apart = np.abs(found - wanted)
        rows.append(
            [name, way, f"{(apart > 0).mean():.2%}", f"{apart.mean():.3f}", str(apart.max())]
        )
        measuring.progress(" ".join(rows[-1]))
    return rows


def in_graph(shape):
    import tensorflow as tf

    from kt_transfer.serving.picture_bytes import decode_pictures

    spec = tf.TensorSpec([None], tf.string)
    return tf.function(lambda contents: decode_pictures(contents, shape), input_signature=[spec])


def by_pillow(content: bytes, shape) -> np.ndarray:
    from kt_transfer.data.pictures import decode

    with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
        file.write(content)
        file.flush()
        pixels, _ = decode(Path(file.name), (*shape, 1) if len(shape) == 2 else shape)
    return pixels.reshape(shape).astype(int)


def speeds() -> list[list[str]]:
    import tensorflow as tf

    graph, rows = in_graph((32, 32, 3)), []
    for size in ((100, 80), (640, 427), (2000, 1500), (4000, 3000)):
        buffer = io.BytesIO()
        photographs_of(0).resize(size).save(buffer, "JPEG", quality=90)
        content = buffer.getvalue()
        batch = tf.constant([content])
        graph(batch)
        ours = [timed(lambda batch=batch: graph(batch).numpy()) for _ in range(20)]
        theirs = [timed(lambda content=content: by_pillow(content, (32, 32, 3))) for _ in range(20)]
        rows.append(
            [f"{size[0]} x {size[1]}", *(f"{1e3 * np.median(t):.1f}" for t in (ours, theirs))]
        )
    return rows


def timed(call) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
