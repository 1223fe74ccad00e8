"""k-sparse pretraining: the number of active code units decreases over the first half of training.

With few active units from the start, only those that happen to be largest learn, and most others
remain dead. The saved model is the plain one with the final number.
"""

from __future__ import annotations

import keras
from keras import ops

from kt_transfer.models.autoencoders import corrupted_input


class FallingSparsity(keras.callbacks.Callback):
    """Lowers the number of active units linearly, from all of them to k.

    It reaches k after half of the epochs (Makhzani & Frey, 2013, section 4.1,
    https://arxiv.org/abs/1312.5663), and is a pure function of the epoch.

    Args:
        layer: The :class:`KLargest` layer of the trained model.
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
        """Set the number of active units for this epoch."""
        self.layer.num_active.assign(self.at(epoch))

    def at(self, epoch: int) -> int:
        """Number of active units in an epoch, counted from 0."""
        first, last = self.layer.num_units, self.layer.k
        return round(first + (last - first) * min(1.0, 2 * epoch / self.epochs))


class KLargest(keras.layers.Layer):
    """Keeps the largest units of each example and sets the others to zero.

    During training the number of active units is the variable ``num_active``.

    Args:
        k: Number of active units at inference.
    """

    def __init__(self, k: int, **kwargs):
        super().__init__(**kwargs)
        self.k = k

    def build(self, input_shape):
        """Start with every unit active."""
        self.num_units = input_shape[-1]
        everything = keras.initializers.Constant(self.num_units)
        self.num_active = self.add_weight(
            shape=(), initializer=everything, dtype="int32", trainable=False, name="num_active"
        )

    def call(self, z, training=False):
        """Map ``(batch, units)`` to the same shape."""
        count = self.num_active if training else self.k
        threshold = ops.take(ops.sort(z, axis=-1), [self.num_units - count], axis=-1)
        return ops.where(ops.greater_equal(z, threshold), z, 0.0)


def with_falling_k(
    autoencoder: keras.Model, k: int | None, epochs: int
) -> tuple[keras.Model, list[keras.callbacks.Callback]]:
    """The model to train for an autoencoder, and the callbacks that lower its k.

    Args:
        autoencoder: Any autoencoder; returned as it is unless it is k-sparse.
        k: Its number of active units, as from ``num_active_units``; ``None`` if it is not
            k-sparse.
        epochs: Epochs of the fit.

    Returns:
        A functional model with the same layers and weights, and callbacks for its fit.

    Example:
        >>> from kt_transfer.models.autoencoders import dense_autoencoder, num_active_units
        >>> autoencoder = dense_autoencoder(784)
        >>> with_falling_k(autoencoder, num_active_units(autoencoder), 20) == (autoencoder, [])
        True
    """
    if k is None:
        return autoencoder, []
    trained = falling_k_sparse(autoencoder, k)
    return trained, [FallingSparsity(trained.get_layer("k_largest"), epochs)]


def falling_k_sparse(autoencoder: keras.Model, k: int) -> keras.Model:
    """A k-sparse autoencoder whose k is variable; layers and weights are shared, not copied.

    Args:
        autoencoder: As from ``sparse_autoencoder(..., sparsity="k_sparse")``.
        k: Its number of active units.

    Returns:
        A functional model with a layer ``"k_largest"``, for training only; it is not saved.
    """
    encoder = autoencoder.get_layer("encoder")
    dense = keras.Model(encoder.input, encoder.get_layer("bottleneck").output, name="code")
    x, corrupted = corrupted_input(autoencoder)
    code = KLargest(k, name="k_largest")(dense(corrupted))
    return keras.Model(x, autoencoder.get_layer("decoder")(code), name="falling_k_sparse")
