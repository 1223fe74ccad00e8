"""Six hundred photographs as they lie on a disk, made from pictures that packages ship.

    python examples/photographs.py FOLDER [COUNT]

Crops of three photographs (scikit-learn's two and Matplotlib's one), each a class: of many sizes,
colour modes and formats, a third of them turned with an EXIF orientation, beside files that are
broken or none of ours; ``new/`` is a flat folder of further ones, whose names begin with the class.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

MODES = ("RGB", "RGB", "RGB", "L", "P", "RGBA", "CMYK")
SUFFIXES = {"RGB": ".jpg", "L": ".jpg", "P": ".png", "RGBA": ".png", "CMYK": ".jpg"}
# What each EXIF orientation asks for, undone: the stored pixels that a viewer turns upright.
STORED = {
    1: lambda image: image,
    3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
    6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
    8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
}


def originals() -> dict[str, Image.Image]:
    """The photographs that the crops are of, by the name of their class."""
    import matplotlib
    import sklearn.datasets

    in_sklearn = Path(sklearn.datasets.__file__).parent / "images"
    in_matplotlib = Path(matplotlib.get_data_path()) / "sample_data"
    files = {
        "flower": in_sklearn / "flower.jpg",
        "portrait": in_matplotlib / "grace_hopper.jpg",
        "temple": in_sklearn / "china.jpg",
    }
    return {name: Image.open(file).convert("RGB") for name, file in files.items()}


def crops(photograph: Image.Image, count: int, rng) -> Iterator[Image.Image]:
    """Crops of 120 to 360 pixels, mirrored or not, in other light."""
    for _ in range(count):
        width, height = rng.integers(120, 361, 2)
        left = rng.integers(photograph.width - width + 1)
        top = rng.integers(photograph.height - height + 1)
        crop = photograph.crop((left, top, left + width, top + height))
        crop = ImageOps.mirror(crop) if rng.random() < 0.5 else crop
        crop = ImageEnhance.Brightness(crop).enhance(rng.uniform(0.6, 1.4))
        yield ImageEnhance.Color(crop).enhance(rng.uniform(0.5, 1.5))


def save(crop: Image.Image, stem: Path, number: int) -> None:
    """One file, in a mode, a format and an orientation that its number says."""
    mode = MODES[number % len(MODES)]
    orientation = (1, 1, 1, 1, 3, 6, 8)[number // 3 % 7]
    exif = Image.Exif()
    if orientation != 1:
        exif[0x0112] = orientation
    path = stem.with_name(f"{stem.name}{SUFFIXES[mode]}")
    STORED[orientation](crop).convert(mode).save(path, exif=exif)


def make_photographs(folder: Path, count: int = 600, seed: int = 0) -> None:
    """``folder/mine/CLASS/`` with ``count`` pictures in all, and ``folder/new/`` with 30."""
    rng = np.random.default_rng(seed)
    photographs = originals()
    for name, photograph in photographs.items():
        (folder / "mine" / name).mkdir(parents=True)
        (folder / "new").mkdir(exist_ok=True)
        for number, crop in enumerate(crops(photograph, count // len(photographs), rng)):
            save(crop, folder / "mine" / name / f"IMG {number:04}", number)
        for number, crop in enumerate(crops(photograph, 10, rng)):
            save(crop, folder / "new" / f"{name} {number}", number)


def spoil(folder: Path) -> None:
    """Add what else lies in such folders: three broken pictures, and files that are none."""
    mine = folder / "mine"
    whole = next((mine / "temple").glob("*.jpg")).read_bytes()
    (mine / "temple" / "cut off.jpg").write_bytes(whole[: len(whole) // 2])
    (mine / "flower" / "empty.jpg").touch()
    (mine / "flower" / "page.png").write_text("<html>404</html>")
    (mine / "flower" / "IMG 9999.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    (mine / "portrait" / "gone.jpg").symlink_to("nowhere.jpg")
    (mine / "portrait" / "notes.txt").write_text("the one in uniform")
    (mine / "portrait" / ".DS_Store").write_bytes(bytes(8))
    unnameable = os.fsencode(mine / "portrait") + b"/caf\xe9.jpg"
    Path(os.fsdecode(unnameable)).write_bytes(whole)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    make_photographs(target, *map(int, sys.argv[2:3]))
    spoil(target)
    print(f"photographs in {target / 'mine'}, new ones in {target / 'new'}")
