"""FoldedTuner: a search of anyone's model, cross-validated."""

import csv
import resource
from pathlib import Path

import keras
import keras_tuner
import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.model_selection import StratifiedKFold

from kt_transfer.engine.feeds import epoch_order
from kt_transfer.errors import TrainingFailed, UserError
from kt_transfer.methods.learning import start_fresh
from kt_transfer.tuning import FoldedTuner, folded

X, Y = load_iris(return_X_y=True)
X = ((X - X.mean(0)) / X.std(0)).astype("float32")


def build(hp):
    """As KerasTuner's guide shows it."""
    model = keras.Sequential([keras.Input((4,))])
    model.add(keras.layers.Dense(hp.Choice("units", [4, 8], default=4), activation="relu"))
    model.add(keras.layers.Dense(3))
    rate = hp.Float("learning_rate", 1e-3, 1e-1, sampling="log", default=1e-2)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    return model


def tuner(folder, function=build, **options):
    options = {"max_trials": 5, "say": lambda line: None} | options
    return FoldedTuner(function, directory=folder, **options)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    search = tuner(tmp_path_factory.mktemp("found"))
    search.search(X, Y, epochs=15)
    return search


def test_every_trial_has_a_score_a_fold_or_cannot_win(found):
    assert len(found.trials) == 5
    for trial in found.trials:
        assert 3 <= len(trial["scores"]) <= 5
        if len(trial["scores"]) == 5:
            assert trial["score"] == pytest.approx(np.mean(trial["scores"]), abs=1e-6)
    assert found.best["score"] == max(trial["score"] for trial in found.trials)
    assert len(found.best["scores"]) == 5
    assert found.trials[0]["settings"] == {"units": 4, "learning_rate": 1e-2}


def test_a_score_is_what_keras_gets_in_that_fold(tmp_path):
    """Trained for all epochs by stock Keras in the same order, and judged by the same rows."""
    search = tuner(tmp_path, max_trials=1, folds=3)
    search.search(X, Y, epochs=4, inner_share=0)
    splits = StratifiedKFold(3, shuffle=True, random_state=0).split(X, Y)
    for number, (train, judging) in enumerate(splits):
        model = build(keras_tuner.HyperParameters())
        start_fresh(model, number)
        for epoch in range(4):
            rows = train[epoch_order(len(train), number, epoch)]
            model.fit(X[rows], Y[rows], batch_size=32, shuffle=False, verbose=0)
        _, accuracy = model.evaluate(X[judging], Y[judging], verbose=0)
        assert search.trials[0]["scores"][number] == pytest.approx(accuracy, abs=0.021)


def test_the_same_seed_gives_the_same_table(found, tmp_path):
    again = tuner(tmp_path)
    again.search(X, Y, epochs=15)
    for one, other in zip(found.trials, again.trials, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}


class Interrupted(BaseException):
    pass


def test_an_interrupted_search_goes_on_to_the_same_table(found, tmp_path):
    def stop(line):
        if line.startswith("trial 2"):
            raise Interrupted

    with pytest.raises(Interrupted):
        tuner(tmp_path, say=stop).search(X, Y, epochs=15)
    resumed = tuner(tmp_path)
    resumed.search(X, Y, epochs=15)
    for one, other in zip(found.trials, resumed.trials, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}


def test_the_epochs_are_chosen_by_a_part_of_what_a_fold_trains_on(tmp_path, monkeypatch):
    parts = []
    train = folded._Program.train

    def spy(self, x, y, **options):
        parts.append((len(x), options["stopping"] and len(options["stopping"][0])))
        return train(self, x, y, **options)

    monkeypatch.setattr(folded._Program, "train", spy)
    search = tuner(tmp_path, max_trials=1)
    search.search(X, Y, epochs=12)
    assert parts == [(96, 24)] * 5
    assert 1 <= search.trials[0]["epochs"] <= 12


