import keras
import numpy as np
import pytest

from kt_transfer import FusedModel
from kt_transfer.engine.strategy import choose_strategy
from kt_transfer.training.consistency import ConsistencyModel

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 4)).astype("float32")
LABELLED, LABELS = X[:6] + 1, np.array([0, 1, 2, 0, 1, 2])
PRIOR = np.array([0.5, 0.3, 0.2], "float32")


def doubled(x, seed):
    """A view that is known."""
    return 2.0 * x


def softmax(logits):
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def cross_entropy(labels, logits):
    return -np.log(softmax(logits)[np.arange(len(labels)), labels])


def linear(width=3):
    x = keras.Input((4,))
    return keras.Model(x, keras.layers.Dense(width, name="head")(x))


def prepared(
    optimizer=lambda: keras.optimizers.SGD(0.0),
    views=doubled,
    strategy=None,
    network=linear,
    **settings,
):
    raw = keras.Input((4,))
    halved = keras.Model(raw, keras.layers.Rescaling(0.5)(raw))
    with (strategy or choose_strategy("one_device")).scope():
        keras.utils.set_random_seed(0)
        model = ConsistencyModel(
            network(),
            halved,
            views=views,
            **{"threshold": 0.47, "labelled_batch_size": 4} | settings,
        )
        model.compile(optimizer(), metrics=["accuracy"])
        model.hold(LABELLED, LABELS, prior=PRIOR)
        model.begin(1)
    return model


def fitted(model, epochs=1, batch_size=40, **options):
    fused = FusedModel(model, seed=1, **options)
    nothing = np.full(40, -1)
    fused.fit(X, nothing, batch_size=batch_size, epochs=epochs, shuffle=False, verbose=0)
    return {name: np.array(values) for name, values in model.history.history.items()}


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("align", [False, True])
def test_the_loss_is_that_of_numpy(jit_compile, align):
    model = prepared(align=align, weight=0.7)
    kernel, bias = model.network.get_weights()
    answers = softmax(0.5 * X @ kernel + bias)
    if align:
        shares = 0.99 / 3 + 0.01 * answers.mean(axis=0)
        answers = answers * PRIOR / shares
        answers /= answers.sum(axis=1, keepdims=True)
    trusted = answers.max(axis=1) >= 0.47
    assert 0.2 < trusted.mean() < 0.8
    each = cross_entropy(answers.argmax(axis=1), X @ kernel + bias)
    labelled = cross_entropy(LABELS[:4], LABELLED[:4] @ kernel + bias)
    found = fitted(model, jit_compile=jit_compile)
    assert found["labelled_loss"] == pytest.approx(labelled.mean(), rel=1e-4)
    assert found["consistency_loss"] == pytest.approx((each * trusted).mean(), rel=1e-4)
    assert found["trusted"] == pytest.approx(trusted.mean())
    expected = labelled.mean() + 0.7 * (each * trusted).mean()
    assert found["loss"] == pytest.approx(expected, rel=1e-4)


def test_steps_take_the_labelled_examples_in_turn():
    model = prepared()
    kernel, bias = model.network.get_weights()
    losses = cross_entropy(LABELS, LABELLED @ kernel + bias)
    taken = np.arange(3 * 4).reshape(3, 4) % 6
    found = fitted(model, epochs=3)["labelled_loss"]
    assert found == pytest.approx(losses[taken].mean(axis=1), rel=1e-4)


def test_labelled_examples_count_by_their_weight():
    model = prepared(weight=0.0)
    kernel, bias = model.network.get_weights()
    losses = cross_entropy(LABELS, LABELLED @ kernel + bias)
    weights = np.array([3.0, 1.0, 1.0, 1.0, 3.0, 3.0])
    model.hold(LABELLED, LABELS, weights, prior=PRIOR)
    expected = (losses * weights / weights.mean())[:4].mean()
    assert fitted(model)["loss"] == pytest.approx(expected, rel=1e-4)


