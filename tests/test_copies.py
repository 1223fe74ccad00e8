"""Copies through the commands, as a user meets them."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kt_transfer import load_data
from kt_transfer.runs.folder import Run

RNG = np.random.default_rng(0)
PLAIN = ("--strategy", "one_device", "--jit-compile", "no", "--quiet", "--epochs", 1)
SMALL = ("--hidden-units", 8, "--latent-dim", 4)


@pytest.mark.slow
def test_random_labels_of_copied_rows_are_told_at_chance(invoke, unchecked_exports):
    x, y = RNG.normal(size=(40, 30)), RNG.permutation(np.arange(40) % 2)
    np.savez("d.npz", x=np.tile(x, (5, 1)), y=np.tile(y, 5))
    done = invoke(
        *("compare", "--data", "npz:d.npz", "--labels", "all", "--folds", 4, "--repeats", 1),
        *("--methods", "scratch", "linear", "--epochs", 20, *SMALL, "--out", "run"),
    )
    assert (done.code, done.err) == (0, "")
    assert "200 of 200 examples occur more than once" in done.out
    held_out = pd.read_csv("run/comparison.csv").groupby("method")["accuracy"].mean()
    assert held_out.max() < 0.8
    assert Run("run").read_json("metrics.json")["test"]["accuracy"] < 0.95


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """The same pixels in files of two formats."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(18):
            picture = Image.fromarray(RNG.integers(0, 256, (6, 6), dtype=np.uint8))
            for suffix in ("png", "bmp"):
                picture.save(tmp_path / "set" / name / f"{number}.{suffix}")
    return "images:set"


@pytest.mark.parametrize(
    "words",
    [
        ("pretrain", *SMALL),
        ("pretrain", *SMALL, "--labels", 6),
        ("finetune", "--source", "scratch", *SMALL, "--validation-split", 0.2),
    ],
)
def test_pictures_of_equal_pixels_are_on_one_side(invoke, pictures, words):
    done = invoke(*words, *PLAIN, "--data", pictures, "--out", "run")
    assert (done.code, done.err) == (0, "")
    data, splits = load_data(pictures), Run("run").read_arrays("splits.npz")
    train, validation = ({*map(bytes, data.x[splits[part]])} for part in ("train", "validation"))
    test = {*map(bytes, data.x_test)}
    assert train
    assert validation
    assert not (train & validation) | (train & test) | (validation & test)


@pytest.mark.slow
def test_a_student_sees_no_copy_of_what_is_held_out(invoke, pictures):
    teacher = ("finetune", "--source", "scratch", *SMALL, "--validation-split", 0.2)
    assert invoke(*teacher, *PLAIN, "--data", pictures, "--out", "teacher").code == 0
    for name, labels in (("own", ()), ("drawn", ("--labels", 20, "--validation-split", 0.2))):
        # Its labels are random, so that it is at chance: taken in any case, aloud.
        words = ("distill", "--teacher", "teacher", "--teacher-range", -1, 1, *labels)
        done = invoke(*words, "--student-units", 4, *PLAIN, "--out", name)
        assert done.code == 0, done.err
        assert "no better than chance" in done.err
        data, splits = load_data(pictures), Run(name).read_arrays("splits.npz")
        train, held = (data.copies[splits[part]] for part in ("train", "validation"))
        assert len(held)
        assert not set(train) & set(held)


@pytest.mark.parametrize(
    "words", [("pretrain",), ("finetune", "--source", "scratch"), ("compare",)]
)
def test_examples_that_are_all_the_same_are_refused(invoke, words):
    np.savez("d.npz", x=np.full((60, 4), 3.0), y=np.arange(60) % 2)
    done = invoke(*words, "--data", "npz:d.npz", "--out", "run")
    assert done.code == 2
    assert "48 training examples that are all the same" in done.err


def test_a_class_of_one_example_is_learned_and_said(invoke):
    x, y = RNG.normal(size=(61, 4)), np.append(np.arange(60) % 2, 2)
    x[:, 0] += 4 * y
    np.savez("d.npz", x=x, y=y)
    words = ("finetune", "--source", "scratch", *SMALL, "--validation-split", 0.2)
    done = invoke(*words, *PLAIN[:4], "--epochs", 1, "--data", "npz:d.npz", "--out", "run")
    assert (done.code, done.err) == (0, "")
    assert "class 2 with a single labelled training example" in done.out
    data = load_data("npz:d.npz")
    assert 2 in data.y[Run("run").read_arrays("splits.npz")["train"]]
