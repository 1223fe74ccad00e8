"""Which rows each learner is given, and that nothing else reaches it."""

import dataclasses

import keras
import numpy as np
import pytest

from kt_transfer.comparison import comparison as comparing
from kt_transfer.comparison.comparison import Comparison, Source
from kt_transfer.comparison.refitting import refittable
from kt_transfer.comparison.table import Table
from kt_transfer.data.ranges import observed_range, range_of
from kt_transfer.errors import UserError
from kt_transfer.methods import BY_NAME, Distilled, Parameters, Scratch
from kt_transfer.methods.candidates import chosen_methods
from kt_transfer.methods.frozen import FeaturesLearner
from kt_transfer.methods.learning import Learned
from kt_transfer.methods.networks import NetworkLearner
from kt_transfer.methods.propagation import PropagatedLearner
from kt_transfer.methods.reconstruction import AutoencoderLearner
from kt_transfer.methods.steps import Steps
from kt_transfer.methods.students import StudentLearner
from kt_transfer.models.autoencoders import dense_autoencoder, transferable_encoder
from kt_transfer.models.preprocessing import preprocessing_model

# All but those whose fits take seconds, and which see of a fold what `propagated` does.
METHODS = tuple(name for name in BY_NAME if name not in ("consistency", "vat"))
NUM, WIDTH, CLASSES, FOLDS = 240, 16, 3, 3
BUDGETS = [30, 60]


