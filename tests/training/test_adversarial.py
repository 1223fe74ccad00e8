import keras
import numpy as np
import pytest
import tensorflow as tf

from kt_transfer import FusedModel
from kt_transfer.engine.strategy import choose_strategy
from kt_transfer.training.adversarial import PROBE, AdversarialModel, unit

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 4)).astype("float32")
LABELLED, LABELS = X[:6] + 1, np.array([0, 1, 2, 0, 1, 2])
EPSILON = 0.8


def softmax(logits):
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def cross_entropy(labels, logits):
    return -np.log(softmax(logits)[np.arange(len(labels)), labels])


def divergence(p, q):
    return (p * np.log(p / q)).sum(axis=1)


def lengths(x):
    return np.linalg.norm(x, axis=1)


def linear(width=3):
    x = keras.Input((4,))
    return keras.Model(x, keras.layers.Dense(width, name="head")(x))


def normalized():
    """With layers that change what they keep: statistics, and the state of random masks."""
    x = keras.Input((4,))
    hidden = keras.layers.BatchNormalization()(keras.layers.Dense(8, activation="tanh")(x))
    return keras.Model(x, keras.layers.Dense(3)(keras.layers.Dropout(0.5, seed=1)(hidden)))


def along(inputs, seed):
    """A direction that is known, and another for each example."""
    return keras.ops.roll(inputs, 1, axis=1)


def prepared(
    optimizer=lambda: keras.optimizers.SGD(0.0),
    strategy=None,
    network=linear,
    directions=along,
    **settings,
):
    raw = keras.Input((4,))
    halved = keras.Model(raw, keras.layers.Rescaling(0.5)(raw))
    with (strategy or choose_strategy("one_device")).scope():
        keras.utils.set_random_seed(0)
        model = AdversarialModel(network(), halved, **{"labelled_batch_size": 4} | settings)
        model.compile(optimizer(), metrics=["accuracy"])
        model.hold(LABELLED, LABELS, epsilon=EPSILON)
        model.begin(1)
        if directions:
            model.random_directions = directions
    return model


def fitted(model, epochs=1, batch_size=40, sample_weight=None, **options):
    fused = FusedModel(model, seed=1, **options)
    fused.fit(
        X,
        np.full(40, -1),
        sample_weight=sample_weight,
        batch_size=batch_size,
        epochs=epochs,
        shuffle=False,
        verbose=0,
    )
    return {name: np.array(values) for name, values in model.history.history.items()}


def expected_perturbations(inputs, kernel, bias):
    """Of a linear network, whose gradient is (p(u + d) - p(u)) Wᵀ."""
    start = np.roll(inputs, 1, axis=1)
    start *= PROBE * EPSILON / lengths(start)[:, None]
    before, after = softmax(inputs @ kernel + bias), softmax((inputs + start) @ kernel + bias)
    gradient = (after - before) @ kernel.T
    return EPSILON * gradient / lengths(gradient)[:, None]


@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_loss_is_that_of_numpy(jit_compile):
    model = prepared(weight=0.7)
    kernel, bias = (w.astype(np.float64) for w in model.network.get_weights())
    inputs = 0.5 * X.astype(np.float64)
    answers = softmax(inputs @ kernel + bias)
    moved = inputs + expected_perturbations(inputs, kernel, bias)
    apart = divergence(answers, softmax(moved @ kernel + bias))
    entropy = -(answers * np.log(answers)).sum(axis=1)
    labelled = cross_entropy(LABELS[:4], 0.5 * LABELLED[:4] @ kernel + bias)
    weights = np.linspace(0, 2, 40)
    found = fitted(model, jit_compile=jit_compile, sample_weight=weights)
    assert found["labelled_loss"] == pytest.approx(labelled.mean(), rel=1e-4)
    assert found["divergence"] == pytest.approx(apart.mean(), rel=1e-3)
    assert found["entropy"] == pytest.approx(entropy.mean(), rel=1e-4)
    expected = labelled.mean() + 0.7 * (weights * (apart + entropy)).mean()
    assert found["loss"] == pytest.approx(expected, rel=1e-3)