def test_the_teacher_is_an_average_of_the_network():
    model = prepared(lambda: keras.optimizers.SGD(0.5), averaging=0.2)
    average = model.network.get_weights()
    before = [weights.copy() for weights in average]
    for step in range(1, 5):
        nothing = np.full(40, -1)
        FusedModel(model, seed=1).fit(X, nothing, batch_size=40, verbose=0, shuffle=False)
        kept = min(0.2, step / (9 + step))
        own = model.network.get_weights()
        average = [kept * a + (1 - kept) * w for a, w in zip(average, own, strict=True)]
        for found, expected in zip(model.teacher.get_weights(), average, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert np.abs(average[0] - before[0]).max() > 0.05
    assert np.abs(average[0] - own[0]).max() > 1e-3


def test_what_is_evaluated_and_predicted_is_the_teacher():
    model = prepared(lambda: keras.optimizers.SGD(0.5), averaging=0.9)
    fitted(model, epochs=3)
    kernel, bias = model.teacher.get_weights()
    logits = 0.5 * LABELLED @ kernel + bias
    fused = FusedModel(model)
    np.testing.assert_allclose(fused.predict(LABELLED, verbose=0), logits, rtol=1e-4, atol=1e-5)
    found = fused.evaluate(LABELLED, LABELS, return_dict=True, verbose=0)
    assert set(found) == {"accuracy", "labelled_loss", "loss"}
    assert found["loss"] == pytest.approx(cross_entropy(LABELS, logits).mean(), rel=1e-4)
    assert found["accuracy"] == pytest.approx((logits.argmax(axis=1) == LABELS).mean())


def test_only_the_network_is_trained():
    model = prepared()
    names = [id(variable) for variable in model.trainable_weights]
    assert names == [id(variable) for variable in model.network.trainable_weights]
    # What is saved and served is as trainable as any other network.
    assert len(model.teacher.trainable_weights) == 2


def random_views(x, seed):
    import tensorflow as tf

    return x + tf.cast(tf.random.stateless_normal(tf.shape(x), seed), x.dtype)


@pytest.mark.parametrize("replicas", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_views_are_a_function_of_seed_and_step(replicas):
    strategy = choose_strategy("mirrored" if replicas > 1 else "one_device")

    def weights(seed, epochs=4):
        model = prepared(lambda: keras.optimizers.Adam(0.1), random_views, strategy)
        model.begin(seed)
        fitted(model, epochs=epochs, batch_size=20)
        return model.teacher.get_weights()[0]

    np.testing.assert_array_equal(weights(1), weights(1))
    assert np.abs(weights(1) - weights(2)).max() > 1e-3


def test_replicas_share_a_batch():
    """What is the same on one device: views that are not random, and a threshold far away."""
    found = []
    for kind in ("one_device", "mirrored"):
        model = prepared(
            lambda: keras.optimizers.SGD(0.1),
            strategy=choose_strategy(kind),
            threshold=0.0,
            averaging=0.5,
        )
        losses = fitted(model, epochs=5)["loss"]
        found.append((losses, *model.teacher.get_weights()))
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


def test_other_labelled_examples_are_learned_in_the_same_program():
    model = prepared(lambda: keras.optimizers.SGD(0.5), weight=0.0)
    traced = []
    views = model.views
    model.views = lambda x, seed: traced.append(1) or views(x, seed)
    fused = FusedModel(model, seed=1)
    losses = []
    for count in (6, 5, 7):  # folds of nearly one size
        x = np.concatenate([LABELLED, LABELLED])[:count]
        y = np.concatenate([LABELS, LABELS])[:count]
        model.hold(x, y, prior=PRIOR)
        model.begin(1)
        fused.fit(X, np.full(40, -1), batch_size=40, epochs=2, verbose=0)
        losses.append(model.history.history["loss"][-1])
    assert len(traced) <= 4
    assert len(set(losses)) == 3
