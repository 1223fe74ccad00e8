"""A small convolutional autoencoder as a plain functional Keras model."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
from keras import layers

from kt_transfer.models.autoencoders import code_layer, noise_layer

_KERNEL = {"kernel_size": 3, "strides": 2, "padding": "same"}


def conv_autoencoder(
    input_shape: tuple[int, int, int],
    filters: Sequence[int] = (16, 32),
    latent_dim: int = 64,
    output_activation: str = "tanh",
    *,
    noise: float = 0.0,
    noise_kind: str = "masking",
) -> keras.Model:
    """A convolutional autoencoder, x ↦ D(E(x)), for images of any size and number of channels.

    Every convolution has a 3 × 3 kernel and halves height and width, rounded up; the decoder
    mirrors the encoder with transposed convolutions. Like a
    :func:`~kt_transfer.dense_autoencoder` it is trained with
    :class:`~kt_transfer.ReconstructionLoss` and minimizes ‖x − D(E(x))‖² (Masci et al., 2011,
    https://doi.org/10.1007/978-3-642-21735-7_7, with strides in place of pooling).

    Args:
        input_shape: Height, width and channels of one image, each at least 1, scaled to the
            range of ``output_activation``.
        filters: Filters of the encoder's convolutions, at least one, ReLU each.
        latent_dim: Width of the code, the dense layer ``"bottleneck"``, ReLU as well.
        output_activation: Activation of the reconstruction; ``"tanh"`` for [-1, 1].
        noise: Strength of the corruption of the inputs during training, as in
            :func:`~kt_transfer.dense_autoencoder`, drawn for each channel of a pixel.
        noise_kind: Kind of the corruption, likewise.

    Returns:
        A functional model with the layers ``"encoder"`` (to ``(batch, latent_dim)``) and
        ``"decoder"``, each a functional model, ``(batch, height, width, channels)`` to the same.

    Raises:
        ValueError: If ``input_shape`` does not have three dimensions, or ``filters`` is empty.

    Example:
        >>> model = conv_autoencoder((28, 28, 1))
        >>> [layer.name for layer in model.get_layer("encoder").layers]
        ['features', 'conv_1', 'conv_2', 'flatten', 'bottleneck']
    """
    if len(input_shape) != 3:
        raise ValueError(f"input_shape {input_shape}, expected (height, width, channels)")
    if not filters:
        raise ValueError(f"filters {filters}, expected at least one number")
    encoder, shapes = _encoder(input_shape, filters, latent_dim)
    decoder = _decoder(shapes, latent_dim, output_activation)
    corrupt = noise_layer(noise, noise_kind)
    x = keras.Input(input_shape, name="features")
    # Outside the encoder, so that no noise layer is transferred.
    corrupted = corrupt(x) if corrupt else x
    return keras.Model(x, decoder(encoder(corrupted)), name="autoencoder")


def _encoder(input_shape, filters, latent_dim) -> tuple[keras.Model, list[tuple]]:
    """The encoder, and the image shapes from the input to the last convolution."""
    x = features = keras.Input(input_shape, name="features")
    shapes = [tuple(input_shape)]
    for number, count in enumerate(filters, 1):
        x = layers.Conv2D(count, activation="relu", name=f"conv_{number}", **_KERNEL)(x)
        shapes.append(x.shape[1:])
    x = layers.Reshape((math.prod(shapes[-1]),), name="flatten")(x)
    return keras.Model(features, code_layer(x, latent_dim), name="encoder"), shapes


def _decoder(shapes: list[tuple], latent_dim: int, output_activation: str) -> keras.Model:
    """The decoder, which reverses these shapes."""
    *above, deepest = shapes
    z = keras.Input((latent_dim,), name="code")
    x = layers.Dense(math.prod(deepest), activation="relu", name="hidden")(z)
    x = layers.Reshape(deepest, name="unflatten")(x)
    for number, shape in enumerate(reversed(above), 1):
        is_last = number == len(above)
        x = _upsampling(
            shape,
            activation=output_activation if is_last else "relu",
            name="reconstruction" if is_last else f"deconv_{number}",
        )(x)
    return keras.Model(z, x, name="decoder")


def _upsampling(shape: tuple, *, activation: str, name: str) -> layers.Layer:
    """A transposed convolution with output ``shape``: halving maps both 7 and 8 to 4."""
    height, width, channels = shape
    return layers.Conv2DTranspose(
        channels,
        output_padding=((height + 1) % 2, (width + 1) % 2),
        activation=activation,
        name=name,
        **_KERNEL,
    )
