import keras
import numpy as np
import pytest

from kt_transfer.comparison.comparison import Comparison, Source
from kt_transfer.comparison.guesses import guesses, layer_similarities
from kt_transfer.comparison.transferability import linear_cka, logme
from kt_transfer.methods import Features, Linear, Scratch
from kt_transfer.models.preprocessing import preprocessing_model

RNG = np.random.default_rng(0)
LABELS = np.arange(120) % 3
X = np.hstack([np.eye(3)[LABELS] + 0.2 * RNG.normal(size=(120, 3)), RNG.normal(size=(120, 3))])


def encoder_of(columns):
    """One that looks at some of the columns."""
    x = keras.Input((6,))
    model = keras.Model(x, keras.layers.Dense(len(columns), name="look")(x), name="encoder")
    model.layers[-1].set_weights([np.eye(6)[:, columns], np.zeros(len(columns))])
    return model


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    as_it_is = preprocessing_model((6,), (-1.0, 1.0), "float32")
    sources = {"told": [0, 1, 2], "noise": [3, 4, 5]}
    return Comparison(
        X.astype(np.float32),
        LABELS,
        num_classes=3,
        preprocessing=as_it_is,
        budgets=[30, 60],
        num_folds=3,
        seed=0,
        methods={"scratch": Scratch(epochs=1), "features": Features()},
        sources=[Source(name, encoder_of(own), as_it_is) for name, own in sources.items()],
        folder=tmp_path_factory.mktemp("kept"),
    )


def test_each_source_and_budget_has_the_mean_of_its_parts(comparison):
    found = {(entry["source"], entry["labels"]): entry for entry in guesses(comparison)}
    assert set(found) == {(name, labels) for name in ("told", "noise") for labels in (30, 60)}
    parts = [part for part in comparison.parts(1) if part.labels == 60]
    assert len(parts) == 3
    features = [X[part.train][:, :3] for part in parts]
    labels = [LABELS[part.train] for part in parts]
    expected = np.mean([logme(f, y) for f, y in zip(features, labels, strict=True)])
    assert found["told", 60]["logme"] == pytest.approx(expected, abs=1e-4)
    expected = np.mean([linear_cka(f, np.eye(3)[y]) for f, y in zip(features, labels, strict=True)])
    assert found["told", 60]["cka"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("score", ["logme", "cka"])
def test_the_source_that_tells_the_classes_is_guessed(comparison, score):
    found = {(entry["source"], entry["labels"]): entry[score] for entry in guesses(comparison)}
    for labels in (30, 60):
        assert found["told", labels] > found["noise", labels] + 0.1


def test_no_label_but_those_of_the_part_is_looked_at(comparison, monkeypatch):
    expected, parts = guesses(comparison), list(comparison.parts(1))
    monkeypatch.setattr(comparison, "parts", lambda *_: [parts[1]])
    learned = np.isin(np.arange(120), parts[1].train)
    alone = guesses(comparison)
    monkeypatch.setattr(comparison, "y", np.where(learned, LABELS, -1))
    assert guesses(comparison) == alone != expected


def test_without_a_transfer_there_is_nothing_to_guess(comparison, monkeypatch):
    monkeypatch.setattr(comparison, "methods", {"scratch": Scratch(), "linear": Linear()})
    assert guesses(comparison) == []


def test_layers_of_a_source_are_compared_with_those_learned_from_scratch(comparison):
    told, noise = layer_similarities(comparison)
    assert (told["source"], noise["source"]) == ("told", "noise")
    assert told["source_layers"] == told["target_layers"] == ["look"]
    part = next(part for part in comparison.parts(1) if part.labels == 60)
    learned = comparison.scratch(part).network.get_layer("encoder")
    seen = X[np.sort(np.random.default_rng(0).permutation(part.seen)[:1000])].astype(np.float32)
    of_target = np.asarray(learned(seen))
    for entry, columns in ((told, [0, 1, 2]), (noise, [3, 4, 5])):
        expected = linear_cka(seen[:, columns], of_target)
        assert entry["cka"] == [[pytest.approx(expected, abs=1e-4)]]


@pytest.mark.slow
def test_of_a_deep_source_some_layers_are_compared(comparison):
    x = outputs = keras.Input((6,))
    for number in range(30):
        outputs = keras.layers.Dense(4, name=f"layer_{number}")(outputs)
    deep = Source("deep", keras.Model(x, outputs, name="encoder"), comparison.preprocessing)
    settings = {"num_classes": 3, "preprocessing": comparison.preprocessing, "num_folds": 3}
    methods = {"scratch": Scratch(epochs=1), "features": Features()}
    settings |= {"seed": 0, "methods": methods, "folder": comparison.folder, "budgets": [60]}
    (entry,) = layer_similarities(
        Comparison(X.astype(np.float32), LABELS, sources=[deep], **settings)
    )
    assert len(entry["source_layers"]) == len(entry["cka"]) == 12
    assert (entry["source_layers"][0], entry["source_layers"][-1]) == ("layer_0", "layer_29")


def test_where_nothing_transfers_there_is_nothing_to_compare(comparison, monkeypatch):
    monkeypatch.setattr(comparison, "methods", {"scratch": Scratch(), "linear": Linear()})
    assert layer_similarities(comparison) == guesses(comparison) == []