def test_models_of_one_architecture_share_a_program(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(
        folded, "FusedModel", lambda model, own=folded.FusedModel: made.append(1) or own(model)
    )
    tuner(tmp_path, max_trials=8).search(X, Y, epochs=2)
    assert len(made) == 2  # one for each width


def test_the_best_is_trained_on_everything(found):
    model = found.train_best(X, Y)
    assert model.count_params() == build(found.best_hyperparameters).count_params()
    assert np.mean(model.predict(X, verbose=0).argmax(axis=1) == Y) > 0.8


def test_a_table_and_a_page_are_written(found):
    with open(found.directory / "trials.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["trial"] for row in rows] == [trial["trial"] for trial in found.trials]
    assert float(rows[0]["fold_0"]) == pytest.approx(found.trials[0]["scores"][0])
    assert "validation accuracy" in (found.directory / "report.html").read_text()


def test_a_trial_that_diverges_is_a_row_with_its_reason(tmp_path):
    def diverging(hp):
        model = build(hp)
        model.optimizer.learning_rate = hp.Choice("rate", [1e-2, 1e30], default=1e-2)
        return model

    search = tuner(tmp_path, diverging, max_trials=6)
    search.search(X * 1e6, Y, epochs=3, inner_share=0)
    failed = [trial for trial in search.trials if trial["score"] is None]
    assert failed
    assert all("diverge" in trial["message"] for trial in failed)


def test_where_all_fail_there_is_nothing_to_choose(tmp_path):
    def diverging(hp):
        model = build(hp)
        model.optimizer.learning_rate = 1e30
        return model

    with pytest.raises(TrainingFailed, match="every one of 2 trials failed"):
        tuner(tmp_path, diverging, max_trials=2).search(X * 1e6, Y, epochs=3)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(3)

    def get_config(self):
        raise NotImplementedError

    def call(self, x):
        return self.dense(x)


def test_a_model_that_cannot_be_described_is_built_anew_in_every_fold(tmp_path):
    built = []

    def subclassed(hp):
        built.append(1)
        model = Subclassed()
        model(np.zeros((1, 4), "float32"))
        rate = hp.Float("learning_rate", 1e-3, 1e-1, sampling="log", default=1e-2)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
        return model

    search = tuner(tmp_path, subclassed, max_trials=1)
    search.search(X, Y, epochs=2)
    assert len(built) == 1 + 5  # the space, then once a fold
    assert len(search.trials[0]["scores"]) == 5


def compiled(hp, model):
    rate = hp.Float("learning_rate", 1e-3, 1e-1, sampling="log", default=1e-2)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    return model


def test_weights_that_a_model_is_built_with_are_what_each_fold_starts_from(tmp_path):
    """Such as those of an encoder that was trained before."""
    learned = np.random.default_rng(0).normal(size=(4, 8)).astype("float32")

    def pretrained(hp):
        encoder = keras.layers.Dense(8, use_bias=False, name="encoder")
        model = keras.Sequential([keras.Input((4,)), encoder, keras.layers.Dense(3)])
        encoder.set_weights([learned])
        encoder.trainable = False
        return compiled(hp, model)

    search = tuner(tmp_path, pretrained, max_trials=2)
    search.search(X, Y, epochs=2)
    kept = [p.fused.model.get_layer("encoder").get_weights()[0] for p in search._programs.values()]
    kept.append(search.train_best(X, Y).get_layer("encoder").get_weights()[0])
    for weights in kept:
        np.testing.assert_array_equal(weights, learned)


def test_a_layer_that_all_models_share_starts_as_it_was_in_every_fold(tmp_path):
    """One that went on from the other folds would have seen what judges it."""
    first = np.random.default_rng(0).normal(size=(4, 8)).astype("float32")
    encoder = keras.layers.Dense(8, use_bias=False)
    encoder.build((None, 4))
    encoder.set_weights([first])

    def shared(hp):
        return compiled(hp, keras.Sequential([keras.Input((4,)), encoder, keras.layers.Dense(3)]))

    def own(hp):
        head = keras.layers.Dense(3)  # first, so that it draws what it draws above
        copied = keras.layers.Dense(8, use_bias=False)
        model = keras.Sequential([keras.Input((4,)), copied, head])
        copied.set_weights([first])
        return compiled(hp, model)

    one = tuner(tmp_path / "one", shared, max_trials=2)
    other = tuner(tmp_path / "other", own, max_trials=2)
    one.search(X, Y, epochs=8)
    np.testing.assert_array_equal(encoder.get_weights()[0], first)
    other.search(X, Y, epochs=8)
    assert [t["scores"] for t in one.trials] == [t["scores"] for t in other.trials]


@pytest.mark.parametrize("kind", ["function", "lambda", "class"])
def test_what_closes_over_a_hyperparameter_has_a_program_of_its_own(tmp_path, kind):
    plain = keras.losses.sparse_categorical_crossentropy

    def closing(hp):
        weight = hp.Choice("weight", [1.0, 3.0], default=1.0)

        def loss(y_true, y_pred):
            return weight * plain(y_true, y_pred, from_logits=True)

        class Scaled(keras.layers.Layer):
            def call(self, inputs):
                return weight * inputs

        layers = [keras.Input((4,)), keras.layers.Dense(3)]
        model = keras.Sequential([*layers, Scaled()] if kind == "class" else layers)
        of = {
            "function": loss,
            "lambda": lambda y_true, y_pred: loss(y_true, y_pred),
            "class": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        }
        model.compile("adam", of[kind], metrics=["accuracy"])
        return model

    search = tuner(tmp_path, closing, search="grid", objective="loss", folds=2)
    search.search(X, Y, epochs=2)
    one, other = (trial["scores"] for trial in search.trials)
    assert not np.allclose(one, other, rtol=0.05)


def test_a_model_that_is_not_built_yet_is_the_same_in_every_trial(tmp_path):
    """As in KerasTuner's first example: without an Input."""

    def unbuilt(hp):
        return compiled(hp, keras.Sequential([keras.layers.Dense(3)]))

    scores = []
    for name in "ab":
        search = tuner(tmp_path / name, unbuilt, max_trials=2)
        search.search(X, Y, epochs=3)
        scores.append([trial["scores"] for trial in search.trials])
    assert scores[0] == scores[1]


def test_a_directory_with_another_search_is_refused(tmp_path):
    tuner(tmp_path, max_trials=1).search(X, Y, epochs=1)
    with pytest.raises(UserError, match="other epochs"):
        tuner(tmp_path, max_trials=1).search(X, Y, epochs=2)
    with pytest.raises(UserError, match="other x, y"):
        tuner(tmp_path, max_trials=1).search(X[:100], Y[:100], epochs=1)
    with pytest.raises(UserError, match="other folds"):
        tuner(tmp_path, max_trials=1, folds=3).search(X, Y, epochs=1)
    tuner(tmp_path, max_trials=1).search(X, Y, epochs=1)


def test_more_folds_than_examples_of_a_class_are_refused(tmp_path):
    with pytest.raises(UserError, match="folds=51 .* at most 50"):
        tuner(tmp_path, folds=51).search(X, Y, epochs=1)
    with pytest.raises(UserError, match="y as floats"):
        tuner(tmp_path).search(X, np.arange(150), epochs=1)
    with pytest.raises(UserError, match="at most 3, the groups"):
        tuner(tmp_path).search(X, Y, groups=np.arange(150) % 3, epochs=1)
    assert not list(tmp_path.iterdir())


def test_groups_stay_in_one_fold_and_on_one_side_of_the_inner_split():
    groups = np.repeat(np.arange(30), 5)
    for train, judging in folded._splits(X, Y, 5, 0, groups):
        assert not set(groups[train]) & set(groups[judging])
        kept, inner = folded._inner_split(Y[train], 0.2, 0, groups[train])
        assert not set(groups[train][kept]) & set(groups[train][inner])


def test_a_regression_is_judged_by_its_loss(tmp_path):
    def regression(hp):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        rate = hp.Float("learning_rate", 1e-3, 1e-1, sampling="log", default=1e-3)
        model.compile(keras.optimizers.Adam(rate), "mse")
        return model

    search = tuner(tmp_path, regression, objective="loss", max_trials=4)
    search.search(X[:, :3], X[:, 3], epochs=10)
    assert search.best["score"] == min(trial["score"] for trial in search.trials)


def test_what_is_no_metric_is_refused_with_those_that_are(tmp_path):
    with pytest.raises(UserError, match="auc.*accuracy"):
        tuner(tmp_path, objective="auc", max_trials=1).search(X, Y, epochs=1, inner_share=0)
    with pytest.raises(UserError, match="folds=1"):
        tuner(tmp_path, folds=1)


@pytest.mark.slow
def test_memory_is_flat_over_two_hundred_trials_of_a_few_architectures(tmp_path):
    """What TensorFlow keeps of a traced update of a Keras optimizer is never freed, so that each
    architecture costs some memory, and each trial of it none."""
    x, y = load_digits(return_X_y=True)
    x, y, sizes = (x[:200] / 16).astype("float32"), y[:200], []

    def wide(hp):
        model = keras.Sequential([keras.Input((64,))])
        width = hp.Choice("units", [16, 32, 64], default=32)
        model.add(keras.layers.Dense(width, activation="relu"))
        model.add(keras.layers.Dense(10))
        rate = hp.Float("learning_rate", 1e-3, 1e-1, sampling="log", default=1e-2)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
        return model

    def note(line):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        sizes.append(pages * resource.getpagesize() / 2**20)

    tuner(tmp_path, wide, max_trials=200, folds=2, say=note).search(x, y, epochs=2)
    assert len(sizes) == 200
    # 0.4 MiB a trial, of the models that are built for it; no Python object of them is left.
    assert sizes[-1] - sizes[49] < 100, f"{sizes[49]:.0f} MiB after 50, {sizes[-1]:.0f} after 200"