def noise(seed=0):
    """Examples that can be memorized, and labels that have nothing to do with them."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 255, (NUM, WIDTH)).astype(np.uint8)
    return x, rng.permutation(np.arange(NUM) % CLASSES).astype(np.int32)


def source_on(x, name="own", other=None, epochs=2):
    scaled = preprocessing_model(x.shape[1:], (0.0, 255.0))
    autoencoder = dense_autoencoder(WIDTH, (12,), 8, noise=0.2)
    steps = Steps(epochs=epochs, batch_size=32)
    learner = AutoencoderLearner(autoencoder, scaled, steps, num_examples=len(x))
    return Source(name, transferable_encoder(autoencoder), scaled, learner, other)


def comparison_of(
    x,
    y,
    folder,
    methods=METHODS,
    sources=None,
    seed=0,
    epochs=3,
    budgets=BUDGETS,
    rate=3e-3,
    judge="all",
):
    return Comparison(
        x,
        y,
        num_classes=CLASSES,
        preprocessing=preprocessing_model(x.shape[1:], (0.0, 255.0)),
        budgets=budgets,
        num_folds=FOLDS,
        seed=seed,
        methods=chosen_methods(
            methods, epochs=epochs, batch_size=16, learning_rate=rate, student_units=(6,)
        ),
        sources=sources or [source_on(x)],
        folder=folder / "checkpoint",
        judge=judge,
    )


def measure_all(comparison, table, repeats=1, stop_after=None):
    for number, (cell, part) in enumerate(comparison.cells(repeats)):
        if number == stop_after:
            return
        if cell not in table:
            comparison.measure(table, cell, part)


class Watched:
    """Stands in for every learner, and notes the rows that it is given.

    The first two values of an example say which row it is.
    """

    def __init__(self, monkeypatch, y):
        self.given, self.y = [], y
        note = self.note

        def learns(who):
            def learn(learner, examples, **_):
                held_out = examples.validation and examples.validation[0]
                note(who, examples.x, examples.y, held_out)
                return Learned(learner.network, learner.preprocessing, 0.0, 0, {})

            return learn

        def pretraining(learner, x, *, seed, **_):
            note("pretraining", x, None)
            return 0.0

        monkeypatch.setattr(NetworkLearner, "learn", learns("network"))
        monkeypatch.setattr(StudentLearner, "learn", learns("student"))
        monkeypatch.setattr(PropagatedLearner, "learn", learns("propagated"))
        monkeypatch.setattr(FeaturesLearner, "learn", learns("features"))
        monkeypatch.setattr(AutoencoderLearner, "learn", pretraining)

    def note(self, who, x, y, watched=None):
        rows = row_numbers(x)
        if y is not None:
            known = y >= 0
            np.testing.assert_array_equal(y[known], self.y[rows[known]])
        labelled = rows[:0] if y is None else rows[y >= 0]
        watched = None if watched is None else row_numbers(watched)
        self.given.append((who, rows, labelled, watched))

    def taken(self):
        given, self.given = self.given, []
        return given


def row_numbers(x):
    return x[:, 0].astype(int) * 256 + x[:, 1]


def numbered():
    x, y = noise()
    x[:, 0], x[:, 1] = np.arange(NUM) // 256, np.arange(NUM) % 256
    y[::4] = -1  # as many without a label
    return x, y


@pytest.mark.parametrize("judge", ["all", "budget"])
def test_every_learner_sees_the_rows_that_are_its_own(monkeypatch, tmp_path, judge):
    x, y = numbered()
    watched = Watched(monkeypatch, y)
    comparison, table = comparison_of(x, y, tmp_path, judge=judge), Table(tmp_path)
    largest_held_out = {
        (part.repeat, part.fold): part.held_out
        for cell, part in comparison.cells(2)
        if part.labels == BUDGETS[-1]
    }
    seen = set()
    for cell, part in comparison.cells(2):
        comparison.measure(table, cell, part)
        for who, rows, labelled, looked_at in watched.taken():
            seen.add(who)
            assert set(labelled) <= set(part.train)
            assert not set(rows) & set(part.held_out)
            if who in ("pretraining", "student", "propagated"):
                # All that there is, but what any budget holds out.
                missing = largest_held_out[part.repeat, part.fold]
                assert sorted([*rows, *missing]) == list(range(NUM))
            else:
                assert sorted(rows) == sorted(part.train)
            if who == "pretraining":
                assert len(labelled) == 0
            if who in ("student", "propagated"):
                assert sorted(labelled) == sorted(part.train)
            if looked_at is not None:  # for the learning curve
                assert sorted(looked_at) == sorted(part.held_out)
    assert seen == {"network", "student", "propagated", "features", "pretraining"}


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_a_range_that_was_observed_is_that_of_what_a_fold_sees(monkeypatch, tmp_path, dtype):
    x, y = noise()
    x = (x // 4).astype(dtype)
    x[0] = 255  # an outlier that is held out must not tell what is seen how to be scaled
    whole = preprocessing_model(x.shape[1:], range_of(x), x.dtype)

    def by_fold():
        return refittable(whole, observed_range(x))

    given = {}

    def network(learner, examples, **_):
        given["scaled"] = np.array(learner.preprocessing(examples.x))
        return Learned(learner.network, learner.preprocessing, 0.0, 0, {})

    monkeypatch.setattr(NetworkLearner, "learn", network)
    source = dataclasses.replace(source_on(x), preprocessing=by_fold())
    comparison = comparison_of(x, y, tmp_path, ("scratch",), [source])
    comparison.preprocessing = by_fold()
    cell, part = next(pair for pair in comparison.cells(9) if 0 in pair[1].held_out)
    comparison.measure(Table(tmp_path), cell, part)
    own = preprocessing_model(x.shape[1:], range_of(x[part.seen]), x.dtype)
    np.testing.assert_allclose(given["scaled"], own(x[part.train]), atol=1e-6)
    assert not np.allclose(given["scaled"], whole(x[part.train]), atol=1e-6)


def test_one_pretraining_serves_all_budgets_of_a_fold(monkeypatch, tmp_path):
    x, y = numbered()
    watched = Watched(monkeypatch, y)
    measure_all(comparison_of(x, y, tmp_path), Table(tmp_path), repeats=2)
    assert sum(who == "pretraining" for who, *_ in watched.taken()) == 2 * FOLDS


def test_other_data_are_pretrained_on_once_a_repeat(monkeypatch, tmp_path):
    x, y = numbered()
    watched = Watched(monkeypatch, y)
    other = x[:50]
    sources = [source_on(x, "other", other)]
    measure_all(comparison_of(x, y, tmp_path, sources=sources), Table(tmp_path), repeats=2)
    pretrained = [rows for who, rows, *_ in watched.taken() if who == "pretraining"]
    assert len(pretrained) == 2
    assert all(len(rows) == 50 for rows in pretrained)


def test_the_teacher_of_distilled_is_the_cells_own_network(monkeypatch, tmp_path):
    x, y = numbered()
    watched = Watched(monkeypatch, y)
    measure_all(comparison_of(x, y, tmp_path), Table(tmp_path))
    networks = sum(who == "network" for who, *_ in watched.taken())
    # scratch and parameters; the teacher is not trained again.
    assert networks == 2 * FOLDS * len(BUDGETS)
    methods = ("scratch", "distilled")
    measure_all(comparison_of(x, y, tmp_path / "b", methods), table_in(tmp_path / "b"))
    networks = sum(who == "network" for who, *_ in watched.taken())
    assert networks == 2 * FOLDS * len(BUDGETS)


def table_in(folder):
    folder.mkdir(parents=True, exist_ok=True)
    return Table(folder)


def test_refitting_takes_all_labels_and_holds_nothing_out(monkeypatch, tmp_path):
    x, y = numbered()
    watched = Watched(monkeypatch, y)
    comparison = comparison_of(x, y, tmp_path)
    _, labelled = comparison.refit("distilled", "own")
    given = {who: (rows, labels) for who, rows, labels, _ in watched.taken()}
    assert sorted(given["network"][0]) == sorted(labelled)
    assert sorted(given["student"][0]) == list(range(NUM))
    assert sorted(given["student"][1]) == sorted(labelled)
    assert sorted(given["pretraining"][0]) == list(range(NUM))
    assert len(labelled) == BUDGETS[-1]


def test_each_fold_is_judged_by_all_labels_that_it_holds_out(tmp_path):
    x, y = numbered()
    parts = list(comparison_of(x, y, tmp_path).parts(2))
    for repeat in (0, 1):
        held_out = [part.held_out for part in parts if part[:2] == (BUDGETS[0], repeat)]
        assert sorted(np.concatenate(held_out)) == np.flatnonzero(y >= 0).tolist()
    for part in parts:
        assert len(part.train) == part.labels
        assert not set(part.train) & set(part.held_out)
    small, large = ([p for p in parts if p.labels == labels] for labels in BUDGETS)
    for one, other in zip(small, large, strict=True):
        assert set(one.train) < set(other.train)
        assert one.held_out.tolist() == other.held_out.tolist()
    draws = {tuple(sorted(part.train)) for part in small}
    assert len(draws) == len(small)  # each draws its own


def test_where_a_budget_is_all_labels_nothing_depends_on_what_judges(tmp_path):
    x, y = numbered()
    everything = int((y >= 0).sum())
    one, other = (
        list(comparison_of(x, y, tmp_path, budgets=[everything], judge=judge).parts(2))
        for judge in ("all", "budget")
    )
    for mine, theirs in zip(one, other, strict=True):
        for value, expected in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(value, expected)


@pytest.mark.slow
def test_labels_that_are_noise_are_guessed_as_by_chance(tmp_path):
    x, y = noise()
    comparison, table = comparison_of(x, y, tmp_path, epochs=40), Table(tmp_path)
    measure_all(comparison, table, repeats=2)
    frame = table.frame()
    for method, own in frame.groupby("method"):
        # 240 examples with one in three right: four standard errors are 0.12.
        guesses = int(own["num_held_out"].sum())
        assert guesses == 2 * NUM * len(BUDGETS)
        right = (own["accuracy"] * own["num_held_out"]).sum() / guesses
        assert abs(right - 1 / CLASSES) < 0.12, method


@pytest.mark.parametrize("method", METHODS)
def test_a_planted_leak_would_be_found(tmp_path, method):
    """What the test above rests on: a learner that has seen the answers gives them."""
    x, y = noise()
    if method in ("linear", "features", "distilled"):  # too small to memorize: a marker helps
        x[:, :CLASSES] = 255 * np.eye(CLASSES, dtype=np.uint8)[y]
    # Few enough that all learners can memorize them.
    comparison = comparison_of(x, y, tmp_path, epochs=200, judge="budget")
    # What learns from all examples has epochs of its own.
    propagated = dataclasses.replace(comparison.methods["propagated"], epochs=250)
    comparison.methods["propagated"] = propagated
    cell, part = next((cell, part) for cell, part in comparison.cells(1) if cell.method == method)
    everything = np.union1d(part.train, part.held_out)
    leaking = part._replace(train=everything, seen=np.arange(NUM))
    table = Table(tmp_path)
    comparison.measure(table, cell, leaking)
    assert table.rows[cell]["accuracy"] > 0.8


def rows_without_times(table):
    times = ("seconds", "pretrain_seconds", "fit_seconds", "head_seconds")
    return {
        cell: {name: value for name, value in row.items() if name not in times}
        for cell, row in table.rows.items()
    }


@pytest.mark.slow
def test_it_goes_on_to_the_identical_table(tmp_path):
    x, y = noise()
    stop_after = 13  # its pretraining is done, its teacher has to be trained again
    whole = table_in(tmp_path / "whole")
    measure_all(comparison_of(x, y, tmp_path / "whole"), whole)
    folder = tmp_path / "interrupted"
    measure_all(comparison_of(x, y, folder), table_in(folder), stop_after=stop_after)
    again = Table(folder)
    assert len(again.rows) == stop_after
    # As in a new process: nothing is at hand but what lies in the folder.
    keras.utils.set_random_seed(99)
    measure_all(comparison_of(x, y, folder), again)
    assert rows_without_times(again) == rows_without_times(whole)
    assert again.curves == whole.curves


def test_the_first_source_gives_scratch_its_network(tmp_path):
    x, y = noise()
    wide = dense_autoencoder(WIDTH, (20,), 10)
    other = dataclasses.replace(
        source_on(x, "wide"), encoder=transferable_encoder(wide), pretraining=None
    )
    for sources, width in (([source_on(x), other], 12), ([other, source_on(x)], 20)):
        comparison = comparison_of(x, y, tmp_path, sources=sources)
        network = comparison.learner(comparison.methods["scratch"], "", 30).network
        assert network.get_layer("encoder").layers[1].units == width


def test_a_source_as_it_is_keeps_its_weights(tmp_path):
    x, y = noise()
    fixed = dataclasses.replace(source_on(x, "fixed"), pretraining=None)
    before = [weights.copy() for weights in fixed.encoder.get_weights()]
    methods = ("scratch", "parameters", "features")
    comparison = comparison_of(x, y, tmp_path, methods, [fixed], budgets=[30])
    table = Table(tmp_path)
    measure_all(comparison, table)
    for weights, own in zip(before, fixed.encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(weights, own)
    assert (table.frame()["pretrain_seconds"] == 0).all()


def test_parameters_start_where_features_end(tmp_path):
    x, y = noise()
    methods = ("scratch", "parameters", "features")
    still = {"epochs": 1, "rate": 1e-9}
    comparison, table = (
        comparison_of(x, y, tmp_path, methods, budgets=[30], **still),
        Table(tmp_path),
    )
    measure_all(comparison, table)
    for fold in range(FOLDS):
        parameters, features = (
            table.rows[comparing.Cell(method, "own", 30, 0, fold)]
            for method in ("parameters", "features")
        )
        assert parameters["log_loss"] == pytest.approx(features["log_loss"], rel=1e-4)
        # What it starts from is part of what it takes.
        assert parameters["head_seconds"] == features["fit_seconds"]
        assert parameters["fit_seconds"] > parameters["head_seconds"] > 0


def test_candidates_are_methods_times_sources(tmp_path):
    x, y = noise()
    sources = [source_on(x, "a"), source_on(x, "b")]
    comparison = comparison_of(x, y, tmp_path, sources=sources)
    assert comparison.candidates == [
        ("scratch", ""),
        ("linear", ""),
        ("propagated", ""),
        *[(name, source) for source in "ab" for name in ("parameters", "distilled", "features")],
    ]
    cells = [cell for cell, _ in comparison.cells(2)]
    assert len(cells) == len(set(cells)) == 2 * FOLDS * len(BUDGETS) * 9
    some = list(comparison.cells(2, num_folds=2))
    assert [cell for cell, _ in some] == cells[: len(some)]
    assert {(cell.repeat, cell.fold) for cell, _ in some} == {(0, 0), (0, 1)}


def test_what_equals_a_held_out_example_teaches_nothing(monkeypatch, tmp_path):
    """Neither as label, nor in pretraining, nor to a student."""
    x, y = numbered()
    x[120:], y[120:] = x[:120], y[:120]  # each example twice
    comparison, table = comparison_of(x, y, tmp_path), Table(tmp_path)
    watched = Watched(monkeypatch, y)
    for cell, part in comparison.cells(2):
        comparison.measure(table, cell, part)
        for _, rows, *_ in watched.taken():
            assert not set(rows) & set(row_numbers(x[part.held_out]))


def test_what_the_test_part_holds_teaches_nothing(monkeypatch, tmp_path):
    x, y = numbered()
    comparison, table = comparison_of(x, y, tmp_path), Table(tmp_path)
    comparison.copies = np.where(np.arange(NUM) < 40, -1, np.arange(NUM))
    watched = Watched(monkeypatch, y)
    measure_all(comparison, table)
    assert min(min(rows) for _, rows, *_ in watched.taken()) == 40


@pytest.mark.slow
def test_each_method_learns_from_the_views_that_it_asks_for(monkeypatch, tmp_path):
    x, y = noise()
    images = x.reshape(NUM, 4, 4)
    prepared = {}

    def comparison(x, **methods):
        return Comparison(
            x,
            y,
            num_classes=CLASSES,
            preprocessing=preprocessing_model(x.shape[1:], (0.0, 255.0)),
            budgets=[30],
            num_folds=FOLDS,
            seed=0,
            methods=methods,
            sources=[source_on(x)],
            folder=tmp_path / "checkpoint",
            value_range=(0.0, 255.0),
        )

    for kind in (NetworkLearner, StudentLearner):

        def prepare(learner, method, problem, create=kind.__init__):
            prepared[method] = problem
            create(learner, method, problem)

        monkeypatch.setattr(kind, "__init__", prepare)
    plain, turned = (Scratch(epochs=2, augment=views) for views in ("none", "affine"))
    teacher = Parameters(epochs=2, augment="none")
    student = Distilled(epochs=2, augment="shift:1", teacher=teacher)
    table = Table(tmp_path)
    measure_all(comparison(images, scratch=plain, turned=turned, student=student), table)
    assert prepared[plain].augment is None
    assert prepared[student.teacher].augment is None
    for method in (turned, student):
        views = prepared[method].augment(images[:8], (0, 1)).numpy()
        assert views.shape == (8, 4, 4)
        assert (views != images[:8]).any()
    losses = table.frame().pivot(index="fold", columns="method", values="log_loss")
    assert (losses["scratch"] != losses["turned"]).all()
    with pytest.raises(UserError, match=r"augment=affine .* images, but .* shape \(16,\)"):
        comparison(x, turned=turned)
