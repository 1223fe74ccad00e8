"""The objectives of design.md, against NumPy on given weights."""

import subprocess
import sys

import keras
import numpy as np
import pytest

from kt_transfer import ReconstructionLoss, UserError, dense_autoencoder, sparse_autoencoder
from kt_transfer.models.autoencoders import (
    category_sizes_of,
    num_active_units,
    transferable_encoder,
)
from kt_transfer.models.penalties import PENALTIES, SPARSITIES

RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (32, 12)).astype(np.float32)


def forward(layers, x):
    """Dense layers, each a pair of weights and an activation."""
    for (kernel, bias), activation in layers:
        x = activation(x.astype(np.float64) @ kernel + bias)
    return x


def relu(x):
    return np.maximum(x, 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def dense_weights(model):
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    return [layer.get_weights() for layer in dense]


def in_numpy(model, x, code=relu, constrain=lambda z: z):
    """Code and reconstruction."""
    *hidden, bottleneck = dense_weights(model.get_layer("encoder"))
    z = forward([*((w, relu) for w in hidden), (bottleneck, code)], x)
    *hidden, last = dense_weights(model.get_layer("decoder"))
    return z, forward([*((w, relu) for w in hidden), (last, np.tanh)], constrain(z))


def randomized(model):
    """Biases that are not zero, and codes large enough for a penalty to count."""
    rng = np.random.default_rng(1)
    weights = [w + rng.normal(scale=0.3, size=w.shape) for w in model.get_weights()]
    model.set_weights(weights)
    return model


def evaluated(model, x, **options):
    model.compile(loss=ReconstructionLoss(), metrics=["mse"], jit_compile=False)
    return model.evaluate(x, x, return_dict=True, verbose=0, **options)


def test_the_reference_network():
    model = dense_autoencoder(784)
    relu, tanh = keras.activations.relu, keras.activations.tanh
    described = {
        part: [
            (layer.name, layer.units, layer.activation)
            for layer in model.get_layer(part).layers
            if layer.weights
        ]
        for part in ("encoder", "decoder")
    }
    assert described == {
        "encoder": [
            ("hidden_1", 128, relu),
            ("hidden_2", 64, relu),
            ("hidden_3", 32, relu),
            ("hidden_4", 16, relu),
            ("bottleneck", 8, relu),
        ],
        "decoder": [
            ("hidden_1", 16, relu),
            ("hidden_2", 32, relu),
            ("hidden_3", 64, relu),
            ("hidden_4", 128, relu),
            ("reconstruction", 784, tanh),
        ],
    }
    assert model.input_shape == model.output_shape == (None, 784)


def test_the_loss_is_the_squared_error_summed_over_features():
    model = randomized(dense_autoencoder(12, (8, 6), 4))
    _, output = in_numpy(model, X)
    squared = np.square(X - output)
    results = evaluated(model, X)
    assert results["loss"] == pytest.approx(squared.sum(axis=1).mean(), rel=1e-5)
    assert results["mse"] == pytest.approx(squared.mean(), rel=1e-5)


def largest(z, k):
    kept = np.zeros_like(z)
    np.put_along_axis(kept, order := np.argsort(z)[:, -k:], np.take_along_axis(z, order, 1), 1)
    return kept


@pytest.mark.parametrize("sparsity", PENALTIES)
@pytest.mark.parametrize("weight", [0.7, None])
def test_a_penalty_is_counted_by_evaluate(sparsity, weight):
    penalty = PENALTIES[sparsity]
    model = randomized(sparse_autoencoder(12, (8, 6), 4, sparsity=sparsity, sparsity_weight=weight))
    z, output = in_numpy(model, X, {"relu": relu, "sigmoid": sigmoid}[penalty.activation])
    reconstruction = np.square(X - output).sum(axis=1).mean()
    value = float(penalty.of(z.astype(np.float32), 0.05))
    counted = (penalty.weight if weight is None else weight) * value
    results = evaluated(model, X, batch_size=32)
    assert results["loss"] == pytest.approx(reconstruction + counted, rel=1e-5)
    assert results["loss"] - reconstruction == pytest.approx(counted, rel=1e-3, abs=1e-5)
    assert results["mse"] == pytest.approx(np.square(X - output).mean(), rel=1e-5)


def test_a_penalty_is_the_mean_over_batches():
    model = randomized(sparse_autoencoder(12, (8, 6), 4, sparsity_weight=0.7))
    whole = evaluated(model, X, batch_size=32)["loss"]
    assert evaluated(model, X, batch_size=8)["loss"] == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("k", [1, 3])
def test_k_sparse_keeps_the_largest(k):
    keras.utils.set_random_seed(0)  # with which some code has three active units
    model = randomized(sparse_autoencoder(12, (8, 6), 4, sparsity="k_sparse", num_active=k))
    z, output = in_numpy(model, X, constrain=lambda z: largest(z, k))
    results = evaluated(model, X)
    assert results["loss"] == pytest.approx(np.square(X - output).sum(axis=1).mean(), rel=1e-5)
    code = model.get_layer("encoder").predict(X, verbose=0)
    np.testing.assert_allclose(code, largest(z, k), rtol=1e-5, atol=1e-6)
    assert (code > 0).sum(axis=1).max() == k


@pytest.mark.slow
def test_a_larger_weight_gives_a_smaller_code():
    norms = []
    for weight in (0.0, 1.0):
        keras.utils.set_random_seed(0)
        model = sparse_autoencoder(12, (8, 6), 4, sparsity_weight=weight)
        model.compile(keras.optimizers.Adam(0.03), loss=ReconstructionLoss(), jit_compile=False)
        model.fit(X, X, epochs=10, verbose=0)
        norms.append(np.abs(model.get_layer("encoder").predict(X, verbose=0)).mean())
    assert norms[1] < 0.5 * norms[0]


@pytest.mark.parametrize("kind", ["masking", "gaussian"])
def test_noise_is_on_the_input_in_training_alone(kind):
    model = dense_autoencoder(12, (8,), 4, noise=0.5, noise_kind=kind)
    plain = dense_autoencoder(12, (8,), 4)
    plain.set_weights([w for w in model.get_weights() if w.dtype == np.float32])
    np.testing.assert_allclose(model(X, training=False), plain(X), rtol=1e-6)
    assert np.abs(model(X, training=True) - plain(X)).max() > 0.01
    assert [layer.name for layer in model.get_layer("encoder").layers][1:] == [
        "hidden_1",
        "bottleneck",
    ]


def test_gaussian_noise_has_that_deviation():
    noise = sparse_autoencoder(12, noise=0.7, noise_kind="gaussian").get_layer("noise")
    drawn = noise(np.zeros((1000, 12)), training=True)
    assert float(np.std(drawn)) == pytest.approx(0.7, rel=0.05)


@pytest.mark.parametrize(
    "wrong", [{"noise": 1.0}, {"noise": 1.1, "noise_kind": "gaussian"}, {"noise_kind": "pink"}]
)
def test_noise_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match="noise"):
        dense_autoencoder(12, **{"noise": 0.1, **wrong})


