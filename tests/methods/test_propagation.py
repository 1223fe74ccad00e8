import keras
import numpy as np
import pytest

from kt_transfer import UserError, load_data
from kt_transfer.data.splits import draw_labels
from kt_transfer.methods import Propagated, Scratch
from kt_transfer.methods.learning import Examples, Graphs, Problem, Start
from kt_transfer.methods.propagation import half_splits
from kt_transfer.methods.views import views_of
from kt_transfer.models.classifiers import dense_encoder
from kt_transfer.models.preprocessing import preprocessing_model
from kt_transfer.training import graph as graphs
from kt_transfer.training.neighbours import nearest_neighbours

STEPS = {"epochs": 4, "batch_size": 64}


def prepared(data, scaled, **settings):
    problem = Problem(10, len(data.x), dense_encoder(64, (24,), 12), scaled)
    return Propagated(**STEPS | settings).prepare(problem)


def few(data, num=50, **more):
    """The examples of digits, of which so many have their label."""
    rows = draw_labels(data.y, num, 0)
    labels = np.full_like(data.y, -1)
    labels[rows] = data.y[rows]
    return Examples(data.x, labels, **more)


def two_moons(num=200):
    """Two half circles around one another, which no line tells apart: inputs and classes."""
    angle = np.linspace(0, np.pi, num // 2)
    moon = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    other = np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], axis=1)
    return np.concatenate([moon, other]).astype(np.float32) / 2, np.arange(num) // (num // 2)


def on_moons(**settings):
    x, y = two_moons()
    scaled = preprocessing_model((2,), (-1.0, 1.0), "float32")
    problem = Problem(2, len(x), dense_encoder(2, (32, 32)), scaled)
    return x, y, Propagated(**settings).prepare(problem)


def test_labels_follow_the_shape_of_the_data():
    x, y, learner = on_moons(epochs=200, batch_size=20, learning_rate=3e-3)
    labels = np.where(np.isin(np.arange(200), [50, 150]), y, -1)  # one of each
    spread = learner.spread(Examples(x, labels), seed=0)
    np.testing.assert_array_equal(spread.labels, y)
    assert spread.accuracy is None  # nothing can be held out
    learned = learner.learn(Examples(x, labels), seed=0)
    assert np.mean(learned.logits(x).argmax(axis=1) == y) > 0.98


def test_more_is_learned_than_from_the_labels_alone(data, scaled):
    examples = few(data)

    def accuracy(learner, given):
        answers = learner.learn(given, seed=0).logits(data.x_test)
        return np.mean(answers.argmax(axis=1) == data.y_test)

    learner = prepared(data, scaled, epochs=40)
    alone = Scratch(epochs=100).prepare(learner.problem)
    rows = np.flatnonzero(examples.y >= 0)
    without = accuracy(alone, Examples(data.x[rows], data.y[rows]))
    assert accuracy(learner, examples) > without + 0.04


def test_what_spreads_is_the_graph_of_what_was_given(data, scaled):
    learner = prepared(data, scaled, graph_features="raw", alpha=0.9, class_mass=True, neighbours=7)
    examples = few(data)
    spread = learner.spread(examples, seed=0)
    near = nearest_neighbours(data.x.reshape(-1, 64).astype(np.float32), 7, seed=0)
    targets = (examples.y[:, None] == np.arange(10)).astype(np.float32)
    scores = graphs.propagate(graphs.neighbour_graph(*near), targets, alpha=0.9)
    scores = graphs.with_class_masses(scores, targets.mean(axis=0))
    expected = np.where(examples.y >= 0, examples.y, scores.argmax(axis=1))
    assert np.mean(spread.labels == expected) > 0.999
    assert spread.choice == ("raw", 0.9, True)


def test_what_is_not_given_is_chosen_by_held_out_labels(data, scaled):
    learner, examples = prepared(data, scaled), few(data, 100)
    spread = learner.spread(examples, seed=0)
    for settings in (
        {"graph_features": "raw", "alpha": 0.9, "class_mass": False},
        {"graph_features": "gradients", "alpha": 0.99, "class_mass": True},
    ):
        chosen = prepared(data, scaled, **settings | spread.choice._asdict())
        np.testing.assert_array_equal(chosen.spread(examples, seed=0).labels, spread.labels)
        other = prepared(data, scaled, **settings)
        given = {"class_mass": None} | {k: settings[k] for k in ("graph_features", "alpha")}
        judged = prepared(data, scaled, **given).spread(examples, seed=0)
        assert judged.accuracy <= spread.accuracy
        assert other.spread(examples, seed=0).accuracy is None


def test_no_label_but_those_that_are_given_is_looked_at(data, scaled):
    examples = few(data)
    hidden = Examples(data.x, examples.y.copy())
    learner = prepared(data, scaled)
    np.testing.assert_array_equal(
        learner.spread(hidden, seed=0).labels, learner.spread(examples, seed=0).labels
    )


def test_it_is_learned_again_to_the_same(data, scaled):
    learner, examples = prepared(data, scaled, dropout=0.3), few(data)

    def answers(learner, seed):
        return learner.learn(examples, seed=seed).logits(data.x_test[:50])

    first = answers(learner, 1)
    assert np.abs(answers(learner, 2) - first).max() > 0.01
    np.testing.assert_array_equal(answers(learner, 1), first)
    np.testing.assert_array_equal(answers(prepared(data, scaled, dropout=0.3), 1), first)


