import keras
import numpy as np
import pytest

from kt_transfer import UserError
from kt_transfer.data.splits import draw_labels
from kt_transfer.methods import Scratch, Vat
from kt_transfer.methods.learning import Examples, Problem
from kt_transfer.models.classifiers import dense_encoder
from kt_transfer.models.preprocessing import preprocessing_model
from kt_transfer.settings import FinetuneConfig
from kt_transfer.training.callbacks import Checkpoint

STEPS = {"epochs": 4, "batch_size": 16}


def prepared(data, scaled, **settings):
    problem = Problem(10, len(data.x), dense_encoder(64, (24,), 12), scaled)
    return Vat(**STEPS | settings).prepare(problem)


def few(data, num=50, rows=slice(None)):
    """The examples of digits, of which so many have their label."""
    labels = np.full_like(data.y, -1)
    known = draw_labels(data.y, num, 0)
    labels[known] = data.y[known]
    return Examples(data.x[rows], labels[rows])


def two_moons(num=200):
    """Two half circles around one another, which no line tells apart: inputs and classes."""
    angle = np.linspace(0, np.pi, num // 2)
    moon = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    other = np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], axis=1)
    return np.concatenate([moon, other]).astype(np.float32) / 2, np.arange(num) // (num // 2)


@pytest.mark.slow
def test_the_shape_of_the_data_is_kept():
    """One label of each moon; perturbations reach halfway from a moon to the other."""
    x, y = two_moons()
    scaled = preprocessing_model((2,), (-1.0, 1.0), "float32")
    problem = Problem(2, len(x), dense_encoder(2, (32, 32)), scaled)
    known = np.isin(np.arange(200), [50, 150])
    labels = np.where(known, y, -1)

    def accuracy(method, examples):
        answers = method.prepare(problem).learn(examples, seed=0).logits(x)
        return np.mean(answers.argmax(axis=1) == y)

    alone = accuracy(Scratch(epochs=100), Examples(x[known], y[known]))
    method = Vat(epsilon=0.08, max_steps=600, learning_rate=3e-3, averaging=0.99)
    assert accuracy(method, Examples(x, labels)) > max(alone + 0.1, 0.97)


def test_it_learns_more_than_propagated_labels_teach(data, scaled):
    problem = Problem(10, len(data.x), dense_encoder(64, (128,)), scaled)
    learner = Vat(max_steps=400, averaging=0.99).prepare(problem)
    learned = learner.learn(few(data), seed=0)
    logits = (learned.logits(data.x_test), learner._first.network(scaled(data.x_test)).numpy())
    after, before = (np.mean(answers.argmax(axis=1) == data.y_test) for answers in logits)
    assert after > before + 0.008


def test_perturbations_are_half_as_long_as_neighbours_are_apart(data, scaled):
    learner, examples = prepared(data, scaled, first="fresh", epochs=1), few(data, rows=slice(300))
    given = scaled(examples.x).numpy().reshape(300, -1)
    apart = np.linalg.norm(given[:, None] - given[None], axis=-1)
    expected = np.median(np.sort(apart, axis=1)[:, 1]) / 2
    found = learner.typical_epsilon(examples.x, seed=0)
    assert found == pytest.approx(expected, rel=6e-3)
    learned = learner.learn(examples, seed=0)
    assert learned.note == f"perturbations have the length {found:g} (epsilon)"
    # The same is learned where it is given, and another thing where another is.
    again, other = (
        prepared(data, scaled, first="fresh", epochs=1, epsilon=epsilon).learn(examples, seed=0)
        for epsilon in (found, 2 * found)
    )
    logits = learned.logits(data.x_test[:50])
    np.testing.assert_array_equal(again.logits(data.x_test[:50]), logits)
    assert np.abs(other.logits(data.x_test[:50]) - logits).max() > 1e-4
    assert again.note is None


def test_copies_of_an_example_are_no_neighbours(data, scaled):
    learner = prepared(data, scaled, first="fresh")
    once = learner.typical_epsilon(data.x[:200], seed=0)
    assert learner.typical_epsilon(np.repeat(data.x[:200], 3, axis=0), seed=0) == once
    with pytest.raises(UserError, match="epsilon.*examples that differ.*are equal"):
        learner.typical_epsilon(np.repeat(data.x[:1], 9, axis=0), seed=0)