def test_a_step_follows_the_gradient_in_which_answers_are_constant():
    """Of the divergence: of its first argument there is no gradient, of the entropy there is."""
    model = prepared(lambda: keras.optimizers.SGD(1.0))
    kernel, bias = (w.astype(np.float64) for w in model.network.get_weights())
    inputs = 0.5 * X.astype(np.float64)
    moved = inputs + expected_perturbations(inputs, kernel, bias)
    constant = softmax(inputs @ kernel + bias)

    def loss(kernel):
        answers = softmax(inputs @ kernel + bias)
        entropy = -(answers * np.log(answers)).sum(axis=1)
        apart = divergence(constant, softmax(moved @ kernel + bias))
        labelled = cross_entropy(LABELS[:4], 0.5 * LABELLED[:4] @ kernel + bias)
        return labelled.mean() + (apart + entropy).mean()

    gradient = np.zeros_like(kernel)
    for place in np.ndindex(kernel.shape):
        change = np.zeros_like(kernel)
        change[place] = 1e-5
        gradient[place] = (loss(kernel + change) - loss(kernel - change)) / 2e-5
    fitted(model)
    found = kernel - model.network.get_weights()[0]
    np.testing.assert_allclose(found, gradient, rtol=2e-3, atol=2e-4)


def seen_by(model, monkeypatch):
    """What the network is given in a step: inputs as they are, towards d, and towards r."""
    seen, call = [], type(model.network).call

    def watched(network, inputs, *args, **kwargs):
        if network is model.network and kwargs.get("training"):
            seen.append(np.asarray(keras.ops.stop_gradient(inputs)))
        return call(network, inputs, *args, **kwargs)

    monkeypatch.setattr(type(model.network), "call", watched)
    model.run_eagerly = True
    model.fit(X, np.full(40, -1), batch_size=40, shuffle=False, verbose=0)
    return seen


def test_perturbations_point_where_answers_change_most(monkeypatch):
    """By finite differences of the divergence, through a network with a hidden layer."""

    def network():
        x = keras.Input((4,))
        hidden = keras.layers.Dense(16, activation="tanh")(x)
        return keras.Model(x, keras.layers.Dense(3, name="head")(hidden))

    model = prepared(network=network, directions=None)
    plain, towards_d, towards_r = (s[4:].astype(np.float64) for s in seen_by(model, monkeypatch))
    np.testing.assert_allclose(lengths(towards_d - plain), PROBE * EPSILON, rtol=1e-3)
    np.testing.assert_allclose(lengths(towards_r - plain), EPSILON, rtol=1e-4)
    first, bias, last, offset = (w.astype(np.float64) for w in model.network.get_weights())

    def answers(inputs):
        return softmax(np.tanh(inputs @ first + bias) @ last + offset)

    change = 1e-5 * np.eye(4)
    gradient = np.stack(
        [
            divergence(answers(plain), answers(towards_d + step))
            - divergence(answers(plain), answers(towards_d - step))
            for step in change
        ],
        axis=1,
    )
    along_gradient = gradient / lengths(gradient)[:, None]
    cosine = ((towards_r - plain) / EPSILON * along_gradient).sum(axis=1)
    assert cosine.min() > 0.999
    # Further away than the random directions and most others of the length lead.
    others = unit(RNG.normal(size=(200, 40, 4))).numpy() * EPSILON
    worst = divergence(answers(plain), answers(towards_r))
    reached = [divergence(answers(plain), answers(plain + other)).mean() for other in others]
    assert worst.mean() > 1.5 * np.mean(reached)


def test_labelled_examples_are_not_perturbed(monkeypatch):
    seen = seen_by(prepared(), monkeypatch)
    assert len(seen) == 3
    for given in seen:
        np.testing.assert_array_equal(given[:4], 0.5 * LABELLED[:4])


