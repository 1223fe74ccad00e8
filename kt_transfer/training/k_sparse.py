"""k-sparse pretraining: how many code units stay falls over the first half of the epochs.

With few from the start, those that happen to be largest learn, and most others are never heard
again. What is saved is the plain model with the final number.
"""

from __future__ import annotations

import keras
from keras import ops


class FallingSparsity(keras.callbacks.Callback):
    """Lowers the number of units that stay, from all of them, linearly to the final one.

    It gets there after half of the epochs (Makhzani & Frey, 2013, section 4.1,
    https://arxiv.org/abs/1312.5663), and is a pure function of the epoch.

    Args:
        layer: The :class:`KLargest` of the model that is trained.
        epochs: Epochs of the fit.

    Example:
        >>> from kt_transfer.models.autoencoders import sparse_autoencoder
        >>> model = falling_k_sparse(sparse_autoencoder(784, sparsity="k_sparse"), k=2)
        >>> callback = FallingSparsity(model.get_layer("k_largest"), epochs=20)
    """

    def __init__(self, layer: KLargest, epochs: int):
        super().__init__()
        self.layer = layer
        self.epochs = epochs

    def on_epoch_begin(self, epoch, logs=None):
        """Set the number of this epoch."""
        self.layer.num_active.assign(self.at(epoch))

    def at(self, epoch: int) -> int:
        """Units that stay in an epoch, counted from 0."""
        first, last = self.layer.num_units, self.layer.k
        return round(first + (last - first) * min(1.0, 2 * epoch / self.epochs))


class KLargest(keras.layers.Layer):
    """Sets all but the largest units of each example to zero: a changing number in training.

    Args:
        k: Units that stay outside training.
    """

    def __init__(self, k: int, **kwargs):
        super().__init__(**kwargs)
        self.k = k

    def build(self, input_shape):
        """Begin with every unit."""
        self.num_units = input_shape[-1]
        everything = keras.initializers.Constant(self.num_units)
        self.num_active = self.add_weight(
            shape=(), initializer=everything, dtype="int32", trainable=False, name="num_active"
        )

    def call(self, z, training=False):
        """From ``(batch, units)`` to the same."""
        count = self.num_active if training else self.k
        threshold = ops.take(ops.sort(z, axis=-1), [self.num_units - count], axis=-1)
        return ops.where(ops.greater_equal(z, threshold), z, 0.0)


def with_falling_k(
    autoencoder: keras.Model, k: int | None, epochs: int
) -> tuple[keras.Model, list[keras.callbacks.Callback]]:
    """What is trained of an autoencoder, and what lowers its k meanwhile.

    Args:
        autoencoder: Any; it is what is trained unless it is k-sparse.
        k: Its number of active units, as from ``units_that_stay``; ``None`` if it has none.
        epochs: Epochs of the fit.

    Returns:
        A functional model of the same layers and weights, and callbacks of its fit.

    Example:
        >>> from kt_transfer.models.autoencoders import dense_autoencoder
        >>> from kt_transfer.models.autoencoders import units_that_stay
        >>> autoencoder = dense_autoencoder(784)
        >>> with_falling_k(autoencoder, units_that_stay(autoencoder), 20) == (autoencoder, [])
        True
    """
    if k is None:
        return autoencoder, []
    trained = falling_k_sparse(autoencoder, k)
    return trained, [FallingSparsity(trained.get_layer("k_largest"), epochs)]


def falling_k_sparse(autoencoder: keras.Model, k: int) -> keras.Model:
    """A k-sparse autoencoder whose k may fall; layers and weights are shared, not copied.

    Args:
        autoencoder: As from ``sparse_autoencoder(..., sparsity="k_sparse")``.
        k: Its number of active units.

    Returns:
        A functional model of the same, with a layer ``"k_largest"``. It is trained, not saved.
    """
    encoder = autoencoder.get_layer("encoder")
    dense = keras.Model(encoder.input, encoder.get_layer("bottleneck").output, name="code")
    x = corrupted = keras.Input(autoencoder.input_shape[1:], name="features")
    if "noise" in [layer.name for layer in autoencoder.layers]:
        corrupted = autoencoder.get_layer("noise")(x)
    code = KLargest(k, name="k_largest")(dense(corrupted))
    return keras.Model(x, autoencoder.get_layer("decoder")(code), name="falling_k_sparse")
