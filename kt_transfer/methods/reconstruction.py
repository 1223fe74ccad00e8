"""Pretraining by reconstruction: an autoencoder learns from examples without labels."""

from __future__ import annotations

import time

import keras
import numpy as np

from kt_transfer.methods.learning import Examples, RepeatedFit, start_fresh
from kt_transfer.methods.steps import Steps
from kt_transfer.models.autoencoders import (
    num_active_units,
    tie_initial_weights,
    transferable_encoder,
)
from kt_transfer.training.denoising import inputs_and_targets
from kt_transfer.training.k_sparse import with_falling_k
from kt_transfer.training.losses import reconstruction_loss


class AutoencoderLearner:
    """An autoencoder that is trained again and again from fresh weights.

    Args:
        autoencoder: Functional model with the layers ``"encoder"`` and ``"decoder"``.
        preprocessing: From raw examples to its inputs.
        settings: How long and with what steps it is trained.
        num_examples: About as many as it will learn from each time.
    """

    def __init__(
        self,
        autoencoder: keras.Model,
        preprocessing: keras.Model,
        settings: Steps,
        num_examples: int,
    ):
        self.autoencoder, self.preprocessing = autoencoder, preprocessing
        self.settings = settings
        self._is_sparse = bool(num_active_units(autoencoder))
        trained, self._callbacks = reconstructing(autoencoder, settings)
        transform = reconstruct_itself(preprocessing)
        self._fit = RepeatedFit(trained, autoencoder, settings, num_examples, transform)

    @property
    def encoder_weights(self) -> list[np.ndarray]:
        """What is transferred, without the penalty of pretraining."""
        return transferable_encoder(self.autoencoder).get_weights()

    def learn(self, x, *, seed: int, sample_weight=None, callbacks=()) -> float:
        """Learn from raw examples, each by its weight if given; the seconds that it took."""
        # Keras drops the weights of examples that have no targets.
        targets = None if sample_weight is None else np.zeros(len(x), np.float32)
        examples = Examples(x, targets, sample_weight)
        began = time.perf_counter()
        start_fresh(self.autoencoder, seed)
        if self._is_sparse:
            tie_initial_weights(self.autoencoder)
        watching = [*self._callbacks, *callbacks]
        self._fit.fit(examples, seed=seed, callbacks=watching)
        return time.perf_counter() - began


def reconstructing(autoencoder: keras.Model, settings: Steps, **compile_options):
    """An autoencoder compiled to reconstruct its inputs, and the callbacks that its fit needs.

    Args:
        autoencoder: With ``"encoder"`` and ``"decoder"``.
        settings: Number of epochs and learning rate.
        **compile_options: Of ``keras.Model.compile``, such as metrics.
    """
    k = num_active_units(autoencoder)
    trained, callbacks = with_falling_k(autoencoder, k, settings.epochs)
    optimizer = keras.optimizers.Adam(settings.learning_rate)
    trained.compile(optimizer, loss=reconstruction_loss(autoencoder), **compile_options)
    return trained, callbacks


def reconstruct_itself(preprocessing: keras.Model):
    """A ``transform`` of ``FusedModel``: the inputs are the targets, as they were before views."""

    def transform(x, y, sample_weight):
        return *inputs_and_targets(preprocessing, x), sample_weight

    return transform
