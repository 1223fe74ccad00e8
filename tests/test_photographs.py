"""Pictures that are larger than networks take: read in one small size all along a chain."""

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kt_transfer import UserError, compare, distill, export, finetune, pretrain

pytestmark = pytest.mark.usefixtures("unchecked_exports")
QUICK = {"strategy": "one_device", "jit_compile": "no", "quiet": True, "epochs": 2}
SMALL = {"hidden_units": (8,), "latent_dim": 4}


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Two classes of pictures of 100 x 80 pixels, bright above or below."""
    folder, rng = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for number in range(60):
        pixels = rng.integers(0, 100, (80, 100, 3))
        half = slice(0, 40) if number % 2 else slice(40, 80)
        pixels[half] += 120
        path = folder / ("above" if number % 2 else "below") / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return folder


@pytest.fixture(scope="module")
def source(photographs, tmp_path_factory):
    out = tmp_path_factory.mktemp("source") / "run"
    return pretrain.run(**QUICK, **SMALL, data=f"images:{photographs}", image_size=20, out=out)


def raw_shape(run):
    return run.load_model("preprocessing.keras").input_shape[1:]


def test_a_network_is_built_for_the_small_size(photographs, tmp_path):
    given = {**QUICK, "data": f"images:{photographs}"}
    run = pretrain.run(**given, **SMALL, out=tmp_path / "source")
    assert raw_shape(run) == (26, 32, 3)
    assert run.load_model().input_shape == (None, 26 * 32 * 3)
    assert run.settings["image_size"] == 32
    (note,) = run.read_json("run.json")["data"]["notes"]
    assert "60 scaled down: --image-size PIXELS says how far" in note
    scratch = finetune.run(**given, **SMALL, source="scratch", out=tmp_path / "scratch")
    assert raw_shape(scratch) == (26, 32, 3)


def test_a_chain_keeps_the_size_of_its_first_run(source, photographs, invoke, tmp_path):
    assert raw_shape(source) == (16, 20, 3)
    teacher = finetune.run(
        **QUICK, source=str(source.path), compare_scratch="no", out=tmp_path / "teacher"
    )
    student = distill.run(
        **QUICK,
        teacher=[teacher.path],
        student_units=(4,),
        compare_scratch="no",
        out=tmp_path / "student",
    )
    assert raw_shape(teacher) == raw_shape(student) == (16, 20, 3)
    assert (teacher.image_size, student.image_size) == (20, 20)
    model = export.run(run=student.path, name="m", export_dir=tmp_path / "models", quiet=True)
    done = invoke("predict", "--model", model, "--data", f"images:{photographs}", "--out", "p.csv")
    assert (done.code, done.err) == (0, "")
    assert len(pd.read_csv(tmp_path / "p.csv")) == 60
    done = invoke("evaluate", "--run", student.path)
    assert (done.code, done.err) == (0, "")


def test_a_teacher_takes_its_own_size_alone(source, tmp_path):
    teacher = finetune.run(
        **QUICK, source=str(source.path), compare_scratch="no", out=tmp_path / "teacher"
    )
    with pytest.raises(UserError, match="image_size=32 was given .* expected the 20 that it has"):
        distill.run(**QUICK, teacher=[teacher.path], image_size=32, out=tmp_path / "student")


def test_what_starts_from_a_file_sees_larger_pictures(photographs, tmp_path):
    layers = [
        keras.Input((40, 40, 3)),
        keras.layers.Conv2D(2, 5, strides=4),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(4),
    ]
    keras.Sequential(layers).save(path := tmp_path / "m.keras")
    given = {"source": str(path), "data": f"images:{photographs}", "compare_scratch": "no"}
    run = finetune.run(**QUICK, **given, out=tmp_path / "run")
    assert raw_shape(run) == (80, 100, 3)


COMPARED = {
    **QUICK,
    "labels": (20,),
    "folds": 2,
    "repeats": 1,
    "methods": ("scratch", "features"),
    "pretrain_epochs": 2,
}


@pytest.mark.slow
def test_compare_trains_a_run_on_the_same_pictures_anew(source, photographs, tmp_path):
    given = {**COMPARED, "data": f"images:{photographs}", "export_dir": tmp_path / "models"}
    table = compare.run(**given, source=[str(source.path)], out=tmp_path / "compared")
    assert (table[table["method"] == "features"]["pretrain_seconds"] > 0).all()
    with pytest.raises(UserError, match="image_size=32 was given .* expected the 20 that it has"):
        compare.run(**given, source=[str(source.path)], image_size=32, out=tmp_path / "other")