@pytest.mark.parametrize("hidden_units", [(), (8,)])
def test_the_decoder_starts_as_the_code_transposed(hidden_units):
    autoencoder = sparse_autoencoder(10, hidden_units, 12, sparsity="k_sparse", num_active=3)
    encoder, decoder = (autoencoder.get_layer(name) for name in ("encoder", "decoder"))
    kernel, bias = encoder.get_layer("bottleneck").get_weights()
    first = next(layer for layer in decoder.layers if layer.weights)
    np.testing.assert_array_equal(first.get_weights()[0], kernel.T)
    # Nothing comes of nothing: the lowest inputs, or hidden units that are silent.
    nothing = np.zeros((1, 8)) if hidden_units else -np.ones((1, 10))
    np.testing.assert_allclose(nothing @ kernel + bias, 0, atol=1e-5)


@pytest.mark.parametrize(("k", "stay"), [(1, 3), (2, 6), (3, 8)])
def test_of_a_k_sparse_code_three_times_as_many_units_are_transferred(k, stay):
    model = randomized(sparse_autoencoder(12, (), 8, sparsity="k_sparse", num_active=k))
    assert num_active_units(model) == k
    encoder = transferable_encoder(model)
    code = encoder.predict(X, verbose=0)
    np.testing.assert_allclose(code, largest(in_numpy(model, X)[0], stay), rtol=1e-5, atol=1e-6)
    assert (encoder.name, encoder.losses) == ("encoder", [])
    own = model.get_layer("encoder").get_layer("bottleneck")
    assert encoder.get_layer("bottleneck") is own


