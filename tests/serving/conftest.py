"""What tests of serving share besides the chain of digits: a table with words, and photographs."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images, load_wine

from kt_transfer import export, finetune, pretrain

QUICK = {"strategy": "one_device", "jit_compile": "no", "quiet": True, "epochs": 3}
SMALL = {"hidden_units": (16,), "latent_dim": 8}


class Exported(NamedTuple):
    """The data of a run, the run, and the version that it was exported as."""

    data: Path
    run: Path
    version: Path


def classified(spec: str, folder: Path, **reading) -> tuple[Path, Path]:
    """A small run that classifies, begun with an autoencoder, and its export."""
    given = {**QUICK, **reading, "data": spec}
    source = pretrain.run(**given, **SMALL, out=folder / "source")
    words = {"source": str(source.path), "compare_scratch": "no", "out": folder / "run"}
    run = finetune.run(**given, **words)
    with pytest.MonkeyPatch.context() as patch:
        # In a process of its own it takes seconds; the chain of digits is checked so.
        patch.setattr("kt_transfer.serving.saved_model.check_saved_model", lambda *_: 0.0)
        version = export.run(run=run.path, name="served", export_dir=folder / "m", quiet=True)
    return run.path, version


@pytest.fixture(scope="session")
def of_table(tmp_path_factory) -> Exported:
    """A table with a column of words, one of dates, and gaps."""
    folder, rng = tmp_path_factory.mktemp("table"), np.random.default_rng(0)
    wine = load_wine(as_frame=True)
    table = wine.data[["alcohol", "hue", "proline"]].copy()
    table["colour intensity"] = pd.cut(
        wine.data["color_intensity"], [0, 3, 5, 99], labels=["pale", "red, clear", "dark"]
    ).astype(str)
    table["filled"] = pd.Timestamp("2001-03-01") + pd.to_timedelta(rng.integers(0, 900, 178), "D")
    for column in ("hue", "colour intensity"):
        table[column] = table[column].mask(rng.random(len(table)) < 0.1)
    table["vineyard"] = np.array(wine.target_names)[wine.target]
    path = folder / "wines.csv"
    table.to_csv(path, index=False)
    return Exported(path, *classified(f"csv:{path}", folder, label_column="vineyard"))


@pytest.fixture(scope="session")
def of_photographs(tmp_path_factory) -> Exported:
    """Pieces of two photographs, of many sizes, as JPEG and PNG files, some of them turned."""
    folder, rng = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    cache = tmp_path_factory.mktemp("cache")
    photographs = dict(zip(("china", "flower"), load_sample_images().images, strict=True))
    for number in range(80):
        name = ("china", "flower")[number % 2]
        height, width = (int(size) for size in rng.integers(40, 300, 2))
        top, left = int(rng.integers(427 - height)), int(rng.integers(640 - width))
        piece = photographs[name][top : top + height, left : left + width]
        suffix, exif = ("jpg", "png")[number % 3 == 0], Image.Exif()
        exif[0x0112] = int(rng.integers(1, 9))
        path = folder / "pieces" / name / f"{number}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(piece).save(path, exif=exif.tobytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        spec = f"images:{folder / 'pieces'}"
        return Exported(folder / "pieces", *classified(spec, folder, image_size=24))