def test_without_a_perturbation_nothing_diverges():
    """The same statistics of the batch and the same masks in both passes."""
    model = prepared(network=normalized)
    assert fitted(model)["divergence"] > 1e-2
    model.hold(LABELLED, LABELS, epsilon=1e-5)
    assert fitted(model)["divergence"] == pytest.approx(0, abs=1e-6)


def test_perturbed_passes_change_no_state():
    model = prepared(network=normalized, directions=None)
    plain = keras.models.clone_model(model.network)
    plain.set_weights(model.network.get_weights())
    seen = 0.5 * np.concatenate([LABELLED[:4], X])
    plain(seen, training=True)
    before = [v.numpy() for v in model.network.non_trainable_variables]
    fitted(model)
    for own, other, start in zip(
        model.network.non_trainable_variables, plain.non_trainable_variables, before, strict=True
    ):
        np.testing.assert_allclose(own.numpy(), other.numpy(), rtol=1e-5, atol=1e-7)
        assert np.any(own.numpy() != start)


def test_another_epsilon_is_taken_in_the_same_program():
    model = prepared()
    traced = []
    model.random_directions = lambda x, seed: traced.append(1) or along(x, seed)
    fused, found = FusedModel(model, seed=1), []
    for epsilon in (0.1, 0.2):
        model.hold(LABELLED, LABELS, epsilon=epsilon)
        fused.fit(X, np.full(40, -1), batch_size=40, verbose=0)
        found.append(model.history.history["divergence"][-1])
    assert len(traced) <= 2
    assert found[1] == pytest.approx(4 * found[0], rel=0.1)  # the divergence is quadratic


def test_only_the_network_is_trained_and_the_teacher_answers():
    model = prepared(lambda: keras.optimizers.SGD(0.5), averaging=0.9)
    names = [id(variable) for variable in model.trainable_weights]
    assert names == [id(variable) for variable in model.network.trainable_weights]
    fitted(model, epochs=3)
    kernel, bias = model.teacher.get_weights()
    assert np.abs(kernel - model.network.get_weights()[0]).max() > 1e-3
    found = FusedModel(model).evaluate(LABELLED, LABELS, return_dict=True, verbose=0)
    assert set(found) == {"accuracy", "labelled_loss", "loss"}
    expected = cross_entropy(LABELS, 0.5 * LABELLED @ kernel + bias).mean()
    assert found["loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("replicas", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_directions_are_a_function_of_seed_and_step(replicas):
    strategy = choose_strategy("mirrored" if replicas > 1 else "one_device")

    def weights(seed):
        model = prepared(lambda: keras.optimizers.Adam(0.1), strategy, directions=None)
        model.begin(seed)
        fitted(model, epochs=4, batch_size=20)
        return model.teacher.get_weights()[0]

    np.testing.assert_array_equal(weights(1), weights(1))
    assert np.abs(weights(1) - weights(2)).max() > 1e-4


def test_replicas_share_a_batch():
    """What is the same on one device: directions that are not random."""
    found = []
    for kind in ("one_device", "mirrored"):
        model = prepared(lambda: keras.optimizers.SGD(0.1), choose_strategy(kind), averaging=0.5)
        losses = fitted(model, epochs=5)["loss"]
        found.append((losses, *model.teacher.get_weights()))
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_where_no_direction_changes_an_answer_there_is_none(jit_compile):
    """XLA divides by the product of divisors, which must not vanish."""
    x = np.array([[0.0, 0.0], [1e-25, 0.0], [3.0, 4.0]], "float32")
    found = tf.function(unit, jit_compile=jit_compile)(tf.constant(x)).numpy()
    np.testing.assert_allclose(found, [[0.0, 0.0], [1.0, 0.0], [0.6, 0.8]], rtol=1e-5)


def test_inputs_of_any_rank_have_one_length_each():
    x = RNG.normal(size=(5, 3, 3, 2)).astype("float32")
    np.testing.assert_allclose(lengths(unit(x).numpy().reshape(5, -1)), 1.0, rtol=1e-5)
