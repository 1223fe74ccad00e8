"""For the same rows, seed and settings, finetune and distill give the weights of compare."""

import numpy as np
import pytest

from kt_transfer import distill, finetune, load_data, pretrain
from kt_transfer.comparison import comparing
from kt_transfer.engine.strategy import choose_strategy
from kt_transfer.methods import Distilled, Features, Linear, Parameters, Propagated, Scratch, Vat
from kt_transfer.runs.folder import Run
from kt_transfer.settings import CompareConfig

LABELS, SEED = 60, 5
SHARED = {"labels": LABELS, "seed": SEED, "validation_split": 0.0, "quiet": True}
STUDENT = {"epochs": 3, "batch_size": 32, "student_units": (8,)}
CANDIDATES = {
    "scratch": (Scratch(epochs=5), {"reinitialize": True, "epochs": 5}),
    "parameters": (Parameters(epochs=5), {"epochs": 5}),
    "frozen": (
        Parameters(epochs=5, freeze=1, dropout=0.5, lr_decay="cosine"),
        {"epochs": 5, "freeze": 1, "dropout": 0.5, "lr_decay": "cosine"},
    ),
    "thawing": (
        Parameters(epochs=6, unfreeze_every=2, layer_decay=0.5, head_start="random"),
        {"epochs": 6, "unfreeze_every": 2, "layer_decay": 0.5, "head_start": "random"},
    ),
    "views": (
        Parameters(epochs=3, augment="affine", dropout=0.5),
        {"epochs": 3, "augment": "affine", "dropout": 0.5},
    ),
    "rate": (Parameters(epochs=2, learning_rate=1e-3), {"epochs": 2, "learning_rate": 1e-3}),
    "features": (Features(), {"method": "features"}),
    "linear": (Linear(), {"method": "linear"}),
    "propagated": (
        Propagated(epochs=2, graph_features="raw", neighbours=5),
        {"method": "propagated", "epochs": 2, "graph_features": "raw", "neighbours": 5},
    ),
    "vat": (
        Vat(epochs=2, first="fresh", epsilon=0.5),
        {"method": "vat", "epochs": 2, "first": "fresh", "epsilon": 0.5},
    ),
    "dense head": (
        Features(head="dense", epochs=4, features_from="all"),
        {"method": "features", "head": "dense", "epochs": 4, "features_from": "all"},
    ),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A run on other images of the same shape."""
    folder = tmp_path_factory.mktemp("source")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 17, (200, 8, 8)).astype(np.float32)
    np.savez(folder / "noise.npz", x=images)
    settings = {"hidden_units": (16,), "latent_dim": 8, "epochs": 2, "quiet": True}
    return pretrain.run(data=f"npz:{folder / 'noise.npz'}", out=folder / "run", **settings)


@pytest.fixture(scope="module")
def compared(source, tmp_path_factory):
    """The comparison that ``compare`` would train."""
    run = Run(tmp_path_factory.mktemp("compare"))
    config = CompareConfig(
        source=(str(source.path),), labels=(LABELS,), folds=3, seed=SEED, quiet=True
    )
    methods = {name: method for name, (method, _) in CANDIDATES.items()}
    methods["distilled"] = Distilled(**STUDENT, teacher=methods["parameters"])
    with choose_strategy().scope():  # as every command has it
        return comparing.comparison_of(config, methods, load_data("digits"), run)


def weights_in(compared, name, source):
    with choose_strategy().scope():
        learned, labelled = compared.refit(name, source if compared.transfers(name) else "")
    assert len(labelled) == LABELS
    return learned.network.get_weights()


def assert_same(run, expected):
    own = run.load_model().get_weights()
    assert len(own) == len(expected)
    for weights, others in zip(own, expected, strict=True):
        np.testing.assert_array_equal(weights, others)


# These start, continue and answer in ways of their own; the others are run with the slow tests.
QUICK = ("parameters", "features", "linear", "propagated")


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CANDIDATES],
)
def test_finetune_is_what_compare_refits(source, compared, tmp_path, name):
    _, settings = CANDIDATES[name]
    run = finetune.run(
        source=str(source.path), data="digits", out=tmp_path / "run", **SHARED, **settings
    )
    assert_same(run, weights_in(compared, name, str(source.path)))


def test_distill_is_what_compare_refits(source, compared, tmp_path):
    teacher = finetune.run(
        source=str(source.path), data="digits", epochs=5, out=tmp_path / "teacher", **SHARED
    )
    student = distill.run(teacher=[teacher.path], out=tmp_path / "student", **SHARED, **STUDENT)
    assert_same(student, weights_in(compared, "distilled", str(source.path)))
