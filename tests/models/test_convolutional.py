"""The convolutional autoencoder, against NumPy on given weights."""

import subprocess
import sys

import keras
import numpy as np
import pytest

from kt_transfer import FusedModel, ReconstructionLoss, conv_autoencoder

RNG = np.random.default_rng(0)
SHAPES = [(28, 28, 1), (8, 8, 3), (33, 17, 3), (1, 1, 1), (1, 9, 2), (7, 2, 4)]


def images(count, shape):
    return RNG.uniform(-1, 1, (count, *shape)).astype(np.float32)


def randomized(model):
    """Biases that are not zero."""
    rng = np.random.default_rng(1)
    model.set_weights([w + rng.normal(scale=0.2, size=w.shape) for w in model.get_weights()])
    return model


@pytest.mark.parametrize("filters", [(4,), (4, 6), (4, 5, 6)])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_image_of_any_size_comes_back_in_its_size(shape, filters):
    model = conv_autoencoder(shape, filters, 5)
    assert model.input_shape == model.output_shape == (None, *shape)
    assert model.get_layer("encoder").output_shape == (None, 5)
    output = model(images(3, shape)).numpy()
    assert output.shape == (3, *shape)
    assert np.abs(output).max() < 1


def test_the_layers_and_their_order():
    model = conv_autoencoder((28, 28, 1))
    described = {
        part: [(layer.name, layer.output.shape[1:]) for layer in model.get_layer(part).layers]
        for part in ("encoder", "decoder")
    }
    assert described == {
        "encoder": [
            ("features", (28, 28, 1)),
            ("conv_1", (14, 14, 16)),
            ("conv_2", (7, 7, 32)),
            ("flatten", (1568,)),
            ("bottleneck", (64,)),
        ],
        "decoder": [
            ("code", (64,)),
            ("hidden", (1568,)),
            ("unflatten", (7, 7, 32)),
            ("deconv_1", (14, 14, 16)),
            ("reconstruction", (28, 28, 1)),
        ],
    }
    # A code that starts alive, as in the dense autoencoder.
    bottleneck = model.get_layer("encoder").get_layer("bottleneck")
    assert bottleneck.activation is keras.activations.relu
    assert (bottleneck.get_weights()[1] == 1).all()


