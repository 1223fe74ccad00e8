"""New pictures for a run, its export and its students: read as those were that it learned from."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kt_transfer import distill, export, finetune, load_data
from kt_transfer.engine.fused_model import predict_raw

pytestmark = pytest.mark.usefixtures("unchecked_exports")
QUICK = {"strategy": "one_device", "jit_compile": "no", "quiet": True}
COLOURS = {"blue": (30, 60, 220), "green": (40, 200, 60), "red": (220, 50, 30)}


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def draw(folder, name, numbers, size=(8, 6), suffix="png"):
    """Pictures of a class: its colour, and noise."""
    rng = np.random.default_rng(len(numbers))
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        pixels = rng.normal(COLOURS[name], 20, (size[1], size[0], 3)).clip(0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.{suffix}")


@pytest.fixture(scope="module")
def taught(tmp_path_factory, unchecked_exports):
    """A folder with pictures, a run that has learned from them, and its export."""
    folder = tmp_path_factory.mktemp("taught")
    for name in COLOURS:
        draw(folder / "colours" / name, name, range(12))
    run = finetune.run(
        **QUICK,
        data=f"images:{folder / 'colours'}",
        source="scratch",
        hidden_units=(16,),
        latent_dim=8,
        epochs=20,
        learning_rate=0.01,
        compare_scratch="no",
        out=folder / "run",
    )
    assert run.read_json("metrics.json")["test"]["accuracy"] == 1.0
    version = export.run(run=run.path, name="m", export_dir=folder / "models", quiet=True)
    return {"run": run.path, "model": version, "pictures": folder / "colours"}


@pytest.mark.parametrize("by", ["run", "model"])
@pytest.mark.parametrize("size", [(8, 6), (40, 31)])
def test_one_picture_of_any_size_is_predicted(taught, invoke, tmp_path, by, size):
    draw(tmp_path, "green", [7], size)
    done = invoke("predict", f"--{by}", taught[by], "--data", "images:7.png", "--out", "p.csv")
    assert (done.code, done.err) == (0, "")
    assert "images:7.png: read 1 picture without a class as 6x8x3" in done.out
    assert "1 prediction of images:7.png in p.csv" in done.out
    assert pd.read_csv(tmp_path / "p.csv")["label"].tolist() == ["green"]


@pytest.mark.parametrize("by", ["run", "model"])
def test_pictures_without_classes_are_all_predicted(taught, invoke, tmp_path, by):
    for number, name in enumerate(("red", "green", "blue", "red")):
        draw(tmp_path / "new", name, [number], (16, 12), "gif")
    done = invoke("predict", f"--{by}", taught[by], "--data", "images:new", "--out", "p.csv")
    assert (done.code, done.err) == (0, "")
    table = pd.read_csv(tmp_path / "p.csv").sort_values("row")
    assert table["label"].tolist() == ["red", "green", "blue", "red"]


@pytest.mark.parametrize("spec", ["images:new", "images:new/*.png"])
def test_answers_come_in_the_order_of_the_files_without_a_split(taught, invoke, tmp_path, spec):
    names = np.random.default_rng(0).choice([*COLOURS], 30)
    for number, name in enumerate(names):
        draw(tmp_path / "new", name, [f"{number:02}"])
    done = invoke("predict", "--run", taught["run"], "--data", spec, "--out", "p.csv")
    assert (done.code, done.err) == (0, "")
    table = pd.read_csv(tmp_path / "p.csv")
    assert "split" not in table
    assert table["row"].tolist() == [*range(30)]
    assert table["file"].tolist() == [f"{number:02}.png" for number in range(30)]
    assert table["label"].tolist() == names.tolist()


@pytest.mark.parametrize("by", ["run", "model"])
def test_predictions_are_those_of_the_resized_picture(taught, invoke, tmp_path, by):
    draw(tmp_path, "red", [0], (31, 17))
    with Image.open(tmp_path / "0.png") as image:
        x = np.asarray(image.resize((8, 6), Image.Resampling.BILINEAR))[None]
    from kt_transfer.runs.folder import Run

    run = Run(taught["run"])
    logits = predict_raw(run.load_model(), run.load_model("preprocessing.keras"), x)
    invoke("predict", f"--{by}", taught[by], "--data", "images:0.png", "--out", "p.csv")
    table = pd.read_csv(tmp_path / "p.csv")
    expected = np.exp(logits[0]) / np.exp(logits[0]).sum()
    given = table[[f"probability_{name}" for name in COLOURS]].to_numpy()[0]
    np.testing.assert_allclose(given, expected, atol=1e-5)


def test_grey_pictures_for_a_run_on_coloured_ones(taught, invoke, tmp_path):
    Image.new("L", (5, 5), 99).save(tmp_path / "grey.png")
    flags = ("--data", "images:grey.png", "--out", "p.csv")
    assert invoke("predict", "--run", taught["run"], *flags).code == 0


@pytest.mark.parametrize("by", ["run", "model"])
@pytest.mark.parametrize("shades", [(0, 0), (100, 101), (254, 255)])
def test_a_picture_with_hardly_any_contrast_is_one_too(taught, invoke, tmp_path, by, shades):
    Image.fromarray(np.array([shades] * 2, np.uint8)).save(tmp_path / "faint.png")
    flags = ("--data", "images:faint.png", "--out", "p.csv")
    done = invoke("predict", f"--{by}", taught[by], *flags)
    assert (done.code, done.err) == (0, "")


def test_classes_are_the_runs_whatever_the_folder_lacks(taught, invoke, tmp_path):
    draw(tmp_path / "new" / "green", "green", range(5), (20, 20))
    draw(tmp_path / "new" / "red", "red", range(4), (20, 20))
    draw(tmp_path / "new" / "red", "blue", ["wrong"], (20, 20))
    flags = ("--data", "images:new", "--split", "all", "--out", "e")
    done = invoke("evaluate", "--run", taught["run"], *flags)
    assert (done.code, done.err) == (0, "")
    results = json.loads((tmp_path / "e" / "evaluation.json").read_text())
    assert results["confusion_matrix"] == [[0, 0, 0], [0, 5, 0], [1, 0, 4]]
    assert results["accuracy"] == pytest.approx(0.9)


def test_a_class_that_the_run_does_not_know_is_refused(taught, invoke, tmp_path):
    draw(tmp_path / "new" / "green", "green", range(5))
    draw(tmp_path / "new" / "Read", "red", range(5))
    done = invoke("evaluate", "--run", taught["run"], "--data", "images:new", "--out", "e")
    assert done.code == 2
    assert "Read" in done.err
    assert "did you mean 'red'?" in done.err
    assert not (tmp_path / "e").exists()


def test_a_student_learns_from_pictures_of_another_size(taught, tmp_path):
    for name in COLOURS:
        draw(tmp_path / "new" / name, name, range(5), (30, 20))
    spec = f"images:{tmp_path / 'new'}"
    assert load_data(spec).input_shape == (20, 30, 3)
    student = distill.run(
        **QUICK,
        teacher=[taught["run"]],
        data=spec,
        student_units=(8,),
        epochs=2,
        out=tmp_path / "s",
    )
    assert student.load_model("preprocessing.keras").input_shape == (None, 6, 8, 3)
    gained = student.read_json("metrics.json")["comparison"]
    assert gained["teacher"]["accuracy"] == 1.0


@pytest.mark.parametrize(
    "command",
    ["finetune --source scratch", "pretrain", "compare", "distill --teacher {run}"],
)
def test_what_is_left_out_is_said_by_every_command(taught, invoke, tmp_path, command):
    shutil.copytree(taught["pictures"], tmp_path / "new")
    (tmp_path / "new" / "red" / "x.heic").touch()
    # Which ends them as soon as the data is read.
    words = f"{command.format(**taught)} --data images:new --labels 5000 --out r"
    done = invoke(*words.split())
    assert done.code == 2
    assert done.err.startswith("error: --labels 5000")
    line = (
        "images:new: read 36 pictures of 3 classes (blue, green, red) as 6x8x3; left out: 1 .heic"
    )
    assert done.out == f"{line}\n"


def test_what_was_said_is_kept(taught):
    about = json.loads((taught["run"] / "run.json").read_text())["data"]
    assert about["notes"] == ["read 36 pictures of 3 classes (blue, green, red) as 6x8x3"]


def test_pictures_of_more_than_eight_bits(invoke, tmp_path):
    """A camera's 12 bits in 16: learned, exported, and told from 8 bits."""
    rng, largest = np.random.default_rng(0), 4095
    for number in range(40):
        name = ("left", "right")[number % 2]
        pixels = rng.uniform(0, 0.4 * largest, (4, 6))
        pixels[:, 3 * (number % 2) :][:, :3] += 0.6 * largest
        path = tmp_path / "set" / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint16)).save(path)
    words = "--source scratch --hidden-units 8 --latent-dim 4 --epochs 15 --learning-rate 0.02"
    fast = "--strategy one_device --jit-compile no --compare-scratch no --out run"
    done = invoke("finetune", "--data", "images:set", *words.split(), *fast.split())
    assert done.code == 0, done.err
    assert "with values from" in done.out
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["test"]["accuracy"] == 1.0
    assert invoke("export", "--run", "run", "--name", "m").code == 0
    for by in ("--run run", "--model saved_models/m/1"):
        picture = "images:set/right/1.png"
        done = invoke("predict", *by.split(), "--data", picture, "--out", "p.csv", "--overwrite")
        assert done.code == 0, done.err
        assert pd.read_csv(tmp_path / "p.csv")["label"].tolist() == ["right"]
        Image.new("L", (6, 4), 9).save(tmp_path / "8bit.png")
        done = invoke("predict", *by.split(), "--data", "images:8bit.png", "--out", "no.csv")
        assert done.code == 2
        assert "8-bit pictures such as 8bit.png" in done.err


def test_quiet_says_nothing(taught, invoke):
    done = invoke(
        *("predict", "--run", taught["run"], "--out", "p.csv", "--quiet"),
        *("--data", f"images:{taught['pictures']}"),
    )
    assert (done.code, done.out, done.err) == (0, "", "")