def test_it_goes_on_from_what_propagated_labels_teach(data, scaled):
    learner, examples = prepared(data, scaled, epochs=1, learning_rate=1e-6), few(data)
    learned = learner.learn(examples, seed=0)
    first = learner._first.network.get_weights()
    for own, other in zip(learned.network.get_weights(), first, strict=True):
        np.testing.assert_allclose(own, other, atol=1e-4)
    assert "labels spread along a graph" in learned.note
    assert learned.note.endswith("(epsilon)")
    assert learned.head_seconds > 0.2 and len(learned.curve) == 0
    fresh = prepared(data, scaled, epochs=1, first="fresh").learn(examples, seed=0)
    assert np.abs(fresh.network.get_weights()[0] - first[0]).max() > 0.05


@pytest.mark.parametrize("first", [pytest.param("propagated", marks=pytest.mark.slow), "fresh"])
def test_it_is_learned_again_to_the_same(data, scaled, first):
    learner, examples = prepared(data, scaled, first=first, epochs=2), few(data)

    def answers(learner, seed):
        return learner.learn(examples, seed=seed).logits(data.x_test[:50])

    one = answers(learner, 1)
    assert np.abs(answers(learner, 2) - one).max() > 0.01
    np.testing.assert_array_equal(answers(learner, 1), one)
    np.testing.assert_array_equal(answers(prepared(data, scaled, first=first, epochs=2), 1), one)


class StopAt(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_a_resumed_fit_ends_with_the_same_weights(data, scaled, tmp_path):
    examples = few(data)

    def learn(*callbacks):
        learner = prepared(data, scaled, averaging=0.9)
        return learner.learn(examples, seed=0, callbacks=callbacks).network.get_weights()

    def checkpoint():
        return Checkpoint(tmp_path, every_seconds=0.0)

    with pytest.raises(KeyboardInterrupt):
        learn(checkpoint(), StopAt(2))
    assert any(tmp_path.iterdir())
    for resumed, whole in zip(learn(checkpoint()), learn(), strict=True):
        np.testing.assert_array_equal(resumed, whole)


def test_no_label_but_those_that_are_given_is_looked_at(data, scaled):
    examples = few(data, rows=slice(400))
    learner = prepared(data, scaled, first="fresh", epochs=2)
    weights = np.ones(400)
    weights[examples.y < 0] = 1.0
    alike = learner.learn(examples, seed=0).logits(data.x_test[:50])
    weighted = learner.learn(examples._replace(sample_weight=weights), seed=0)
    np.testing.assert_allclose(weighted.logits(data.x_test[:50]), alike, atol=1e-5)


def test_saved_it_is_a_network_of_stock_layers(data, scaled, tmp_path):
    learned = prepared(data, scaled, first="fresh", epochs=1).learn(few(data), seed=0)
    learned.network.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(scaled(data.x[:9])), learned.logits(data.x[:9]), atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"epsilon": 0.0}, "epsilon=0.0 .*more than 0"),
        ({"first": "parameters"}, "first='?parameters'? .*one of propagated, fresh"),
        ({"unlabelled_weight": -1.0}, "unlabelled_weight=-1.0 .*0 or more"),
        ({"averaging": 1.0}, "averaging=1.0 .*a share from 0 to below 1"),
        ({"unlabelled_ratio": 0}, "unlabelled_ratio=0 .*at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, expected):
    with pytest.raises(UserError, match=expected):
        Vat(**settings)
    with pytest.raises(UserError, match=expected):
        FinetuneConfig(source="scratch", method="vat", **settings)


def test_finetune_has_its_settings():
    config = FinetuneConfig(source="scratch", method="vat", epsilon=0.5, first="fresh")
    assert (config.epochs, config.batch_size) == (Vat.epochs, Vat.batch_size)
    assert (config.averaging, config.lr_decay) == (Vat.averaging, Vat.lr_decay)
    with pytest.raises(UserError, match="epsilon=0.5 .*vat"):
        FinetuneConfig(source="scratch", method="consistency", epsilon=0.5)