def geometry(size):
    """Half of a size, rounded up; cells of padding before it."""
    half = -(-size // 2)
    return half, (2 * half + 1 - size) // 2


def windows(padded, half_height, half_width):
    """What each place of a kernel of 3 × 3 sees at a stride of 2."""
    for a, b in np.ndindex(3, 3):
        yield (a, b), padded[:, a : a + 2 * half_height - 1 : 2, b : b + 2 * half_width - 1 : 2]


def convolved(x, kernel, bias):
    _, height, width, channels = x.shape
    (half_height, top), (half_width, left) = geometry(height), geometry(width)
    padded = np.zeros((len(x), 2 * half_height + 1, 2 * half_width + 1, channels))
    padded[:, top : top + height, left : left + width] = x
    return bias + sum(
        window @ kernel[place] for place, window in windows(padded, half_height, half_width)
    )


def transposed(x, kernel, bias, height, width):
    (half_height, top), (half_width, left) = geometry(height), geometry(width)
    padded = np.zeros((len(x), 2 * half_height + 1, 2 * half_width + 1, kernel.shape[2]))
    for place, window in windows(padded, half_height, half_width):
        window += x @ kernel[place].T
    return bias + padded[:, top : top + height, left : left + width]


def relu(x):
    return np.maximum(x, 0)


def in_numpy(model, x):
    """Code and reconstruction."""
    *convolutions, (kernel, bias) = weights_of(model.get_layer("encoder"))
    sizes = []
    for weights in convolutions:
        sizes.append(x.shape[1:3])
        x = relu(convolved(x, *weights))
    code = relu(x.reshape(len(x), -1) @ kernel + bias)
    (kernel, bias), *convolutions = weights_of(model.get_layer("decoder"))
    x = relu(code @ kernel + bias).reshape(x.shape)
    for number, weights in enumerate(convolutions, 1):
        activation = np.tanh if number == len(convolutions) else relu
        x = activation(transposed(x, *weights, *sizes.pop()))
    return code, x


def weights_of(model):
    return [layer.get_weights() for layer in model.layers if layer.weights]


@pytest.mark.parametrize("shape", [(8, 8, 1), (7, 6, 3), (1, 5, 2)])
def test_the_loss_is_the_squared_error_summed_over_every_value(shape):
    model, x = randomized(conv_autoencoder(shape, (4, 6), 5)), images(16, shape)
    code, output = in_numpy(model, x)
    assert (code > 0).any()
    np.testing.assert_allclose(model.get_layer("encoder")(x), code, atol=1e-4)
    np.testing.assert_allclose(model(x), output, atol=1e-4)
    model.compile(loss=ReconstructionLoss(), metrics=["mse"], jit_compile=False)
    results = model.evaluate(x, x, return_dict=True, verbose=0)
    squared = np.square(x - output)
    assert results["loss"] == pytest.approx(squared.sum(axis=(1, 2, 3)).mean(), rel=1e-4)
    assert results["mse"] == pytest.approx(squared.mean(), rel=1e-4)


def test_training_lowers_the_loss_of_images_it_never_saw():
    def stripes(count):
        """Two numbers an image: what a code of four can hold."""
        across, down = (RNG.uniform(0, 0.8, (count, 1, 1)) for _ in range(2))
        rows, columns = np.mgrid[:9, :7]
        grey = np.sin(across * columns) * np.cos(down * rows)
        return np.stack([grey, -grey], axis=-1).astype(np.float32)

    keras.utils.set_random_seed(0)
    model, x, unseen = conv_autoencoder((9, 7, 2), (4, 8), 4), stripes(256), stripes(64)
    model.compile(keras.optimizers.Adam(0.01), loss=ReconstructionLoss(), jit_compile=False)
    before = model.evaluate(unseen, unseen, verbose=0)
    fused = FusedModel(model, transform=lambda x, *_: (x, x, None), jit_compile=False)
    fused.fit(x, batch_size=32, epochs=20, verbose=0)
    assert model.evaluate(unseen, unseen, verbose=0) < 0.3 * before


def test_noise_is_dropout_on_the_input_in_training_alone():
    x = images(8, (8, 8, 3))
    model = conv_autoencoder((8, 8, 3), (4,), 5, noise=0.5)
    plain = conv_autoencoder((8, 8, 3), (4,), 5)
    plain.set_weights([w for w in model.get_weights() if w.dtype == np.float32])
    np.testing.assert_allclose(model(x, training=False), plain(x), rtol=1e-5, atol=1e-6)
    assert np.abs(model(x, training=True) - plain(x)).max() > 0.01
    assert "noise" not in [layer.name for layer in model.get_layer("encoder").layers]


LOAD = """
import sys
sys.modules["kt_transfer"] = None
import keras, numpy as np
np.save("output.npy", keras.saving.load_model("conv.keras")(np.load("x.npy")))
"""


@pytest.mark.slow
def test_a_saved_model_loads_where_the_package_is_not(tmp_path):
    model, x = randomized(conv_autoencoder((7, 6, 3), (4, 6), 5, noise=0.1)), images(5, (7, 6, 3))
    model.save(tmp_path / "conv.keras")
    np.save(tmp_path / "x.npy", x)
    done = subprocess.run(
        [sys.executable, "-c", LOAD], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "output.npy"), model(x), atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"input_shape": (28, 28)}, r"input_shape \(28, 28\), expected \(height, width, channels"),
        ({"filters": ()}, r"filters \(\), expected at least one"),
        ({"noise": 1.0}, "noise 1.0"),
    ],
)
def test_settings_out_of_range_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        conv_autoencoder(**{"input_shape": (8, 8, 1), **wrong})