def test_views_bring_pictures_of_a_class_together(data, scaled):
    views = views_of("affine", data.input_shape, data.scaling_range)
    problem = Problem(10, len(data.x), dense_encoder(64, (8,)), scaled, augment=views)
    learner = Propagated().prepare(problem)

    def agreement(**settings):
        """Share of the edges, by their weights, that join two of a class."""
        edges = learner.graph("raw", data.x, **settings).tocoo()
        same = data.y[edges.row] == data.y[edges.col]
        return edges.data[same].sum() / edges.data.sum()

    assert agreement(seed=0, num_views=12) > agreement(seed=0) + 0.003
    again = [learner.graph("raw", data.x, 1, 3) for _ in range(2)]
    assert abs(again[0] - again[1]).max() == 0  # the same seed, the same views


def test_a_graph_of_the_encoders_features_is_of_what_is_transferred(data, scaled):
    learner = prepared(data, scaled, graph_features="encoder", alpha=0.9, class_mass=False)
    assert learner.method.needs_source and not Propagated().needs_source
    encoder = dense_encoder(64, (24,), 12)
    start, examples = Start(encoder.get_weights()), few(data)
    spread = learner.spread(examples, seed=0, start=start)
    near = nearest_neighbours(encoder(scaled(data.x)).numpy(), 10, seed=0)
    targets = (examples.y[:, None] == np.arange(10)).astype(np.float32)
    scores = graphs.propagate(graphs.neighbour_graph(*near), targets, alpha=0.9)
    expected = np.where(examples.y >= 0, examples.y, scores.argmax(axis=1))
    assert np.mean(spread.labels == expected) > 0.99
    # The network itself begins with fresh weights.
    learner.initialize(0, start)
    own = learner.network.get_layer("encoder").get_weights()
    assert np.abs(own[0] - start.encoder_weights[0]).max() > 0.01


def test_examples_that_nothing_reaches_teach_nothing_and_are_counted():
    x, y, learner = on_moons(epochs=2, alpha=0.9)
    far = np.full((20, 2), 0.99, np.float32) + np.linspace(0, 1e-4, 20)[:, None]
    examples = Examples(
        np.concatenate([x, far.astype(np.float32)]),
        np.where(np.isin(np.arange(220), [50, 150]), np.arange(220) // 100, -1),
    )
    spread = learner.spread(examples, seed=0)
    assert np.all(spread.labels[200:] == -1)
    assert "(alpha 0.9) to 198 of 218 unlabelled examples" in learner.learn(examples, seed=0).note
    learned = learner.learn(examples, seed=0).logits(x)
    without = learner.learn(Examples(x, examples.y[:200]), seed=0).logits(x)
    np.testing.assert_array_equal(learned, without)


def test_weights_of_zero_take_an_example_out_of_the_labels(data, scaled):
    examples = few(data)
    wrong = examples.y.copy()
    extra = np.flatnonzero(wrong < 0)[:30]
    wrong[extra] = (data.y[extra] + 1) % 10
    weights = np.ones(len(wrong))
    weights[extra] = 0.0
    settings = {"graph_features": "raw", "alpha": 0.9, "class_mass": False}
    learner = prepared(data, scaled, **settings)
    ignored = learner.spread(Examples(data.x, wrong, weights), seed=0).labels
    rest = np.setdiff1d(np.arange(len(wrong)), extra)
    np.testing.assert_array_equal(ignored[rest], learner.spread(examples, seed=0).labels[rest])


def test_halves_never_split_copies_and_keep_every_class():
    labels = np.repeat([0, 1, 2], [9, 4, 1])
    copies = np.arange(14)
    copies[[1, 2]] = 0  # three equal examples
    splits = half_splits(labels, copies, seed=3)
    assert len(splits) == 5
    for train, held in splits:
        assert sorted([*train, *held]) == list(range(14))
        assert set(labels[train]) == {0, 1, 2}
        assert not set(copies[train]) & set(copies[held])
    assert len({tuple(held) for _, held in splits}) > 2
    again = half_splits(labels, copies, seed=3)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(splits, again, strict=True))
    assert half_splits(np.array([0, 1]), np.arange(2), seed=0) == []


def test_gradients_of_what_is_no_picture_are_refused():
    x, y, _ = on_moons()
    with pytest.raises(UserError, match="gradients .*pictures.*an example has the shape"):
        on_moons(graph_features="gradients")


def test_saved_it_is_a_network_of_stock_layers(data, scaled, tmp_path):
    learned = prepared(data, scaled).learn(few(data), seed=0)
    learned.network.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(scaled(data.x[:9])), learned.logits(data.x[:9]), atol=1e-5)


def test_fits_of_the_same_examples_share_their_graphs():
    data = load_data("digits")
    scaled = preprocessing_model(data.input_shape, data.scaling_range, data.x.dtype)
    problem = Problem(10, 400, dense_encoder(64, [16]), scaled)
    learner = Propagated(epochs=1).prepare(problem)
    x = data.x[:400]
    fewer, more = (
        Examples(x, np.where(np.arange(400) < count, data.y[:400], -1)) for count in (50, 100)
    )
    start = Start(graphs=Graphs(5, {}))
    own = learner.spread(fewer, seed=5)
    shared = learner.spread(fewer, seed=5, start=start)
    np.testing.assert_array_equal(own.labels, shared.labels)
    made = {key: id(graph) for key, (graph, _) in start.graphs.made.items()}
    learned = learner.learn(more, seed=6, start=start)
    assert {key: id(graph) for key, (graph, _) in start.graphs.made.items()} == made
    # What a graph took counts for each that needs it.
    assert learned.head_seconds >= sum(seconds for _, seconds in start.graphs.made.values())