def test_no_other_code_has_a_number_of_units_that_stay():
    assert num_active_units(sparse_autoencoder(12, (8,), 4, sparsity="l1")) is None


@pytest.mark.parametrize("sparsity", PENALTIES)
def test_the_transferable_encoder_has_no_penalty(sparsity):
    model = randomized(sparse_autoencoder(12, (8, 6), 4, sparsity=sparsity, sparsity_weight=1.0))
    encoder = transferable_encoder(model)
    assert encoder.name == "encoder"
    np.testing.assert_allclose(encoder(X), model.get_layer("encoder")(X), rtol=1e-6)
    assert encoder.losses == []
    assert encoder.get_layer("hidden_1") is model.get_layer("encoder").get_layer("hidden_1")


LOAD = """
import sys
sys.modules["kt_transfer"] = None
import keras, numpy as np
x = np.load("x.npy")
for name in {names}:
    model = keras.saving.load_model(f"{{name}}.keras")
    np.save(f"{{name}}.npy", model(x))
    print(name, sum(float(loss) for loss in model.losses))
"""


@pytest.mark.slow
def test_saved_models_load_where_the_package_is_not(tmp_path):
    models = {"dense": dense_autoencoder(12, (8, 6), 4)} | {
        name: sparse_autoencoder(12, (8, 6), 4, sparsity=name, sparsity_weight=0.5)
        for name in SPARSITIES
    }
    np.save(tmp_path / "x.npy", X)
    for name, model in models.items():
        randomized(model).save(tmp_path / f"{name}.keras")
    script = LOAD.format(names=list(models))
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    penalties = dict(line.split() for line in done.stdout.splitlines())
    for name, model in models.items():
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.npy"), model(X), atol=1e-6)
        assert float(penalties[name]) == pytest.approx(sum(map(float, model.losses)), rel=1e-5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sparsity": "l2"}, "'l2', expected squared_l1"),
        ({"sparsity_weight": -0.1}, "sparsity_weight -0.1"),
        ({"sparsity": "kl", "sparsity_target": 1.0}, "sparsity_target 1.0"),
        ({"sparsity": "k_sparse", "num_active": 5}, "num_active 5, expected from 1 to .* 4"),
        ({"sparsity": "k_sparse", "num_active": 0}, "num_active 0"),
    ],
)
def test_settings_out_of_range_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message) as error:
        sparse_autoencoder(12, (8,), 4, **wrong)
    assert not isinstance(error.value, UserError)  # no flag was given


def test_categories_are_reconstructed_as_probabilities(tmp_path):
    model = dense_autoencoder(12, (8,), 4, category_sizes=(3, 2))
    made = model(X).numpy()
    assert (np.abs(made[:, :7]) < 1).all() and (made[:, 7:] > 0).all()
    assert made[:, 7:10].sum(axis=1) == pytest.approx(np.ones(32), abs=1e-5)
    assert made[:, 10:].sum(axis=1) == pytest.approx(np.ones(32), abs=1e-5)
    assert category_sizes_of(model) == (3, 2)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert category_sizes_of(loaded) == (3, 2) and np.array_equal(loaded(X), made)
    assert category_sizes_of(dense_autoencoder(12)) == ()
    words = sparse_autoencoder(5, (8,), 4, category_sizes=(3, 2))
    assert words(X[:, :5]).numpy().sum(axis=1) == pytest.approx(np.full(32, 2.0), abs=1e-5)
